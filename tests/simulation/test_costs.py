"""Costs in runs: what a result says is what was worked out by hand."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    ConfigError,
    DataError,
    FixedSlippage,
    HalfSpreadSlippage,
    Instrument,
    Order,
    OrderSide,
    OrderType,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
    QuotedSpreadSlippage,
    SideFee,
    SimulationBroker,
    SquareRootImpact,
    Strategy,
    TieredCommission,
    TimeInForce,
    VolumeShareSlippage,
    interactive_brokers_fixed,
    interactive_brokers_tiered,
)
from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.simulation.costs import Candidate, Costs
from ml4t.backtest.simulation.liquidity import VolumeParticipation
from ml4t.backtest.simulation.slippage import NoSlippage
from ml4t.backtest.testing.markets import flat_market, market_of_bars, with_vanished
from tests.stories.plan import Plan, tell

SHARE = Instrument(asset_id="A")


# -- an order that fills in parts ------------------------------------------------------------


class Parts:
    """One order, filled part by part."""

    def __init__(self, commission: Any, quantity: float, side: OrderSide = OrderSide.BUY) -> None:
        self.costs = Costs(commission, NoSlippage())
        self.costs.start()
        order = Order("A", side, quantity)
        sign = 1.0 if side is OrderSide.BUY else -1.0
        self.working = Working(7, order, 0, sign, OrderType.MARKET, TimeInForce.GTC, quantity, 0, 0)

    def fill(self, quantity: float, price: float, day: int) -> float:
        """What the next part costs."""
        chunk = SimpleNamespace(sessions=np.array([day]))
        bars: Any = SimpleNamespace(timestamp=datetime(2024, 6, day, 16), index=0, chunk=chunk)
        working = self.working
        candidate = Candidate(working, 0, price, "open")
        self.costs.put(candidate, quantity, bars, SHARE)
        self.costs.note(candidate, quantity, bars, SHARE)
        paid = working.filled * working.average_price if working.filled else 0.0
        working.filled += quantity
        working.average_price = (paid + quantity * price) / working.filled
        working.remaining -= quantity
        return candidate.commission


THREE = [(100, 10.0, 3), (150, 12.0, 3), (750, 11.0, 4)]  # units, price, day


@pytest.mark.parametrize(
    ("commission", "parts"),
    [
        (PercentCommission(0.001), [1.0, 1.8, 8.25]),
        (PerOrderCommission(5.0), [5.0, 0.0, 0.0]),
        (PerOrderCommission(5.0, per="session"), [5.0, 0.0, 5.0]),
        # 0.5, 1.25 and 5 in all: the least of 1 is paid once, and is used up by the third part
        (PerShareCommission(0.005, minimum=1.0), [1.0, 0.25, 3.75]),
        # a new order on the second day, 3.75 on its own
        (PerShareCommission(0.005, minimum=1.0, per="session"), [1.0, 0.25, 3.75]),
        (PerShareCommission(0.005, minimum=4.0, per="session"), [4.0, 0.0, 4.0]),
        (PerShareCommission(0.01, maximum=4.0), [1.0, 1.5, 1.5]),
        # one percent of 1,000 and of 2,800: 10 and 28, below 20 and 50
        (PerShareCommission(0.2, maximum_rate=0.01), [10.0, 18.0, 82.5]),
        (SideFee("buy", per_share=0.01, maximum=3.0), [1.0, 1.5, 0.5]),
        (SideFee("sell", per_share=0.01, maximum=3.0), [0.0, 0.0, 0.0]),
        (PerOrderCommission(5.0) + PercentCommission(0.001), [6.0, 1.8, 8.25]),
        (TieredCommission({0: 0.01, 200: 0.001}, minimum=1.5), [1.5, 0.55, 1.5]),
        (lambda order, quantity, price, timestamp, instrument: 2.0, [2.0, 2.0, 2.0]),
    ],
    ids=lambda value: repr(value) if not callable(value) or hasattr(value, "__add__") else "own",
)
def test_parts_of_an_order(commission: Any, parts: list[float]) -> None:
    """1,000 units: 100 and 150 on one day, the rest on the next."""
    order = Parts(commission, 1_000)
    assert [order.fill(*part) for part in THREE] == pytest.approx(parts)


@pytest.mark.parametrize(
    ("commission", "fees"),
    [
        (PerOrderCommission(5.0), [5.0, 0.0, 0.0]),
        (PerOrderCommission(5.0, per="session"), [5.0, 5.0, 5.0]),
        # 0.50, 1.00 and 1.25 in all, and at least 1
        (PerShareCommission(0.005, minimum=1.0), [1.0, 0.0, 0.25]),
        (interactive_brokers_fixed(as_of="2024-06-03"), [1.0, 1.0, 1.0]),
        (TieredCommission({0: 0.01, 150: 0.001}), [1.0, 0.55, 0.05]),
    ],
    ids=["order", "session", "least", "preset", "tiers"],
)
def test_parts_of_an_order_in_a_run(commission: Any, fees: list[float]) -> None:
    """250 units where a bar takes 100: three fills on three days, the same in a second run."""
    broker = SimulationBroker(50_000.0, commission=commission, liquidity=VolumeParticipation(0.1))
    engine = BacktestEngine(quoted(), strategy=Plan("@0 buy 250"), broker=broker)
    first, second = engine.run(), engine.run()
    assert first.fills["quantity"].to_list() == [100.0, 100.0, 50.0]
    assert first.fills["commission"].to_list() == pytest.approx(fees)
    assert first.costs == pytest.approx(sum(fees))
    assert first.fingerprint == second.fingerprint


def test_a_part_is_priced_order_by_order_only_after_another() -> None:
    """The first part of an order, or its only one, may go through columns."""
    costs = Costs(PerShareCommission(0.005, minimum=1.0), NoSlippage())
    assert costs.has_columns
    assert costs.charge(1.0, 100.0, 10.0, 1.0) == 1.0


def test_orders_are_told_apart() -> None:
    """The same `Order` object submitted twice is two orders, and pays twice."""
    order = Order("A00", "buy", 10)

    class Twice(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.submit_order(order)

    broker = SimulationBroker(commission=PerOrderCommission(3.0))
    result = BacktestEngine(flat_market(sessions=4), strategy=Twice(), broker=broker).run()
    assert result.fills["commission"].to_list() == [3.0, 3.0, 3.0]


# -- runs ------------------------------------------------------------------------------------


def test_fixed_pricing_in_a_run() -> None:
    """Least of 1.00 on both sides; the sale pays 27.80 per million of 1,080 and 10 * 0.000166."""
    result = tell(
        "@1 buy 10\n@2 sell 10",
        "2 buy 10 at 103 fee 1\n3 sell 10 at 108 fee 1.031684",
        commission=interactive_brokers_fixed(as_of="2024-06-03"),
    )
    assert result.costs == pytest.approx(2.031684)


def test_costs_of_a_round_trip_with_everything() -> None:
    """Ten of 1,000 at 103 and at 108, worked out part by part."""
    slippage = HalfSpreadSlippage(money=0.10) + VolumeShareSlippage(10.0)
    commission = PerOrderCommission(1.0) + SideFee("buy", rate=0.005)
    bought = 103 + 0.05 + 103 * 10 * 0.01**2
    sold = 108 - 0.05 - 108 * 10 * 0.01**2
    result = tell(
        "@1 buy 10\n@2 sell 10",
        f"2 buy 10 at {bought:.10g}\n3 sell 10 at {sold:.10g}",
        commission=commission,
        slippage=slippage,
    )
    slipped = 10 * (bought - 103) + 10 * (108 - sold)
    assert result.slippage == pytest.approx(slipped)
    assert result.commission == pytest.approx(2.0 + 0.005 * 10 * bought)
    assert result.costs == pytest.approx(slipped + 2.0 + 0.005 * 10 * bought)
    assert result.final_equity == pytest.approx(10_000 + 50 - result.costs)


def test_both_sides_of_a_flip_are_one_order() -> None:
    """Long 10, then 20 sold: one ticket, and a fee on all that is sold."""
    result = tell(
        "@0 buy 10\n@1 sell 20",
        "1 buy 10 at 102 fee 2\n2 sell 20 at 103 fee 22.6",
        commission=PerOrderCommission(2.0) + SideFee("sell", rate=0.01),
    )
    assert result.costs == pytest.approx(24.6)


class Daily(Strategy):
    """Buys and sells 100 of every asset in turn."""

    def on_bars(self, bars: Any) -> None:
        for asset_id in bars.asset_ids:
            held = self.get_position(asset_id)
            self.order_target(asset_id, 0 if held else 100)


def daily(commission: Any, sessions: int = 45) -> list[BacktestResult]:
    """Two runs with one engine on prices of 10 that never move, from 2024-01-02 on."""
    engine = BacktestEngine(
        flat_market(assets=3, sessions=sessions, price=10.0),
        strategy=Daily(),
        broker=SimulationBroker(commission=commission),
    )
    return [engine.run(), engine.run()]


def test_tiers_in_a_run_start_over_with_each_run() -> None:
    """300 shares a session: a cent each for the first 1,000 of a month, then a tenth of that."""
    first, second = daily(TieredCommission({0: 0.01, 1_000: 0.001}))
    by_month = first.fills.group_by(pl.col("timestamp").dt.month(), maintain_order=True).agg(
        pl.col("commission").sum(), pl.col("quantity").sum()
    )
    # January 2024 has 22 weekdays from the 2nd on; fills begin on the 3rd. Each of three orders
    # of a day begins where the day before ended: in the one that crosses, at 900, 100 are dear.
    assert by_month["quantity"].to_list() == [6_300.0, 6_300.0, 600.0]
    january = 3 * 3.0 + 3 * 1.0 + 17 * 0.3
    february = 3 * 3.0 + 3 * 1.0 + 17 * 0.3
    assert by_month["commission"].to_list() == pytest.approx([january, february, 2 * 3.0])
    assert first.costs == pytest.approx(january + february + 6.0)
    assert first.fingerprint == second.fingerprint


def test_tiered_pricing_reruns_alike() -> None:
    """Sums with a part that keeps state reset it too."""
    first, second = daily(interactive_brokers_tiered(as_of="2024-06-03"), sessions=10)
    assert first.fingerprint == second.fingerprint
    # 15 purchases and 12 sales, 0.35 and 100 * 0.0032 each; sales of 1,000 pay 0.0278 + 0.0166
    count = first.fills.group_by("side").len().sort("side")["len"].to_list()
    assert count == [15, 12]
    assert first.costs == pytest.approx(27 * 0.67 + 12 * 0.0444)


def test_own_parts_with_state_are_started_and_told() -> None:
    """Each first fill of a run is free; a slippage is started too."""

    class FirstIsFree:
        def start(self) -> None:
            self.fills = 0

        def __call__(self, order, quantity, price, timestamp, instrument):
            return 1.0 if self.fills else 0.0

        def on_fill(self, order, quantity, price, timestamp, instrument):
            self.fills += 1

    class Started:
        def start(self) -> None:
            self.times = getattr(self, "times", 0) + 1

        def __call__(self, order, bar, quantity):
            return bar.reference

    slippage = Started()
    engine = BacktestEngine(
        flat_market(sessions=5),
        strategy=Daily(),
        broker=SimulationBroker(commission=FirstIsFree(), slippage=NoSlippage() + slippage),
    )
    for _ in range(2):
        assert engine.run().fills["commission"].to_list() == [0.0, 1.0, 1.0, 1.0]
    assert slippage.times == 2


# -- what the data must say ------------------------------------------------------------------


def quoted(**columns: Any) -> pl.DataFrame:
    """Four bars of A at 100 with columns beside the prices."""
    return market_of_bars([(100.0,) * 4] * 4).with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    )


def run(data: pl.DataFrame, orders: str, **broker: Any) -> BacktestResult:
    """A plan on some data."""
    return BacktestEngine(
        data, strategy=Plan(orders), broker=SimulationBroker(10_000.0, **broker)
    ).run()


def test_quotes_come_as_columns_beside_the_prices() -> None:
    """The quote of the bar that fills: 0.2 wide in bar 1, 0.6 in bar 2."""
    data = quoted(bid=[99.9, 99.8, 99.6, 99.9], ask=[100.1, 100.0, 100.2, 100.1])
    result = run(data, "@0 buy 10\n@1 sell 10", slippage=QuotedSpreadSlippage(bid="bid", ask="ask"))
    assert result.fills["price"].to_list() == pytest.approx([100.1, 99.7])
    assert result.costs == pytest.approx(1.0 + 3.0)


def test_volatility_comes_as_a_column() -> None:
    """A hundredth of the volume at 2 % and at 4 % volatility: a tenth of each."""
    data = quoted(vol=[0.01, 0.02, 0.04, 0.01])
    result = run(data, "@0 buy 10\n@1 sell 10", slippage=SquareRootImpact(volatility="vol"))
    assert result.fills["price"].to_list() == pytest.approx([100.2, 99.6])


@pytest.mark.parametrize(
    ("slippage", "complaint"),
    [
        (QuotedSpreadSlippage(money="spred"), "it has no 'spred' there. Did you mean 'spread'"),
        (QuotedSpreadSlippage(money="spread"), "it has no 'spread' there"),
        (QuotedSpreadSlippage(bid="bid", ask="ask"), "its quote is crossed"),
    ],
)
def test_a_missing_or_crossed_quote_ends_the_run(slippage: Any, complaint: str) -> None:
    """With asset, time and remedy, and with what happened until then."""
    spread = [0.1, None, 0.1, 0.1] if slippage.money == "spread" else [0.1] * 4
    data = quoted(spread=spread, bid=[100.2] * 4, ask=[100.1] * 4)
    with pytest.raises(DataError, match=complaint) as caught:
        run(data, "@0 buy 10", slippage=slippage)
    assert "'A' at 2024-01-03" in str(caught.value)
    assert caught.value.result is not None


def test_no_volume_ends_the_run_or_costs_the_fallback() -> None:
    """Bar 1 has none."""
    data = quoted().with_columns(volume=pl.Series([1_000.0, 0.0, 1_000.0, 1_000.0]))
    with pytest.raises(DataError, match="buy 10 'A' at 2024-01-03 00:00:00: its volume is 0"):
        run(data, "@0 buy 10", slippage=VolumeShareSlippage())
    result = run(data, "@0 buy 10", slippage=VolumeShareSlippage(fallback=0.02))
    assert result.fills["price"].to_list() == [102.0]


def test_a_sale_for_nothing_ends_the_run() -> None:
    """A fixed amount above the price, one by one and as a basket: who, when, and from where."""

    class Short(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.rebalance_to_weights({"A00": -0.1, "A01": 0.1})

    market = flat_market(assets=2, sessions=4, price=0.04)
    broker = SimulationBroker(slippage=FixedSlippage(0.05))
    complaint = r"returned -0.01.* for 'A00' at 2024-01-03.*asked for sell .* at 0.04"
    with pytest.raises(ConfigError, match=complaint):
        BacktestEngine(market, strategy=Short(), broker=broker).run()


def test_an_order_beyond_the_means_is_cut_where_its_impact_is_paid() -> None:
    """All the money is used, none is overdrawn, and the price is that of what was filled."""
    result = run(quoted(), "@0 buy 5000", slippage=VolumeShareSlippage(1.0), fractional=True)
    (fill,) = result.fills.iter_rows(named=True)
    units = fill["quantity"]
    assert fill["price"] == pytest.approx(100.0 * (1.0 + (units / 1_000) ** 2))
    assert units * fill["price"] == pytest.approx(10_000.0)
    assert result.equity["cash"][-1] >= -1e-9


def test_positions_closed_at_the_end_see_the_last_bar() -> None:
    """Its volume is known there, so the last fill has its impact too."""
    result = run(quoted(), "@0 buy 10", slippage=VolumeShareSlippage(10.0), close_at_end=True)
    assert result.fills["price"].to_list() == pytest.approx([100.1, 99.9])


def test_a_vanished_asset_has_no_volume() -> None:
    """Closing it needs a fallback, and the error says so."""
    data = with_vanished(flat_market(assets=2, sessions=9), "A00", 2)

    class Hold(Strategy):
        def on_bars(self, bars: Any) -> None:
            if "A00" in bars:
                self.order_target("A00", 10)

    def hold(slippage: Any) -> BacktestResult:
        broker = SimulationBroker(slippage=slippage, on_vanish="close", stale_after=2)
        return BacktestEngine(data, strategy=Hold(), broker=broker).run()

    with pytest.raises(DataError, match="its bar has no volume"):
        hold(VolumeShareSlippage())
    assert hold(VolumeShareSlippage(fallback=0.25)).fills["price"][-1] == 75.0
