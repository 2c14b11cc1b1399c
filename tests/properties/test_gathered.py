"""Single orders of one timestamp that are matched as columns, and one by one: the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    CashAccount,
    CollateralAccount,
    Instrument,
    MarginAccount,
    Order,
    OverdraftAccount,
    PercentCommission,
    SimulationBroker,
    Strategy,
    UnleveragedAccount,
)
from ml4t.backtest.kernels import is_compiled
from ml4t.backtest.simulation.batch import BatchSettlement
from tests.examples import examples
from tests.markets import Market
from tests.properties.test_basket import (
    COMMISSIONS,
    LOTS,
    SLIPPAGES,
    Watched,
    run,
    same_bits,
    without_columns,
)
from tests.replay import action_table, random_actions, random_plan

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNTS: dict[str, Any] = {
    "unleveraged": UnleveragedAccount(),
    "margin": MarginAccount(),
    "cash": CashAccount(),
    "overdraft": OverdraftAccount(50_000.0),
    "covered": OverdraftAccount(covers_are_paid=True),
    "collateral": CollateralAccount(),
}


class Busy(Strategy):
    """Many market orders a timestamp, and now and then something that disturbs them."""

    def __init__(self, seed: int, disturbs: float) -> None:
        self.seed = seed
        self.disturbs = disturbs

    def on_start(self) -> None:
        """The same dice in every run."""
        self.dice = np.random.default_rng(self.seed)
        self.ids: list[int] = []

    def on_bars(self, bars: Any) -> None:
        """Trade about half of the assets."""
        assets = [str(a) for a in self.dice.permutation(self.everything)]
        for asset in assets[: int(self.dice.integers(0, len(assets) + 1))]:
            held, units = self.get_position(asset), int(self.dice.integers(1, 400))
            roll = self.dice.random()
            if held and roll < 0.5:
                self.ids.append(self.close_position(asset) or 1)
            elif held and roll < 0.6:
                self.ids.append(self.sell(asset, units, reduce_only=True))
            elif held and roll < 0.7:
                self.ids.append(self.buy(asset, units, reduce_only=True))
            elif roll < 0.85:
                self.ids.append(self.buy(asset, units))
            else:
                self.ids.append(self.sell(asset, units))
            if self.dice.random() < self.disturbs:
                self.disturb(asset)
        self.record(power=self.get_buying_power(), equity=self.get_equity())

    def disturb(self, asset: str) -> None:
        """One of many things."""
        price = self.get_last_price(asset)
        known = int(self.dice.choice(self.ids))
        things = (
            lambda: self.buy(asset, 3, tag="again"),
            lambda: self.buy(asset, float("nan")),
            lambda: self.sell(asset, 0.3),
            lambda: self.buy("NOBODY", 1),
            lambda: self.cancel_order(known),
            lambda: self.cancel_all(asset),
            lambda: self.replace_order(known, quantity=500.0),
            lambda: self.buy(asset, 5, limit_price=price * 0.99) if price > 0 else None,
            lambda: self.submit_order(Order(asset, "sell", 4, "market", after=known)),
            lambda: self.order_target(asset, 10),
            lambda: self.rebalance_to_weights({asset: 0.1}),
            lambda: self.record(open=len(self.get_open_orders(asset))),
            lambda: self.set_stop_loss(percent=0.2) if self.dice.random() < 0.1 else None,
        )
        things[int(self.dice.integers(len(things)))]()

    everything: tuple[str, ...] = ()


class WatchedBusy(Busy):
    """Watches its orders, which needs each as an object from the start."""

    def on_order_event(self, order: Any) -> None:
        """Look at it."""
        assert order.order_id > 0


def busy(
    market: Market, kind: type[Busy], seed: int, disturbs: float, **options: Any
) -> BacktestResult:
    """One run."""
    strategy = kind(seed, disturbs)
    strategy.everything = tuple(market.assets)
    actions = options.pop("actions", None)
    broker = SimulationBroker(**options)
    return BacktestEngine(market.frame(), strategy=strategy, broker=broker, actions=actions).run()


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 24),
    missing=st.sampled_from([0.0, 0.0, 0.15]),
    gone=st.sampled_from([0.0, 0.2]),
    disturbs=st.sampled_from([0.0, 0.01, 0.2]),
    account=st.sampled_from(sorted(ACCOUNTS)),
    commission=st.sampled_from(sorted(COMMISSIONS)),
    slippage=st.sampled_from(sorted(SLIPPAGES)),
    lot=st.sampled_from(LOTS),
    cash=st.sampled_from([20_000.0, 1_000_000.0]),
    funding=st.sampled_from(["scale", "reject"]),
    has_actions=st.booleans(),
)
def test_orders_of_a_timestamp_are_their_orders(
    seed: int,
    assets: int,
    missing: float,
    gone: float,
    disturbs: float,
    account: str,
    commission: str,
    slippage: str,
    lot: float,
    cash: float,
    funding: str,
    has_actions: bool,
) -> None:
    """Any account, cost and lot; short of money and not; looked at, canceled and added to."""
    market = Market(seed, assets=assets, steps=30, missing=missing, gone=gone, gap=0.02)
    options: dict[str, Any] = {
        "initial_cash": cash,
        "account": ACCOUNTS[account],
        "commission": COMMISSIONS[commission],
        "slippage": SLIPPAGES[slippage],
        "funding": funding,
        "instruments": [Instrument(asset_id=a, lot_size=lot) for a in market.assets],
    }
    if has_actions:
        options["actions"] = action_table(random_actions(market.rng, market), market)
    whole = busy(market, Busy, seed, disturbs, **options)
    same_bits(whole, busy(market, WatchedBusy, seed, disturbs, **options))
    plain = {**options, "commission": without_columns(COMMISSIONS[commission])}
    same_bits(whole, busy(market, Busy, seed, disturbs, **plain))


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(4, 16),
    account=st.sampled_from(sorted(ACCOUNTS)),
    kinds=st.sampled_from([("add",), ("add", "close"), ("weights", "add", "close", "target")]),
)
def test_plans_with_every_account(
    seed: int, assets: int, account: str, kinds: tuple[str, ...]
) -> None:
    """Plans near the limit of the money, baskets among them, with fractions of units."""
    market = Market(seed, assets=assets, steps=30, gap=0.02)
    plan = random_plan(market.rng, market, kinds=kinds, activity=0.9)
    plan = [[*one, *two] for one, two in zip(plan, reversed(plan), strict=True)]
    options: dict[str, Any] = {"account": ACCOUNTS[account], "fractional": True}
    whole = run(market, plan, **options)
    same_bits(whole, run(market, plan, strategy=Watched, **options))


@pytest.mark.skipif(not is_compiled, reason="without compiled kernels, orders go one by one")
def test_the_comparison_has_something_to_compare() -> None:
    """In a run like those above many single orders fill as columns, and some end otherwise."""
    market = Market(3, assets=20, steps=40, gap=0.02)
    columns = 0

    class Counting(SimulationBroker):
        def advance(self, bars: Any) -> Any:
            """Count what is filled as columns."""
            nonlocal columns
            news = super().advance(bars)
            columns += sum(hasattr(item, "codes") for item in news)
            return news

    strategy = Busy(3, 0.0)
    strategy.everything = tuple(market.assets)
    broker = Counting(150_000.0)
    result = BacktestEngine(market.frame(), strategy=strategy, broker=broker).run()
    assert columns > 10
    assert result.record.counts["clipped_orders"] > 3
    assert (result.positions["quantity"] < 0.0).any(), "shorts"


@pytest.mark.skipif(not is_compiled, reason="without compiled kernels, orders go one by one")
def test_an_order_that_waits_for_ever_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One asset is traded no more; what is ordered of all others is matched as columns still."""

    class Daily(Strategy):
        def on_bars(self, bars: Any) -> None:
            if bars.index == 1:
                self.stuck = self.sell("S000", 10)
            if bars.index == 15:
                assert [order.order_id for order in self.get_open_orders()] == [self.stuck]
            for asset in market.assets[1:]:
                if bars.index % 2:
                    self.close_position(asset)
                else:
                    self.buy(asset, 7)

    market = Market(1, assets=8, steps=30)
    market.present[2:, 0] = False
    settled = 0
    settle = BatchSettlement.settle

    def counted(self: Any, *args: Any) -> None:
        nonlocal settled
        settled += 1
        settle(self, *args)

    monkeypatch.setattr(BatchSettlement, "settle", counted)
    result = BacktestEngine(market.frame(), strategy=Daily(), broker=SimulationBroker()).run()
    assert result.fills.height > 150
    waiting = result.orders.filter(status="accepted")
    assert waiting["asset_id"].to_list() == market.assets, "it, and those of the last timestamp"
    assert settled <= 2, "only where the order stood beside others, and where it was looked at"


