"""The run of an engine: its steps, from the first bar to the last."""

from __future__ import annotations

import platform
from bdb import BdbQuit
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest._version import __version__
from ml4t.backtest.data.actions import Actions
from ml4t.backtest.data.history import History
from ml4t.backtest.errors import (
    BacktestError,
    ConfigError,
    DataError,
    StrategyError,
    did_you_mean,
)
from ml4t.backtest.kernels import is_compiled, take
from ml4t.backtest.limits.guard import Guard
from ml4t.backtest.portfolio.portfolio import Portfolio
from ml4t.backtest.progress import progress_for
from ml4t.backtest.results.record import RunRecord
from ml4t.backtest.results.recorder import Recorder
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.results.tables import notes_frame
from ml4t.backtest.strategy.binding import bound
from ml4t.backtest.strategy.desk import Desk
from ml4t.backtest.strategy.hooks import Hooks, adapted
from ml4t.backtest.strategy.schedule import Schedule
from ml4t.backtest.types.action import ActionKind
from ml4t.backtest.types.events import FillBatch, FillEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.clock import Clock
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.types.action import Action
    from ml4t.backtest.types.bars import Bars, Chunk, MarketEvent
    from ml4t.backtest.types.events import News

# Timestamps between two looks at the clock for the progress bar.
_STEPS_A_REPORT = 16


class _OutOfMoneyError(Exception):
    """Ends a run whose account is bankrupt; nobody outside sees it."""


class Run:
    """One run: everything that belongs to it alone, so that an engine can run again.

    Args:
        engine: What it was told; the run changes nothing about it.

    Raises:
        ConfigError: Its broker or strategy is in a run already.
        DataError: The input is refused before the first bar.
    """

    desk_type: type[Desk] = Desk

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
        self.desk = self.desk_type(
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
        """From the first bar to the last, and what happened; errors as `BacktestEngine.run`."""
        try:
            with bound(self.strategy, self.desk):
                self._call("on_start", self.strategy.on_start)
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
        orders = blotter.count
        self._run_hooks(bars, events)
        if guard is not None:
            guard.close_positions()
        # Most often nothing was asked for in between, so that there is nothing to finish either.
        if idle and orders == blotter.count and not broker.watchers.counts_bars:
            return
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
        context = _context_of(bars) if hooks.wants_context else {}
        hook, event, on_market_data = "on_market_data", None, hooks.on_market_data
        try:
            if on_market_data is not None and events is not None:
                if hooks.is_short:
                    for event in take(events, bars.stop - bars.start):
                        on_market_data(event)
                else:
                    for event in take(events, bars.stop - bars.start):
                        on_market_data(event, context)
            hook, event = "on_bars", None
            if hooks.on_bars is not None:
                hooks.on_bars(bars, context)
        except Exception as error:  # noqa: BLE001  whatever a user's code raises
            asset_id = None if event is None else event.asset_id
            raise self._failure(hook, error, asset_id) from _cause(error)
        if self.schedules:
            self._run_schedules(bars)

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
                self._call("every", function, bars, _context_of(bars))

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
            records=partial(notes_frame, axis, records, name=pl.String, value=pl.Float64),
            logs=partial(notes_frame, axis, self.desk.logs, message=pl.String),
            stale=partial(
                notes_frame,
                axis,
                broker.stale_holdings(),
                asset_id=pl.String,
                share_of_equity=pl.Float64,
            ),
            signal_coverage=clock.signal_coverage(),
            initial_cash=broker.initial_cash,
            counts=self.counts(),
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
            source=clock.source() | self._splits_of_source(),
            versions=_versions(),
            periods_per_year=self._periods_per_year(),
            complete=complete,
            asset_ids=list(clock.universe.ids),
        )
        if not complete:
            record.make_frames()  # what failed may have left columns that fit into no frame
        return BacktestResult(record, clock=clock, strategy=type(self.strategy))

    def _splits_of_source(self) -> dict[str, Any]:
        """Splits that took effect, and jumps of held assets that look like one."""
        found = {"splits": self._splits, "split_like_jumps": self.recorder.jumps.found}
        return {name: rows for name, rows in found.items() if rows}

    def counts(self) -> dict[str, int]:
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


def _context_of(bars: Bars) -> dict[str, Any]:
    """What was known of the market as a whole; the strategy's to keep."""
    context_at = bars.chunk.context_at
    return {} if context_at is None else context_at(bars.index)


def _cause(error: Exception) -> BaseException | None:
    return error.__cause__ if isinstance(error, BacktestError) else error


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


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "ml4t-backtest": __version__,
        "polars": pl.__version__,
        "numpy": np.__version__,
        "msgspec": msgspec.__version__,
        "kernels": "compiled" if is_compiled else "plain",
    }
