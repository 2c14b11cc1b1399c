"""Rules that watch over positions: a stop, a target, a trail or a time limit for each."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from ml4t.backtest.broker.ticks import on_grid
from ml4t.backtest.broker.trailing import start_trail
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars

REMOVED = "the rule was removed"


class Rule(msgspec.Struct, frozen=True):
    """What is done about a position of its own accord.

    Args:
        role: "stop_loss", "take_profit", "trailing_stop" or "time_exit": the exit's reason.
        percent: Distance to the average entry price, or of the trail, as a fraction.
        amount: The same in money per unit.
        bars: For "time_exit": how many bars of the asset a position may last.
    """

    role: str
    percent: float | None = None
    amount: float | None = None
    bars: int = 0


class Watchers:
    """The rules of a run, and the orders that carry them out.

    An order of a rule rests in the book like any other: reduce-only, and of the size of the
    position, which it follows. A rule of an asset goes before the rule for all.

    Args:
        blotter: Where the orders are.
        portfolio: Read only.

    Attributes:
        is_used: Some rule was ever set.
    """

    def __init__(self, blotter: Blotter, portfolio: Portfolio) -> None:
        self.blotter = blotter
        self.portfolio = portfolio
        self.is_used = False
        self._rules: dict[str, dict[str, Rule | None]] = {}
        self._for_all: dict[str, Rule] = {}
        # By asset code: its position's orders by role, and the bars it has lasted.
        self._orders: dict[int, dict[str, int]] = {}
        self._bars: dict[int, int] = {}
        self._carried: dict[int, Rule] = {}  # by the id of the order that carries it out

    @property
    def counts_bars(self) -> bool:
        """Whether a position's time is running."""
        return bool(self._bars)

    # -- rules --------------------------------------------------------------------------------

    def put(self, rule: Rule, asset_id: str | None) -> None:
        """A rule for one asset, its position of now included, or for every new position."""
        self.is_used = True
        if asset_id is None:
            self._for_all[rule.role] = rule
            return
        self._rules.setdefault(asset_id, {})[rule.role] = rule
        self._drop(asset_id, rule.role)
        position = self.portfolio.quantities.get(asset_id, 0.0)
        if position:
            code = self.portfolio.universe.codes[asset_id]
            self._carry_out(rule, code, position, self.portfolio.entry_prices[asset_id], None)

    def remove(self, role: str, asset_id: str | None) -> None:
        """No such rule any more, for one asset or for new positions."""
        if asset_id is None:
            self._for_all.pop(role, None)
            return
        self._rules.setdefault(asset_id, {})[role] = None
        self._drop(asset_id, role)

    def _drop(self, asset_id: str, role: str) -> None:
        code = self.portfolio.universe.codes[asset_id]
        working = self.blotter.open.get(self._orders.get(code, {}).pop(role, 0))
        if working is not None:
            self.blotter.end(working, OrderStatus.CANCELED, REMOVED)
        if role == "time_exit":
            self._bars.pop(code, None)

    def _of(self, asset_id: str) -> list[Rule]:
        """The rules that hold for a new position."""
        own = self._rules.get(asset_id, {})
        return [rule for rule in (self._for_all | own).values() if rule is not None]

    # -- positions ----------------------------------------------------------------------------

    def follow(self, code: int, before: float, after: float, entry: float, cause: Working) -> None:
        """A position has changed.

        Args:
            code: The asset's.
            before: Signed units before.
            after: Signed units now.
            entry: Average entry price now.
            cause: The order that filled.
        """
        if after == 0.0 or before * after < 0.0:
            self._orders.pop(code, None)
            self._bars.pop(code, None)
        if after == 0.0:
            return
        if before * after <= 0.0:
            asset_id = self.portfolio.universe.ids[code]
            for rule in self._of(asset_id):
                self._carry_out(rule, code, after, entry, cause)
        else:
            for order_id in self._orders.get(code, {}).values():
                self._resize(order_id, after, entry, moves=abs(after) > abs(before))

    def _carry_out(
        self, rule: Rule, code: int, position: float, entry: float, cause: Working | None
    ) -> None:
        if rule.role == "time_exit":
            self._bars[code] = 0
            return
        blotter, plain = (
            self.blotter,
            _order(rule, self.portfolio.universe.ids[code], position, entry),
        )
        if obstacle := _obstacle(rule, plain, entry):
            blotter.reject(plain, obstacle, code)
            return
        order = self._on_grid(plain, code)
        if cause is None:
            working = blotter.accept(order, code, abs(position))
        else:  # decided with the order that opened the position
            working = blotter.accept_with(cause, order, code, abs(position))
            blotter.links.activated.append(working)
        if working.type.is_trailing:
            working.tick = self.portfolio.instruments[code].tick_size
            start_trail(working, entry if cause is not None else self._last(code))
        self._orders.setdefault(code, {})[rule.role] = working.order_id
        self._carried[working.order_id] = rule

    def _on_grid(self, order: Order, code: int) -> Order:
        tick = self.portfolio.instruments[code].tick_size
        return on_grid(order, tick) if tick else order

    def _last(self, code: int) -> float:
        return self.portfolio.last_price(self.portfolio.universe.ids[code])

    def _resize(self, order_id: int, position: float, entry: float, *, moves: bool) -> None:
        working = self.blotter.open.get(order_id)
        if working is None:
            return  # the user has canceled it
        changes: dict[str, float] = {"quantity": working.filled + abs(position)}
        rule = self._rule(working)
        if moves and rule is not None and not working.type.is_trailing:
            changes[_PRICE[rule.role]] = _level(rule, position, entry)
        order = structs.replace(working.order, **changes)
        if rule is not None and (obstacle := _obstacle(rule, order, entry)):
            self.blotter.end(working, OrderStatus.CANCELED, obstacle)
            return
        order = self._on_grid(order, working.code)
        self.blotter.replace(working, order, order.quantity, is_new=False)

    def _rule(self, working: Working) -> Rule | None:
        return self._carried.get(working.order_id)

    def rename(self, code: int, new: int) -> None:
        """A position goes on under another name: its rules, their orders and its time with it."""
        ids = self.portfolio.universe.ids
        if ids[code] in self._rules:
            self._rules.setdefault(ids[new], self._rules.pop(ids[code]))
        if code in self._orders:
            self._orders[new] = self._orders.pop(code)
        if code in self._bars:
            self._bars[new] = self._bars.pop(code)

    def restate(self, code: int, ratio: float) -> None:
        """Money per unit of an asset is so many times less: what its rules say goes along."""
        own = self._rules.get(self.portfolio.universe.ids[code], {})
        for role, rule in own.items():
            if rule is not None and rule.amount is not None:
                own[role] = structs.replace(rule, amount=rule.amount / ratio)
        for order_id in self._orders.get(code, {}).values():
            rule = self._carried[order_id]
            if rule.amount is not None:
                self._carried[order_id] = structs.replace(rule, amount=rule.amount / ratio)

    def forget(self, code: int) -> None:
        """A position has ended without an order of its own: its rules have nothing to do."""
        for order_id in self._orders.pop(code, {}).values():
            working = self.blotter.open.get(order_id)
            if working is not None:
                self.blotter.end(working, OrderStatus.CANCELED, "position closed")
        self._bars.pop(code, None)

    # -- time ---------------------------------------------------------------------------------

    @contextmanager
    def at_close(self) -> Iterator[None]:
        """What is opened meanwhile is opened at the close of a bar, which does not count."""
        before = set(self._bars)
        yield
        for code in self._bars.keys() - before:
            self._bars[code] = -1

    def pass_bar(self, bars: Bars) -> list[Order]:
        """Assets have had a bar; the orders that close what has lasted long enough."""
        orders = []
        codes = sorted(self._bars)
        for code, row in zip(codes, bars.chunk_rows_of(codes), strict=True):
            if row < 0:
                continue
            self._bars[code] += 1
            asset_id = self.portfolio.universe.ids[code]
            rule = (self._for_all | self._rules.get(asset_id, {})).get("time_exit")
            if rule is None or self._bars[code] < rule.bars:
                continue
            del self._bars[code]
            position = self.portfolio.quantities[asset_id]
            side = OrderSide.SELL if position > 0 else OrderSide.BUY
            orders.append(Order(asset_id, side, abs(position), reduce_only=True, role="time_exit"))
        return orders


