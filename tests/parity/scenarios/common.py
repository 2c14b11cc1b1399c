"""Markets, plans and costs that scenarios have in common."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ml4t.backtest.testing.markets import market_of_bars, ten_bars
from tests.parity import plans
from tests.parity.plans import KINDS, SYMBOLS

PERCENT = {"kind": "percent", "rate": 0.001}
PER_SHARE = {"kind": "per_share", "per_share": 0.005, "minimum": 1.0}
THRESHOLD = {"kind": "threshold", "enter": 1.0, "leave": 0.0, "short": False, "share": 0.25}
ROTATION = {"kind": "rotation", "every": 21, "top": 25, "invested": 0.95, "as_weights": False}
LONG_SHORT = {**THRESHOLD, "short": True}
END = date(2024, 1, 8)
PLAIN = ("market", "limit", "stop", "stop_limit")


def five(folder: Path) -> pl.DataFrame:
    """Five shares, four years."""
    return plans.recorded(folder, SYMBOLS, 2010, 2013)


def apple(folder: Path) -> pl.DataFrame:
    """One share, four years."""
    return plans.recorded(folder, ("AAPL",), 2010, 2013)


def crowd(folder: Path) -> pl.DataFrame:
    """110 shares, 400 sessions."""
    return plans.panel(folder, 110, 400)


def crowd_in_cents(folder: Path) -> pl.DataFrame:
    """The same, at prices of two decimals."""
    prices = pl.col("open", "high", "low", "close").round(2)
    return plans.with_signal(crowd(folder).drop("signal").with_columns(prices), days=21)


def rough(assets: int, sessions: int, seed: int) -> Any:
    """Makes a market with gaps; see `plans.rough`."""
    return lambda _folder: plans.rough(assets, sessions, seed)


def holes(_folder: Path) -> pl.DataFrame:
    """Four assets, three of them late, bars missing."""
    return plans.with_holes(plans.rough(4, 300, 3), 1)


def ten(_folder: Path) -> pl.DataFrame:
    """The ten bars of the documentation."""
    return plans.with_signal(ten_bars())


def hand(*bars: tuple[float, float, float, float]) -> Any:
    """Makes a market of a few bars."""
    return lambda _folder: plans.with_signal(market_of_bars(bars))


def kinds(seed: int, names: tuple[str, ...] = KINDS, **options: Any) -> Any:
    """Makes a plan of orders of some kinds."""
    return partial(plans.orders_of_all_kinds, seed=seed, kinds=names, **options)


def bracketed(seed: int, **options: Any) -> Any:
    """Makes a plan of brackets."""
    return partial(plans.brackets, seed=seed, **options)


def pair(_folder: Path) -> pl.DataFrame:
    """The ten bars for A and for B."""
    return plans.with_signal(pl.concat([ten_bars(), ten_bars("B")]))


def thin(assets: int, sessions: int, seed: int, quiet: float = 0.0) -> Any:
    """Makes a market in which little is traded, and at times nothing; see `plans.thin`."""
    return lambda _folder: plans.thin(plans.rough(assets, sessions, seed), seed, quiet)


def late(_folder: Path) -> pl.DataFrame:
    """Six assets without gaps, five of which start late."""
    return plans.with_holes(plans.rough(6, 250, 91), 1, share=0.0)


def ended(_folder: Path) -> pl.DataFrame:
    """The ten bars for A, and the first four of them for B."""
    return pair(_folder).filter((pl.col("asset_id") == "A") | (pl.col("timestamp") < END))
