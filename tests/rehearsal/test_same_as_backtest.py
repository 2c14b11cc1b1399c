"""Whatever is asked of a venue, a backtest that is asked the same fills the same."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    Order,
    PercentCommission,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)
from ml4t.backtest.rehearsal.tickets import Asked, RefusedError
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import FIRST, market

OPENS = (10, 11, 12, 9, 13, 8)
PRICE = st.integers(800, 1300).map(lambda cents: cents / 100)
STEPS = 3 * len(OPENS)


def bars() -> pl.DataFrame:
    """Six minutes on each of three days, of two assets that swing."""
    return pl.concat(
        market(OPENS, assets=("AAA", "BBB"), spread=0.6, first=FIRST + dt.timedelta(days=day))
        for day in range(3)
    )


def broker() -> SimulationBroker:
    """With costs, and bars that take half of a large order."""
    return SimulationBroker(
        2_000,
        commission=PercentCommission(0.001),
        slippage=BasisPointSlippage(2),
        liquidity=VolumeParticipation(0.03),
    )


@st.composite
def orders(draw: Any) -> dict[str, Any]:
    """An order, in the words of the venue."""
    kind = draw(st.sampled_from(("market", "limit", "stop", "stop_limit", "trailing_stop")))
    force = draw(st.sampled_from(("gtc", "day", "ioc", "fok", "opg")))
    if force == "opg" and kind not in ("market", "limit"):
        force = "gtc"
    found: dict[str, Any] = {
        "symbol": draw(st.sampled_from(("AAA", "BBB"))),
        "side": draw(st.sampled_from(("buy", "sell"))),
        "type": kind,
        "time_in_force": force,
        "qty": float(draw(st.integers(1, 60))),
    }
    if kind in ("limit", "stop_limit"):
        found["limit_price"] = draw(PRICE)
    if kind in ("stop", "stop_limit"):
        found["stop_price"] = draw(PRICE)
    if kind == "trailing_stop":
        found["trail_price"] = draw(st.sampled_from((0.5, 1.0)))
    if kind in ("market", "limit") and force == "gtc" and draw(st.booleans()):
        low, high = draw(st.integers(700, 980)) / 100, draw(st.integers(1_220, 1_400)) / 100
        is_buy = found["side"] == "buy"
        found |= {
            "order_class": "bracket",
            "take_profit": high if is_buy else low,
            "stop_loss": low if is_buy else high,
        }
    return found


PLANS = st.dictionaries(
    st.integers(0, STEPS - 1),
    st.lists(
        st.one_of(
            orders(),
            st.tuples(st.just("cancel"), st.integers(0, 9)),
            st.tuples(st.just("replace"), st.integers(0, 9), PRICE),
        ),
        max_size=3,
    ),
    max_size=10,
)


class Planned(Strategy):
    """Does what a venue has taken, where it took it."""

    def __init__(self, taken: dict[int, list[tuple[Any, ...]]]) -> None:
        self._taken = taken

    def on_start(self) -> None:
        self.step = -1
        self.ids: list[int] = []

    def on_bars(self, bars):
        self.step += 1
        for what, *rest in self._taken.get(self.step, ()):
            if what == "cancel":
                self.cancel_order(self.ids[rest[0]])
            elif what == "replace":
                self.replace_order(self.ids[rest[0]], **rest[1])
            else:
                self.take(rest[0])

    def take(self, asked: dict[str, Any]) -> None:
        """Order the same."""
        if "order_class" in asked:
            sign = 1.0 if asked["side"] == "buy" else -1.0
            bracket = self.bracket(
                asked["symbol"],
                sign * asked["qty"],
                stop_loss=asked["stop_loss"],
                take_profit=asked["take_profit"],
                limit_price=asked.get("limit_price"),
            )
            self.ids.append(bracket.entry)
            return
        words = {"symbol": "asset_id", "qty": "quantity", "trail_price": "trail_amount"}
        order = Order(**{words.get(name, name): value for name, value in asked.items()})
        self.ids.append(self.submit_order(order))


def rehearse(plan: dict[int, list[Any]]) -> tuple[Venue, dict[int, list[tuple[Any, ...]]]]:
    """Play a plan at a venue.

    Returns:
        The venue, and what it took of the plan.
    """
    venue = Venue(bars(), broker=broker())
    taken: dict[int, list[tuple[Any, ...]]] = {}
    heads: list[str] = []  # the orders, as they are now
    for step in range(STEPS):
        venue.step()
        for action in plan.get(step, ()):
            try:
                done = _act(venue, heads, action)
            except RefusedError:
                continue
            if done is not None:
                taken.setdefault(step, []).append(done)
    return venue, taken


def _act(venue: Venue, heads: list[str], action: Any) -> tuple[Any, ...] | None:
    if isinstance(action, dict):
        heads.append(venue.desk.submit(Asked(**action)).id)
        return "order", action
    if not heads:
        return None
    place = action[1] % len(heads)
    if action[0] == "cancel":
        ticket = venue.register.find(heads[place])
        if ticket.filled_qty and ticket.legs:
            return None  # cancels the legs, too; a strategy would name them
        venue.desk.cancel(heads[place])
        return "cancel", place
    price = action[2]
    ticket = venue.register.find(heads[place])
    if ticket.limit_price is None or ticket.filled_qty:
        return None
    heads[place] = venue.desk.replace(heads[place], limit_price=price).id
    return "replace", place, {"limit_price": price}


def _day(symbol: str, side: str, qty: float, limit: float | None = None) -> dict[str, Any]:
    """An order for the day."""
    words = {"symbol": symbol, "side": side, "qty": qty, "time_in_force": "day"}
    return words | (
        {"type": "market"} if limit is None else {"type": "limit", "limit_price": limit}
    )


@given(PLANS)
@example(
    {
        0: [_day("AAA", "buy", 40.0)],
        1: [_day("BBB", "buy", 5.0, 8.0)],
        5: [_day("AAA", "sell", 40.0, 13.0)],
    }
)
def test_a_venue_fills_as_a_backtest_does(plan: dict[int, list[Any]]) -> None:
    """Times, quantities, prices, costs, cash, and the end of every order."""
    venue, taken = rehearse(plan)
    result = BacktestEngine(bars(), strategy=Planned(taken), broker=broker()).run()
    expected = result.fills.select("timestamp", "asset_id", "side", "quantity", "price").rows()
    fills = [a for a in venue.register.activities if a.kind == "FILL"]
    assert [(a.at, a.symbol, a.side, a.qty, a.price) for a in fills] == expected
    assert venue.market.portfolio.cash == result.equity["cash"][-1]
    ended = dict(result.orders.select("order_id", "status").iter_rows())
    for ticket in venue.register.tickets.values():
        if ticket.is_open or ticket.status == "replaced":
            continue
        # A day order is over for clients when its session is; a backtest sees it with the next.
        is_last = ended[ticket.number] in ("accepted", "partially_filled")
        assert ticket.status == ended[ticket.number] or (is_last and ticket.status == "expired")
