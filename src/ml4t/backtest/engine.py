"""BacktestEngine: the corridor between the rooms. It carries; it decides nothing."""

from __future__ import annotations

import gc
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.clock import Clock
from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.errors import (
    ConfigError,
)
from ml4t.backtest.limits.limits import RiskLimits
from ml4t.backtest.run import Run
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date, datetime, timedelta

    from ml4t.backtest.data.context import Context
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.results.result import BacktestResult


class BacktestEngine:
    """Runs one strategy over one market and returns what happened.

    Give the market as `data` (anything that holds a table: a Polars frame or LazyFrame, a pandas
    frame, an Arrow table, a path to Parquet or CSV, or a feed), as one `feed`, or as `feeds` by
    `asset_id`.

    Args:
        data: Prices, with predictions as extra columns if you like.
        strategy: A `Strategy` of yours.
        feed: One feed, instead of `data`.
        feeds: Feeds by `asset_id`, merged by time.
        signals: Predictions as a frame of their own, or several by name.
        signal_columns: The columns that are signals; all that are not prices when left out.
        signal_delay: How long after its `timestamp` a prediction is known.
        signal_max_age: How long a prediction stays usable, per asset; until the frame's next
            publication when left out.
        context: Market-wide values: a `Context`, or what one is made from.
        context_pattern: Regular expression; matching price columns are context.
        broker: Where orders go; `SimulationBroker()` by default.
        actions: Corporate actions of unadjusted prices, as a table: `timestamp` (the first bar at
            the new terms), `asset_id`, `kind` ("split", "dividend", "rename", "delisting",
            "spinoff"), `ratio` (new shares per old), `amount` (money per share), `new_asset_id`.
        limits: `RiskLimits`, what the strategy may open and lose; none when left out.
        calendar: Name of a trading calendar such as "XNYS" or "24/7", for schedules, sessions
            and periods per year.
        start, end: Only timestamps from `start` to `end`, both included.
        max_history: Bars per asset that `Strategy.history` can reach back when data is streamed.
        progress: None shows a bar with rate and time left once a run takes more than a few
            seconds, in terminals and notebooks; True always, False never; or a function that
            receives the share done, 0 to 1.
        periods_per_year: Sessions a year for annual figures; by the calendar, else 252, or 365
            when there are weekend bars.

    Raises:
        ConfigError: Options that contradict each other.
        DataError: Input that is refused; raised by `run`, before the first bar where possible.

    Example:
        >>> import polars as pl
        >>> from datetime import date
        >>> class Hold(Strategy):
        ...     def on_bars(self, bars):
        ...         self.rebalance_to_weights({"AAPL": 1.0}, tolerance=0.5)
        >>> prices = pl.DataFrame({
        ...     "timestamp": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)],
        ...     "asset_id": "AAPL", "open": [99.0, 100.0, 102.0], "high": [101.0, 103.0, 104.0],
        ...     "low": [98.0, 99.0, 101.0], "close": [100.0, 102.0, 103.0], "volume": 1e6})
        >>> BacktestEngine(prices, strategy=Hold()).run().final_equity
        103000.0
    """

    def __init__(
        self,
        data: Any = None,
        *,
        strategy: Strategy,
        feed: DataFeed | None = None,
        feeds: Mapping[str, DataFeed] | None = None,
        signals: Any = None,
        signal_columns: list[str] | None = None,
        signal_delay: timedelta | str | None = None,
        signal_max_age: timedelta | str | None = None,
        context: Context | Any = None,
        context_pattern: str | None = None,
        broker: Broker | None = None,
        actions: Any = None,
        limits: RiskLimits | None = None,
        calendar: Any = None,
        start: str | date | datetime | None = None,
        end: str | date | datetime | None = None,
        max_history: int = 1_000,
        progress: Callable[[float], None] | bool | None = None,
        periods_per_year: float | None = None,
    ) -> None:
        self.strategy = _checked_strategy(strategy)
        self.parameters = _parameters(strategy)
        self.broker = _checked_broker(broker)
        self.limits = _checked_limits(limits)
        self.actions = actions
        self.calendar = TradingCalendar(calendar) if calendar is not None else None
        self.max_history = _checked_history(max_history)
        self.progress = progress
        self.periods_per_year = _checked_periods(periods_per_year)
        self.clock = Clock(
            signals=signals,
            signal_columns=signal_columns,
            signal_delay=signal_delay,
            signal_max_age=signal_max_age,
            context=context,
            context_pattern=context_pattern,
            calendar=self.calendar,
            start=start,
            end=end,
        )
        self._add_feeds(data, feed, feeds)

    def _add_feeds(self, data: Any, feed: DataFeed | None, feeds: Any) -> None:
        given = [n for n, v in (("data", data), ("feed", feed), ("feeds", feeds)) if v is not None]
        if len(given) != 1:
            text = "none of them was" if not given else f"{' and '.join(given)} were"
            raise ConfigError(f"Give the market as one of data=, feed= or feeds=; {text} given.")
        if feeds is None:
            self.clock.add_data_feed(data if feed is None else feed)
            return
        if not hasattr(feeds, "items") or not feeds:
            raise ConfigError('feeds= takes a mapping such as {"AAPL": feed}; use feed= for one.')
        for asset_id, one in feeds.items():
            self.clock.add_data_feed(one, asset_id=asset_id)

    def run(self) -> BacktestResult:
        """Run the strategy from the first bar to the last.

        Returns:
            What happened. The same inputs give the same result, to the bit.

        Raises:
            DataError: The input is refused.
            StrategyError: A hook raised; `error.result` holds what had happened until then.
            KeyboardInterrupt: The user stopped it; here too `result` is what there was by then, or
                None before the first bar.
        """
        with _spared_collector():
            return Run(self).run()

    def run_live(
        self,
        mode: Literal["shadow", "paper", "live"] = "paper",
        *,
        journal: str | os.PathLike[str] | None = None,
        warmup: Any = None,
        wait_for_signals: float | None = None,
        reconcile: Literal["halt", "adopt"] = "halt",
        confirm: str | None = None,
        max_data_age: float | None = None,
        max_clock_skew: float | None = 5.0,
        max_rejections: int = 10,
        audit_every: float = 300.0,
        on_stop: Literal["keep", "cancel", "flatten"] = "keep",
        alert: Callable[[str], None] | None = None,
        time: Any = None,
    ) -> BacktestResult:
        """Run the strategy on what happens from now on, until it is stopped.

        The same steps as `run`, on the same strategy class. Everything that comes in, is decided
        and is sent is written to a journal first. A session that was stopped or killed goes on
        where it was when it is started again with the same journal: its steps are made again, the
        broker is asked what became of every order, and what cannot be explained halts it.

        An interrupt (Ctrl-C) or SIGTERM ends the session after the present step.

        Args:
            mode: "shadow" trades in a simulation on live bars; "paper" sends orders to a broker's
                paper account, "live" to a real one.
            journal: The file; by default one for the strategy and mode under `ml4t-live`.
            warmup: Bars of before, as a feed or a table: hooks run on them, orders are refused.
            wait_for_signals: Seconds for which bars wait for their predictions.
            reconcile: What to do about positions that no fill explains: "halt" takes no orders
                until they are, and does not begin with them; "adopt" takes them over.
            confirm: In mode "live", the name of the account.
            max_data_age: Seconds after which bars are too old to order on; two bars and the
                feed's grace time when left out.
            max_clock_skew: Seconds by which this machine's clock may differ from the broker's.
            max_rejections: Orders in a row that the broker may refuse before the session halts.
            audit_every: Seconds between two comparisons with the broker.
            on_stop: What becomes of open orders when the session ends: "keep" or "cancel" them, or
                "flatten", which closes all positions, too.
            alert: Called with a line of text when an operator should look.
            time: What time it is (`live.timing`), for rehearsals at other speeds.

        Returns:
            What happened since the journal began.

        Raises:
            LiveError: The session cannot begin, or cannot go on.
            StrategyError: A hook raised; `error.result` holds what had happened until then.
        """
        from ml4t.backtest.session.opening import open_session

        session = open_session(
            self,
            mode,
            journal=journal,
            warmup=warmup,
            wait_for_signals=wait_for_signals,
            reconcile=reconcile,
            confirm=confirm,
            max_data_age=max_data_age,
            max_clock_skew=max_clock_skew,
            max_rejections=max_rejections,
            audit_every=audit_every,
            on_stop=on_stop,
            alert=alert,
            time=time,
        )
        try:
            return session.run()
        finally:
            session.journal.close()


