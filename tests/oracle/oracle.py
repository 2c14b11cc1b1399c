"""A portfolio in plain loops, which imports nothing of the product.

It knows one way of trading: market orders that fill at the next open of their asset, whole or
fractional shares, long and short, in an account without leverage. What it shares with the product
is the rules, not one line: it walks bar by bar over plain mappings, and finds the common factor
of entries that cannot all be paid by stepping from share to share.

A decision is a tuple:

    ("add", asset, units)           order `units` more, negative to sell; leaves open orders alone
    ("target", asset, units)        replace the asset's open orders, hold `units`
    ("percent", asset, fraction)    as target, for units worth a fraction of equity
    ("weights", {asset: fraction})  as target, for every asset; those not named go to zero
    ("close", asset)                replace the asset's open orders, hold nothing, never flip
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Bar = tuple[float, float]
"""Open and close."""

Decision = tuple[Any, ...]

# A share count this close below a whole number is the whole number.
_ALMOST = 1e-9


@dataclass(frozen=True)
class Costs:
    """A fraction of notional, money per share with a minimum per fill, slippage in basis points."""

    rate: float = 0.0
    per_share: float = 0.0
    minimum: float = 0.0
    bps: float = 0.0

    def price(self, sign: int, reference: float) -> float:
        """What a buyer (1) pays or a seller (-1) gets for a share."""
        return reference * (1.0 + sign * self.bps * 1e-4)

    def commission(self, units: float, price: float) -> float:
        """Money charged for one fill."""
        if units == 0.0:
            return 0.0
        return self.rate * units * price + max(self.minimum, self.per_share * units)


@dataclass
class Ticket:
    """An order on its way; `units` signed."""

    asset: str
    units: float
    reduce_only: bool = False
    closes: float = 0.0
    opens: float = 0.0


@dataclass(frozen=True)
class Row:
    """The account after one timestamp, at its closes."""

    cash: float
    positions: dict[str, float]
    equity: float


@dataclass
class Account:
    """Cash, positions, last closes and open orders."""

    cash: float
    costs: Costs
    whole: bool
    positions: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    tickets: list[Ticket] = field(default_factory=list)
    clipped: int = 0

    def equity(self) -> float:
        """Cash and everything held, at the last closes."""
        return self.cash + sum(n * self.last[a] for a, n in self.positions.items())

    def held(self, asset: str) -> float:
        """Signed units."""
        return self.positions.get(asset, 0.0)

    # Trading

    def trade(self, bars: dict[str, Bar]) -> None:
        """All orders whose asset has a bar: what closes first, then what opens, paid together."""
        due = [t for t in self.tickets if t.asset in bars]
        self.tickets = [t for t in self.tickets if t.asset not in bars]
        entries = []
        for ticket in due:
            self._divide(ticket)
            if ticket.closes:
                self._close(ticket, bars)
            if ticket.opens:
                entries.append(ticket)
        if not entries:
            return
        free = self.cash - 2.0 * self._short_value(bars)
        wanted = [t.opens for t in entries]
        bought = wanted
        if self._needs(entries, wanted, bars) > free * (1.0 + 1e-13) + 1e-13:
            bought = (self._whole if self.whole else self._parts)(entries, bars, free)
            self.clipped += sum(units < want for units, want in zip(bought, wanted, strict=True))
        for ticket, units in zip(entries, bought, strict=True):
            self._open(ticket, units, bars)

    def _divide(self, ticket: Ticket) -> None:
        held = self.held(ticket.asset)
        ticket.closes = min(abs(ticket.units), abs(held)) if held * ticket.units < 0 else 0.0
        ticket.opens = 0.0 if ticket.reduce_only else abs(ticket.units) - ticket.closes

    def _close(self, ticket: Ticket, bars: dict[str, Bar]) -> None:
        sign, price = self._terms(ticket, bars)
        self._move(ticket.asset, sign * ticket.closes)
        self.cash -= sign * ticket.closes * price
        self.cash -= self.costs.commission(ticket.closes, price)

    def _open(self, ticket: Ticket, units: float, bars: dict[str, Bar]) -> None:
        sign, price = self._terms(ticket, bars)
        self._move(ticket.asset, sign * units)
        self.cash -= sign * units * price + self._extra(ticket, units, price)

    def _move(self, asset: str, units: float) -> None:
        after = self.held(asset) + units
        if abs(after) < 1e-11 * max(1.0, abs(units)):
            self.positions.pop(asset, None)
        else:
            self.positions[asset] = after

    def _terms(self, ticket: Ticket, bars: dict[str, Bar]) -> tuple[int, float]:
        sign = 1 if ticket.units > 0 else -1
        return sign, self.costs.price(sign, bars[ticket.asset][0])

    def _extra(self, ticket: Ticket, units: float, price: float) -> float:
        """Commission of the opening part of a fill whose closing part has paid its own."""
        paid = self.costs.commission(ticket.closes, price)
        return self.costs.commission(ticket.closes + units, price) - paid if units else 0.0

    def _short_value(self, bars: dict[str, Bar]) -> float:
        value = 0.0
        for asset, units in self.positions.items():
            if units < 0:
                value -= units * (bars[asset][0] if asset in bars else self.last[asset])
        return value

    # Paying for entries together

    def _need(self, ticket: Ticket, units: float, bars: dict[str, Bar]) -> float:
        """Notional at the open, what slippage takes, and commission."""
        _, price = self._terms(ticket, bars)
        opening = bars[ticket.asset][0]
        return units * (opening + abs(price - opening)) + self._extra(ticket, units, price)

    def _needs(self, entries: list[Ticket], units: list[float], bars: dict[str, Bar]) -> float:
        return sum(self._need(t, n, bars) for t, n in zip(entries, units, strict=True))

    def _whole(self, entries: list[Ticket], bars: dict[str, Bar], free: float) -> list[float]:
        """Whole shares: raise the factor from one that surely fits, next share by next share."""
        wanted = [round(t.opens) for t in entries]
        costs, dearest = self.costs, 0.0
        for ticket, want in zip(entries, wanted, strict=True):
            _, price = self._terms(ticket, bars)
            opening = bars[ticket.asset][0]
            each = opening + abs(price - opening) + costs.rate * price + costs.per_share
            dearest += want * each
        factor = (free - len(entries) * costs.minimum) / dearest * (1.0 - 1e-9)
        shares = [math.floor(n * max(0.0, factor)) for n in wanted]
        while True:
            rising = _next_to_rise(shares, wanted)
            if not rising:
                return [float(n) for n in shares]
            raised = [n + 1 if i in rising else n for i, n in enumerate(shares)]
            if self._needs(entries, [float(n) for n in raised], bars) > free:
                return [float(n) for n in shares]
            shares = raised

    def _parts(self, entries: list[Ticket], bars: dict[str, Bar], free: float) -> list[float]:
        """Fractions of shares: the need is a chain of straight lines in the factor; solve one."""
        wanted = [t.opens for t in entries]

        def need(factor: float) -> float:
            return self._needs(entries, [n * factor for n in wanted], bars)

        kinks = {1.0}
        if self.costs.per_share:
            least = self.costs.minimum / self.costs.per_share
            kinks |= {(least - t.closes) / t.opens for t in entries}
        low = 1e-12
        if need(low) > free:
            return [0.0] * len(entries)
        for high in sorted(k for k in kinks if low < k <= 1.0):
            if need(high) > free:
                slope = (need(high) - need(low)) / (high - low)
                factor = low + (free - need(low)) / slope
                return [n * factor for n in wanted]
            low = high
        return wanted

    # Deciding

    def decide(self, decision: Decision) -> None:
        """Turn a decision into orders."""
        kind = decision[0]
        if kind == "add":
            self._order(decision[1], decision[2])
        elif kind == "target":
            self._target(decision[1], decision[2])
        elif kind == "percent":
            if decision[1] in self.last:
                self._target(decision[1], self._units(decision[1], decision[2]))
        elif kind == "close":
            self._replace(decision[1])
            if self.held(decision[1]):
                self.tickets.append(Ticket(decision[1], -self.held(decision[1]), reduce_only=True))
        elif kind == "weights":
            self._rebalance(decision[1])
        else:
            raise ValueError(kind)

    def _rebalance(self, weights: dict[str, float]) -> None:
        self.tickets = []
        for asset in sorted(set(weights) | set(self.positions)):
            weight = weights.get(asset, 0.0)
            if weight and asset not in self.last:
                continue
            units = self._units(asset, weight) if weight else 0.0
            self._order(asset, units - self.held(asset))

    def _units(self, asset: str, fraction: float) -> float:
        units = fraction * self.equity() / self.last[asset]
        if not self.whole:
            return units
        return math.copysign(math.floor(abs(units) + _ALMOST), units)

    def _replace(self, asset: str) -> None:
        self.tickets = [t for t in self.tickets if t.asset != asset]

    def _target(self, asset: str, units: float) -> None:
        self._replace(asset)
        self._order(asset, units - self.held(asset))

    def _order(self, asset: str, units: float) -> None:
        if self.whole:
            units = math.copysign(math.floor(abs(units) + _ALMOST), units)
        if units:
            self.tickets.append(Ticket(asset, units))


def _next_to_rise(shares: list[int], wanted: list[int]) -> list[int]:
    """Whose count is next to rise with the factor: those with the least (count + 1) / wanted."""
    rising: list[int] = []
    for i, (count, want) in enumerate(zip(shares, wanted, strict=True)):
        if count == want:
            continue
        if rising:
            first = rising[0]
            later = (count + 1) * wanted[first] - (shares[first] + 1) * want
            if later > 0:
                continue
            if later < 0:
                rising = []
        rising.append(i)
    return rising


def simulate(
    bars: list[dict[str, Bar]],
    decisions: list[list[Decision]],
    *,
    cash: float = 100_000.0,
    costs: Costs | None = None,
    whole: bool = True,
) -> list[Row]:
    """Run all timestamps.

    Args:
        bars: For every timestamp, open and close of the assets that have a bar.
        decisions: For every timestamp, what is decided after its close, in order.
        cash: Money at the start.
        costs: None trades for free.
        whole: Whole shares, or any fraction.

    Returns:
        The account after every timestamp.
    """
    account = Account(cash, costs or Costs(), whole)
    rows = []
    for now, decided in zip(bars, decisions, strict=True):
        account.trade(now)
        account.last.update({asset: bar[1] for asset, bar in now.items()})
        rows.append(Row(account.cash, dict(account.positions), account.equity()))
        for decision in decided:
            account.decide(decision)
    return rows