_PRICE = {"stop_loss": "stop_price", "take_profit": "limit_price"}
_TYPE = {
    "stop_loss": OrderType.STOP,
    "take_profit": OrderType.LIMIT,
    "trailing_stop": OrderType.TRAILING_STOP,
}


def _order(rule: Rule, asset_id: str, position: float, entry: float) -> Order:
    """The order that carries out a rule for a position."""
    side = OrderSide.SELL if position > 0 else OrderSide.BUY
    order = Order(asset_id, side, abs(position), _TYPE[rule.role], reduce_only=True, role=rule.role)
    if rule.role == "trailing_stop":
        return structs.replace(order, trail_percent=rule.percent, trail_amount=rule.amount)
    return structs.replace(order, **{_PRICE[rule.role]: _level(rule, position, entry)})


def _obstacle(rule: Rule, order: Order, entry: float) -> str:
    """Why an order can never carry out a rule: an empty string when it can."""
    level = getattr(order, _PRICE.get(rule.role, ""), None)
    if level is None or level > 0.0:
        return ""
    distance = f"{rule.amount:g}" if rule.percent is None else f"{rule.percent:.0%}"
    return f"{rule.role}: {distance} from an entry at {entry:g} is no positive price"


def _level(rule: Rule, position: float, entry: float) -> float:
    """Where a stop or a target lies: on the losing or winning side of the entry."""
    side = 1.0 if (position > 0) == (rule.role == "take_profit") else -1.0
    if rule.percent is not None:
        return entry * (1.0 + side * rule.percent)
    assert rule.amount is not None
    return entry + side * rule.amount
