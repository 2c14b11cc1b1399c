"""BacktestEngine: the corridor between the rooms. It carries; it decides nothing."""

from __future__ import annotations

import gc
import math
import platform
from bdb import BdbQuit
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest._version import __version__
from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.clock import Clock
from ml4t.backtest.data.actions import Actions
from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.history import History
from ml4t.backtest.errors import (
    BacktestError,
    ConfigError,
    DataError,
    StrategyError,
    did_you_mean,
)
from ml4t.backtest.limits.guard import Guard
from ml4t.backtest.limits.limits import RiskLimits
from ml4t.backtest.portfolio.portfolio import Portfolio
from ml4t.backtest.progress import progress_for
from ml4t.backtest.results.record import RunRecord
from ml4t.backtest.results.recorder import Recorder
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.results.tables import notes_frame
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.strategy.desk import Desk
from ml4t.backtest.strategy.hooks import Hooks, adapted
from ml4t.backtest.strategy.schedule import Schedule
from ml4t.backtest.strategy.strategy import Strategy
from ml4t.backtest.types.action import ActionKind
from ml4t.backtest.types.events import FillBatch, FillEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date, datetime, timedelta

    from ml4t.backtest.data.context import Context
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.types.action import Action
    from ml4t.backtest.types.bars import Bars, Chunk, MarketEvent
    from ml4t.backtest.types.events import News

# Timestamps between two looks at the clock for the progress bar.
_STEPS_A_REPORT = 16


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
            return _Run(self).run()


class _OutOfMoneyError(Exception):
    """Ends a run whose account is bankrupt; nobody outside sees it."""


