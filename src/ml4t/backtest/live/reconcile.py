"""Reconciliation: what the broker says, against what the session knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.tickets import Ticket
    from ml4t.backtest.live.words import Standing

CENT = 0.01
_NOISE = 1e-6  # of a fee that brokers round to their digits
_UTC = TimeAxis(zone="UTC")
_ENDED = "the broker, which lists a day, does not list it any more"


class Difference(msgspec.Struct, frozen=True):
    """A position that is not what the session's fills make of it, or an order that is lost.

    Args:
        asset_id: What is held.
        known: Signed units by the session.
        actual: Signed units by the broker.
        price: What a unit is worth, by the broker; 0.0 when it does not say.
        why: In words, when it is more than two numbers.
    """

    asset_id: str
    known: float
    actual: float
    price: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return self.why
        return f"{self.asset_id}: {self.known:g} by the journal, {self.actual:g} at the broker"


class Findings(msgspec.Struct, frozen=True):
    """What a reconciliation found.

    Args:
        differences: Positions that no fill explains.
        cash: Money that the broker has and no fill explains: fees, dividends, deposits.
        orders: Open orders of the account, in assets of the run, that are none of ours.
    """

    differences: tuple[Difference, ...] = ()
    cash: float = 0.0
    orders: tuple[str, ...] = ()


def catch_up(broker: LiveBroker) -> None:
    """Take in every fill that was missed, and look up every order that may have changed."""
    tender = broker.tender
    tender.search.fetch_executions()
    for ticket in broker.tickets:
        tender.search.look_up(ticket)
    for ticket in broker.tickets.owing():
        broker.gateway.find(ticket.name)  # which shows how far back its executions may lie
    tender.withdraw_strays()
    tender.search.fetch_executions()


def compare(broker: LiveBroker, standing: Standing, *, adopts: bool = False) -> Findings:
    """What the broker holds beside what the session's fills add up to.

    Only assets of the run are compared. The account may hold others, which are left alone. A
    difference is looked at once more: something may have filled between two questions.

    Orders that the broker does not list any more, because they ended before its lists begin, are
    over when positions and cash are as they would be without a fill of them. Otherwise they are
    among the differences: the fills of such an order may be lost, and those of its exit, too.

    Args:
        broker: Whose fills.
        standing: What the account holds.
        adopts: Whatever the account holds is taken over, whichever fills led to it.
    """
    findings = _compare(broker, standing)
    if findings.differences:
        broker.tender.search.fetch_executions()
        findings = _compare(broker, broker.gateway.standing())
    lost = [ticket for ticket in broker.tickets if ticket.is_unaccounted]
    if not lost:
        return findings
    if adopts or not (findings.differences or findings.cash):
        for ticket in lost:
            _give_up(broker, ticket)
        return findings
    unknown = tuple(_unaccounted(broker, ticket, findings.cash) for ticket in lost)
    return msgspec.structs.replace(findings, differences=unknown + findings.differences)


def _give_up(broker: LiveBroker, ticket: Ticket) -> None:
    children = [one for one in broker.tickets if one.parent is ticket]
    for one in (ticket, *children):
        broker.give_up(one.working.order_id, _ENDED)


def _unaccounted(broker: LiveBroker, ticket: Ticket, cash: float) -> Difference:
    terms, held = ticket.request.terms, broker.positions().get(ticket.request.terms.asset_id, 0.0)
    since = _UTC.to_datetime(broker.gateway.lists_from(broker.now()))
    what = f"{terms.side} {ticket.quantity:g} {terms.asset_id}"
    why = (
        f"order {ticket.name} ({what}) is in none of the broker's lists, which reach back to "
        f"{since:%Y-%m-%d %H:%M} UTC: it may have filled before that, and its exits after it"
    )
    why += f"; the account has {cash:+.2f} of cash that no fill explains" if cash else ""
    return Difference(terms.asset_id, held, held, why=why)


def coin_fees(broker: LiveBroker, findings: Findings) -> list[tuple[str, float, float]]:
    """Differences that are a fee in units of the asset: what, how much, and what a unit is worth.

    Such a fee shows only as units that are missing. They count as one when the account lacks no
    more of what was bought than the broker may keep.
    """
    assert broker.portfolio is not None
    fees = []
    for one in findings.differences:
        lacking = one.known - one.actual
        if one.actual >= 0.0 and 0.0 < lacking <= broker.holdings.fee_room(one.asset_id) * (
            1.0 + _NOISE
        ):
            price = one.price or broker.portfolio.last_price(one.asset_id)
            fees.append((one.asset_id, lacking, price))
    return fees


def _compare(broker: LiveBroker, standing: Standing) -> Findings:
    assert broker.portfolio is not None
    known = broker.positions()
    names = [name for name in broker.portfolio.universe.ids if name in known or standing.positions]
    differences = []
    for name in names:
        ours, theirs = known.get(name, 0.0), standing.positions.get(name, 0.0)
        if abs(ours - theirs) > max(1e-9, DUST * (abs(ours) + abs(theirs))):
            differences.append(Difference(name, ours, theirs, standing.prices.get(name, 0.0)))
    cash = standing.cash - broker.cash()
    return Findings(
        tuple(differences), cash if abs(cash) >= CENT / 2.0 else 0.0, _strangers(broker)
    )


def _strangers(broker: LiveBroker) -> tuple[str, ...]:
    assert broker.portfolio is not None
    known, universe = set(broker.tickets.names()), broker.portfolio.universe
    return tuple(
        f"{report.client_id or report.venue_id} in {asset_id}"
        for report, asset_id in broker.gateway.open_orders()
        if asset_id in universe and report.client_id not in known
    )
