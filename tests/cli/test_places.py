"""Places that cannot be written, and readers who leave: a run is never lost to either."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from ml4t.backtest import BacktestResult, RunStore
from tests.cli.conftest import Invoke, start

RUN = ("run", "strategy.py", "--data", "prices.parquet")
# A folder in which nobody can make a file, root included.
NOWHERE = Path("/proc")

needs_proc = pytest.mark.skipif(not NOWHERE.is_dir(), reason="there is no /proc here")


@needs_proc
@pytest.mark.parametrize("words", [("--save", "/proc/runs"), ("--report", "/proc/page.html")])
def test_a_place_that_takes_no_file_is_refused_before_the_run(
    invoke: Invoke, words: tuple[str, ...]
) -> None:
    """An hour of computing is not thrown away at its end."""
    found = invoke(*RUN, *words)
    assert found.exit_code == 2
    assert "Nothing can be written to '/proc'" in found.stderr
    assert found.stdout == ""


def test_a_disk_that_is_full_is_one_line(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what came out is printed all the same."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BacktestResult, "report", full)
    found = invoke(*RUN, "--save", "--report", "page.html")
    assert found.exit_code == 2
    assert found.stderr == "Error: [Errno 28] No space left on device.\n"
    assert "Performance" in found.stdout
    assert "Kept as Hold-" in found.stdout
    with pytest.raises(OSError, match="No space left"):
        invoke(*RUN, "--report", "page.html", "--traceback")


def test_a_full_disk_is_no_fault_of_the_data(folder: Path) -> None:
    """Polars calls what it could not write a Parquet file out of specification."""

    def small_files_only() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))

    process = start(*RUN, "--save", cwd=folder, preexec_fn=small_files_only)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot be written; is the disk full?" in said
    assert "Traceback" not in said
    assert RunStore(folder / "ml4t-runs").frame().is_empty()


def test_a_reader_who_leaves_early_costs_nothing(folder: Path) -> None:
    """The page is written although nobody reads where; the code is that of a closed pipe."""
    ours, theirs = os.pipe()
    os.close(ours)
    process = start(*RUN, "--save", "--report", "page.html", cwd=folder, stdout=theirs)
    os.close(theirs)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (141, "")
    assert (folder / "page.html").is_file()
    assert RunStore(folder / "ml4t-runs").frame().height == 1
