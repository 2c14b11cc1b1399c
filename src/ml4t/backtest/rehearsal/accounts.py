"""What an account holds, what it is worth, and what of it is free: a view that only reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.rehearsal.tickets import OrderClass, TicketStatus
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ml4t.backtest.rehearsal.market import Market
    from ml4t.backtest.rehearsal.register import Register
    from ml4t.backtest.rehearsal.tickets import Asked, Ticket
    from ml4t.backtest.types.instrument import Instrument


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A position: signed units, average cost, the last price, and that of the session before."""

    symbol: str
    qty: float
    available: float
    entry_price: float
    price: float
    price_before: float
    multiplier: float

    @property
    def value(self) -> float:
        """Signed market value."""
        return self.qty * self.price * self.multiplier

    @property
    def cost(self) -> float:
        """What it cost, signed as its value."""
        return self.qty * self.entry_price * self.multiplier


class Accounts:
    """The account of a venue.

    Args:
        market: Portfolio and broker.
        register: The orders.
        crypto: Symbols that are crypto pairs.
    """

    def __init__(self, market: Market, register: Register, crypto: AbstractSet[str]) -> None:
        self.market = market
        self.portfolio = market.portfolio
        self.register = register
        self.crypto = crypto
        self.closes_before: dict[str, float] = {}

    @property
    def symbols(self) -> list[str]:
        """Everything that trades here."""
        return self.portfolio.universe.ids

    @property
    def can_short(self) -> bool:
        """Whether the account's terms allow short sales."""
        return bool(self.market.broker.account.can_short)

    def is_crypto(self, symbol: str) -> bool:
        """Whether a symbol is a crypto pair."""
        return symbol in self.crypto

    def instrument(self, symbol: str) -> Instrument:
        """Multiplier and lot of a symbol."""
        return self.portfolio.instruments[self.portfolio.universe.codes[symbol]]

    def last_price(self, symbol: str) -> float:
        """Its last close; NaN before its first bar."""
        return self.portfolio.last_price(symbol)

    def held(self, symbol: str) -> float:
        """Signed units."""
        return self.portfolio.quantities[symbol]

    def units(self, asked: Asked) -> float:
        """The units of an order; one by notional counts at the last price."""
        if asked.qty is not None:
            return asked.qty
        price = self.last_price(asked.symbol)
        return 0.0 if math.isnan(price) else (asked.notional or 0.0) / price

    def available(self, symbol: str) -> float:
        """Units held, without a sign, that no open order is going to close."""
        held = self.held(symbol)
        exit_side = OrderSide.SELL if held > 0.0 else OrderSide.BUY
        used = 0.0
        for ticket in self.register.open.values():
            asked = ticket.asked
            if asked.symbol != symbol or asked.side != exit_side:
                continue
            if ticket.status is TicketStatus.HELD or self._shares_units(ticket):
                continue
            used += max(0.0, self.units(asked) - ticket.filled_qty)
        return max(0.0, abs(held) - used)

    def _shares_units(self, ticket: Ticket) -> bool:
        """Of the legs that cancel each other, and of an OCO, one counts."""
        if ticket.parent is None:
            return False
        head = self.register.tickets[ticket.parent]
        if head.asked.order_class is OrderClass.OCO:
            return head.is_open
        first = next((leg for leg in self.register.legs_of(head) if leg.is_open), ticket)
        return first is not ticket

    def buying_power(self) -> float:
        """Notional of purchases that can be paid for, beside those ordered."""
        return float(self.market.broker.buying_power())

    def holding(self, symbol: str) -> Holding:
        """One position, flat or not."""
        price = self.last_price(symbol)
        return Holding(
            symbol=symbol,
            qty=self.held(symbol),
            available=self.available(symbol),
            entry_price=self.portfolio.entry_price_of(symbol),
            price=price,
            price_before=self.closes_before.get(symbol, price),
            multiplier=self.instrument(symbol).multiplier,
        )

    def holdings(self) -> list[Holding]:
        """All positions, by symbol."""
        return [self.holding(symbol) for symbol in sorted(self.portfolio.held)]

    def margins(self) -> tuple[float, float]:
        """Initial and maintenance margin of what is held."""
        account, codes = self.market.broker.account, self.portfolio.universe.codes
        initial = maintenance = 0.0
        for holding in self.holdings():
            code, sign = codes[holding.symbol], math.copysign(1.0, holding.qty)
            initial += abs(holding.value) * float(account.initial(code, sign))
            maintenance += abs(holding.value) * float(account.maintenance(code, sign))
        return initial, maintenance

    def remember_closes(self) -> None:
        """A session is over: its closes are those of the day before from now on."""
        prices = self.portfolio.last_prices()
        self.closes_before = {
            symbol: float(price)
            for symbol, price in zip(self.symbols, prices.tolist(), strict=False)
            if not math.isnan(price)
        }
