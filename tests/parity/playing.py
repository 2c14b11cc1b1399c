"""Our side of a comparison: a scenario with the profile of an engine, as a user would run it."""

from __future__ import annotations

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
    OneByOne,
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
from tests.parity.playbook import Playbook, View
from tests.parity.scenario import Answer, Scenario, Stage

RULES = {"stop": "stop_loss", "limit": "take_profit", "trailing_stop": "trailing_stop"}
"""The roles of the orders of rules over positions."""
ROLES = ("stop_loss", "take_profit", "trailing_stop")
# A user says which goes first by setting it first; there a trailing stop is a kind of stop-loss.
GUARDS_OF_VECTORBT = ("stop_loss", "trailing_stop", "take_profit")


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
    if scenario.by_value:
        options["matching"] = OneByOne(first="value", exits_begin="next_bar")
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
