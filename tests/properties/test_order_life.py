"""Whatever is ordered, linked, changed and canceled: orders live by the rules.

Random acts on a random market, through the engine; the laws of `tests/laws.py` are checked after
every run, and here what they cannot see: each order's history and its links.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, given, settings

from ml4t.backtest import (
    BacktestEngine,
    Order,
    OrderError,
    OrderStatus,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)
from ml4t.backtest.testing.markets import random_market
from ml4t.backtest.types.order import may_follow

SESSIONS = 14
MARKET = random_market(assets=2, sessions=SESSIONS, seed=11, volatility=0.03)
ASSETS = sorted(MARKET["asset_id"].unique())
BARS = st.integers(0, SESSIONS - 1)
SIDES = st.sampled_from(["buy", "sell"])
UNITS = st.sampled_from([1, 7, 40])
MOVES = st.sampled_from([-0.04, -0.02, -0.005, 0.005, 0.02, 0.04])
FORCES = st.sampled_from(["gtc", "day", "ioc", "fok", "opg", "cls"])

single = st.fixed_dictionaries(
    {
        "act": st.just("order"),
        "side": SIDES,
        "units": UNITS,
        "kind": st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]),
        "move": MOVES,
        "force": FORCES,
        "reduce_only": st.booleans(),
        "after": st.sampled_from([0, 0, 0, 1, 2, 5]),
        "oco": st.sampled_from(["", "", "x", "y"]),
    }
)
others = st.fixed_dictionaries(
    {
        "act": st.sampled_from(
            ["bracket", "cancel", "replace", "close", "target", "rule", "weights", "cancel_all"]
        ),
        "units": UNITS,
        "side": SIDES,
        "move": MOVES,
        "which": st.integers(1, 12),
    }
)
acts = st.lists(st.tuples(BARS, st.sampled_from(ASSETS), single | others), max_size=25)
brokers = st.fixed_dictionaries(
    {
        "intrabar": st.sampled_from(["worst", "best", "ohlc", "olhc"]),
        "fill_at": st.sampled_from(["next_open", "next_close", "close"]),
        "liquidity": st.sampled_from([None, VolumeParticipation(0.00002)]),
        "funding": st.sampled_from(["scale", "reject"]),
    }
)


class Acts(Strategy):
    """Does what is due on each bar, and writes down what becomes of the orders."""

    def __init__(self, plan: list[Any]) -> None:
        self._plan = plan
        self.heard: dict[int, list[OrderStatus]] = {}

    def on_start(self) -> None:
        """From the start."""
        self.heard.clear()

    def on_order_event(self, order: Any) -> None:
        """Each change follows the one before."""
        history = self.heard.setdefault(order.order_id, [])
        before = history[-1] if history else OrderStatus.PENDING
        is_repeat = before is order.status and before.is_open
        assert is_repeat or may_follow(before, order.status), (before, order)
        history.append(order.status)

    def on_bars(self, bars: Any) -> None:
        """What is due."""
        for bar, asset_id, what in self._plan:
            if bar == bars.index:
                try:
                    getattr(self, f"_{what['act']}")(asset_id, what)
                except OrderError:
                    continue  # a bracket or a replacement that cannot be meant

    def _price(self, asset_id: str, move: float) -> float:
        return self.get_last_price(asset_id) * (1.0 + move)

    def _order(self, asset_id: str, what: Any) -> None:
        kind, price = what["kind"], self._price(asset_id, what["move"])
        has_limit, has_stop = "limit" in kind, kind.startswith("stop")
        self.submit_order(
            Order(
                asset_id,
                what["side"],
                what["units"],
                kind,
                price if has_limit else None,
                price if has_stop else None,
                trail_percent=0.02 if kind == "trailing_stop" else None,
                time_in_force=what["force"],
                reduce_only=what["reduce_only"],
                after=what["after"],
                oco=what["oco"],
            )
        )

    def _bracket(self, asset_id: str, what: Any) -> None:
        way = 1 if what["side"] == "buy" else -1
        self.bracket(
            asset_id,
            way * what["units"],
            stop_loss=self._price(asset_id, -way * 0.02),
            take_profit=self._price(asset_id, way * abs(what["move"])),
            limit_price=None if what["which"] % 2 else self._price(asset_id, way * -0.004),
        )

    def _cancel(self, asset_id: str, what: Any) -> None:
        del asset_id
        self.cancel_order(what["which"])

    def _replace(self, asset_id: str, what: Any) -> None:
        del asset_id
        self.replace_order(what["which"], quantity=what["units"])

    def _close(self, asset_id: str, what: Any) -> None:
        del what
        self.close_position(asset_id)

    def _target(self, asset_id: str, what: Any) -> None:
        self.order_target(asset_id, what["units"] * (1 if what["side"] == "buy" else -1))

    def _rule(self, asset_id: str, what: Any) -> None:
        rules = (self.set_stop_loss, self.set_take_profit, self.set_trailing_stop)
        rules[what["which"] % 3](asset_id, percent=abs(what["move"]))
        if what["units"] == 7:
            self.set_time_exit(asset_id, bars=3)

    def _weights(self, asset_id: str, what: Any) -> None:
        self.rebalance_to_weights({asset_id: 0.5 if what["side"] == "buy" else -0.5})

    def _cancel_all(self, asset_id: str, what: Any) -> None:
        del what
        self.cancel_all(asset_id)


@settings(phases=(Phase.generate,))  # an example takes longer to shrink than to read
@given(plan=acts, options=brokers)
def test_orders_live_by_the_rules(plan: list[Any], options: Any) -> None:
    """No illegal transition, no orphan; the same again."""
    strategy = Acts(plan)
    engine = BacktestEngine(MARKET, strategy=strategy, broker=SimulationBroker(20_000.0, **options))
    result = engine.run()
    book = engine.broker.blotter
    status = dict(result.orders.select("order_id", "status").iter_rows())
    assert {n: history[-1].value for n, history in strategy.heard.items()} == status
    check_links(book)
    check_quantities(book)
    assert engine.run().fingerprint == result.fingerprint


def check_links(book: Any) -> None:
    """What waits waits for something open; of a group, one that filled whole ended the others."""
    orders = {working.order_id: working for working in book.singles}
    assert set(book.links.pending) == {
        n for n, working in orders.items() if working.status is OrderStatus.PENDING
    }
    for working in book.links.pending.values():
        assert book.find(working.order.after).status.is_open, "an orphan"
    for working in orders.values():
        if working.status is OrderStatus.FILLED and working.order.oco:
            for other in orders.values():
                if other.order.oco == working.order.oco and other.order_id < working.order_id:
                    assert not other.status.is_open, "one cancels other"


def check_quantities(book: Any) -> None:
    """What is open has something to fill; legs never close more than was entered."""
    for working in book.open.values():
        assert working.remaining > 0.0
        assert working.filled + working.remaining <= working.order.quantity * (1 + 1e-9)
    for working in book.singles:
        parent = book.find(working.order.after) if working.order.after else None
        if parent is not None and parent.whole:
            share = min(1.0, parent.filled / parent.whole)
            assert working.filled <= working.order.quantity * share + 1e-9


@pytest.mark.slow
@settings(max_examples=1_000, phases=(Phase.generate,))
@given(plan=acts, options=brokers)
def test_orders_live_by_the_rules_for_long(plan: list[Any], options: Any) -> None:
    """The same with many more examples."""
    test_orders_live_by_the_rules.hypothesis.inner_test(plan, options)  # type: ignore[attr-defined]
