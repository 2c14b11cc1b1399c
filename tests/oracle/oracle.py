"""A portfolio in plain loops, which imports nothing of the product.

It knows one way of trading: market orders that fill at the next open of their asset, whole or
fractional shares, long and short, without leverage or on margin, with interest and borrow fees by
calendar day, margin calls and bankruptcy. What it shares with the product
is the rules, not one line: it walks bar by bar over plain mappings, and finds the common factor
of entries that cannot all be paid by stepping from share to share.

A decision is a tuple:

    ("add", asset, units)           order `units` more, negative to sell; leaves open orders alone
    ("target", asset, units)        replace the asset's open orders, hold `units`
    ("percent", asset, fraction)    as target, for units worth a fraction of equity
    ("weights", {asset: fraction})  as target, for every asset; those not named go to zero
    ("close", asset)                replace the asset's open orders, hold nothing, never flip

A corporate action is a tuple, and happens before anything else, on the first day from its own on
on which its asset has a price; in the order of their days, and of one day dividends come first:

    ("dividend", asset, money)      paid on every share held; shorts pay it
    ("split", asset, ratio)         new shares per old, held or ordered; parts of a share are sold
                                    at the last close
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Bar = tuple[float, float]
"""Open and close."""

Decision = tuple[Any, ...]

Action = tuple[str, str, float]
"""A corporate action."""

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


@dataclass(frozen=True)
class Terms:
    """What positions bind and must keep, and what holding costs.

    Shares of a position's value by side; annual fractions over 360 days. `days` is the calendar
    day of every timestamp.
    """

    initial: float = 1.0
    short_initial: float = 1.0
    maintenance: float = 0.0
    short_maintenance: float = 0.0
    borrow: float = 0.0
    earned: float = 0.0
    owed: float = 0.0
    days: tuple[int, ...] = ()

    def binds(self, units: float) -> float:
        """Initial margin of a long (positive) or a short."""
        return self.initial if units > 0 else self.short_initial

    def keeps(self, units: float) -> float:
        """Maintenance margin of a long (positive) or a short."""
        return self.maintenance if units > 0 else self.short_maintenance


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
    terms: Terms = field(default_factory=Terms)
    positions: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    tickets: list[Ticket] = field(default_factory=list)
    paid: dict[str, float] = field(default_factory=dict)
    announced: list[tuple[int, Action]] = field(default_factory=list)
    clipped: int = 0
    calls: int = 0

    def equity(self) -> float:
        """Cash and everything held, at the last closes."""
        return self.cash + sum(n * self.last[a] for a, n in self.positions.items())

    def held(self, asset: str) -> float:
        """Signed units."""
        return self.positions.get(asset, 0.0)

    # Corporate actions

    def act(self, bars: dict[str, Bar]) -> None:
        """Whatever was announced for assets that have a price today."""
        for _, (kind, asset, number) in sorted(self.announced):  # dividends before splits
            if asset in bars and asset in self.last:
                if kind == "dividend":
                    self.cash += self.held(asset) * number
                else:
                    self._split(asset, number)
        self.announced = [later for later in self.announced if later[1][1] not in bars]

    def _split(self, asset: str, ratio: float) -> None:
        self.last[asset] /= ratio
        exact = self.held(asset) * ratio
        shares = self._shares(exact)
        self.cash += (exact - shares) * self.last[asset]
        self.positions.pop(asset, None)
        paid = self.paid.pop(asset, 0.0)
        if shares:
            self.positions[asset], self.paid[asset] = shares, paid / ratio
        for ticket in [t for t in self.tickets if t.asset == asset]:
            ticket.units = self._shares(ticket.units * ratio)
            if not ticket.units:
                self.tickets.remove(ticket)

    def _shares(self, units: float) -> float:
        if not self.whole:
            return units
        return math.copysign(math.floor(abs(units) + _ALMOST), units)

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
        free = self._free(bars)
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
        self._move(ticket.asset, sign * ticket.closes, price)
        self.cash -= sign * ticket.closes * price
        self.cash -= self.costs.commission(ticket.closes, price)

    def _open(self, ticket: Ticket, units: float, bars: dict[str, Bar]) -> None:
        sign, price = self._terms(ticket, bars)
        self._move(ticket.asset, sign * units, price)
        self.cash -= sign * units * price + self._extra(ticket, units, price)

    def _move(self, asset: str, units: float, price: float) -> None:
        before = self.held(asset)
        after = before + units
        if abs(after) < 1e-11 * max(1.0, abs(units)):
            self.positions.pop(asset, None)
            self.paid.pop(asset, None)
            return
        self.positions[asset] = after
        if before * units > 0:  # more of it: the average of what was paid
            average = self.paid[asset]
            self.paid[asset] = (average * abs(before) + price * abs(units)) / abs(after)
        elif before * after <= 0:
            self.paid[asset] = price

    def _terms(self, ticket: Ticket, bars: dict[str, Bar]) -> tuple[int, float]:
        sign = 1 if ticket.units > 0 else -1
        return sign, self.costs.price(sign, bars[ticket.asset][0])

    def _extra(self, ticket: Ticket, units: float, price: float) -> float:
        """Commission of the opening part of a fill whose closing part has paid its own."""
        paid = self.costs.commission(ticket.closes, price)
        return self.costs.commission(ticket.closes + units, price) - paid if units else 0.0

    def _free(self, bars: dict[str, Bar]) -> float:
        """Equity at the opens, less what the positions bind."""
        free = self.cash
        for asset, units in self.positions.items():
            price = bars[asset][0] if asset in bars else self.last[asset]
            share = self.terms.binds(units)
            free += units * price * (1.0 - share if units > 0 else 1.0 + share)
        return free

    # What happens without a decision

    def carry(self, days: int) -> None:
        """Borrow fees and interest for some calendar days, on last closes."""
        terms, shorts = self.terms, 0.0
        for asset, units in self.positions.items():
            if units < 0:
                shorts -= units * self.last[asset]
        balance = self.cash - shorts
        self.cash -= shorts * terms.borrow * days / 360.0
        self.cash += balance * (terms.owed if balance < 0 else terms.earned) * days / 360.0

    def is_ruined(self) -> bool:
        """Whether nothing is left, now that all is marked."""
        in_danger = self.cash < 0 or any(units < 0 for units in self.positions.values())
        return in_danger and self.equity() <= 0

    def ruin(self) -> None:
        """Close everything at the last closes."""
        for asset in sorted(self.positions):
            ticket = Ticket(
                asset, -self.held(asset), reduce_only=True, closes=abs(self.held(asset))
            )
            self._close(ticket, {asset: (self.last[asset], self.last[asset])})

    def is_short_of_margin(self) -> bool:
        """Whether equity at the closes is below what the positions must keep."""
        kept = self._kept(self.positions)
        return bool(kept) and self.equity() < kept * (1.0 - 1e-12)

    def _kept(self, positions: dict[str, float]) -> float:
        return sum(
            abs(units) * self.last[asset] * self.terms.keeps(units)
            for asset, units in positions.items()
        )

    def meet_call(self) -> None:
        """Order what is missing beyond the exits on their way, the largest loss first."""
        left = dict(self.positions)
        for ticket in self.tickets:
            units = left.get(ticket.asset, 0.0)
            if units * ticket.units < 0:
                rest = abs(units) - abs(ticket.units)
                left[ticket.asset] = math.copysign(rest, units) if rest > 0 else 0.0
        missing = self._kept(left) - self.equity()
        gains = {a: n * (self.last[a] - self.paid[a]) for a, n in sorted(left.items()) if n}
        for asset in sorted(gains, key=gains.__getitem__):
            units = left[asset]
            each = self.last[asset] * self.terms.keeps(units)
            if missing <= 0:
                return
            needed = missing / each
            if self.whole:
                needed = math.ceil(needed * (1.0 - 1e-12))
            closes = min(abs(units), needed)
            missing -= abs(units) * each
            self.tickets.append(Ticket(asset, -math.copysign(closes, units), reduce_only=True))

    # Paying for entries together

    def _need(self, ticket: Ticket, units: float, bars: dict[str, Bar]) -> float:
        """Margin at the open, what slippage takes, and commission."""
        _, price = self._terms(ticket, bars)
        opening = bars[ticket.asset][0]
        margin = opening * self.terms.binds(ticket.units)
        return units * (margin + abs(price - opening)) + self._extra(ticket, units, price)

    def _needs(self, entries: list[Ticket], units: list[float], bars: dict[str, Bar]) -> float:
        return sum(self._need(t, n, bars) for t, n in zip(entries, units, strict=True))

    def _whole(self, entries: list[Ticket], bars: dict[str, Bar], free: float) -> list[float]:
        """Whole shares: raise the factor from one that surely fits, next share by next share."""
        wanted = [round(t.opens) for t in entries]
        costs, dearest = self.costs, 0.0
        for ticket, want in zip(entries, wanted, strict=True):
            _, price = self._terms(ticket, bars)
            opening = bars[ticket.asset][0]
            margin = opening * self.terms.binds(ticket.units)
            each = margin + abs(price - opening) + costs.rate * price + costs.per_share
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
        return self._shares(fraction * self.equity() / self.last[asset])

    def _replace(self, asset: str) -> None:
        self.tickets = [t for t in self.tickets if t.asset != asset]

    def _target(self, asset: str, units: float) -> None:
        self._replace(asset)
        self._order(asset, units - self.held(asset))

    def _order(self, asset: str, units: float) -> None:
        units = self._shares(units)
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
    terms: Terms | None = None,
    actions: dict[int, list[Action]] | None = None,
) -> list[Row]:
    """Run all timestamps.

    Args:
        bars: For every timestamp, open and close of the assets that have a bar.
        decisions: For every timestamp, what is decided after its close, in order.
        cash: Money at the start.
        costs: None trades for free.
        whole: Whole shares, or any fraction.
        terms: None is an account without leverage, interest and fees.
        actions: Corporate actions by the number of their timestamp.

    Returns:
        The account after every timestamp; the last one is that of a bankruptcy.
    """
    account = Account(cash, costs or Costs(), whole, terms or Terms())
    days = account.terms.days
    rows: list[Row] = []
    for t, (now, decided) in enumerate(zip(bars, decisions, strict=True)):
        account.announced += [(t, action) for action in (actions or {}).get(t, [])]
        account.act(now)
        if t and days:
            account.carry(days[t] - days[t - 1])
        account.trade(now)
        account.last.update({asset: bar[1] for asset, bar in now.items()})
        if account.is_ruined():
            account.ruin()
            return [*rows, Row(account.cash, {}, account.equity())]
        rows.append(Row(account.cash, dict(account.positions), account.equity()))
        is_called = account.is_short_of_margin()
        for decision in decided:
            account.decide(decision)
        if is_called:
            account.calls += 1
            account.meet_call()
    return rows
