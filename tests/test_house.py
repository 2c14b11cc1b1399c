"""The repository checks itself: what is not checked here is an opinion."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ml4t.backtest
from ml4t.backtest import errors
from ml4t.backtest.kernels import is_compiled
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "ml4t" / "backtest"
PUBLIC = tuple(ml4t.backtest.__all__)
BIN = Path(sys.executable).parent

Function = ast.FunctionDef | ast.AsyncFunctionDef

# -- reading source --------------------------------------------------------------------------


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _modules() -> list[Path]:
    """Every module of the package, from its top."""
    return sorted(PACKAGE.rglob("*.py"))


def _where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def _imported(tree: ast.Module) -> dict[str, str]:
    """The full name behind every name that a module imports."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head = alias.name.split(".")[0]
                names[alias.asname or head] = alias.name if alias.asname else head
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.AST, imported: dict[str, str]) -> str | None:
    """`np.random.rand` as `numpy.random.rand`; None for what is not a plain dotted name."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, imported)
        return owner and f"{owner}.{node.attr}"
    return None


# -- the arrows ------------------------------------------------------------------------------


def test_rooms_import_downwards_only() -> None:
    """The import contracts of pyproject.toml hold; asked aside, as the linter ends all logging."""
    command = [str(BIN / "lint-imports"), "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_imports_the_package_from_inside() -> None:
    """The package imports its rooms, so a room that imports the package would close a circle."""
    inside = [
        _where(path, node)
        for path in _modules()
        for node in ast.walk(_tree(path))
        if (isinstance(node, ast.Import) and any(a.name == "ml4t.backtest" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "ml4t.backtest")
    ]
    assert [place for place in inside if "/demo/" not in place] == []


def test_every_module_imports() -> None:
    """Each module of the package can be imported."""
    for path in _modules():
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(parts).removesuffix(".__init__"))


# -- the public names ------------------------------------------------------------------------


def test_public_names_are_sorted_and_listed() -> None:
    """`__all__` is sorted, without repetition, and equals the list under review."""
    listed = (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8").split()
    assert list(PUBLIC) == sorted(set(PUBLIC))
    assert list(PUBLIC) == listed


def test_names_for_type_checkers_are_those_that_are_loaded() -> None:
    """What a type checker reads in `__init__` is where a name really comes from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.name: str(line.module).removeprefix("ml4t.backtest.")
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert homes == ml4t.backtest._HOMES
    assert sorted([*homes, "__version__"]) == list(PUBLIC)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'BacktestEngin'"):
        ml4t.backtest.BacktestEngin  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_importable_and_documented(name: str) -> None:
    """A public name can be imported, is visible to `dir`, and has a docstring of its own."""
    thing = getattr(ml4t.backtest, name)
    assert name in dir(ml4t.backtest)
    if callable(thing):
        # An inherited docstring (of Enum, Struct, Exception) would say nothing about this name.
        own = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
        assert own, f"{name} has no docstring"
        assert own.strip(), f"{name} has an empty docstring"


# -- determinism -----------------------------------------------------------------------------