@pytest.mark.parametrize("looks", ["before", "between", "after"])
def test_a_refused_order_among_them_keeps_its_place(looks: str) -> None:
    """Orders are listed by id, whoever was refused in between and whenever somebody looked."""

    class Refused(Strategy):
        def on_bars(self, bars: Any) -> None:
            if bars.index == 0:
                for i, asset in enumerate(bars.asset_ids):
                    self.buy(asset, 1)
                    if looks == "between" and i == 2:
                        assert len(self.get_open_orders()) == 3
                    self.buy(asset, float("nan"))
            if looks == "before" and bars.index == 0:
                assert len(self.get_open_orders()) == 6

    market = Market(1, assets=6, steps=3, missing=0.0)
    market.present[1, 2:4] = False  # two wait for a later bar
    result = BacktestEngine(market.frame(), strategy=Refused(), broker=SimulationBroker()).run()
    assert result.orders["order_id"].to_list() == list(range(1, 13))
    assert result.orders["status"].to_list() == ["filled", "rejected"] * 6


def test_an_exit_waits_for_an_order_that_was_filled_as_one_of_many() -> None:
    """`after=` finds a parent that ended in a basket: it works at once, as many units."""

    class Later(Strategy):
        def on_bars(self, bars: Any) -> None:
            if bars.index == 0:
                self.ids = [self.buy(asset, 10) for asset in bars.asset_ids]
            if bars.index == 2:
                first = bars.asset_ids[0]
                assert self.get_open_orders() == []
                self.submit_order(Order(first, "sell", 10, reduce_only=True, after=self.ids[0]))

    market = Market(1, assets=16, steps=6)
    result = BacktestEngine(market.frame(), strategy=Later(), broker=SimulationBroker()).run()
    last = result.orders.row(-1, named=True)
    assert (last["status"], last["filled_quantity"]) == ("filled", 10.0)


