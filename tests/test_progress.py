"""The progress bar: there when somebody looks and it takes a while, silent otherwise."""

import io
from contextlib import redirect_stderr
from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, DataError, Strategy, progress
from ml4t.backtest.testing.markets import random_market


class Screen(io.StringIO):
    """A terminal of a hundred columns."""

    def isatty(self) -> bool:
        return True


class Idle(Strategy):
    """Looks on."""

    def __init__(self, fails_after: float = 1e9) -> None:
        self.left = fails_after

    def on_bars(self, bars):
        self.left -= 1
        if self.left < 0:
            raise ValueError("enough")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """What a user at a terminal sees of runs that all take long enough."""
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_REDRAW", 0.0)
    return Screen()


def run(screen: io.StringIO, strategy: Strategy | None = None, **options: Any) -> None:
    """Sixty sessions."""
    market = random_market(assets=2, sessions=60, seed=1)
    with redirect_stderr(screen):
        BacktestEngine(market, strategy=strategy or Idle(), **options).run()


def test_a_terminal_gets_a_bar_with_rate_and_time_left(screen: Screen) -> None:
    """One line that is drawn over and ends at all of it."""
    run(screen)
    lines = screen.getvalue().split("\r")
    assert len(lines) > 3
    assert "bars/s" in lines[-2]
    assert lines[-1].strip().startswith("backtest: 100%")
    assert "<" in lines[-1]


def test_a_short_run_shows_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that flashes up says nothing."""
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)
    run(screen)
    assert screen.getvalue() == ""


def test_false_is_silent_at_a_terminal(screen: Screen) -> None:
    """A user can switch it off."""
    run(screen, progress=False)
    assert screen.getvalue() == ""


@pytest.mark.usefixtures("screen")
def test_a_log_file_stays_clean() -> None:
    """Where nobody looks, nothing is drawn."""
    log = io.StringIO()
    run(log)
    assert log.getvalue() == ""


def test_a_run_that_fails_does_not_end_at_all_of_it(screen: Screen) -> None:
    """The bar stays where the error came."""
    with pytest.raises(Exception, match="enough"):
        run(screen, Idle(fails_after=40))
    assert "100%" not in screen.getvalue()
    assert screen.getvalue().endswith("\n")


def test_a_function_hears_steps_within_a_chunk() -> None:
    """From nothing to all of it, never back."""
    shares: list[float] = []
    run(io.StringIO(), progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0


def test_a_function_that_raises_stops_the_run() -> None:
    """An error in a user's function is not swallowed."""

    def refuse(_share: float) -> None:
        raise DataError("stop here")

    with pytest.raises(DataError, match="stop here"):
        run(io.StringIO(), progress=refuse)
