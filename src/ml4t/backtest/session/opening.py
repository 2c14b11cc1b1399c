"""How a session is opened: its mode, its journal, and options that fit each other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.data.frames import as_feed
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.timing import MICROSECONDS
from ml4t.backtest.session.checks import check_options, only_feed
from ml4t.backtest.session.session import Session
from ml4t.backtest.simulation.broker import SimulationBroker

if TYPE_CHECKING:
    import os

    from ml4t.backtest.engine import BacktestEngine

_MODES = ("shadow", "paper", "live")


def open_session(
    engine: BacktestEngine,
    mode: str,
    *,
    journal: str | os.PathLike[str] | None,
    warmup: Any,
    wait_for_signals: float | None,
    max_data_age: float | None,
    **options: Any,
) -> Session:
    """The session of an engine, with everything checked that can be before it begins.

    Args:
        engine: What to run.
        mode: "shadow", "paper" or "live".
        journal: The file; a name of its own under `ml4t-live` when left out.
        warmup: What a feed is made of, or None.
        wait_for_signals: Seconds for which bars wait for their predictions.
        max_data_age: As `Session`; None is two bars.
        options: As `Session`.

    Raises:
        ConfigError: Options that contradict each other, or the broker.
        JournalError: The journal cannot be used.
    """
    check_options(
        {**options, "wait_for_signals": wait_for_signals, "max_data_age": max_data_age}
    )  # fmt: skip
    engine = _in_mode(engine, mode)
    feed = only_feed(engine)
    if isinstance(feed, LiveDataFeed):
        if wait_for_signals is not None and feed.signals is None:
            raise ConfigError(
                f"wait_for_signals={wait_for_signals!r}, and no predictions can come: give the "
                "feed a buffer for them, signals=SignalBuffer()."
            )
        if wait_for_signals is not None:
            feed.wait_for_signals = wait_for_signals
        if max_data_age is None:
            length = (
                read_duration(feed.bar_duration or feed.vendor_bar, "bar_duration") / MICROSECONDS
            )
            max_data_age = 2.0 * length + feed.grace_seconds
    elif wait_for_signals is not None:
        raise ConfigError("wait_for_signals= is for live feeds; this one has its signals already.")
    strategy = type(engine.strategy).__name__
    path = Path("ml4t-live") / f"{strategy}-{mode}.journal" if journal is None else Path(journal)
    opened = Journal(path, {"strategy": strategy, "mode": mode})
    past = None if warmup is None else as_feed(warmup)
    return Session(
        engine, opened, mode=mode, warmup=past, max_data_age=max_data_age, **options
    )  # fmt: skip


def _in_mode(engine: BacktestEngine, mode: str) -> BacktestEngine:
    """The engine with the broker that the mode trades with."""
    broker = engine.broker
    if mode not in _MODES:
        raise ConfigError(
            f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}. "
            f"{did_you_mean(str(mode), _MODES)}"
        )
    if mode == "shadow":
        if isinstance(broker, LiveBroker):
            engine = copy.copy(engine)
            engine.broker = broker.shadow or SimulationBroker(
                commission=broker.commission,
                instruments=broker.instruments.values(),
                fractional=broker.default_lot == 0.0,
            )
        return engine
    if not isinstance(broker, LiveBroker):
        raise ConfigError(
            f"mode={mode!r} sends orders to a broker, and {type(broker).__name__} is a simulation: "
            "pass broker=AlpacaBroker(...), or mode='shadow' to trade on paper of your own."
        )
    if broker.gateway.is_paper != (mode == "paper"):
        kind = "paper money" if broker.gateway.is_paper else "real money"
        raise ConfigError(f"mode={mode!r}, but {broker.gateway.name} is set up for {kind}.")
    return engine
