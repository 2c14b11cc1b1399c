"""What a terminal shows: colours, a progress bar, help, completion."""

from __future__ import annotations

import os
import pty
import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, start

COLOUR = re.compile(r"\x1b\[(3[0-7]|1;3[0-7])m")
SLOW = """\
import time
from ml4t.backtest import Strategy

class Slow(Strategy):
    def on_bars(self, bars):
        time.sleep(0.07)
"""


def on_terminal(*words: str, cwd: Path, **env: str) -> tuple[int, str]:
    """Exit code and everything a terminal of 100 columns showed."""
    ours, theirs = pty.openpty()
    plain = {"TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "", "CI": ""}
    process = start(*words, cwd=cwd, stdout=theirs, stderr=theirs, stdin=theirs, env=plain | env)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how a pseudo-terminal says that the other side has closed
        process.wait(timeout=60)
    finally:
        os.close(ours)
    return process.wait(timeout=60), shown.decode(errors="replace")


def test_errors_are_red_on_a_terminal_and_plain_with_no_color(folder: Path) -> None:
    """NO_COLOR takes the colours, and the words stay."""
    words = ("run", "nothing.py", "--data", "prices.parquet")
    code, shown = on_terminal(*words, cwd=folder)
    assert code == 2
    assert COLOUR.search(shown)
    code, shown = on_terminal(*words, cwd=folder, NO_COLOR="1")
    assert code == 2
    assert "There is no file" in shown
    assert not COLOUR.search(shown)


def test_a_long_run_has_a_bar_on_a_terminal(folder: Path) -> None:
    """With the share done; the summary follows."""
    (folder / "strategy.py").write_text(SLOW, encoding="utf-8")
    code, shown = on_terminal("run", "strategy.py", "--data", "prices.parquet", cwd=folder)
    assert code == 0
    assert re.search(r"backtest.*\d+%", shown)
    assert "Slow: 2024-01-01 to 2024-02-09" in shown


@pytest.mark.parametrize(
    "words", [(), ("run",), ("check",), ("compare",), ("explain",), ("runs", "list"), ("init",)]
)
def test_help_is_there_for_every_command(invoke: Invoke, words: tuple[str, ...]) -> None:
    """With an exit code of 0, both ways of asking."""
    shown = [invoke(*words, option) for option in ("--help", "-h")]
    assert [found.exit_code for found in shown] == [0, 0]
    assert "Usage: " in shown[0].stdout


def test_help_shows_examples_and_exit_codes(invoke: Invoke) -> None:
    """The page of a command that is worth reading."""
    assert "ml4t-backtest run strategy.py --data prices.parquet" in invoke("run", "--help").stdout
    assert "130" in invoke("--help").stdout


def test_the_version_is_printed(invoke: Invoke) -> None:
    """And which form of the kernels runs, and nothing else."""
    from ml4t.backtest import __version__
    from ml4t.backtest.kernels import is_compiled

    kernels = "compiled kernels" if is_compiled else "plain Python"
    assert invoke("--version").stdout == f"ml4t-backtest {__version__} ({kernels})\n"


def test_help_does_not_wait_for_the_engine(folder: Path) -> None:
    """Nor does completion: what they import is light."""
    code = (
        "import sys; from ml4t.backtest.cli.app import main; main(['--help']); "
        "print('polars' in sys.modules, file=sys.stderr)"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.stderr == "False\n"


def test_a_shell_completes_commands_and_runs(invoke: Invoke, folder: Path) -> None:
    """What the shell asks for by the variable of the completion."""
    invoke("run", "strategy.py", "--data", "prices.parquet", "--save")
    env = {"_ML4T_BACKTEST_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    process = start(cwd=folder, env={**env, "COMP_WORDS": "ml4t-backtest explain Ho"})
    assert process.communicate(timeout=60)[0].startswith("Hold-")
    process = start(cwd=folder, env={**env, "COMP_CWORD": "1", "COMP_WORDS": "ml4t-backtest ch"})
    assert process.communicate(timeout=60)[0].split() == ["check"]