WALL_CLOCK = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.ctime",
    "time.gmtime",
    "time.localtime",
    "time.strftime",
    "time.time",
    "time.time_ns",
}
CHANCE = {"os.urandom", "uuid.uuid1", "uuid.uuid4"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv"}
SEEDED = {"BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}
# Who may: a path of the package, or the folder it is in.
MAY_READ_CLOCK = ("live", "cli.py")
MAY_READ_ENVIRONMENT = ("kernels/__init__.py", "live/credentials.py", "cli.py")
MAY_PRINT = ("demo", "cli.py")


def _may(path: Path, allowed: tuple[str, ...]) -> bool:
    place = path.relative_to(PACKAGE)
    return place.parts[0] in allowed or place.as_posix() in allowed


def _is_chance(name: str) -> bool:
    if name in CHANCE or name.split(".", maxsplit=1)[0] in {"random", "secrets"}:
        return True
    return name.startswith("numpy.random.") and name.split(".")[2] not in SEEDED


def _forbidden_uses(path: Path) -> Iterator[str]:
    """What a module does that two runs, or two machines, would see differently."""
    tree = _tree(path)
    imported = _imported(tree)
    heads = set(imported)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _full_name(node.func, imported)
            if called == "print" and not _may(path, MAY_PRINT):
                yield f"{_where(path, node)} prints"
            if called == "numpy.random.default_rng" and not (node.args or node.keywords):
                yield f"{_where(path, node)} makes a generator without a seed"
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = _full_name(node, imported)
        if name is None or _first(node) not in heads:
            continue
        if name in WALL_CLOCK and not _may(path, MAY_READ_CLOCK):
            yield f"{_where(path, node)} reads the wall clock: {name}"
        if name in ENVIRONMENT and not _may(path, MAY_READ_ENVIRONMENT):
            yield f"{_where(path, node)} reads the environment: {name}"
        if _is_chance(name):
            yield f"{_where(path, node)} draws unseeded: {name}"


def _first(node: ast.AST) -> str:
    """The leftmost name of a dotted name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_source_is_deterministic_and_quiet() -> None:
    """No wall clock, unseeded chance, print or environment variable outside its few places."""
    assert [use for path in _modules() for use in _forbidden_uses(path)] == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("from datetime import datetime\nx = datetime.now()", "wall clock"),
        ("import time as t\nx = t.time()", "wall clock"),
        ("import numpy as np\nx = np.random.rand(3)", "unseeded"),
        ("import numpy as np\nx = np.random.default_rng()", "without a seed"),
        ("from random import choice\nx = choice([1])", "unseeded"),
        ("from os import environ\nx = environ['A']", "environment"),
        ("print(1)", "prints"),
        (
            "import time\nimport numpy as np\nx = time.perf_counter(), np.random.default_rng(7)",
            None,
        ),
        ("random = [1]\nx = random[0]", None),
    ],
)
def test_forbidden_uses_are_seen(
    line: str, complaint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan finds each kind of use, through aliases too, and nothing else."""
    path = PACKAGE / "sample.py"
    monkeypatch.setattr(f"{__name__}._tree", lambda _: ast.parse(line))
    found = list(_forbidden_uses(path))
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in use for use in found)


# -- errors ----------------------------------------------------------------------------------

ERRORS = sorted(
    name
    for name, thing in vars(errors).items()
    if isinstance(thing, type)
    and issubclass(thing, BaseException)
    and thing.__module__ == errors.__name__
)


def _last_names(paths: list[Path], kind: type[ast.AST]) -> set[str]:
    """The last part of every name that is called (`ast.Call`) or read in some modules."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(_tree(path)):
            target = node.func if kind is ast.Call and isinstance(node, ast.Call) else node
            if kind is ast.Call and target is node:
                continue
            if isinstance(target, ast.Name):
                found.add(target.id)
            elif isinstance(target, ast.Attribute):
                found.add(target.attr)
    return found


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_raised_and_tested(name: str) -> None:
    """Every error class is made somewhere in the source, itself or a child, and has a test."""
    family = {
        child
        for child in ERRORS
        if issubclass(getattr(errors, child), getattr(errors, name))
        and (child == name or getattr(errors, name).__subclasses__())
    }
    assert family & _last_names(_modules(), ast.Call), f"nothing raises {name}"
    tests = [p for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__).resolve()]
    assert family & _last_names(tests, ast.Name), f"no test names {name}"


# -- options that do nothing -----------------------------------------------------------------


@cache
def _read_in_source() -> frozenset[str]:
    """Every attribute that is read, and every string, in the package."""
    found: set[str] = set()
    for path in _modules():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return frozenset(found)


def _is_stub(function: Function) -> bool:
    """A hook, a protocol or an overload: a body that says and does nothing."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return all(
        isinstance(line, ast.Pass | ast.Raise)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        or (
            isinstance(line, ast.Return)
            and (not line.value or isinstance(line.value, ast.Constant))
        )
        for line in body
    )


def _arguments(function: Function, *, options_only: bool) -> list[str]:
    """The names of the parameters, or of those with a default."""
    spec = function.args
    plain = [*spec.posonlyargs, *spec.args]
    if options_only:
        some = plain[len(plain) - len(spec.defaults) :]
        some += [a for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None]
    else:
        some = [*plain, *spec.kwonlyargs, *filter(None, [spec.vararg, spec.kwarg])]
    return [a.arg for a in some if a.arg not in {"self", "cls"}]


