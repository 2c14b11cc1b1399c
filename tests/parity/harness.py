"""The same scenario by another engine and by ours, and everything in which they differ.

Compared are, in both directions, every fill (time, asset, side, quantity, price, commission, and
the order it belongs to), cash, equity and positions after each bar, closed trades, and the end of
every order: filled, open, canceled, rejected or expired, and how much of it filled. Quantities are
compared exactly, prices and money to a relative 1e-8.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Bars,
    BasisPointSlippage,
    EachLeg,
    FixedSlippage,
    MarketOnly,
    NoCommission,
    NoSlippage,
    OpeningOnly,
    Order,
    OverdraftAccount,
    PercentCommission,
    PerShareCommission,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
    VolumeShareSlippage,
    WithinBar,
)
from tests.conftest import ROOT
from tests.parity.playbook import Playbook, View

HERE = Path(__file__).parent
ENGINES = {"backtrader": "backtrader", "backtesting.py": "backtesting", "bt": "bt"}
ENGINES |= {"vectorbt": "vectorbt", "pybroker": "pybroker"}
ENGINES |= {"nautilus": "nautilus", "zipline": "zipline"}
"""The engines with a profile, and how their environments and runners are called."""

RELATIVE = 1e-8
# Below a ten-thousandth of a cent, money is the noise of a sum.
MONEY_NOISE = 1e-6
TIMEOUT = 600

NEVER = {"bt": {"orders", "trades"}, "zipline": {"trades"}}
"""What an engine does not have; where weights are played, orders have no names either."""

RULES = {"stop": "stop_loss", "limit": "take_profit", "trailing_stop": "trailing_stop"}
"""The roles of the orders of rules over positions."""
ROLES = ("stop_loss", "take_profit", "trailing_stop")
# A user says which goes first by setting it first; there a trailing stop is a kind of stop-loss.
GUARDS_OF_VECTORBT = ("stop_loss", "trailing_stop", "take_profit")

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
        special = ("decimals", "is_cash", "as_shipped")
        terms = {name: getattr(self.scenario, name) for name in (*names, *special)}
        return terms | {"plan": self.plan, "cure": self.cure}


# -- the other engine ------------------------------------------------------------------------


def interpreter(engine: str) -> Path | None:
    """The Python of an engine's environment, if there is one."""
    root = Path(os.environ.get("ML4T_BENCH_PEERS", ROOT / ".venv" / "peers"))
    python = root / ENGINES[engine] / "bin" / "python"
    return python if python.exists() else None


def absence(engine: str) -> str:
    """Why an engine is left out, and what to do."""
    return (
        f"{engine} is not installed: `make parity` makes its environment in .venv/peers, or set "
        "ML4T_BENCH_PEERS to a folder that has one"
    )


