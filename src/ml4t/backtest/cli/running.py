"""Running a described backtest at a terminal: progress, interrupts, what is kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ml4t.backtest.cli import failures, reporting
from ml4t.backtest.cli.arguments import STORE
from ml4t.backtest.cli.screen import console, say, say_page, tell
from ml4t.backtest.errors import BacktestError
from ml4t.backtest.results.places import check_writable
from ml4t.backtest.results.runs import RunStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.description import RunDescription
    from ml4t.backtest.results.result import BacktestResult

_PATIENCE = 1.0  # seconds before a bar is worth its line
_REDRAW = 0.1
_STOPPING = b"\nStopping at the next bar; press Ctrl-C again to stop at once.\n"
_KEEPING = b"\nThe run is over; one moment, until it is kept.\n"


def run(description: RunDescription, *, full: bool = False) -> None:
    """Run, print the summary, and keep the result where the description says.

    Args:
        description: Of the run.
        full: Show whole tracebacks.

    Raises:
        typer.Exit: The run failed or was interrupted.
    """
    with failures.answered(full=full):
        _check_output(description)
        stopper = _Stopper()
        engine = description.engine(progress=stopper.tell)
        with stopper:
            try:
                result = engine.run()
            except BacktestError as error:
                stopper.end()
                if error.result is not None:
                    _keep_partial(error.result, description)
                raise
            except KeyboardInterrupt as stop:
                stopper.end()
                _interrupted(getattr(stop, "result", None), description)
                raise typer.Exit(failures.INTERRUPTED) from stop
            stopper.end()
            kept: list[str] = []
            try:  # before a word is printed: whoever reads may be gone after the first line
                kept.extend(_keep(result, description))
            finally:
                say_page(result.summary())
                for line in kept:
                    say(line, "green")


def _check_output(description: RunDescription) -> None:
    """What could not be kept or written after a long run is refused before it."""
    if store := store_of(description):
        check_writable(store.folder)
    if description.output.report is not None:
        reporting.check(description.output.report)


class _Stopper:
    """Shows how far the run is, and ends it between two bars when the user presses Ctrl-C.

    An interrupt that strikes in the midst of a fill would leave a result in which half of it
    happened. So the first one is remembered, and raised when the engine next reports how far it
    is. The second one strikes at once. Once the run is over, interrupts wait until it is kept.
    """

    def __init__(self) -> None:
        self._is_asked = self._is_over = False
        self._bar = _Bar() if console(stderr=True).is_terminal else None
        self._before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)

    def __exit__(self, *_: object) -> None:
        self.end()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def end(self) -> None:
        """The run is over, be it by an error."""
        self._is_over = True
        if self._bar is not None:
            self._bar.close()

    def tell(self, share: float) -> None:
        """The engine is between two bars, and so far."""
        if self._is_asked and share < 1.0:
            raise KeyboardInterrupt
        if self._bar is not None:
            self._bar.tell(share)

    def _on_signal(self, *_: object) -> None:
        if self._is_asked and not self._is_over:
            raise KeyboardInterrupt
        self._is_asked = True
        with suppress(OSError, ValueError):  # where nobody can be told, nothing is told
            text = _KEEPING if self._is_over else _STOPPING
            os.write(sys.stderr.fileno(), text)  # a print may be under way already


class _Bar:
    """A bar on the error stream, gone when the run is over."""

    def __init__(self) -> None:
        self._begun = perf_counter()
        self._next = self._begun + _PATIENCE
        self._progress: Progress | None = None
        self._task: Any = None

    def tell(self, share: float) -> None:
        """Redraw, if it is time to."""
        now = perf_counter()
        if now < self._next:
            return
        self._next = now + _REDRAW
        if self._progress is None:
            self._progress = Progress(
                TextColumn("backtest"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self._task = self._progress.add_task("backtest", total=1.0)
            self._progress.start()
        self._progress.update(self._task, completed=share)
        self._progress.refresh()

    def close(self) -> None:
        """Remove it."""
        if self._progress is not None:
            self._progress.stop()


# -- keeping -----------------------------------------------------------------------------------


def _keep(result: BacktestResult, description: RunDescription) -> Iterator[str]:
    """Save and report, when the description asks for it; what was done, in words."""
    if store := store_of(description):
        yield f"Kept as {_add(result, description, store)} in {store.folder}."
    if description.output.report is not None:
        yield reporting.write(result, description.output.report)


def store_of(description: RunDescription) -> RunStore | None:
    """Where the result goes; None when it is not kept."""
    save = description.output.save
    if not save:
        return None
    return RunStore(STORE if save is True else save)


def _add(result: BacktestResult, description: RunDescription, store: RunStore) -> str:
    output = description.output
    return store.add(result, name=output.name, family=output.family)


def _keep_partial(result: BacktestResult, description: RunDescription) -> None:
    store = store_of(description)
    if store is not None:
        name = _add(result, description, store)
        tell(f"What had happened until then is kept as {name} in {store.folder}.", "yellow")


def _interrupted(result: BacktestResult | None, description: RunDescription) -> None:
    if result is None or result.equity.is_empty():
        tell("Interrupted before the first bar; nothing is kept.", "yellow")
        return
    tell(f"Interrupted after {result.equity['timestamp'][-1]}, the run is not complete.", "yellow")
    if description.output.save:
        _keep_partial(result, description)
    else:
        tell("Nothing is kept; with --save, what had happened until then would be.", "yellow")
