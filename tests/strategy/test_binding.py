"""What stands on a strategy object while it runs, and that nothing of it stays."""

from __future__ import annotations

import copy
import datetime as dt
import math
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, OrderError, Strategy

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5)]
PRICES = pl.DataFrame(
    {
        "timestamp": DAYS * 2,
        "asset_id": ["AAPL"] * 4 + ["MSFT"] * 4,
        **dict.fromkeys(("open", "high", "low", "close"), [10.0, 11.0, 12.0, 13.0] * 2),
        "volume": 1e6,
    }
)


class Looking(Strategy):
    """Buys on the first day, sells half on the second, and notes what it is told."""

    def on_start(self) -> None:
        """Keeps the helpers, as a strategy in a hurry does."""
        self.position, self.entry = self.get_position, self.get_entry_price
        self.seen: list[tuple[float, float]] = []

    def on_bars(self, bars: Any) -> None:
        """By the helper and by the one that was kept."""
        both = self.get_position("AAPL"), self.get_entry_price("AAPL")
        kept = self.position("AAPL"), self.entry("AAPL")
        assert repr(both) == repr(kept)
        assert self.get_positions().get("AAPL", 0.0) == both[0]
        self.seen.append(both)
        if bars.index == 0:
            self.buy("AAPL", 10)
        if bars.index == 1:
            self.sell("AAPL", 5)


def run(strategy: Strategy) -> None:
    """On the same bars."""
    BacktestEngine(PRICES, strategy=strategy).run()


def test_helpers_say_what_is_held_now_and_nothing_stays() -> None:
    """In every run anew; what was kept from one knows when it is over."""
    strategy = Looking()
    for _ in range(2):
        run(strategy)
        assert [units for units, _ in strategy.seen] == [0.0, 10.0, 5.0, 5.0]
        assert math.isnan(strategy.seen[0][1])
        assert [entry for _, entry in strategy.seen[1:]] == [11.0] * 3
        assert sorted(vars(strategy)) == ["entry", "position", "seen"]
        for kept in (strategy.position, strategy.entry):
            with pytest.raises(OrderError, match="is not running"):
                kept("AAPL")


def test_an_unknown_asset_is_an_error_with_the_nearest_name() -> None:
    """Not a position of zero."""

    class Lost(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.get_position("APPL")

    with pytest.raises(OrderError, match="AAPL"):
        run(Lost())


def test_helpers_of_ones_own_are_asked() -> None:
    """In a class, on the object, and by name of the argument."""
    asked: list[str] = []

    class Own(Strategy):
        def get_position(self, asset_id: str) -> float:
            """Doubled."""
            asked.append(asset_id)
            return 2.0 * super().get_position(asset_id)

        def on_bars(self, bars: Any) -> None:
            if bars.index == 0:
                self.buy("AAPL", 10)
            assert self.get_position(asset_id="AAPL") == (20.0 if bars.index else 0.0)
            assert self.get_entry_price(asset_id="MSFT") != 0.0

    run(Own())
    assert len(asked) == 4

    class Replaced(Strategy):
        def on_bars(self, bars: Any) -> None:
            assert self.get_position("AAPL") == 7.0

    strategy = Replaced()
    mine = strategy.get_position = lambda asset_id: 7.0  # type: ignore[method-assign]
    run(strategy)
    assert strategy.get_position is mine


def test_nothing_stays_after_an_error() -> None:
    """Whatever a hook raises, and whatever it puts in the way."""

    class Breaks(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.get_position = None  # type: ignore[assignment,method-assign]
            raise ZeroDivisionError

    strategy = Breaks()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run(strategy)
    assert vars(strategy) == {"get_position": None}
    assert not strategy.is_running


def test_a_helper_put_into_the_class_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests of strategies do."""

    class Asks(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.told = self.get_position("AAPL"), self.get_entry_price("AAPL")

    for name in ("get_position", "get_entry_price"):
        monkeypatch.setattr(Strategy, name, lambda _self, _asset_id: 7.0)
    strategy = Asks()
    run(strategy)
    assert strategy.told == (7.0, 7.0)


def test_a_copy_made_in_a_run_asks_its_own() -> None:
    """Once it is taken out of the run; nothing of either stays."""

    class Inner(Looking):
        """Starts another run with a copy of itself."""

        is_copy = False

        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if bars.index == 2 and not self.is_copy:
                self.other = copy.copy(self)
                del self.other._desk
                self.other.is_copy = True
                run(self.other)

    strategy = Inner()
    run(strategy)
    for one in (strategy, strategy.other):
        assert [units for units, _ in one.seen] == [0.0, 10.0, 5.0, 5.0]
        assert not {"_desk", "get_position", "get_entry_price"} & set(vars(one))


def test_a_strategy_may_throw_away_what_it_has() -> None:
    """The engine's part, too: its helpers do not work from then on."""

    class Clears(Strategy):
        def on_end(self) -> None:
            vars(self).clear()
            with pytest.raises(OrderError, match="is not running"):
                self.get_position("AAPL")

        def on_bars(self, bars: Any) -> None:
            self.get_position("AAPL")

    run(Clears())
