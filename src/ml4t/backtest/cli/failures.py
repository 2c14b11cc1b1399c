"""Errors as a person at a terminal needs them: what is wrong, where, and which exit code."""

from __future__ import annotations

import re
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

import ml4t.backtest.errors
from ml4t.backtest.cli.screen import console, tell
from ml4t.backtest.errors import BacktestError, StrategyError

if TYPE_CHECKING:
    from collections.abc import Iterator

FINE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
_OURS = Path(ml4t.backtest.errors.__file__).parent
# Not the whole prefix: people keep strategies in /usr/src/app, and beside an environment.
_OTHERS = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)

# What the library calls an option of a feed is typed another way here.
_FEED_OPTION = re.compile(r"\b(columns=\{|price_column=)")
_FEED_HINT = (
    "  Of prices, options are fields of [data]: --set data.columns.close=NAME, or "
    "--set data.price_column=NAME where there is one price a bar."
)


@contextmanager
def answered(*, full: bool = False) -> Iterator[None]:
    """Turn errors of this library and of files into a message and an exit code.

    Others are bugs, and raised.

    Args:
        full: Show the whole traceback, too.
    """
    try:
        yield
    except BacktestError as error:
        show(error, full=full)
        raise typer.Exit(exit_code(error)) from error
    except OSError as error:  # a full disk, a folder that is not ours: no bug of anybody
        if full:
            raise
        tell(f"Error: {error}.", "bold red")
        raise typer.Exit(REFUSED) from error
    except KeyboardInterrupt as stop:
        tell("Interrupted.", "yellow")
        raise typer.Exit(INTERRUPTED) from stop


def exit_code(error: BacktestError) -> int:
    """1 when something of the user's code failed while it ran, 2 when the input is wrong."""
    is_users = error.hook is not None or isinstance(error, StrategyError)
    return FAILED if is_users or type(error) is BacktestError else REFUSED


def show(error: BacktestError, *, full: bool = False) -> None:
    """Write what is wrong to the error stream."""
    screen = console(stderr=True)
    if full:
        screen.print(Text("".join(traceback.format_exception(error))), soft_wrap=True)
    screen.print(Text("Error: ", style="bold red") + Text(str(error)), soft_wrap=True)
    if error.hook is None and _FEED_OPTION.search(str(error)):
        screen.print(Text(_FEED_HINT), soft_wrap=True)
    facts = [("hook", error.hook), ("time", error.timestamp), ("asset", error.asset_id)]
    known = [f"{name} {value}" for name, value in facts if value is not None]
    if known:
        screen.print(Text(f"  {', '.join(known)}"), soft_wrap=True)
    frames = own_frames(error)
    for frame in frames:
        screen.print(Text(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'),
                     soft_wrap=True)  # fmt: skip
        if frame.line:
            screen.print(Text(f"    {frame.line}", style="cyan"), soft_wrap=True)
    if frames and not full:
        screen.print(Text("  --traceback shows every frame.", style="dim"), soft_wrap=True)


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error that are in the user's own files, outermost first."""
    found = traceback.extract_tb(error.__traceback__)
    if error.__cause__ is not None:
        found = traceback.extract_tb(error.__cause__.__traceback__)
    return [frame for frame in found if _is_own(frame.filename)]


def _is_own(name: str) -> bool:
    path = Path(name)
    if name.startswith("<") or path.is_relative_to(_OURS):
        return False
    return not any(path.is_relative_to(folder) for folder in _OTHERS)
