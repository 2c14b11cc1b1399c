"""What both sides of a comparison do: decisions in a form that no engine owns.

Read by our side and by the runners of the other engines, so it needs the standard library alone.
A decision is a dict. Always there: `key`, a name for the order, and `asset`. What to do is one of

- an order: `side`, `quantity`, `type` ("market", "limit", "stop", "stop_limit", "trailing_stop")
  with `limit`, `stop`, `trail_amount`, `trail_percent`; `until`, the last date on which it can
  trade, or `day`, True, for a day order; `stop_loss` and `take_profit`, which make a bracket of
  it, whose exits have the keys `<key>/stop_loss` and `<key>/take_profit`;
- an order with `guard`: distances at which the position it opens is left, by role ("stop_loss",
  "take_profit", "trailing_stop"), each {"percent": fraction} or {"amount": money}; the exits have
  the keys `<key>/<role>`;
- `cancel`: the key of an order to take back;
- `close`: True, to close the asset's position;
- `weights`: shares of equity by asset, the whole portfolio's targets.
"""

from __future__ import annotations

import math
from typing import Any


class View:
    """What a rule may look at; each side fills it in from its own engine.

    Attributes:
        index: Number of the timestamp.
        equity: At the last closes.
        position: Signed units by asset, zeros left out.
        close: Of the assets that have a bar now.
        signal: Likewise.
    """

    index: int
    equity: float
    position: dict[str, float]
    close: dict[str, float]
    signal: dict[str, float]

    def __init__(self, index: int, equity: float, **columns: dict[str, float]) -> None:
        self.index, self.equity = index, equity
        self.position, self.close = columns["position"], columns["close"]
        self.signal = columns["signal"]


class Playbook:
    """The decisions of a scenario, one timestamp after another.

    Args:
        plan: `{"kind": "orders", "orders": [...]}`, decisions with the number of the timestamp as
            `bar`; `{"kind": "threshold", ...}` or `{"kind": "rotation", ...}`, see the methods.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.count = 0
        self.by_bar: dict[int, list[dict[str, Any]]] = {}
        for order in plan.get("orders", ()):
            self.by_bar.setdefault(order["bar"], []).append(order)

    def at(self, view: View) -> list[dict[str, Any]]:
        """What is decided now."""
        if self.plan["kind"] == "orders":
            return self.by_bar.get(view.index, [])
        decisions: list[dict[str, Any]] = getattr(self, self.plan["kind"])(view)
        for decision in decisions:
            self.count += 1
            decision["key"] = f"{self.count}"
        return decisions

    def threshold(self, view: View) -> list[dict[str, Any]]:
        """Long above `enter`, flat below `leave`; with `short`, short below `-enter`.

        A position is worth `share` of equity at the close, in whole units, or in any fraction
        with `fractional`.
        """
        plan, decisions = self.plan, []
        for asset in sorted(view.close):
            signal, held = view.signal[asset], view.position.get(asset, 0.0)
            units = self.units(plan["share"] * view.equity / view.close[asset])
            wanted = held
            if signal > plan["enter"]:
                wanted = held if held > 0.0 else units
            elif plan["short"] and signal < -plan["enter"]:
                wanted = held if held < 0.0 else -units
            elif (held > 0.0 and signal < plan["leave"]) or (held < 0.0 < signal):
                wanted = 0.0
            if wanted == held:
                continue
            if wanted == 0.0:
                decisions.append({"asset": asset, "close": True})
            else:
                decisions.append(market(asset, wanted - held))
        return decisions

    def rotation(self, view: View) -> list[dict[str, Any]]:
        """Every `every` timestamps, the `top` assets by signal share `invested` of the equity.

        As orders, sales first; or as `weights`, if the plan says so.
        """
        plan = self.plan
        if view.index % plan["every"]:
            return []
        ranked = sorted(view.signal, key=lambda asset: (-view.signal[asset], asset))
        weight = plan["invested"] / plan["top"]
        weights = dict.fromkeys(sorted(ranked[: plan["top"]]), weight)
        if plan["as_weights"]:
            return [{"asset": "", "weights": weights}]
        orders = []
        for asset in sorted({*weights, *view.position}):
            if asset not in view.close:
                continue
            units = self.units(weights.get(asset, 0.0) * view.equity / view.close[asset])
            change = units - view.position.get(asset, 0.0)
            if change:
                orders.append(market(asset, change))
        return sorted(orders, key=lambda order: order["side"] == "buy")

    def units(self, units: float) -> float:
        """Whole units, or millionths if the scenario has fractions: noise must not decide."""
        return round(units, 6) if self.plan.get("fractional") else float(math.floor(units))


def market(asset: str, change: float) -> dict[str, Any]:
    """A market order of so many signed units."""
    side = "buy" if change > 0.0 else "sell"
    return {"asset": asset, "side": side, "quantity": abs(change), "type": "market"}