def _idle(function: Function, *, options_only: bool = False) -> Iterator[str]:
    """Parameters that are never read, or only kept in an attribute that nobody reads."""
    if _is_stub(function):
        return
    kept: dict[str, str] = {}  # parameter: the attribute it is stored in, as it is
    stored: set[ast.AST] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Attribute):
                kept[node.value.id] = target.attr
                stored.add(node.value)
    read = {
        node.id
        for line in function.body
        for node in ast.walk(line)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in stored
    }
    for name in _arguments(function, options_only=options_only):
        if name not in read and kept.get(name) not in _read_in_source():
            yield name


def _definition(thing: object) -> tuple[Path, ast.ClassDef | Function] | None:
    """Where a class or function of ours is written."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return None
    if not thing.__module__.startswith("ml4t.backtest"):
        return None
    path = Path(inspect.getsourcefile(thing) or "")
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ClassDef | Function) and node.name == thing.__name__:
            return path, node
    return None


def _idle_in_class(node: ast.ClassDef, *, has_fields: bool) -> Iterator[str]:
    """Idle parameters of the constructor, idle options of methods, fields that nobody reads."""
    for item in node.body:
        if isinstance(item, Function):
            if item.name == "__init__":
                yield from (f"__init__({name})" for name in _idle(item))
            elif not item.name.startswith("_"):
                yield from (f"{item.name}({name})" for name in _idle(item, options_only=True))
        elif has_fields and isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = item.target.id
            if not name.startswith("_") and name not in _read_in_source():
                yield f"the field {name}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_option_is_read(name: str) -> None:
    """No public parameter or field is accepted and then ignored."""
    thing = getattr(ml4t.backtest, name)
    idle: list[str] = []
    for part in inspect.getmro(thing) if inspect.isclass(thing) else (thing,):
        found = _definition(part)
        if found is None:
            continue
        path, node = found
        if isinstance(node, ast.ClassDef):
            # The fields of a struct or a dataclass are the options of its constructor.
            has_fields = any(
                hasattr(part, a) for a in ("__struct_fields__", "__dataclass_fields__")
            )
            names = _idle_in_class(node, has_fields=has_fields)
        else:
            names = _idle(node)
        idle += [f"{_where(path, node)} {node.name}: {what}" for what in names]
    assert idle == []


@pytest.mark.parametrize(
    ("code", "idle"),
    [
        ("def f(a, b=1, *, c=2, **d):\n    return a + b", ["c", "d"]),
        ("def f(self, a):\n    self.never_read_anywhere = a", ["a"]),
        ("def f(self, a):\n    self.x = a\n    return a", []),
        ("def on_bars(self, bars, context):\n    '''A hook.'''", []),
    ],
)
def test_idle_options_are_seen(code: str, idle: list[str]) -> None:
    """The scan finds what is not read and what is only stored."""
    function = ast.parse(code).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert list(_idle(function)) == idle


# -- weight ----------------------------------------------------------------------------------

NOT_AT_IMPORT = [
    "alpaca",
    "asyncio",
    "exchange_calendars",
    "ib_async",
    "joblib",
    "pandas",
    "plotly",
    "pyarrow",
    "scipy",
    "sklearn",
    "sqlite3",
    "tqdm",
]


def test_import_loads_no_extra() -> None:
    """`import ml4t.backtest` loads nothing that only some users need."""
    code = "from ml4t.backtest import BacktestEngine; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "ml4t.backtest.engine" in loaded
    assert sorted(set(NOT_AT_IMPORT) & set(loaded)) == []


# -- files -----------------------------------------------------------------------------------

REQUIREMENT = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-zA-Z.+!-]*( ; [^\\@/]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
SIGNPOST = re.compile(r"`([\w/]+\.py)`")
MERGE_MARKER = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
TEXT = {".md", ".py", ".toml", ".txt", ".yaml", ".lock", ".out"}


def _text_files() -> list[Path]:
    folders = ["src", "tests", "docs", "examples", "benchmarks"]
    found = [*ROOT.iterdir(), *(p for f in folders for p in (ROOT / f).rglob("*"))]
    return sorted(p for p in found if p.is_file() and (p.suffix in TEXT or p.name == "Makefile"))


def test_lock_holds_versions_and_hashes_only() -> None:
    """Each line of the lock is a pinned version or a hash; none holds an address."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    kinds = "".join(
        "r" if REQUIREMENT.fullmatch(line) else "h" if HASH.fullmatch(line) else "?"
        for line in lines
    )
    odd = [line for line, kind in zip(lines, kinds, strict=True) if kind == "?"]
    assert odd == []
    assert re.fullmatch("(rh+)+", kinds), "a requirement has no hash"


