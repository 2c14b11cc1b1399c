"""The made-up markets are what they say."""

from __future__ import annotations

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, ConfigError, SimulationBroker, Strategy
from ml4t.backtest.testing import markets


@pytest.mark.parametrize("information", [-0.5, 0.0, 0.03, 1.0])
def test_random_market_has_the_information_asked_for(information: float) -> None:
    """The correlation of prediction and next return is the one given."""
    market = markets.random_market(6, 80, seed=3, information=information)
    assert markets.information_of(market) == pytest.approx(information, abs=1e-12)


def test_random_market_is_reproducible() -> None:
    """The same seed gives the same market, another seed another."""
    first, second, other = (markets.random_market(2, 20, seed=s) for s in (1, 1, 2))
    assert first.equals(second)
    assert not first.equals(other)


def test_random_market_bars_are_sane() -> None:
    """Lows and highs enclose opens and closes."""
    market = markets.random_market(3, 100, seed=0)
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    assert market.filter((pl.col("low") > low) | (pl.col("high") < high)).is_empty()


@pytest.mark.parametrize("options", [{"information": 1.5}, {"sessions": 3}])
def test_random_market_refuses_nonsense(options: dict[str, float]) -> None:
    """A correlation above one, or no room for a return, is refused."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        markets.random_market(**options)  # type: ignore[arg-type]


class Hold(Strategy):
    """Everything in equal weights, from the first close on."""

    def on_bars(self, bars, context):
        if not self.get_positions():
            self.rebalance_to_weights(dict.fromkeys(bars.asset_ids, 1 / len(bars)))


def test_steady_market_pays_its_growth() -> None:
    """Fully invested, equity grows by the growth of the market, session after session."""
    market = markets.steady_market(0.01, assets=2, sessions=11)
    result = BacktestEngine(
        market, strategy=Hold(), broker=SimulationBroker(1_000.0, fractional=True)
    ).run()
    assert result.final_equity == pytest.approx(1_000.0 * 1.01**10, rel=1e-12)


def test_flat_market_pays_nothing() -> None:
    """Prices that never move leave equity where it was."""
    result = BacktestEngine(markets.flat_market(3), strategy=Hold()).run()
    assert result.equity["equity"].unique().to_list() == [100_000.0]


def test_missing_late_vanished_and_gap() -> None:
    """Bars go missing where asked, timestamps never do, and gaps multiply."""
    market = markets.random_market(4, 40, seed=1)
    sparse = markets.without_bars(market, 0.9, seed=1)
    assert 40 <= sparse.height < 60
    assert sparse["timestamp"].n_unique() == 40
    day = market["timestamp"].unique().sort()
    one = pl.col("asset_id") == "A01"
    late = markets.with_late(market, "A01", 7).filter(one)
    assert (late["timestamp"].min(), late.height) == (day[7], 33)
    gone = markets.with_vanished(market, "A01", 7).filter(one)
    assert (gone["timestamp"].max(), gone.height) == (day[7], 8)
    gap = markets.with_gap(market, 10, 2.0)["open"] / market["open"]
    assert (gap.head(40).max(), gap.tail(120).min()) == (1.0, 2.0)
