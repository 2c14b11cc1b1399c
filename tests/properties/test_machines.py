"""The blotter and the portfolio under any sequence of calls, against plain mappings."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.broker.blotter import Blotter
from ml4t.backtest.portfolio.portfolio import Portfolio
from ml4t.backtest.types.bars import Chunk, Universe
from ml4t.backtest.types.events import AdjustmentEvent, FillBatch, FillEvent
from ml4t.backtest.types.instrument import Instrument
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, may_follow
from ml4t.backtest.types.time import TimeAxis
from tests.examples import examples

ASSETS = ["A", "B", "C", "D"]
UNITS = st.integers(1, 500).map(float)
PRICES = st.floats(0.5, 500.0).map(lambda price: round(price, 2))
ENDS = st.sampled_from([OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED])
ANY_NUMBER = st.integers(0, 10**6)


class BlotterMachine(RuleBasedStateMachine):
    """Orders come, fill and end in any order; the model is a mapping by id."""

    def __init__(self) -> None:
        super().__init__()
        self.universe = Universe(ASSETS)
        self.blotter = Blotter(self.universe)
        self.model: dict[int, dict[str, Any]] = {}
        self.told: dict[int, OrderStatus] = {}

    @initialize(is_watched=st.booleans())
    def watch(self, is_watched: bool) -> None:
        """Somebody listens to changes, or nobody does."""
        self.blotter.is_watched = is_watched

    def _note(self, code: int, units: float, status: OrderStatus, reason: str = "") -> int:
        number = len(self.model) + 1
        self.model[number] = {
            "code": code,
            "units": units,
            "filled": 0.0,
            "status": status,
            "reason": reason,
        }
        return number

    def _open(self) -> list[int]:
        return [n for n, order in self.model.items() if order["status"].is_open]

    @rule(code=st.integers(0, 3), units=UNITS, side=st.sampled_from(OrderSide))
    def accept(self, code: int, units: float, side: OrderSide) -> None:
        """A single order."""
        working = self.blotter.accept(Order(ASSETS[code], side, units), code, units)
        assert working.order_id == self._note(code, units, OrderStatus.ACCEPTED)

    @rule(codes=st.sets(st.integers(0, 3), max_size=4), units=UNITS)
    def accept_basket(self, codes: set[int], units: float) -> None:
        """Several as columns; none is allowed too."""
        chosen = np.array(sorted(codes), dtype=np.int32)
        signed = np.where(chosen % 2 == 0, units, -units)
        self.blotter.accept_basket(Basket(self.universe, chosen, signed, "basket"))
        for code in sorted(codes):
            self._note(code, units, OrderStatus.ACCEPTED)

    @rule(code=st.integers(0, 3))
    def reject(self, code: int) -> None:
        """One that cannot be meant."""
        order = Order(ASSETS[code], OrderSide.BUY, math.nan)
        number = self.blotter.reject(order, "not a number", code)
        assert number == self._note(code, math.nan, OrderStatus.REJECTED, "not a number")

    @precondition(lambda self: self._open())
    @rule(pick=ANY_NUMBER, share=st.sampled_from([0.25, 0.5, 1.0]), price=PRICES)
    def fill(self, pick: int, share: float, price: float) -> None:
        """A part or the rest of an open order."""
        number = self._open()[pick % len(self._open())]
        working, order = self.blotter.get(number), self.model[number]
        assert working is not None
        rest = order["units"] - order["filled"]
        units = rest if share == 1.0 else share * rest
        self.blotter.fill(working, units, price)
        order["filled"] = order["units"] if share == 1.0 else order["filled"] + units
        done = share == 1.0
        order["status"] = OrderStatus.FILLED if done else OrderStatus.PARTIALLY_FILLED

    @precondition(lambda self: self.blotter.baskets)
    @rule(pick=ANY_NUMBER, price=PRICES)
    def fill_basket(self, pick: int, price: float) -> None:
        """Some orders of an open basket, by position."""
        basket = self.blotter.baskets[pick % len(self.blotter.baskets)]
        rows = np.flatnonzero([(pick >> i) & 1 for i in range(len(basket.order_ids))])
        if len(rows) == 0:
            return
        ids, units = basket.order_ids[rows], basket.quantities[rows]
        self.blotter.fill_basket(basket, rows, ids, units, np.full(len(rows), price))
        for number in ids.tolist():
            order = self.model[number]
            order["filled"], order["status"] = order["units"], OrderStatus.FILLED

    @precondition(lambda self: self._open())
    @rule(pick=ANY_NUMBER, status=ENDS)
    def end(self, pick: int, status: OrderStatus) -> None:
        """An open order is over."""
        number = self._open()[pick % len(self._open())]
        working = self.blotter.get(number)
        assert working is not None
        self.blotter.end(working, status, "because")
        self.model[number].update(status=status, reason="because")

    @precondition(lambda self: any(not o["status"].is_open for o in self.model.values()))
    @rule(pick=ANY_NUMBER)
    def look_for_an_ended_order(self, pick: int) -> None:
        """What has ended is not found among open orders."""
        ended = [n for n, order in self.model.items() if not order["status"].is_open]
        assert self.blotter.get(ended[pick % len(ended)]) is None

    @rule(code=st.integers(0, 3))
    def look_at_an_asset(self, code: int) -> None:
        """Open orders of an asset, in order of submission."""
        expected = [n for n in self._open() if self.model[n]["code"] == code]
        assert self.blotter.has_open(code) == bool(expected)
        assert [w.order_id for w in self.blotter.working(code)] == expected

    @rule()
    def look_at_all(self) -> None:
        """All open orders, in order of submission."""
        working = self.blotter.working()
        assert [w.order_id for w in working] == self._open()
        for one in working:
            order = self.model[one.order_id]
            assert one.filled == pytest.approx(order["filled"])
            assert one.remaining == pytest.approx(order["units"] - order["filled"])

    @rule()
    def hear(self) -> None:
        """Changes follow each other legally; the last one said is where the order stands."""
        for change in self.blotter.take_changes():
            before = self.told.get(change.order_id, OrderStatus.PENDING)
            assert may_follow(before, change.status)
            self.told[change.order_id] = change.status
        if self.blotter.is_watched:
            assert self.told == {n: order["status"] for n, order in self.model.items()}

    @invariant()
    def every_order_is_somewhere_once(self) -> None:
        """Ended, open, in a basket or filled as part of one; never twice, never nowhere."""
        blotter = self.blotter
        single = blotter.singles
        waiting = [n for basket in blotter.baskets for n in basket.order_ids.tolist()]
        filled = [n for _, (numbers, _, _) in blotter.filled.by_tag() for n in numbers.tolist()]
        everywhere = sorted([order.order_id for order in single] + waiting + filled)
        assert everywhere == list(self.model)
        assert blotter.count == len(self.model)
        assert blotter.is_empty == (not self._open())
        for working in single:
            order = self.model[working.order_id]
            assert (working.status, working.reason) == (order["status"], order["reason"])
            assert working.filled == pytest.approx(order["filled"])
        assert all(self.model[n]["status"] is OrderStatus.FILLED for n in filled)
        assert all(self.model[n]["status"] is OrderStatus.ACCEPTED for n in waiting)


class PortfolioMachine(RuleBasedStateMachine):
    """Fills and closes in any order; the model is cash, units, average cost, last close."""

    def __init__(self) -> None:
        super().__init__()
        self.universe = Universe(ASSETS)
        given = {"B": Instrument(asset_id="B", multiplier=50.0)}
        self.multiplier = {"A": 1.0, "B": 50.0, "C": 1.0, "D": 1.0}
        self.portfolio = Portfolio(1e6, self.universe, given)
        self.twin = Portfolio(1e6, self.universe, given)  # gets batches fill by fill
        self.cash = 1e6
        self.moved = 1e6
        self.units = dict.fromkeys(ASSETS, 0.0)
        self.cost: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.time = 0

    def _book(self, asset: str, signed: float, price: float, commission: float) -> None:
        before = self.units[asset]
        after = before + signed
        money = signed * price * self.multiplier[asset]
        self.cash -= money + commission
        self.moved += abs(money)
        if after == 0.0:
            self.cost.pop(asset, None)
        elif before * after <= 0.0:
            self.cost[asset] = price
        elif abs(after) > abs(before):
            whole = self.cost[asset] * before + price * signed
            self.cost[asset] = whole / after
        self.units[asset] = after

    @rule(
        asset=st.sampled_from(ASSETS),
        units=UNITS,
        side=st.sampled_from(OrderSide),
        price=PRICES,
        commission=st.sampled_from([0.0, 1.0, 7.31]),
    )
    def fill(
        self, asset: str, units: float, side: OrderSide, price: float, commission: float
    ) -> None:
        """One fill."""
        event = FillEvent(
            1, asset, dt.datetime(2020, 1, 1), side, units, price, commission, 0.0, "open"
        )
        signed = units if side is OrderSide.BUY else -units
        (after,) = self.portfolio.apply([event])
        self.twin.apply([event])
        self._book(asset, signed, price, commission)
        assert after == self.units[asset]

    @rule(
        units=st.dictionaries(
            st.integers(0, 3), st.integers(-300, 300).filter(bool), min_size=1, max_size=4
        ),
        price=PRICES,
    )
    def fill_batch(self, units: dict[int, int], price: float) -> None:
        """Several at once, as columns; the twin books them one by one."""
        codes = np.array(sorted(units), dtype=np.int64)
        signed = np.array([float(units[code]) for code in sorted(units)])
        prices = price * (1.0 + 0.1 * codes)
        batch = FillBatch(
            self.universe,
            dt.datetime(2020, 1, 1),
            order_ids=codes + 1,
            codes=codes,
            quantities=signed,
            prices=prices,
            commissions=np.full(len(codes), 0.37),
            slippages=np.zeros(len(codes)),
            reason="open",
        )
        (after,) = self.portfolio.apply([batch])
        assert self.twin.apply(list(batch)) == np.asarray(after).tolist()
        for code, number, paid in zip(
            codes.tolist(), signed.tolist(), prices.tolist(), strict=True
        ):
            self._book(ASSETS[code], number, paid, 0.37)

    @rule(
        asset=st.sampled_from(ASSETS),
        new=st.sampled_from(ASSETS),
        ratio=st.sampled_from([2.0, 0.5, 0.1, 7.0]),
    )
    def adjust(self, asset: str, new: str, ratio: float) -> None:
        """A split, or a new name that nobody holds: units, cost and last price change together."""
        before = self.units[asset]
        if new != asset and (self.units[new] or self.multiplier[new] != self.multiplier[asset]):
            return
        kind = "split" if new == asset else "rename"
        after = before * ratio
        event = AdjustmentEvent(dt.datetime(2020, 1, 1), kind, asset, new, ratio, before, after)
        assert self.portfolio.apply([event]) == self.twin.apply([event]) == [after]
        if not before:
            return
        cost = self.cost.pop(asset)
        self.units[asset] = 0.0
        self.units[new], self.cost[new] = after, cost / ratio
        if asset in self.last:
            self.last[new] = self.last[asset] / ratio
        else:
            self.last.pop(new, None)

    @rule(closes=st.dictionaries(st.integers(0, 3), PRICES, min_size=1, max_size=4))
    def mark(self, closes: dict[int, float]) -> None:
        """A timestamp, at which some assets have a bar."""
        self.time += 1
        column = np.array([closes[code] for code in sorted(closes)])
        chunk = Chunk(
            self.universe,
            TimeAxis(),
            times=np.array([self.time]),
            sessions=np.array([self.time], dtype=np.int32),
            offsets=np.array([0, len(closes)]),
            codes=np.array(sorted(closes), dtype=np.int32),
            prices={n: column.copy() for n in ("open", "high", "low", "close", "volume")},
        )
        for portfolio in (self.portfolio, self.twin):
            portfolio.mark(chunk.bars(0))
        self.last.update({ASSETS[code]: price for code, price in closes.items()})

    @invariant()
    def the_account_is_the_model(self) -> None:
        """Cash, units, average cost and equity."""
        portfolio, room = self.portfolio, 1e-12 * self.moved
        assert portfolio.cash == pytest.approx(self.cash, abs=room)
        assert portfolio.quantities == self.units
        assert portfolio.held == {a: n for a, n in self.units.items() if n}
        assert portfolio.short_count == sum(n < 0.0 for n in self.units.values())
        for asset in ASSETS:
            code = self.universe.codes[asset]
            assert portfolio.quantity[code] == self.units[asset]
            cost = portfolio.entry_price_of(asset)
            assert (
                math.isnan(cost)
                if asset not in self.cost
                else cost == pytest.approx(self.cost[asset])
            )
            last = portfolio.last_price(asset)
            assert math.isnan(last) if asset not in self.last else last == self.last[asset]
        if all(asset in self.last for asset in portfolio.held):
            value = sum(n * self.last[a] * self.multiplier[a] for a, n in self.units.items() if n)
            assert portfolio.equity == pytest.approx(self.cash + value, abs=room + 1e-6)

    @invariant()
    def batches_are_their_fills(self) -> None:
        """Booked as columns or one by one: the same bits."""
        assert self.portfolio.cash == self.twin.cash
        assert self.portfolio.quantity.tolist() == self.twin.quantity.tolist()
        assert self.portfolio.entry_price.tolist() == self.twin.entry_price.tolist()
        assert self.portfolio.fill_count == self.twin.fill_count


TestBlotter = BlotterMachine.TestCase
TestBlotter.settings = examples(60)
TestPortfolio = PortfolioMachine.TestCase
TestPortfolio.settings = examples(60)
