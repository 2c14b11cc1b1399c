"""Prices on the grid of their instrument, and money of one kind."""

from __future__ import annotations

import pytest

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    ConfigError,
    Instrument,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import ten_bars
from tests.stories.plan import Plan, tell

QUARTERS = [Instrument(asset_id="A", tick_size=0.25)]
BOUGHT = "1 buy 10 at 102\n"


def test_a_limit_is_rounded_away_from_the_market() -> None:
    """Never to a more aggressive price."""
    tell("@4 buy 10 limit 92.2", "5 buy 10 at 92 because limit", instruments=QUARTERS)
    tell("@1 sell 10 limit 104.6", "2 sell 10 at 104.75 because limit", instruments=QUARTERS)


def test_a_stop_is_rounded_beyond() -> None:
    """It is triggered a little later."""
    result = tell("@4 sell 10 stop 92.2", "5 sell 10 at 92 because stop", instruments=QUARTERS)
    assert result.orders["stop_price"].to_list() == [92.0]
    tell("@5 buy 10 stop 101.1", "6 buy 10 at 101.25 because stop", instruments=QUARTERS)


def test_a_stop_that_follows_is_rounded_too() -> None:
    """3.1 under 96 is 92.9, on the grid 92.75; its limit of 91.65 becomes 91.75."""
    result = tell(
        "@4 sell 10 trail 3.1 offset 1.1",
        "5 sell 10 at 92.75 because stop_limit",
        instruments=QUARTERS,
    )
    assert result.fills["price"][0] % 0.25 == 0.0
    tell("@4 buy 10 trail 2.6", "5 buy 10 at 98.75 because stop", instruments=QUARTERS)


def test_a_price_on_the_grid_stays() -> None:
    """Also where floats only nearly are."""
    cents = [Instrument(asset_id="A", tick_size=0.01)]
    tell("@4 buy 10 limit 92.1", "5 buy 10 at 92.1 because limit", instruments=cents)


def test_slippage_is_rounded_against_the_trade() -> None:
    """Ten basis points of 102 are 0.102: up to the next quarter."""
    tell(
        "@0 buy 10\n@1 sell 10",
        "1 buy 10 at 102.25 slip 2.5\n2 sell 10 at 102.75 slip 2.5",
        instruments=QUARTERS,
        slippage=BasisPointSlippage(10),
    )


def test_a_basket_is_on_the_grid_too() -> None:
    """Whatever way it is matched."""

    class Half(Strategy):
        def on_bars(self, bars):
            if bars.index == 0:
                self.rebalance_to_weights({"A": 0.5})

    broker = SimulationBroker(instruments=QUARTERS, slippage=BasisPointSlippage(10))
    result = BacktestEngine(ten_bars(), strategy=Half(), broker=broker).run()
    assert result.fills["price"].to_list() == [102.25]


def test_rules_and_replacements_are_on_the_grid() -> None:
    """Four percent under 102 is 97.92, on the grid 97.75."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.set_stop_loss(percent=0.04)
        if bar == 1:
            (order,) = plan.get_open_orders("A")
            assert order.stop_price == 97.75
            plan.replace_order(order.order_id, stop_price=96.1)

    fills = BOUGHT + "4 sell 10 at 96 because stop_loss"
    tell("@0 buy 10", fills, instruments=QUARTERS, acts=acts)


@pytest.mark.parametrize("tick", [-0.01, float("nan"), float("inf")])
def test_a_tick_is_a_step(tick: float) -> None:
    """Zero, or positive."""
    with pytest.raises(ConfigError, match="'A': tick_size must be zero"):
        Instrument(asset_id="A", tick_size=tick)


def test_one_account_has_one_currency() -> None:
    """Prices in another one would be added to it."""
    with pytest.raises(ConfigError, match="'SAP' is in EUR, the account in USD"):
        SimulationBroker(instruments=[Instrument(asset_id="SAP", currency="EUR")])
    broker = SimulationBroker(
        currency="EUR", instruments=[Instrument(asset_id="SAP", currency="EUR")]
    )
    assert broker.settings()["currency"] == "EUR"
    with pytest.raises(ConfigError, match="currency must be a name"):
        SimulationBroker(currency="")