@pytest.mark.parametrize("after", ["first", 99, -1, 1.5])
def test_an_order_after_none_that_exists_is_refused(after: Any) -> None:
    """Whatever is named; the text says it."""

    class Lost(Strategy):
        def on_bars(self, bars: Any) -> None:
            if bars.index < 2:
                self.buy(bars.asset_ids[bars.index], 1)
                self.submit_order(Order(bars.asset_ids[0], "sell", 1, after=after))

    result = BacktestEngine(
        Market(1, assets=3, steps=4).frame(), strategy=Lost(), broker=SimulationBroker()
    ).run()
    refused = result.orders.filter(status="rejected")
    assert refused.height == 2
    assert all(f"after={after}" in reason for reason in refused["reason"])


class OneCharge(PercentCommission):
    """The same for every fill."""

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """One number, also for columns."""
        return 1.25


class OnePrice(BasisPointSlippage):
    """Whatever the reference."""

    def price(self, sign: Any, reference: Any) -> Any:
        """One number, also for columns."""
        return 20.0


class Own(MarginAccount):
    """Its margin is what somebody makes of it."""

    def __init__(self, made: Callable[[Any], Any]) -> None:
        super().__init__()
        self.made = made

    def initial(self, codes: Any, sign: Any) -> Any:
        """A number for a number, and anything NumPy can read for a column."""
        return self.made(sign)


