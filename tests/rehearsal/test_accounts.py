"""Accounts that add up, whatever clients ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import MarginAccount, PercentCommission, SimulationBroker
from ml4t.backtest.rehearsal.tickets import Asked, RefusedError
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market

ORDER = ("market", "limit", "stop", "stop_limit", "trailing_stop")
FINAL = {"filled", "canceled", "expired", "rejected", "replaced"}
# What may be told of an order after what.
NEXT = {
    None: {"new", "accepted", "rejected", "canceled", "replaced"},  # a leg may be held
    "accepted": {"new", "replaced", "canceled", "rejected", "expired"},
    "new": {"partial_fill", "fill", "canceled", "expired", "rejected", "replaced"},
    "partial_fill": {"partial_fill", "fill", "canceled", "expired", "rejected", "replaced"},
    "pending_cancel": {"partial_fill", "fill", "canceled", "expired"},
    "trade_correct": {"partial_fill", "fill", "canceled", "expired", "replaced"},
}
FAULTS = ("partial-fill:every=2,share=0.4", "fill-during-cancel:every=3", "correct-fill:every=4")
MAY = {None, "new", "partial_fill", "accepted"}


@st.composite
def requests(draw: Any) -> dict[str, Any]:
    """An order near a market that goes between 8 and 13."""
    kind = draw(st.sampled_from(ORDER))
    price = st.integers(800, 1300).map(lambda cents: cents / 100)
    found: dict[str, Any] = {
        "symbol": draw(st.sampled_from(("AAA", "BBB"))),
        "side": draw(st.sampled_from(("buy", "sell"))),
        "type": kind,
        "time_in_force": draw(st.sampled_from(("day", "gtc"))),
        "qty": draw(st.integers(1, 60)),
    }
    if kind in ("limit", "stop_limit"):
        found["limit_price"] = draw(price)
    if kind in ("stop", "stop_limit"):
        found["stop_price"] = draw(price)
    if kind == "trailing_stop":
        found["trail_price"] = draw(st.sampled_from((0.5, 1.0)))
    elif draw(st.booleans()):
        low, high = sorted((draw(price), draw(price)))
        is_buy = found["side"] == "buy"
        found |= {
            "order_class": "bracket",
            "take_profit": high if is_buy else low,
            "stop_loss": low if is_buy else high,
        }
    return found


ACTIONS = st.lists(
    st.one_of(
        requests(),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("replace"), st.integers(0, 20)),
        st.just("step"),
    ),
    max_size=25,
)


def play(venue: Venue, actions: list[Any]) -> None:
    """Do what is asked; what is refused is refused."""
    for action in actions:
        tickets = list(venue.register.tickets.values())
        try:
            if action == "step":
                venue.step()
            elif isinstance(action, dict):
                venue.desk.submit(Asked(**action))
            elif tickets:
                ticket = tickets[action[1] % len(tickets)]
                if action[0] == "cancel":
                    venue.desk.cancel(ticket.id)
                else:
                    venue.desk.replace(ticket.id, qty=1.0 + action[1])
        except RefusedError:
            pass
        check(venue)
    venue.step(3)
    check(venue)


def check(venue: Venue) -> None:
    """The laws of an account."""
    portfolio, register = venue.market.portfolio, venue.register
    moved = sum(activity.amount for activity in register.activities)
    assert portfolio.cash == pytest.approx(venue.market.broker.initial_cash + moved)
    for symbol in ("AAA", "BBB"):
        signed = sum(
            activity.qty if activity.side == "buy" else -activity.qty
            for activity in register.activities
            if activity.kind == "FILL" and activity.symbol == symbol
        )
        held = venue.accounts.held(symbol)
        assert held == pytest.approx(signed)
        assert 0.0 <= venue.accounts.available(symbol) <= abs(held)
    for ticket in register.tickets.values():
        filled = sum(a.qty for a in register.activities if a.order_id == ticket.id)
        assert ticket.filled_qty == pytest.approx(filled)
        assert ticket.qty is None or ticket.filled_qty <= ticket.qty * (1 + 1e-9)
        assert (ticket.id in register.open) is (ticket.status not in FINAL)
        assert ticket.status != "filled" or ticket.filled_at is not None
        assert ticket.status not in ("rejected", "expired") or ticket.reason
    check_lives(venue)


def check_lives(venue: Venue) -> None:
    """What is told of an order comes in an order that can be; executions are told once."""
    last: dict[str, str | None] = {}
    executions: list[str] = []
    for update in venue.register.updates:
        before = last.get(update.ticket.id)
        if update.event == "trade_correct":
            continue
        allowed = NEXT.get(before, set()) | ({"pending_cancel"} if before in MAY else set())
        assert update.event in allowed, (before, update.event)
        last[update.ticket.id] = update.event
        if update.execution_id is not None:
            executions.append(update.execution_id)
    assert len(set(executions)) == len(executions)


def wide_market() -> Any:
    """Sixteen minutes of two assets that swing."""
    opens = (10, 11, 12, 9, 13, 8, 12, 11, 10, 12, 9, 10, 11, 13, 8, 10)
    return market(opens, assets=("AAA", "BBB"), spread=0.6)


@given(ACTIONS)
def test_an_account_adds_up(actions: list[Any]) -> None:
    """Cash, positions, orders and activities agree after every call and every bar."""
    play(Venue(wide_market(), cash=1_000), actions)


@given(ACTIONS, st.sets(st.sampled_from(FAULTS)))
def test_an_account_adds_up_with_faults_costs_and_margin(
    actions: list[Any], faults: set[str]
) -> None:
    """Partial fills, slow cancels and corrections move nothing that is not told."""
    broker = SimulationBroker(
        1_000, commission=PercentCommission(0.001), account=MarginAccount(initial=0.5)
    )
    play(Venue(wide_market(), broker=broker, faults=sorted(faults)), actions)
