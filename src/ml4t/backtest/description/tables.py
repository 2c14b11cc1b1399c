"""The tables of a description, each a struct: what may stand in it, and of what type."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ml4t.backtest.limits.limits import RiskLimits
from ml4t.backtest.types.instrument import Instrument


class Entries(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A table; what it does not know is refused."""


class DataEntries(Entries, frozen=True):
    """`[data]`: the prices, as options of a feed, and the part of them to run on."""

    path: str | list[str] | None = None
    asset_id: str | None = None
    columns: dict[str, str] = {}  # msgspec copies the empty default
    price_column: str | None = None
    signal_columns: list[str] | None = None
    context_pattern: str | None = None
    bar_label: Literal["close", "open"] = "close"
    bar_duration: str | None = None
    separator: str | None = None
    decimal_comma: bool = False
    start: str | None = None
    end: str | None = None
    calendar: str | None = None

    @property
    def paths(self) -> list[str]:
        """All paths, be it none."""
        if self.path is None:
            return []
        return [self.path] if isinstance(self.path, str) else self.path


class SignalEntries(Entries, frozen=True):
    """`[signals]` or `[signals.NAME]`: predictions in a table of their own."""

    path: str
    columns: list[str] | None = None
    delay: str | None = None
    max_age: str | None = None


class ContextEntries(Entries, frozen=True):
    """`[context]`: market-wide series."""

    path: str
    delay: str | None = None


class ActionEntries(Entries, frozen=True):
    """`[actions]`: corporate actions."""

    path: str


class StrategyEntries(Entries, frozen=True, rename={"class_name": "class"}):
    """`[strategy]`: whose code decides."""

    file: str | None = None
    class_name: str | None = None
    parameters: dict[str, Any] = {}  # msgspec copies the empty default


class InstrumentEntries(Instrument, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[broker.instruments]]`: an asset that is no plain share."""


class BrokerEntries(Entries, frozen=True):
    """`[broker]`: every plain option of `SimulationBroker`; None leaves it at its default.

    `like` names another engine, whose rules then are the defaults.
    """

    like: str | None = None
    initial_cash: float | None = None
    fill_at: Literal["next_open", "next_middle", "next_close", "close"] | None = None
    rates: float | None = None
    borrow: float | dict[str, float] | None = None
    instruments: list[InstrumentEntries] | None = None
    currency: str | None = None
    funding: Literal["scale", "reject"] | None = None
    fractional: bool | None = None
    limit_fill: Literal["touch", "through"] | None = None
    intrabar: Literal["worst", "best", "ohlc", "olhc"] | None = None
    intrabar_feed: str | None = None
    close_at_end: bool | None = None
    stale_after: int | None = None
    on_vanish: str | float | None = None


class LimitEntries(RiskLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: `RiskLimits`."""


class EngineEntries(Entries, frozen=True):
    """`[engine]`: options of the engine itself."""

    signal_delay: str | None = None
    signal_max_age: str | None = None
    periods_per_year: float | None = None
    max_history: int | None = None


class OutputEntries(Entries, frozen=True):
    """`[output]`: what becomes of the result."""

    save: bool | str = False
    report: str | None = None
    name: str | None = None
    family: str | None = None
