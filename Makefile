# Thin on purpose: every target is one command of the environment in .venv.
# `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-pure check format-check lint types arrows docs fix lock bench bench-peers bench-guard parity four-ways clean

# The first interpreter on the path that runs and is new enough. Override: make PYTHON=/path/to/python
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
# One place for the version of uv: the build group of pyproject.toml.
UV_PIN = $(shell sed -n 's/.*"\(uv==[^"]*\)".*/\1/p' pyproject.toml)
LOCK = requirements.lock
KERNEL_TESTS = $(addprefix tests/,data kernels properties results simulation stories strategy test_engine.py)
KERNELS = $(wildcard src/ml4t/backtest/kernels/*.[ch])
COMPILE = .venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--all-extras --group dev --generate-hashes --no-header --no-annotate --no-emit-index-url

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

.venv: .venv/.stamp

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found on PATH. Install it, or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "$(UV_PIN)"

.venv/.stamp: requirements.lock pyproject.toml hatch_build.py $(KERNELS) | .venv/bin/uv
	.venv/bin/uv pip sync --quiet --require-hashes requirements.lock
	.venv/bin/uv pip install --quiet --no-deps --no-build-isolation -e .
	@.venv/bin/python -c "from ml4t.backtest.kernels import is_compiled; is_compiled or print('The kernels are not compiled: all works, but slower. With a C compiler: rm .venv/.stamp && make .venv')"
	@touch $@

demo: .venv ## run the packaged example
	.venv/bin/python -m ml4t.backtest.demo

test: .venv ## default test suite
	.venv/bin/pytest -n 2 --ignore=tests/docs

test-slow: .venv ## the suites that take minutes
	.venv/bin/pytest -n 2 --ignore=tests/docs -m "slow and not peers and not alone"
	.venv/bin/pytest -n 0 --ignore=tests/docs -m "slow and alone"

test-pure: .venv ## what the compiled kernels are used for, without them
	ML4T_BACKTEST_PURE=1 .venv/bin/pytest -n 2 $(KERNEL_TESTS)

check: format-check lint types arrows test docs ## everything a change must pass

format-check: .venv ## is the code formatted
	.venv/bin/ruff format --check .

lint: .venv ## ruff
	.venv/bin/ruff check .

types: .venv ## mypy, strict
	.venv/bin/mypy

arrows: .venv ## who may import whom
	.venv/bin/lint-imports --no-logo

docs: .venv ## run the examples in README, docs and docstrings
	.venv/bin/pytest tests/docs

fix: .venv ## format, and repair what ruff can
	.venv/bin/ruff check --fix-only --exit-zero . && .venv/bin/ruff format .

lock: .venv/bin/uv ## recompile requirements.lock from pyproject.toml
	$(COMPILE) -o $(LOCK)

bench: .venv ## measure speed
	.venv/bin/python benchmarks/run.py

bench-peers: .venv ## measure other engines beside ours; takes half an hour
	.venv/bin/python benchmarks/run_peers.py --write

bench-guard: .venv ## fail when speed fell below its floor
	@if test -f benchmarks/run.py; then .venv/bin/python benchmarks/run.py --guard; else echo "bench-guard: benchmarks/run.py is missing, nothing was measured"; fi

parity: .venv ## compare with other engines trade for trade, and write docs/parity.md
	.venv/bin/python tests/parity/run.py --write

four-ways: .venv ## play a day as backtest, in shadow and with two brokers, and write docs/four-ways.md
	.venv/bin/python -m tests.live.four_ways_page --write

clean: ## remove the environment, builds and caches
	rm -rf .venv build dist src/ml4t/backtest/kernels/_compiled.*.so htmlcov .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
