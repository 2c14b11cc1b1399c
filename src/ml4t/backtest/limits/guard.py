"""The guard: splits what a strategy orders into approved and refused."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.limits.exposure import NOISE, Exposure, is_more, trades_next, units_left
from ml4t.backtest.limits.losses import LossWatch
from ml4t.backtest.types.order import Order, OrderSide, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.limits.limits import RiskLimits
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars

# Limits that cannot be judged for an asset without a price.
_NEEDS_PRICE = (
    "max_order_value",
    "max_position_value",
    "max_position_weight",
    "max_gross_exposure",
    "max_net_exposure",
)
_MINUTE_US = 60_000_000

# A value or a column of them, its limit, and the words for one that is above it.
Check = tuple[Any, float, "Callable[[float], str]"]


class Guard:
    """The limits of one run: approves and refuses orders, and stops entries after losses.

    Args:
        limits: The numbers.
        broker: Takes what is approved; the run has started it.
        portfolio: Read only.
    """

    def __init__(self, limits: RiskLimits, broker: Broker, portfolio: Portfolio) -> None:
        self.limits = limits
        self.broker = broker
        self.blotter: Blotter = broker.blotter
        self.portfolio = portfolio
        self.blotter.gathers = False  # what each order would do is asked one by one
        self._exposure = Exposure(portfolio, broker.blotter)
        self._losses = LossWatch(limits, portfolio.equity)
        self._sent: deque[tuple[int, int]] = deque()  # when, and how many
        self._sent_count = 0
        self._closing: dict[int, int] = {}  # the order that closes each asset
        self._bars_out = np.zeros(0, dtype=bool)
        self._has_lists = limits.allowed_assets is not None or bool(limits.forbidden_assets)
        self._needs_price = any(getattr(limits, name) is not None for name in _NEEDS_PRICE)

    # -- orders -------------------------------------------------------------------------------

    def submit(self, order: Order) -> int:
        """Send an order to the broker, or what of it the limits approve.

        Returns:
            The id of what was sent; of the refusal when nothing was.
        """
        order, code, problem = self.blotter.check(order)
        if problem:
            return self.broker.submit_order(order)  # refuses it with its own words
        sign, units = 1.0 if order.side == OrderSide.BUY else -1.0, order.quantity
        refused, reason = self._judge(order, code, sign * units)
        if reason:
            part = msgspec.structs.replace(order, quantity=refused)
            order_id = self.blotter.reject(part, reason, code)
            units -= refused
            if units == 0.0:
                return order_id
            order = msgspec.structs.replace(order, quantity=units)
        self._count_sent(1)
        self._exposure.expect_order(order, code, sign * units)
        return self.broker.submit_order(order)

    def replace(self, order_id: int, changes: dict[str, float]) -> bool:
        """Change an open order, or leave it as it is when the limits refuse what it would be.

        What was refused is a REJECTED order of its own in the results.

        Returns:
            Whether the order was changed.
        """
        working = self.blotter.get(order_id)
        if working is None or _only_shrinks(working.order, changes):
            self._exposure.forget()
            return self.broker.replace(order_id, **changes)
        asked = msgspec.structs.replace(working.order, **changes)
        order, code, problem = self.blotter.check(asked)
        units = 0.0 if problem else order.quantity - working.filled
        if units > 0.0:
            self._exposure.leave_out(working)
            _, reason = self._judge(order, code, working.sign * units)
            self._exposure.forget()
            if reason:
                self.blotter.reject(order, f"{reason}; it would replace order {order_id}", code)
                return False
            self._count_sent(1)
        return self.broker.replace(order_id, **changes)

    def screen(self, basket: Basket) -> Basket:
        """Refuse what the limits forbid of a basket.

        Returns:
            What of it they approve; perhaps nothing.
        """
        if not len(basket):
            return basket
        refused, reasons = self._judge_basket(basket)
        if reasons:
            codes, signed, ids = basket.codes, basket.quantities, basket.universe.ids
            for row, reason in sorted(reasons.items()):
                side = OrderSide.BUY if signed[row] > 0 else OrderSide.SELL
                code, units = int(codes[row]), float(refused[row])
                self.blotter.reject(Order(ids[code], side, units, tag=basket.tag), reason, code)
            signed = signed - np.sign(signed) * refused
            left = signed.nonzero()[0]
            basket = Basket(basket.universe, codes[left], signed[left], basket.tag)
        if len(basket):
            self._count_sent(len(basket))
            self._exposure.expect(basket)
        return basket

    def _judge(self, order: Order, code: int, signed: float) -> tuple[float, str]:
        """Units refused of one order, and why; 0 and an empty string when it may go as it is."""
        exposure, size = self._exposure, abs(signed)
        exposure.refresh()
        if self._is_closing:
            return size, self._refusal
        if order.reduce_only:
            return 0.0, ""
        # In the direction of the order: where the position gets when all that is open fills.
        after = size + (exposure.high.item(code) if signed > 0 else -exposure.low.item(code))
        opening = min(max(after, 0.0), size)
        if opening <= NOISE * size:
            return 0.0, ""
        for value, most, text in self._checks(code, after, opening, order):
            if is_more(value, most):
                return opening, text(value)
        reason = self._rate(1) or self._exposures(code, signed, is_certain=trades_next(order))
        return (opening, reason) if reason else (0.0, "")

    def _judge_basket(self, basket: Basket) -> tuple[np.ndarray, dict[int, str]]:
        """Units refused of each order of a basket, and why, by row; as `_judge` where it can."""
        codes, signed, exposure = basket.codes, basket.quantities, self._exposure
        size = np.abs(signed)
        exposure.refresh()
        if self._is_closing:
            return size, dict.fromkeys(range(len(codes)), self._refusal)
        after = size + np.where(signed > 0, exposure.high[codes], -exposure.low[codes])
        opening = np.minimum(np.maximum(after, 0.0), size)
        opening[opening <= NOISE * size] = 0.0
        reasons: dict[int, str] = {}
        for value, most, text in self._checks(codes, after, opening, None):
            is_bad = is_more(value, most) & (opening > 0.0)
            for row in np.atleast_1d(is_bad).nonzero()[0].tolist():
                reasons.setdefault(row, text(np.broadcast_to(value, size.shape)[row]))
        refused = np.zeros(len(codes))
        refused[list(reasons)] = opening[list(reasons)]
        is_left = opening > refused
        if is_left.any():
            sent = signed - np.sign(signed) * refused
            n = int(np.count_nonzero(sent))
            if reason := self._rate(n) or self._exposures(codes, sent, is_certain=True):
                refused[is_left] = opening[is_left]
                reasons |= dict.fromkeys(is_left.nonzero()[0].tolist(), reason)
        return refused, reasons

    def _checks(self, codes: Any, after: Any, opening: Any, order: Order | None) -> Iterator[Check]:
        """What is judged order by order.

        Args:
            codes: The asset, or a column of them; so for the others.
            after: Units of the position in the direction of the order, when all has filled.
            opening: Units that the order opens.
            order: The order it is about; None for a basket of market orders.
        """
        limits = self.limits
        if self._losses.reason:
            yield opening, 0.0, lambda _: self._refusal
        if self._has_lists:
            yield self._barred()[codes], 0.0, lambda _: "limit: the asset is not allowed"
        if limits.max_order_quantity is not None:
            most = limits.max_order_quantity
            yield opening, most, partial(_units_text, most)
        if self._needs_price or (limits.max_price_distance is not None and _levels(order)):
            unit = self._exposure.unit[codes]
            yield np.isnan(unit), 0.0, lambda _: "limit: no price yet to judge it by"
            yield from self._value_checks(opening * unit, after * unit)
            yield from self._level_checks(order)

    def _value_checks(self, value: Any, worth: Any) -> Iterator[Check]:
        limits = self.limits
        if (most := limits.max_order_value) is not None:
            yield value, most, partial(_money_text, "order", "max_order_value", most)
        if (most := limits.max_position_value) is not None:
            yield worth, most, partial(_money_text, "position", "max_position_value", most)
        if (share := limits.max_position_weight) is not None:
            money = share * self.portfolio.equity
            yield (
                worth,
                money,
                partial(_share_text, "position value", "max_position_weight", share, money),
            )

    def _level_checks(self, order: Order | None) -> Iterator[Check]:
        most = self.limits.max_price_distance
        if most is None or order is None:
            return
        close = self.portfolio.last_price(order.asset_id)
        for name, level in _levels(order):
            yield abs(level - close) / close, most, partial(_level_text, name, level, most)

    def _barred(self) -> np.ndarray:
        """Whether each asset, by code, may not be opened."""
        ids = self.portfolio.universe.ids
        if len(self._bars_out) != len(ids):
            allowed, forbidden = self.limits.allowed_assets, self.limits.forbidden_assets
            self._bars_out = np.array(
                [(allowed is not None and i not in allowed) or i in forbidden for i in ids]
            )
        return self._bars_out

    def _rate(self, n: int) -> str:
        """Why `n` more orders are too many; an empty string when they are not."""
        most = self.limits.max_orders_per_minute
        if most is None or (n := n + self._sent_lately()) <= most:
            return ""
        return f"limit: {n:,} orders in a minute are above max_orders_per_minute {most:,}"

    def _exposures(self, codes: Any, signed: Any, *, is_certain: bool) -> str:
        """Why orders are too much together with all that is there; empty when they are not."""
        limits, equity = self.limits, self.portfolio.equity
        if limits.max_gross_exposure is None and limits.max_net_exposure is None:
            return ""
        now = self._exposure.totals_with(codes, signed, is_certain=is_certain)
        if (share := limits.max_gross_exposure) is not None and is_more(now.gross, share * equity):
            return _share_text(
                "gross exposure", "max_gross_exposure", share, share * equity, now.gross
            )
        if (share := limits.max_net_exposure) is not None:
            before = self._exposure.totals()
            # Entries may bring the net nearer to zero, however far from it it is.
            for net, was in ((now.long, before.long), (now.short, before.short)):
                if is_more(net, share * equity) and is_more(net, was):
                    return _share_text(
                        "net exposure", "max_net_exposure", share, share * equity, net
                    )
        return ""

    def _count_sent(self, n: int) -> None:
        if self.limits.max_orders_per_minute is not None:
            self._sent.append((self.blotter.now_us, n))
            self._sent_count += n

    def _sent_lately(self) -> int:
        """Orders sent in the last minute of the bars' time."""
        since, sent = self.blotter.now_us - _MINUTE_US, self._sent
        while sent and sent[0][0] <= since:
            self._sent_count -= sent.popleft()[1]
        return self._sent_count

    # -- losses -------------------------------------------------------------------------------

    def watch(self, bars: Bars) -> str:
        """Positions are marked at `bars`: look at the account, and stop entries if it must be.

        Returns:
            A line for the log when entries were stopped now, else an empty string.
        """
        losses = self._losses
        if not losses.is_needed:
            return ""
        session = int(bars.chunk.sessions[bars.index])
        is_new = losses.look(self.portfolio.equity, session)
        if not losses.reason:
            self._closing.clear()
            return ""
        canceled = self._cancel_entries()
        if not is_new:
            return ""
        return f"{self._refusal}; open orders canceled: {canceled:,}"

    def close_positions(self) -> None:
        """After the strategy has decided: whatever it did, positions that must close do."""
        if not self._is_closing:
            return
        portfolio, tag = self.portfolio, f"limit: {self._losses.breached}"
        for asset_id, held in sorted(portfolio.held.items()):
            code = portfolio.universe.codes[asset_id]
            if self.blotter.get(self._closing.get(code, 0)) is None:
                side = OrderSide.SELL if held > 0 else OrderSide.BUY
                order = Order(asset_id, side, abs(held), reduce_only=True, tag=tag)
                self._closing[code] = self.broker.submit_order(order)

    def counts(self) -> dict[str, int]:
        """How often entries were stopped; nothing when they never were."""
        return {"limit_halts": self._losses.count} if self._losses.count else {}

    @property
    def _is_closing(self) -> bool:
        """The account lost too much, and what it holds is being closed."""
        is_flattening = self.limits.on_breach == "flatten" and self._losses.reason
        return bool(is_flattening and self.portfolio.held)

    @property
    def _refusal(self) -> str:
        """The reason that orders are refused and canceled with after too large a loss."""
        then = "; all positions are being closed" if self._is_closing else ""
        return f"limit: {self._losses.halt}{then}"

    def _cancel_entries(self) -> int:
        """Cancel the open orders that may open something; how many.

        A stop or limit that is reduce-only stays, and so do orders that the position has room
        for. When all positions are closed anyway, only the former do.
        """
        room: dict[tuple[int, float], float] = {}
        canceled = 0
        for working in self.blotter.listed():
            if self._may_stay(working, room):
                continue
            canceled += self.broker.cancel(working.order_id, self._refusal)
        return canceled

    def _may_stay(self, working: Working, room: dict[tuple[int, float], float]) -> bool:
        code = working.code
        is_resting = working.type is not OrderType.MARKET
        if self._is_closing:
            is_own = self._closing.get(code) == working.order_id
            return is_own or (working.order.reduce_only and is_resting)
        if working.order.reduce_only:
            return True
        way = (code, working.sign)
        left = room.setdefault(way, -working.sign * self.portfolio.units[code])
        units = units_left(working)
        if is_more(units, left):
            return False
        room[way] = left - units
        return True


def _only_shrinks(order: Order, changes: dict[str, float]) -> bool:
    """Whether a change leaves less of an order, and nothing else."""
    return set(changes) == {"quantity"} and changes["quantity"] <= order.quantity


def _levels(order: Order | None) -> list[tuple[str, float]]:
    """The prices that an order names."""
    if order is None:
        return []
    named = (("limit_price", order.limit_price), ("stop_price", order.stop_price))
    return [(name, level) for name, level in named if level is not None]


# -- the words of refusals ---------------------------------------------------------------------


def _units_text(most: float, units: float) -> str:
    return f"limit: quantity {units:,.12g} is above max_order_quantity {most:,.12g}"


def _money_text(what: str, name: str, most: float, value: float) -> str:
    return f"limit: {what} value {value:,.2f} is above {name} {most:,.2f}"


def _share_text(what: str, name: str, share: float, money: float, value: float) -> str:
    return f"limit: {what} {value:,.2f} is above {name} {share:g} of equity, {money:,.2f}"


def _level_text(name: str, level: float, most: float, far: float) -> str:
    return (
        f"limit: {name} {level:,.6g} is {far:.2%} from the last close, above max_price_distance "
        f"{most:.2%}"
    )
