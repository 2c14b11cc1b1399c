"""What a venue asks of an order before it takes it.

First whether it can be meant at all, then whether the account may do it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.errors import did_you_mean
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.rehearsal.tickets import OrderClass, RefusedError

if TYPE_CHECKING:
    from ml4t.backtest.rehearsal.accounts import Accounts
    from ml4t.backtest.rehearsal.register import Register
    from ml4t.backtest.rehearsal.tickets import Asked, Ticket

_WORDS = {
    "side": ("buy", "sell"),
    "type": ("market", "limit", "stop", "stop_limit", "trailing_stop"),
    "time_in_force": ("day", "gtc", "opg", "cls", "ioc", "fok"),
}
_CRYPTO = {"type": ("market", "limit", "stop_limit"), "time_in_force": ("gtc", "ioc")}
_PRICES = {
    "market": (),
    "limit": ("limit_price",),
    "stop": ("stop_price",),
    "stop_limit": ("stop_price", "limit_price"),
    "trailing_stop": (),
}
_LONGEST_ID = 128
_DOLLAR = 1.0
_NOISE = 1e-9


class Intake:
    """Checks what clients ask.

    Args:
        register: The orders there are.
        accounts: What is held, and what may be used of it.
        shorting: Whether a sale may open a position.
    """

    def __init__(self, register: Register, accounts: Accounts, *, shorting: bool) -> None:
        self.register = register
        self.accounts = accounts
        self.shorting = shorting

    def check(self, asked: Asked) -> None:
        """Refuse an order that cannot be taken.

        Raises:
            RefusedError: Why.
        """
        self._check_words(asked)
        self.check_id(asked.client_order_id)
        self._check_size(asked)
        self._check_prices(asked)
        self._check_class(asked)
        self._check_wash(asked)
        self._check_holding(asked)
        self._check_power(asked)

    def check_instead(self, old: Ticket, asked: Asked) -> None:
        """Refuse an order that the account may not have in the place of another one.

        Raises:
            RefusedError: Why.
        """
        if old.parent is not None or old.legs or old.qty is None:
            return
        left = old.qty - old.filled_qty
        self._check_holding(asked, left)
        price = old.limit_price if old.limit_price is not None else old.stop_price
        if price is None:
            price = self.accounts.last_price(asked.symbol)
        self._check_power(asked, 0.0 if math.isnan(price) else left * price)

    def _check_words(self, asked: Asked) -> None:
        if asked.symbol not in self.accounts.symbols:
            raise _unmeant(
                f"asset {asked.symbol!r} not found. "
                f"{did_you_mean(asked.symbol, self.accounts.symbols)}"
            )
        is_crypto = self.accounts.is_crypto(asked.symbol)
        for name, known in _WORDS.items():
            value = getattr(asked, name)
            if value not in known:
                raise _unmeant(f"invalid {name} {value!r}. {did_you_mean(value, known)}")
            if is_crypto and value not in _CRYPTO.get(name, known):
                raise _unmeant(f"invalid {name} {value!r} for a crypto order")
        if asked.time_in_force in ("opg", "cls") and asked.type not in ("market", "limit"):
            raise _unmeant(f"{asked.time_in_force} orders must be market or limit orders")
        if asked.extended_hours and (asked.type, asked.time_in_force) != ("limit", "day"):
            raise _unmeant("extended hours order must be DAY limit orders")

    def check_id(self, client_order_id: str | None) -> None:
        """Refuse a client's id that is taken, or none.

        Raises:
            RefusedError: Why.
        """
        if client_order_id is None:
            return
        if not 0 < len(client_order_id) <= _LONGEST_ID:
            raise _unmeant(f"client_order_id must have 1 to {_LONGEST_ID} characters")
        if self.register.is_taken(client_order_id):
            raise _unmeant("client_order_id must be unique")

    def _check_size(self, asked: Asked) -> None:
        if (asked.qty is None) == (asked.notional is None):
            raise _unmeant("one of qty and notional is required")
        lot = self.accounts.instrument(asked.symbol).lot_size
        size = asked.qty if asked.notional is None else asked.notional
        assert size is not None
        if not (math.isfinite(size) and size > 0):
            raise _unmeant(f"qty and notional must be positive and finite, not {size!r}")
        if asked.notional is not None:
            if asked.type != "market":
                raise _unmeant("notional orders must be market orders")
            if asked.notional < _DOLLAR:
                raise _unmeant("cost basis must be >= minimal amount of order 1")
        is_part = asked.notional is not None or size != int(size)
        if not is_part or self.accounts.is_crypto(asked.symbol):
            return
        if lot != 0.0:
            raise RefusedError("forbidden", f"asset {asked.symbol!r} is not fractionable")
        if asked.time_in_force != "day":
            raise _unmeant("fractional orders must be DAY orders")
        if asked.order_class is not OrderClass.SIMPLE:
            raise _unmeant("fractional orders must be simple orders")

    def _check_prices(self, asked: Asked) -> None:
        needed = _PRICES[asked.type]
        for name in ("limit_price", "stop_price"):
            price = getattr(asked, name)
            is_oco = asked.order_class is OrderClass.OCO and name == "limit_price"
            if name in needed and price is None and not is_oco:
                raise _unmeant(f"{asked.type} orders require {name}")
            if price is not None and name not in needed:
                raise _unmeant(f"{asked.type} orders have no {name}")
        trails = [asked.trail_price, asked.trail_percent]
        given = [trail for trail in trails if trail is not None]
        if (asked.type == "trailing_stop") != bool(given) or len(given) > 1:
            raise _unmeant("a trailing_stop order, and no other, has one of trail_price and "
                           "trail_percent")  # fmt: skip
        names = ("limit_price", "stop_price", "take_profit", "stop_loss", "stop_loss_limit")
        for name in (*names, "trail_price"):
            self.check_price(asked.symbol, name, getattr(asked, name))

    def check_price(self, symbol: str, name: str, price: float | None) -> None:
        """Refuse a price that cannot be meant, or is between two cents.

        Raises:
            RefusedError: Why.
        """
        if price is None:
            return
        if not (math.isfinite(price) and price > 0):
            raise _unmeant(f"{name} must be positive and finite, not {price!r}")
        if self.accounts.is_crypto(symbol):
            return
        scale = 100.0 if price >= _DOLLAR else 10_000.0
        if abs(price * scale - round(price * scale)) > _NOISE * max(1.0, price * scale):
            raise _unmeant(
                f"invalid {name} {price!r}. sub-penny increment does not fulfill minimum pricing "
                "criteria"
            )

    def _check_class(self, asked: Asked) -> None:
        kind = asked.order_class
        legs = [price is not None for price in (asked.take_profit, asked.stop_loss)]
        wanted = {OrderClass.SIMPLE: (0,), OrderClass.OTO: (1,)}.get(kind, (2,))
        if sum(legs) not in wanted and not (kind is OrderClass.OCO and legs[1]):
            raise _unmeant(f"{kind} orders take {wanted[0]} of take_profit and stop_loss")
        if kind is OrderClass.SIMPLE:
            return
        if self.accounts.is_crypto(asked.symbol):
            raise _unmeant("crypto orders not allowed for advanced order_class")
        if asked.time_in_force not in ("day", "gtc") or asked.extended_hours:
            raise _unmeant(f"{kind} orders must be DAY or GTC orders in regular hours")
        if kind is OrderClass.OCO and asked.type != "limit":
            raise _unmeant("oco orders must be limit orders")
        target = asked.take_profit if asked.take_profit is not None else asked.limit_price
        way = 1.0 if asked.side == ("sell" if kind is OrderClass.OCO else "buy") else -1.0
        if kind is OrderClass.OCO and target is None:
            raise _unmeant("oco orders require take_profit.limit_price")
        self._check_legs(asked, way, target if kind is OrderClass.OCO else asked.take_profit)

    def _check_legs(self, asked: Asked, way: float, target: float | None) -> None:
        """A target lies beyond the price that is paid, a stop on its other side."""
        is_oco = asked.order_class is OrderClass.OCO
        base = target if is_oco else asked.limit_price
        if base is None:
            base = self.accounts.last_price(asked.symbol)
        above, below = ("above", "below") if way > 0 else ("below", "above")
        if not is_oco and target is not None and way * target <= way * base:
            raise _unmeant(f"take_profit.limit_price must be {above} base_price ({base:g})")
        if asked.stop_loss is not None and way * asked.stop_loss >= way * base:
            raise _unmeant(f"stop_loss.stop_price must be {below} base_price ({base:g})")

    def _check_wash(self, asked: Asked) -> None:
        """An order that could trade with another one of the same account."""
        for ticket in self.register.open.values():
            other = ticket.asked
            if other.symbol != asked.symbol or other.side == asked.side:
                continue
            if other.order_class is not OrderClass.SIMPLE or ticket.parent is not None:
                continue
            if _may_meet(asked, ticket):
                raise RefusedError(
                    "unprocessable",
                    "potential wash trade detected. use complex orders",
                    existing_order_id=ticket.id,
                    reject_reason="opposite side market/stop order exists",
                )

    def _check_holding(self, asked: Asked, freed: float = 0.0) -> None:
        """What closes must be there and free; what opens short must be allowed.

        Args:
            asked: The order.
            freed: Units that another order lets go for it.
        """
        held = self.accounts.held(asked.symbol)
        way = 1.0 if asked.side == "buy" else -1.0
        qty = self.accounts.units(asked)
        if held * way < 0.0:
            free = min(abs(held), self.accounts.available(asked.symbol) + freed)
            if qty > free * (1.0 + DUST) and asked.notional is None:
                raise RefusedError(
                    "forbidden",
                    f"insufficient qty available for order (requested: {qty:g}, available: "
                    f"{free:g})",
                    symbol=asked.symbol,
                    existing_qty=f"{abs(held):g}",
                    held_for_orders=f"{abs(held) - free:g}",
                    available=f"{free:g}",
                )
        elif asked.order_class is OrderClass.OCO:
            raise RefusedError("forbidden", "oco orders must be exit orders")
        elif way < 0.0:
            self._check_short(asked)

    def _check_short(self, asked: Asked) -> None:
        can_short = self.shorting and self.accounts.can_short
        if not can_short or self.accounts.is_crypto(asked.symbol):
            raise RefusedError("forbidden", f"asset {asked.symbol!r} cannot be sold short")
        if asked.notional is not None or asked.qty != int(asked.qty or 0.0):
            raise RefusedError("forbidden", "fractional orders cannot be sold short")

    def _check_power(self, asked: Asked, freed: float = 0.0) -> None:
        """What opens must be affordable at its limit, its stop, or the last close.

        Args:
            asked: The order.
            freed: Notional that another order lets go for it.
        """
        held = self.accounts.held(asked.symbol)
        way = 1.0 if asked.side == "buy" else -1.0
        price = next(
            (p for p in (asked.limit_price, asked.stop_price) if p is not None),
            self.accounts.last_price(asked.symbol),
        )
        if held * way < 0.0 or math.isnan(price):
            return
        multiplier = self.accounts.instrument(asked.symbol).multiplier
        need = asked.notional or (asked.qty or 0.0) * price * multiplier
        power = self.accounts.buying_power() + freed
        if need > power * (1.0 + _NOISE):
            raise RefusedError(
                "forbidden",
                "insufficient buying power",
                buying_power=f"{power:.2f}",
                cost_basis=f"{need:.2f}",
            )


def _may_meet(asked: Asked, ticket: Ticket) -> bool:
    """Whether two orders on opposite sides could trade with each other."""
    if asked.type != "limit" or ticket.asked.type != "limit":
        return True
    ours, theirs = asked.limit_price, ticket.limit_price
    if ours is None or theirs is None:
        return True
    return ours >= theirs if asked.side == "buy" else ours <= theirs


def _unmeant(text: str) -> RefusedError:
    return RefusedError("unprocessable", text)