OWN: dict[str, dict[str, Any]] = {
    "one commission": {"commission": OneCharge(0.1)},
    "one price": {"slippage": OnePrice(1.0)},
    "whole numbers": {"account": Own(lambda sign: np.where(sign > 0, 1, 2))},
    "no dimension": {"account": Own(lambda sign: np.asarray(0.5))},
    "steps": {"account": Own(lambda sign: np.broadcast_to(0.5, np.shape(sign)))},
    "short floats": {"account": Own(lambda sign: np.full(np.shape(sign), 0.5, np.float32))},
}


@pytest.mark.parametrize("options", OWN.values(), ids=OWN)
def test_parts_of_your_own_need_not_make_plain_columns(options: dict[str, Any]) -> None:
    """One number for all, or numbers of another kind, are as good as a column of floats."""
    market = Market(3, assets=16, steps=12, gap=0.02)
    whole = busy(market, Busy, 3, 0.0, **options)
    same_bits(whole, busy(market, WatchedBusy, 3, 0.0, **options))


class Turning(Strategy):
    """Buys and sells everything in turn, and notes what it may spend."""

    def on_bars(self, bars: Any) -> None:
        """One order an asset."""
        for asset in bars.asset_ids:
            if bars.index % 2:
                self.close_position(asset)
            else:
                self.buy(asset, 7)
        self.record(power=self.get_buying_power())


class WatchedTurning(Turning):
    """Sees its orders one by one."""

    def on_order_event(self, order: Any) -> None:
        """Look at it."""
        assert order.order_id > 0


@pytest.mark.parametrize("account", [CashAccount(settlement_days=2), CashAccount()], ids=repr)
def test_proceeds_of_many_sales_are_those_of_each(account: Any) -> None:
    """What has not settled is one sum, from left to right, to the bit."""
    for seed in range(8):
        market = Market(seed, assets=60, steps=6, gap=0.02)
        results = [
            BacktestEngine(
                market.frame(),
                strategy=kind(),
                broker=SimulationBroker(account=account, commission=PercentCommission(0.0013)),
            ).run()
            for kind in (Turning, WatchedTurning)
        ]
        same_bits(*results)


def test_a_broker_that_overrides_submit_order_sees_every_order() -> None:
    """The short way of market orders is not taken past anybody who wants to see them."""
    seen: list[Order] = []

    class Seeing(SimulationBroker):
        def submit_order(self, order: Order) -> int:
            """Note it."""
            seen.append(order)
            return super().submit_order(order)

    def wrapped() -> SimulationBroker:
        broker = SimulationBroker()
        inner = broker.submit_order

        def submit_order(order: Order) -> int:
            seen.append(order)
            return inner(order)

        broker.submit_order = submit_order  # type: ignore[method-assign]
        return broker

    frame = Market(1, assets=3, steps=4).frame()
    results = []
    for broker in (SimulationBroker(), Seeing(), wrapped()):
        seen.clear()
        results.append(BacktestEngine(frame, strategy=Turning(), broker=broker).run())
        assert len(seen) == (0 if len(results) == 1 else results[-1].orders.height)
        same_bits(results[0], results[-1])
    assert results[0].orders.height == 12


def test_an_override_put_into_the_class_sees_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests of strategies do."""
    seen: list[Order] = []
    plain = SimulationBroker.submit_order

    def submit_order(self: SimulationBroker, order: Order) -> int:
        seen.append(order)
        return plain(self, order)

    monkeypatch.setattr(SimulationBroker, "submit_order", submit_order)
    frame = Market(1, assets=3, steps=4).frame()
    result = BacktestEngine(frame, strategy=Turning()).run()
    assert len(seen) == result.orders.height == 12