class _Run:
    """One run: everything that belongs to it alone, so that an engine can run again."""

    def __init__(self, engine: BacktestEngine) -> None:
        clock, broker = engine.clock, engine.broker
        for part in (broker, engine.strategy):
            if part.is_running:
                raise ConfigError(
                    f"This {type(part).__name__} is in a run already; give each run its own."
                )
        self.engine = engine
        self.clock = clock
        self.broker = broker
        self.strategy = engine.strategy
        self.hooks = Hooks(self.strategy)
        self.progress = progress_for(engine.progress)
        clock.prepare()
        _check_instruments(broker, clock)
        self.actions = _read_actions(engine)
        self.portfolio = Portfolio(
            broker.initial_cash, clock.universe, broker.instruments, broker.default_lot
        )
        broker.calendar = engine.calendar
        broker.start(self.portfolio)
        self.blotter = broker.blotter
        self.recorder = Recorder(self.portfolio, self.blotter, clock.axis)
        limit = engine.max_history if clock.is_streaming else None
        self.history = History(clock.universe, limit, dated=self.actions is not None)
        limits = engine.limits
        self.guard = None if limits is None else Guard(limits, broker, self.portfolio)
        self.desk = Desk(
            broker,
            self.portfolio,
            self.history,
            book=self._book,
            schedule=self._schedule,
            guard=self.guard,
            is_growing=clock.is_growing,
        )
        broker.on_news = self._book
        if self.hooks.on_order_event is not None:
            self.blotter.watch()
        self.schedules: list[tuple[Schedule, Callable[[Bars, dict[str, Any]], Any]]] = []
        self.bars: Bars | None = None
        self._due: dict[int, list[Action]] = {}
        self._splits: list[tuple[int, str, float]] = []
        self._fills: list[FillEvent | FillBatch] = []
        self._has_started = False
        self._share_done = 0.0
        self._bar_count = 0

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> BacktestResult:
        strategy = self.strategy
        strategy._desk = self.desk  # noqa: SLF001  the engine binds, nobody else
        try:
            self._call("on_start", strategy.on_start)
            self._has_started = True
            with suppress(_OutOfMoneyError):
                for chunk in self.clock.chunks():
                    self._run_chunk(chunk)
            self._end()
            self.progress.tell(1.0, self._bar_count)
        except BacktestError as error:
            raise self._with_result(error) from error.__cause__
        except BdbQuit:
            raise
        except KeyboardInterrupt as stop:
            self._keep_result(stop)
            raise
        except Exception as error:
            raise self._with_result(self._part_failure(error)) from error
        finally:
            del strategy._desk  # noqa: SLF001
            self.broker.stop()
            self.progress.close()
        return self._result(complete=True)

    def _run_chunk(self, chunk: Chunk) -> None:
        self.portfolio.grow()
        self.recorder.begin(chunk)
        self.history.push(chunk)
        if self.actions is not None:
            self._due = self.actions.due_in(chunk)
        events = chunk.events() if self.hooks.on_market_data is not None else None
        windows, step = chunk.windows(), self._step
        before, after = self._share_done, self.clock.share_done
        for done in range(0, len(chunk), _STEPS_A_REPORT):
            for bars in islice(windows, _STEPS_A_REPORT):
                step(bars, events)
            share = before + (after - before) * done / len(chunk)
            self.progress.tell(share, self._bar_count + chunk.rows[done])
        self._share_done = after
        self._bar_count += len(chunk.codes)

    def _step(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        """Everything that happens at one timestamp, in order."""
        broker, blotter = self.broker, self.blotter
        self.bars = self.desk.bars = blotter.bars = bars
        blotter.step += 1
        if self._due:
            self._act(bars)
        idle = broker.is_idle(bars)
        if not idle:
            self._book(broker.advance(bars))
        self.portfolio.mark(bars)
        if not idle:
            self._book(broker.check_margin(bars))
            if broker.is_over:
                raise _OutOfMoneyError
        guard = self.guard
        if guard is not None and (halt := guard.watch(bars)):
            self.desk.log(halt)
        self._run_hooks(bars, events)
        if guard is not None:
            guard.close_positions()
        if not broker.is_idle(bars):
            self._book(broker.finish(bars))

    def _act(self, bars: Bars) -> None:
        """Corporate actions, one after the other: on the account, and on what is remembered."""
        assert self.actions is not None
        for action in self._due.get(bars.index, ()):
            self.actions.applied += 1
            if action.kind is ActionKind.SPLIT:
                now = bars.chunk.microseconds[bars.index]
                self._splits.append((now, action.asset_id, action.ratio))
            self._book(self.broker.adjust(bars, action))
            self.history.adjust(bars, action)

    def _book(self, news: News) -> None:
        """Carry news from the broker to the portfolio and the recorder, and keep it for hooks."""
        if not news:
            return
        bars = self.bars
        if bars is None:
            raise BacktestError(
                f"{type(self.broker).__name__} reported news before the first bar; there is no "
                "time to book it at."
            )
        self.recorder.book(news, self.portfolio.apply(news), bars)
        if self.hooks.on_fill_event is not None:
            self._fills.extend(item for item in news if isinstance(item, FillEvent | FillBatch))

    def _end(self) -> None:
        bars = self.bars
        if bars is None:
            raise DataError(
                "There is no bar to run on: the data has no rows between start and end."
            )
        self._book(self.broker.end(bars))
        self._tell_news()
        self._call("on_end", self.strategy.on_end)
        self.recorder.flush(bars.index + 1)

    # -- hooks --------------------------------------------------------------------------------

    def _run_hooks(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        hooks = self.hooks
        if self._fills or self.blotter.is_watched:
            self._tell_news()
        context: dict[str, Any] = {}
        if hooks.wants_context and bars.chunk.context_at is not None:
            context = bars.chunk.context_at(bars.index)
        if events is not None:
            self._run_market_data(islice(events, bars.stop - bars.start), context)
        if hooks.on_bars is not None:
            self._call("on_bars", hooks.on_bars, bars, context)
        if self.schedules:
            self._run_schedules(bars)

    def _run_market_data(self, events: Iterator[MarketEvent], context: dict[str, Any]) -> None:
        hook = self.hooks.on_market_data
        assert hook is not None
        event = None
        try:
            if self.hooks.is_short:
                for event in events:
                    hook(event)
            else:
                for event in events:
                    hook(event, context)
        except Exception as error:  # noqa: BLE001  whatever a user's code raises
            asset_id = None if event is None else event.asset_id
            raise self._failure("on_market_data", error, asset_id) from _cause(error)

    def _tell_news(self) -> None:
        fills, self._fills = self._fills, []
        on_fill, on_order = self.hooks.on_fill_event, self.hooks.on_order_event
        if on_fill is not None:
            for item in fills:
                for fill in item if isinstance(item, FillBatch) else (item,):
                    self._call("on_fill_event", on_fill, fill, asset_id=fill.asset_id)
        if on_order is not None:
            for change in self.blotter.take_changes():
                self._call("on_order_event", on_order, change, asset_id=change.asset_id)

    def _schedule(self, rule: Any, function: Callable[..., Any]) -> None:
        if self._has_started:
            raise ConfigError("self.every(...) belongs in on_start, so that a run can be repeated.")
        if not callable(function):
            raise ConfigError(f"self.every({rule!r}, ...) takes a function, not {function!r}.")
        schedule = Schedule(rule, self.clock.axis, self.engine.calendar)
        self.schedules.append((schedule, adapted(function)))

    def _run_schedules(self, bars: Bars) -> None:
        chunk, index = bars.chunk, bars.index
        now, session = int(chunk.times[index]), int(chunk.sessions[index])
        for schedule, function in self.schedules:
            if schedule.is_due(now, session):
                context = chunk.context_at(index) if chunk.context_at is not None else {}
                self._call("every", function, bars, context)

    def _call(
        self, hook: str, function: Callable[..., Any], *args: Any, asset_id: str | None = None
    ) -> None:
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001  whatever a user's code raises
            raise self._failure(hook, error, asset_id) from _cause(error)

    # -- errors and the result ----------------------------------------------------------------

    def _failure(self, hook: str, error: Exception, asset_id: str | None) -> BacktestError:
        """The error a user sees: with hook, time and asset."""
        if isinstance(error, BdbQuit):
            raise error  # a debugger was left in the hook: nothing failed
        when = None if self.bars is None else self.bars.timestamp
        where = f"{type(self.strategy).__name__}.{hook}"
        if when is not None:
            where += f" at {when}"
        if asset_id is not None:
            where += f" for {asset_id!r}"
        if isinstance(error, BacktestError):
            failure: BacktestError = type(error)(f"{error} (in {where})")
            failure.__traceback__ = error.__traceback__  # leads to the line of the hook
        else:
            failure = StrategyError(f"{where} raised {type(error).__name__}: {error}")
        failure.hook, failure.timestamp, failure.asset_id = hook, when, asset_id
        return failure

    def _part_failure(self, error: Exception) -> BacktestError:
        """The error a user sees when a commission, slippage, broker or feed of theirs raised."""
        when = None if self.bars is None else self.bars.timestamp
        failure = BacktestError(
            f"A commission, slippage, broker or feed raised {type(error).__name__}"
            f"{'' if when is None else f' at {when}'}: {error}. The traceback leads to its line."
        )
        failure.timestamp = when
        return failure

    def _with_result(self, error: BacktestError) -> BacktestError:
        if error.result is None and self._has_started:
            bars = self.bars
            if bars is not None:
                self.portfolio.mark(bars)  # the error may have come before
            self.recorder.flush(0 if bars is None else bars.index + 1)
            error.result = self._result(complete=False)
        return error

    def _keep_result(self, stop: KeyboardInterrupt) -> None:
        """Leave what had happened until an interrupt on it, as `stop.result`.

        An interrupt may come between any two instructions, also while a fill is booked. If no
        result can be made of what is there, that must not hide the interrupt: it is None then.
        """
        kept = BacktestError()
        with suppress(Exception):
            self._with_result(kept)
        stop.result = kept.result  # type: ignore[attr-defined]

    def _result(self, *, complete: bool) -> BacktestResult:
        engine, clock, broker = self.engine, self.clock, self.broker
        axis = clock.axis
        records = self.desk.records
        record = RunRecord(
            **self.recorder.frames(),
            records=notes_frame(axis, records, name=pl.String, value=pl.Float64),
            logs=notes_frame(axis, self.desk.logs, message=pl.String),
            stale=notes_frame(
                axis, broker.stale_holdings(), asset_id=pl.String, share_of_equity=pl.Float64
            ),
            signal_coverage=clock.signal_coverage(),
            initial_cash=broker.initial_cash,
            counts=self._counts(),
            settings={
                "strategy": {
                    "class": type(self.strategy).__qualname__,
                    "parameters": engine.parameters,
                },
                **broker.settings(),
                "calendar": None if engine.calendar is None else engine.calendar.name,
                "max_history": engine.max_history,
                "periods_per_year": engine.periods_per_year,
                **({} if engine.limits is None else {"limits": engine.limits.settings()}),
            },
            source=clock.source() | ({"splits": self._splits} if self._splits else {}),
            versions=_versions(),
            periods_per_year=self._periods_per_year(),
            complete=complete,
            asset_ids=list(clock.universe.ids),
        )
        return BacktestResult(record, clock=clock, strategy=type(self.strategy))

    def _counts(self) -> dict[str, int]:
        """How often something happened that a reader of the result should know about."""
        counts = self.broker.counts()
        for part in (self.guard, self.actions):
            if part is not None:
                counts |= part.counts()
        return counts

    def _periods_per_year(self) -> float | None:
        if self.engine.periods_per_year is not None:
            return self.engine.periods_per_year
        if self.engine.calendar is None or not self.recorder.sessions:
            return None
        first = int(self.recorder.sessions[0][0])
        last = int(self.recorder.sessions[-1][-1])
        return self.engine.calendar.periods_per_year(first, last)


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, BacktestError) else error


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


def _read_actions(engine: BacktestEngine) -> Actions | None:
    """The corporate actions of a run whose feeds are open."""
    if engine.actions is None:
        return None
    clock = engine.clock
    return Actions(
        engine.actions,
        axis=clock.axis,
        universe=clock.universe,
        calendar=engine.calendar,
        is_growing=clock.is_growing,
    )


def _check_instruments(broker: Broker, clock: Clock) -> None:
    """Refuse an instrument that no bar will ever belong to."""
    if clock.is_growing:
        return
    for asset_id in broker.instruments:
        if asset_id not in clock.universe:
            raise ConfigError(
                f"instruments describes {asset_id!r}, but the data has no such asset. "
                f"{did_you_mean(asset_id, clock.universe.ids)}"
            )


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


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "ml4t-backtest": __version__,
        "polars": pl.__version__,
        "numpy": np.__version__,
        "msgspec": msgspec.__version__,
    }