def theirs(stage: Stage, engine: str, folder: Path) -> Answer:
    """What the engine does, in an interpreter of its own."""
    write(stage, folder)
    done = subprocess.run(
        [*command(engine), folder], capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    if done.returncode:
        raise RuntimeError(f"{engine} failed at {stage.scenario.name}:\n{done.stderr[-4000:]}")
    return read(folder)


def command(engine: str) -> list[str]:
    """The interpreter of an engine, and its runner."""
    python = interpreter(engine)
    assert python is not None, absence(engine)
    return [str(python), str(HERE / "engines" / f"run_{ENGINES[engine]}.py")]


def write(stage: Stage, folder: Path) -> None:
    """The question for a runner."""
    stage.bars.write_parquet(folder / "bars.parquet")
    (folder / "scenario.json").write_text(json.dumps(stage.terms()), encoding="utf-8")


def read(folder: Path) -> Answer:
    """The answer of a runner."""
    answer: Answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return answer


# -- ours ------------------------------------------------------------------------------------


class Player(Strategy):
    """Plays a playbook, as a user would write it."""

    def __init__(self, plan: dict[str, Any], first: int, roles: tuple[str, ...] = ROLES) -> None:
        self._playbook, self._first, self._roles = Playbook(plan), first, roles

    def on_start(self) -> None:
        self.keys: dict[int, str] = {}
        self.sent: dict[str, int] = {}
        self.step = -1
        self.weighed = 0

    def on_bars(self, bars: Bars) -> None:
        self.step += 1
        if self.step < self._first:
            return
        ids = bars.asset_ids
        view = View(
            self.step,
            self.get_equity(),
            position=dict(self.get_positions()),
            close=dict(zip(ids, bars.close.tolist(), strict=True)),
            signal=dict(zip(ids, bars.signal("signal").tolist(), strict=True)),
        )
        for decision in self._playbook.at(view):
            self._play(decision)

    def _play(self, decision: dict[str, Any]) -> None:
        if "cancel" in decision:
            self.cancel_order(self.sent[decision["cancel"]])
            return
        if "weights" in decision:
            self.rebalance_to_weights(decision["weights"])
            return
        asset, key = decision["asset"], decision["key"]
        if decision.get("close"):
            order_id = self.close_position(asset)
            if order_id is not None:
                self._keep(key, order_id)
            return
        self._guard(asset, decision.get("guard"))
        if "stop_loss" in decision:
            sign = 1.0 if decision["side"] == "buy" else -1.0
            bracket = self.bracket(
                asset,
                sign * decision["quantity"],
                stop_loss=decision["stop_loss"],
                take_profit=decision["take_profit"],
                limit_price=decision.get("limit"),
            )
            self._keep(key, bracket.entry)
            for name in ("stop_loss", "take_profit"):
                order_id = getattr(bracket, name)
                if order_id is not None:
                    self._keep(f"{key}/{name}", order_id)
            return
        self._keep(key, self.submit_order(order_of(decision)))

    def _guard(self, asset: str, guard: dict[str, Any] | None) -> None:
        """Say at which distance the position that an order opens is left."""
        if guard is not None:
            for role in self._roles:
                getattr(self, f"set_{role}")(asset, **guard.get(role, {}))

    def _keep(self, key: str, order_id: int) -> None:
        self.keys[order_id], self.sent[key] = key, order_id


def order_of(decision: dict[str, Any]) -> Order:
    """An order in our terms."""
    until = decision.get("until")
    options: dict[str, Any] = {}
    if decision.get("day"):
        options = {"time_in_force": "day"}
    elif until is not None:
        options = {"time_in_force": "gtd", "expires_at": pl.Series([until]).str.to_date()[0]}
    return Order(
        decision["asset"],
        decision["side"],
        decision["quantity"],
        decision["type"],
        limit_price=decision.get("limit"),
        stop_price=decision.get("stop"),
        trail_amount=decision.get("trail_amount"),
        trail_percent=decision.get("trail_percent"),
        **options,
    )


def broker_for(scenario: Scenario, engine: str) -> SimulationBroker:
    """The engine's profile, with the scenario's costs."""
    options: dict[str, Any] = {"initial_cash": scenario.cash}
    if scenario.fractional:
        options["fractional"] = True
    elif engine == "vectorbt":  # `size_granularity=1`, where its own choice is any fraction
        options["fractional"] = False
    if engine in COSTS:
        options |= COSTS[engine](scenario)
        return SimulationBroker.like(engine, **options)
    terms = scenario.commission
    if terms is not None and terms["kind"] == "percent":
        options["commission"] = PercentCommission(terms["rate"])
    elif terms is not None:
        least = PerShareCommission(terms["per_share"], terms["minimum"])
        is_whole = engine in {"bt", "vectorbt", "pybroker"}
        options["commission"] = least if is_whole else EachLeg(least)
    if scenario.slippage is not None:
        wrap = {"backtrader": WithinBar, "backtesting.py": OpeningOnly}.get(engine)
        wrap = MarketOnly if engine == "vectorbt" else wrap
        plain = BasisPointSlippage(scenario.slippage["rate"] * 10_000.0)
        options["slippage"] = plain if wrap is None else wrap(plain)
    return SimulationBroker.like(engine, **options)


def zipline_costs(scenario: Scenario) -> dict[str, Any]:
    """What replaces the costs that zipline comes with, as its runner does."""
    if scenario.as_shipped:
        return {}
    terms, slippage = scenario.commission, scenario.slippage
    options: dict[str, Any] = {
        "commission": NoCommission(),
        "slippage": NoSlippage(),
        "liquidity": VolumeParticipation(1.0),
    }
    if terms is not None and terms["kind"] == "percent":
        options["commission"] = PercentCommission(terms["rate"])
    elif terms is not None:
        options["commission"] = PerShareCommission(terms["per_share"], terms["minimum"])
    if slippage is not None:
        options["liquidity"] = VolumeParticipation(slippage.get("share", 1.0))
    if slippage is not None and "impact" in slippage:
        options["slippage"] = VolumeShareSlippage(slippage["impact"])
    elif slippage is not None:
        options["slippage"] = BasisPointSlippage(slippage["rate"] * 10_000.0)
    return options


def nautilus_costs(scenario: Scenario) -> dict[str, Any]:
    """As its runner sets them: commission on each fill, and a tick."""
    terms, slippage = scenario.commission, scenario.slippage
    options: dict[str, Any] = {}
    if terms is not None and terms["kind"] == "percent":
        options["commission"] = PercentCommission(terms["rate"])
    elif terms is not None:
        options["commission"] = PerShareCommission(terms["per_share"], terms["minimum"])
    if scenario.is_cash:
        options["account"] = OverdraftAccount()
    if slippage is not None:
        options["slippage"] = FixedSlippage(10.0 ** -slippage["decimals"])
    return options


COSTS = {"nautilus": nautilus_costs, "zipline": zipline_costs}


def ours(stage: Stage, engine: str) -> Answer:
    """What our engine does with the profile of the other one."""
    # backtesting.py decides from its second bar on.
    roles = GUARDS_OF_VECTORBT if engine == "vectorbt" else ROLES
    player = Player(stage.plan, first=int(engine == "backtesting.py"), roles=roles)
    broker = broker_for(stage.scenario, engine)
    result = BacktestEngine(
        stage.bars, strategy=player, broker=broker, signal_columns=["signal"]
    ).run()
    return answer_of(result, player.keys)


def answer_of(result: BacktestResult, keys: dict[int, str]) -> Answer:
    """A result in the form in which it is compared."""
    keys = with_guards(result, keys)
    fills = [
        {name: row[name] for name in ("side", "quantity", "price", "commission")}
        | {
            "time": str(row["timestamp"])[:10],
            "asset": row["asset_id"],
            "order": keys.get(row["order_id"]),
        }
        for row in result.fills.iter_rows(named=True)
    ]
    trades = [
        {
            "asset": row["asset_id"],
            "entry_time": str(row["entry_time"])[:10],
            "exit_time": str(row["exit_time"])[:10],
            "pnl": row["pnl"],
        }
        for row in result.trades.filter(status="closed").iter_rows(named=True)
    ]
    orders = [
        {
            "order": keys.get(row["order_id"]),
            "asset": row["asset_id"],
            "status": _status(row["status"], row["reason"]),
            "filled": row["filled_quantity"],
        }
        for row in result.orders.iter_rows(named=True)
    ]
    return {"fills": fills, "bars": _bars(result), "trades": trades, "orders": orders}


def with_guards(result: BacktestResult, keys: dict[int, str]) -> dict[int, str]:
    """The keys, and those of orders that rules over positions have sent: of the entry before."""
    named, latest = dict(keys), dict[str, str]()
    for row in result.orders.sort("order_id").iter_rows(named=True):
        key = keys.get(row["order_id"])
        if key is not None:
            latest[row["asset_id"]] = key
        elif row["type"] in RULES and row["asset_id"] in latest:
            named[row["order_id"]] = f"{latest[row['asset_id']]}/{RULES[row['type']]}"
    return named


def _bars(result: BacktestResult) -> list[dict[str, Any]]:
    changes: dict[Any, list[tuple[str, float]]] = {}
    for row in result.positions.iter_rows(named=True):
        changes.setdefault(row["timestamp"], []).append((row["asset_id"], row["quantity"]))
    held: dict[str, float] = {}
    bars = []
    for row in result.equity.iter_rows(named=True):
        held |= dict(changes.get(row["timestamp"], ()))
        now = {asset: units for asset, units in held.items() if units}
        bars.append(
            {
                "time": str(row["timestamp"])[:10],
                "cash": row["cash"],
                "equity": row["equity"],
                "positions": now,
            }
        )
    return bars


def _status(status: str, reason: str | None) -> str:
    """The word of the comparison; what could not be paid in full counts as refused."""
    if status in {"pending", "accepted", "partially_filled"}:
        return "open"
    is_unpaid = status == "canceled" and (reason or "").startswith(("unaffordable", "scaled"))
    return "rejected" if is_unpaid else status


# -- the comparison --------------------------------------------------------------------------

KEYS = {
    "fills": ("order", "time", "asset"),
    "bars": ("time",),
    "trades": ("asset", "entry_time", "exit_time"),
    "orders": ("order",),
}


def differences(left: Answer, right: Answer, *, quantities: float = 0.0) -> list[str]:
    """Everything that one answer has and the other has not, or has otherwise.

    Args:
        left: An answer.
        right: Another one.
        quantities: Relative room for them; they are compared exactly without.

    Parts that an engine does not have are missing from its answer and are not compared. Which
    order a fill belongs to is None where an engine does not have orders.
    """
    found: list[str] = []
    for part, keys in KEYS.items():
        if part not in left or part not in right:
            continue
        ours, others = _by_key(left[part], keys), _by_key(right[part], keys)
        for key in dict.fromkeys([*ours, *others]):
            one, other = ours.get(key), others.get(key)
            if one is None or other is None:
                side = "the first" if other is None else "the second"
                found.append(f"{part} {key}: only in {side}: {one or other}")
                continue
            found += [
                f"{part} {key}: {name} {one[name]!r} and {other[name]!r}"
                for name in one
                if not _same(name, one[name], other[name], quantities)
            ]
    return found


def _by_key(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[tuple, dict[str, Any]]:
    """Rows by what they are about; the second of a kind is number 1, and so on."""
    found: dict[tuple, dict[str, Any]] = {}
    counts: dict[tuple, int] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        counts[key] = counts.get(key, -1) + 1
        found[*key, counts[key]] = row
    return found


def _same(name: str, one: Any, other: Any, quantities: float) -> bool:
    if quantities and name == "positions":
        return one.keys() == other.keys() and all(
            math.isclose(units, other[asset], rel_tol=quantities) for asset, units in one.items()
        )
    if quantities and name in {"quantity", "filled"}:
        return math.isclose(one, other, rel_tol=quantities)
    if name == "price":
        return math.isclose(one, other, rel_tol=RELATIVE)
    if name in {"cash", "equity", "commission", "pnl"}:
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=MONEY_NOISE)
    return bool(one == other)


Ask = Callable[[Stage, str, Path], Answer]


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        differences: All of them.
        fills: How many fills the other engine had.
        version: Of the other engine.
        problem: What is wrong: a difference that nobody knows, or a known one that has gone.
    """

    differences: list[str]
    fills: int
    version: str
    problem: str


def compare(stage: Stage, engine: str, folder: Path, ask: Ask | None = None) -> Verdict:
    """Play a scenario on both sides; `ask` is another way than `theirs` to ask the engine."""
    answer, own = (ask or theirs)(stage, engine, folder), ours(stage, engine)
    silent = set(KEYS) - answer.keys() - NEVER.get(engine, set())
    silent -= {"orders"} if stage.plan.get("as_weights") else set()
    assert not silent, f"{engine} says nothing of {sorted(silent)}"
    found = differences(answer, own)
    known = stage.scenario.known.get(engine)
    problem = ""
    if known is None:
        if found:
            problem = f"{len(found)} differences, the first: {found[0]}"
    elif not found:
        problem = f"known to differ, and does not: {known.cause}"
    elif odd := [text for text in found if text.split(" ", 1)[0] not in known.parts]:
        problem = f"differs in more than is known: {odd[0]}"
    elif known.cure:
        cured = theirs(replace(stage, cure=known.cure), engine, folder)
        left = differences(cured, own, quantities=known.quantities or 0.0)
        problem = f"differs without the rule that is the cause, too: {left[0]}" if left else ""
    elif known.quantities is not None:
        left = differences(answer, own, quantities=known.quantities)
        problem = f"more than rounding: {left[0]}" if left else ""
    return Verdict(found, len(answer["fills"]), answer["version"], problem)
