"""`init`: a run.toml to begin with, every field explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.cli.screen import say
from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
# A run of ml4t-backtest: ml4t-backtest run --config run.toml
# Relative paths are relative to this file. Lines that begin with "# " and a field show what else
# there is; take the "# " away to use them.

[data]
path = "prices.parquet"  # Parquet or CSV, a folder, a pattern, or a list of them
# columns = { timestamp = "Date", asset_id = "Ticker" }  # your names, when they are not found
# asset_id = "AAPL"  # the asset of all rows, when no column says so
# price_column = "close"  # for close-only data
# signal_columns = ["ml_pred"]  # exactly these are signals; else all that are no prices
# context_pattern = "VIX|SPY_.*"  # columns that are about the market as a whole
# bar_label = "open"  # intraday times say when a bar begins; needs bar_duration
# bar_duration = "1m"
# separator = ";"  # of CSV files
# decimal_comma = true
# start = 2020-01-01
# end = 2023-12-31
# calendar = "XNYS"  # needs the extra calendar

# Predictions in a table of their own; [signals.NAME] for several.
# [signals]
# path = "predictions.parquet"
# columns = ["ml_pred"]
# delay = "1d"  # from their timestamp until they are known
# max_age = "5d"  # until the next publication when left out

# [context]
# path = "vix.csv"
# delay = "1d"

# Splits, dividends, new names and delistings of quoted prices.
# [actions]
# path = "actions.csv"

[strategy]
file = "strategy.py"
# class = "MyStrategy"  # needed when the file defines several
# [strategy.parameters]
# hurdle = 0.01

[broker]
initial_cash = 100_000
# like = "backtrader"  # begin with the rules of another engine
# fill_at = "next_open"  # "next_close", or "close" to assume that one can
# fractional = true
# funding = "scale"  # or "reject"
# currency = "USD"
# limit_fill = "touch"  # or "through"
# intrabar = "worst"  # "best", "ohlc", "olhc"
# intrabar_feed = "minutes.parquet"  # finer bars that settle what is first inside a bar
# close_at_end = true
# stale_after = 5
# on_vanish = "mark"  # "close", or a price
# rates = 0.02  # interest on cash, a year
# borrow = 0.005  # fee for shares sold short, a year
# [[broker.instruments]]
# asset_id = "ES"
# multiplier = 50
# tick_size = 0.25

[commission]
kind = "percent"  # none, per_share, per_order, tiered, side, or a dated price list
rate = 0.0005

[slippage]
kind = "basis_points"  # none, fixed, half_spread, quoted_spread, square_root, volume_share
bps = 2

# [liquidity]
# kind = "volume_participation"
# share = 0.1

# [account]
# kind = "margin"  # unleveraged, cash, overdraft
# initial = 0.5

# How orders go through a bar: all at once, or one after another.
# [matching]
# kind = "one_by_one"

# By default money is asked for when an order fills; with this, before it may trade at all.
# [admission]
# kind = "cash_at_submission"

# [limits]
# max_position_weight = 0.2
# max_drawdown = 0.3
# on_breach = "flatten"

# [engine]
# signal_delay = "1d"  # for signals without a delay of their own
# signal_max_age = "5d"
# periods_per_year = 252
# max_history = 1000

# [output]
# save = true  # keep the run in ml4t-runs, or in the folder named here
# report = "report.html"
# name = "first try"
# family = "momentum"  # what trials are counted by
"""


def init(file: Path, *, force: bool) -> None:
    """Write the template.

    Raises:
        ConfigError: The file is there already, or cannot be written.
    """
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already; --force writes over it.")
    try:
        file.write_text(TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error
    say(f"Wrote {file}. Fill in [data] and [strategy], then: ml4t-backtest run --config {file}")
