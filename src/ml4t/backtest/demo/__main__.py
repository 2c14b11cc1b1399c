"""The demo: prices, a model, predictions, a backtest, and an honest verdict.

Run it with `python -m ml4t.backtest.demo`; `--out` names the folder for the result.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    BacktestError,
    BacktestResult,
    Bars,
    BasisPointSlippage,
    Context,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.demo import forecast, strategy, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_SKLEARN = (
    "The demo fits a scikit-learn model, and scikit-learn is not installed. "
    "Install it with: pip install 'ml4t-backtest[demo]'"
)


class Hold(Strategy):
    """The benchmark: equal amounts of everything on the first day, and nothing after that."""

    def on_start(self) -> None:
        """Nothing is bought yet."""
        self.is_invested = False

    def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
        """Buy once."""
        if not self.is_invested:
            self.rebalance_to_weights(dict.fromkeys(bars.asset_ids, 1.0 / len(bars)))
            self.is_invested = True


def run(prices: pl.DataFrame, predictions: pl.DataFrame, trader: Strategy) -> BacktestResult:
    """One backtest, from the first day on which every asset has a prediction.

    A prediction carries the date of the close it was made at, so it is seen with that day's bar
    and traded at the next open.
    """
    since = predictions.group_by("asset_id").agg(pl.col("timestamp").min())["timestamp"].max()
    return BacktestEngine(
        data=prices,
        signals=predictions.select("timestamp", "asset_id", "predicted_return"),
        context=Context(forecast.market_context(prices)),
        broker=SimulationBroker(
            initial_cash=100_000,
            commission=PercentCommission(0.0005),
            slippage=BasisPointSlippage(2),
        ),
        strategy=trader,
        start=str(since),
    ).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit status of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ml4t.backtest.demo",
        description="Predict returns with a real model, trade the predictions, judge the result.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("ml4t-demo-result"),
        help="folder for the result (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if find_spec("sklearn") is None:
        print(_NO_SKLEARN, file=sys.stderr)
        return 1
    try:
        _tell(options.out)
    except BacktestError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _tell(out: Path) -> None:
    """The story, step by step."""
    begun = perf_counter()
    prices = forecast.load_prices()
    assets = prices["asset_id"].unique().sort().to_list()
    print(f"Prices       {len(prices):,} daily bars of {', '.join(assets)}, {_span(prices)}")
    table = forecast.training_table(prices)
    predictions = forecast.walk_forward(table)
    horizon, every = forecast.HORIZON, forecast.REFIT_EVERY
    print(f"Predictions  {len(predictions):,} of returns over {horizon} sessions, by a random")
    print(f"             forest fitted anew every {every} sessions, on the past alone")
    result = run(prices, predictions, strategy.PredictedReturns())
    holding = run(prices, predictions, Hold())
    print("Backtests    the strategy, and holding equal amounts: the same engine, the same costs")
    print(f"\n{result.summary()}\n")
    print(verdict.text(result, holding, predictions))
    result.save(out)
    loaded = BacktestResult.load(out)
    assert loaded.fingerprint == result.fingerprint
    print(f"\nSaved to {out.resolve()} and loaded again: the fingerprint is the same.")
    print(f'Look into it: BacktestResult.load("{out}").trades')
    print(f"The strategy, for you to copy: {strategy.__file__}")
    print(f"Done in {perf_counter() - begun:.1f} seconds.")


def _span(prices: pl.DataFrame) -> str:
    days = prices["timestamp"].unique().sort()
    return f"{days[0]} to {days[-1]}"


if __name__ == "__main__":
    sys.exit(main())