def _checked_strategy(strategy: Any) -> Strategy:
    if isinstance(strategy, type):
        raise ConfigError(
            f"strategy= takes an object, not a class: write strategy={strategy.__name__}()."
        )
    if not isinstance(strategy, Strategy):
        raise ConfigError(
            f"strategy= takes a Strategy, not {type(strategy).__name__}: derive your class from "
            "ml4t.backtest.Strategy."
        )
    return strategy


def _checked_broker(broker: Any) -> Broker:
    if broker is None:
        return SimulationBroker()
    if not isinstance(broker, Broker):
        raise ConfigError(f"broker= takes a Broker object, not {broker!r}.")
    return broker


def _checked_limits(limits: Any) -> RiskLimits | None:
    if limits is not None and not isinstance(limits, RiskLimits):
        raise ConfigError(
            f"limits= takes an object such as RiskLimits(max_drawdown=0.2), not {limits!r}."
        )
    return limits


def _checked_history(max_history: Any) -> int:
    if isinstance(max_history, bool) or not isinstance(max_history, int) or max_history < 1:
        raise ConfigError(f"max_history must be a whole number from 1, not {max_history!r}.")
    return max_history


def _checked_periods(periods_per_year: Any) -> float | None:
    if periods_per_year is None:
        return None
    is_number = isinstance(periods_per_year, int | float) and not isinstance(periods_per_year, bool)
    if not is_number or not 0 < periods_per_year < math.inf:
        raise ConfigError(f"periods_per_year must be a positive number, not {periods_per_year!r}.")
    return float(periods_per_year)


@contextmanager
def _spared_collector() -> Iterator[None]:
    """Keep the garbage collector from walking over what existed before the run.

    All modules and the user's data survive it; looking for garbage in them takes longer than a
    short run. What the run itself makes is collected as ever.
    """
    if gc.get_freeze_count():  # somebody else's, perhaps an outer run's
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _parameters(strategy: Strategy) -> dict[str, Any]:
    """The strategy's plain attributes: what a reader needs to repeat the run."""
    plain = (bool, int, float, str, type(None))
    return {
        name: value
        for name, value in sorted(vars(strategy).items())
        if not name.startswith("_") and isinstance(value, plain)
    }