def test_signposts_lead_to_files() -> None:
    """Every file named in a table of ARCHITECTURE.md exists."""
    lines = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    named = [path for line in lines if line.startswith("|") for path in SIGNPOST.findall(line)]
    assert named, "ARCHITECTURE.md has no signposts"
    assert [p for p in named if not ((PACKAGE / p).is_file() or (ROOT / p).is_file())] == []


def test_no_merge_markers() -> None:
    """No file holds the traces of a half-finished merge."""
    texts = {path: path.read_text(encoding="utf-8") for path in _text_files()}
    assert [str(p.relative_to(ROOT)) for p, t in texts.items() if MERGE_MARKER.search(t)] == []


def test_lines_fit_a_screen() -> None:
    """No line of the source is longer than 100 characters."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _modules()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line.split("  # noqa")[0]) > 100
    ]
    assert long == []


def test_namespace_belongs_to_nobody() -> None:
    """`ml4t` is shared with sibling packages, so no file of ours may claim it."""
    assert [p.name for p in (SOURCE / "ml4t").iterdir() if p.is_file()] == []
    assert (PACKAGE / "py.typed").is_file()


# -- packages --------------------------------------------------------------------------------


def _run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # A make that runs the tests would pass its own flags on.
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_lock_is_what_pyproject_asks_for(tmp_path: Path) -> None:
    """Compiling the lock again changes nothing."""
    copy = tmp_path / "requirements.lock"
    shutil.copy(ROOT / "requirements.lock", copy)
    done = _run("make", "--silent", "lock", f"LOCK={copy}")
    if re.search(r"failed to fetch|client error|dns|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("no package index can be reached, so the lock cannot be compiled")
    assert done.returncode == 0, done.stderr
    assert copy.read_bytes() == (ROOT / "requirements.lock").read_bytes()


SIBLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "ml4t-other"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["src/ml4t"]
"""


def _build(project: Path, target: Path) -> Path:
    """The wheel of a project."""
    done = _run(
        sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=project
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_wheel_shares_the_namespace(tmp_path: Path) -> None:
    """The wheel is typed, leaves `ml4t` open, and works beside another `ml4t` distribution."""
    other = tmp_path / "other"
    (other / "src" / "ml4t" / "other").mkdir(parents=True)
    (other / "src" / "ml4t" / "other" / "__init__.py").touch()
    (other / "pyproject.toml").write_text(SIBLING, encoding="utf-8")
    wheels = [_build(ROOT, tmp_path / "ours"), _build(other, tmp_path / "theirs")]

    names = zipfile.ZipFile(wheels[0]).namelist()
    assets = {f"ml4t/backtest/results/report/assets/{name}" for name in ("page.js", "style.css")}
    assert {"ml4t/backtest/py.typed", "ml4t/backtest/demo/prices.parquet", *assets} <= set(names)
    assert "ml4t/__init__.py" not in names
    kernels = [n.split(".")[0] for n in names if n.endswith((".so", ".pyd"))]
    assert kernels == ["ml4t/backtest/kernels/_compiled"] * is_compiled
    assert not [n for n in names if n.endswith((".c", ".h"))]
    assert {n for n in names if n.endswith(".py")} == {
        str(p.relative_to(SOURCE)) for p in _modules()
    }

    site = tmp_path / "site"
    install: list[str | Path] = [
        "pip",
        "install",
        "--offline",
        "--no-index",
        "--no-deps",
        "--target",
        site,
    ]
    done = _run(BIN / "uv", *install, *wheels)
    assert done.returncode == 0, done.stderr
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import ml4t.other, ml4t.backtest\n"
        "print(ml4t.other.__file__, ml4t.backtest.__file__)"
    )
    done = _run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(path.startswith(str(site)) for path in done.stdout.split()), done.stdout


def test_nothing_large_is_kept() -> None:
    """Generated data does not belong in the repository; the largest file is the demo's prices."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so what is kept cannot be listed")
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert [name for name in names if (ROOT / name).stat().st_size > 1_000_000] == []
