"""What is played: data, a plan, costs, and where an engine is known to differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

ENGINES = {"backtrader": "backtrader", "backtesting.py": "backtesting", "bt": "bt"}
ENGINES |= {"vectorbt": "vectorbt", "pybroker": "pybroker"}
ENGINES |= {"nautilus": "nautilus", "zipline": "zipline"}
"""The engines with a profile, and how their environments and runners are called."""

Answer = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """A difference that is understood.

    Attributes:
        whose: "theirs" or "ours": whose rule is not what a user would expect.
        cause: Which rule, and where it stands in the engine's source.
        parts: What may differ; nothing else does.
        quantities: Relative room for quantities in which nothing differs any more; None if the
            difference is not one of rounding.
        cure: A change to the other engine, in its runner, that takes the rule away: with it
            nothing may differ, which shows that the rule is all of the cause.
    """

    whose: str
    cause: str
    parts: tuple[str, ...] = ("fills", "bars", "trades", "orders")
    quantities: float | None = None
    cure: str = ""


@dataclass(frozen=True)
class Scenario:
    """Data, and what to do with it.

    Attributes:
        name: Words with hyphens.
        title: What it is about, for the page about parity.
        market: Makes the bars (timestamp, asset_id, prices, volume, signal) from the folder of
            recorded data.
        plan: See `Playbook`; or makes one from the bars.
        is_recorded: The market needs the folder.
        cash: At the start.
        commission: `{"kind": "percent", "rate"}`, `{"kind": "per_share", "per_share", "minimum"}`.
        slippage: `{"rate"}`, a fraction of the price, or `{"impact"}` of a whole bar's volume;
            with `{"share"}`, how much of a bar's volume can be had, for engines that ask;
            `{"decimals"}`, one tick, for those that know ticks only.
        fractional: Quantities need not be whole.
        decimals: Of money, where an engine rounds it; None for so many that it does not matter.
        is_cash: The account is one without margin, where an engine has several.
        by_value: Orders of one row have their turn by value, where an engine can be told so.
        as_shipped: Costs and limits are the engine's own, where it has any.
        engines: Those that can do it.
        known: By engine, in which way they are known to differ.
    """

    name: str
    title: str
    market: Callable[[Path], pl.DataFrame]
    plan: dict[str, Any] | Callable[[pl.DataFrame], dict[str, Any]]
    is_recorded: bool = False
    cash: float = 100_000.0
    commission: dict[str, Any] | None = None
    slippage: dict[str, Any] | None = None
    fractional: bool = False
    decimals: int | None = None
    is_cash: bool = False
    by_value: bool = False
    as_shipped: bool = False
    engines: tuple[str, ...] = tuple(ENGINES)
    known: dict[str, Known] = field(default_factory=dict)

    def staged(self, folder: Path) -> Stage:
        """The scenario with its bars and its plan made."""
        bars = self.market(folder)
        plan = self.plan(bars) if callable(self.plan) else self.plan
        return Stage(self, bars, plan)


@dataclass(frozen=True)
class Stage:
    """A scenario that can be played."""

    scenario: Scenario
    bars: pl.DataFrame
    plan: dict[str, Any]
    cure: str = ""

    def terms(self) -> dict[str, Any]:
        """All but the bars, for a runner."""
        names = ("cash", "commission", "slippage", "fractional")
        special = ("decimals", "is_cash", "by_value", "as_shipped")
        terms = {name: getattr(self.scenario, name) for name in (*names, *special)}
        return terms | {"plan": self.plan, "cure": self.cure}
