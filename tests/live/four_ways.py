"""Plays strategies on one recorded day in four ways, and compares what came of it.

A backtest; in shadow, with bars and predictions over a WebSocket; and live with Alpaca's client and
with Interactive Brokers' against their rehearsals.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    Instrument,
    PerShareCommission,
    SimulationBroker,
    Strategy,
)
from tests.live import four_strategies as played
from tests.live.streamed import SIGNAL, StreamedAlpaca, StreamedIB, run_shadow

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ML4T_SHARED", ROOT.parent / "shared")) / "data"
OPEN = dt.datetime(2013, 10, 7, 13, 30, tzinfo=dt.UTC)
DAY = 390
SHARES = ("BAC", "IBM", "SPY")
WAYS = ("backtest", "shadow", "Alpaca", "Interactive Brokers")
FILL = ("timestamp", "asset_id", "side", "quantity", "price", "commission")
DECISION = (
    *("created_at", "asset_id", "side", "type", "quantity", "limit_price", "stop_price"),
    *("time_in_force", "status"),
)


@dataclass(frozen=True)
class Play:
    """A strategy, and what is known of how it differs.

    Args:
        strategy: The class; every way gets an object of its own.
        about: In a few words.
        minutes: Of the day.
        fractional: Whether parts of units are traded.
        causes: By way, why it differs from the backtest. The others must not.
    """

    strategy: type[Strategy]
    about: str
    minutes: int = DAY
    fractional: bool = False
    causes: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the strategy."""
        return self.strategy.__name__


_TWO = (
    "An order through zero is sent as two, the second when the first has filled: it trades a "
    "minute later."
)
_WAITS = "A purchase waits for the sale that pays for it, and is sent when that has filled."
PLAYS = (
    Play(played.Predicted, "market orders by predictions"),
    Play(played.Protected, "brackets, limits, stops, trailing stops, changes, cancels"),
    Play(
        played.Reversing,
        "from long to short in one order",
        minutes=60,
        causes={"Alpaca": _TWO, "Interactive Brokers": _TWO},
    ),
    Play(
        played.Invested,
        "all of the money, from one share to another",
        minutes=60,
        causes={"Alpaca": _WAITS, "Interactive Brokers": _WAITS},
    ),
    Play(
        played.Trailed,
        "trailing stops with a limit",
        minutes=60,
        causes={"Alpaca": "Alpaca has no trailing stop-limits: they are refused at once."},
    ),
    Play(
        played.Timed,
        "limits that end at a time",
        minutes=60,
        causes={
            "Alpaca": "Alpaca has no orders that end at a time: they are refused at once.",
            "Interactive Brokers": "TWS says of an order whose time is over that it was canceled.",
        },
    ),
    Play(
        played.Fractional,
        "parts of shares",
        minutes=60,
        fractional=True,
        causes={
            "Interactive Brokers": "Its interface takes whole units alone: others are refused at "
            "once."
        },
    ),
)


# -- the day ---------------------------------------------------------------------------------------


def predicted(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars with predictions that look at their last five: none at first."""
    change = pl.col("close") / pl.col("close").shift(5).over("asset_id") - 1
    return (
        bars.sort("asset_id", "timestamp")
        .with_columns((1 / (1 + (-2_000 * change).exp())).round(6).alias(SIGNAL))
        .sort("timestamp", "asset_id")
    )


def recorded(minutes: int = DAY, data: Path = DATA) -> pl.DataFrame:
    """Minutes of three shares from the open on, stamped with their ends."""
    end = OPEN + dt.timedelta(minutes=minutes)
    bars = pl.read_parquet(data / "equity_minute_raw.parquet").filter(
        pl.col("timestamp").is_between(OPEN, end, closed="left"), pl.col("asset").is_in(SHARES)
    )
    return predicted(
        bars.select(
            pl.col("timestamp") + pl.duration(minutes=1),
            pl.col("asset").alias("asset_id"),
            *("open", "high", "low", "close", "volume"),
        )
    )


# -- four ways -------------------------------------------------------------------------------------


def run(play: Play, frame: pl.DataFrame, folder: Path) -> dict[str, BacktestResult]:
    """What came of a strategy in each way."""
    names = frame["asset_id"].unique().sort().to_list()
    ticks = [Instrument(asset_id=name, tick_size=0.01) for name in names]
    if play.fractional:
        ticks = [Instrument(asset_id=name, tick_size=0.01, lot_size=0.0) for name in names]

    def simulation() -> SimulationBroker:
        return SimulationBroker(
            commission=PerShareCommission(0.005),
            slippage=BasisPointSlippage(1.0),
            instruments=ticks,
        )

    found = {
        "backtest": BacktestEngine(frame, strategy=play.strategy(), broker=simulation()).run(),
        "shadow": run_shadow(folder, frame, play.strategy(), simulation()),
    }
    alpaca = StreamedAlpaca(folder / "alpaca", frame, broker=simulation())
    alpaca.options |= {"commission": PerShareCommission(0.005), "instruments": ticks}
    alpaca.path.parent.mkdir()
    with alpaca.server:
        found["Alpaca"] = alpaca.run(play.strategy())
        alpaca.gateway.close()
    ib = StreamedIB(folder / "ib", frame, broker=simulation())
    ib.options |= {"instruments": ticks}
    with ib:
        found["Interactive Brokers"] = ib.run(play.strategy())
    return found


@dataclass(frozen=True)
class Verdict:
    """A way beside the backtest.

    Args:
        way: Which.
        fills: How many it had.
        decisions: How many orders it decided on.
        missing: What the backtest has and it has not, fills and then decisions.
        added: The other way round.
        has_equal_account: Whether cash and equity are the same after every bar.
    """

    way: str
    fills: int
    decisions: int
    missing: tuple[pl.DataFrame, pl.DataFrame]
    added: tuple[pl.DataFrame, pl.DataFrame]
    has_equal_account: bool

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        frames = (*self.missing, *self.added)
        return self.has_equal_account and all(frame.height == 0 for frame in frames)


def compare(found: dict[str, BacktestResult]) -> list[Verdict]:
    """Every way beside the backtest: all to the bit, but sums of money, where order counts."""
    first = found["backtest"]
    verdicts = []
    for way, result in found.items():
        missing, added = [], []
        for one, other, columns in (
            (first.fills, result.fills, FILL),
            (first.orders, result.orders, (*DECISION, f"signal_{SIGNAL}")),
        ):
            missing.append(_less(one, other, columns))
            added.append(_less(other, one, columns))
        verdicts.append(
            Verdict(
                way,
                result.fills.height,
                result.orders.height,
                (missing[0], missing[1]),
                (added[0], added[1]),
                _has_account_of(first, result),
            )
        )
    return verdicts


def _less(one: pl.DataFrame, other: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Rows of one that the other does not have, counted: two alike are two."""
    names = list(columns)
    numbered = [
        frame.select(names).with_columns(pl.int_range(pl.len()).over(names).alias("nth"))
        for frame in (one, other)
    ]
    found = numbered[0].join(numbered[1], on=[*names, "nth"], how="anti", nulls_equal=True)
    return found.drop("nth").sort(names)


def _has_account_of(first: BacktestResult, result: BacktestResult) -> bool:
    one, other = first.equity, result.equity
    if not one["timestamp"].equals(other["timestamp"]):
        return False
    return all(
        bool(((one[name] - other[name]).abs() <= 1e-9 * one[name].abs()).all())
        for name in ("cash", "equity")
    )


def complaints(play: Play, verdicts: list[Verdict]) -> list[str]:
    """What is not as it is known to be."""
    found = []
    for verdict in verdicts:
        is_known = verdict.way in play.causes
        if is_known and verdict.is_equal:
            found.append(f"{play.name}, {verdict.way}: equal, though a cause is known")
        elif not is_known and not verdict.is_equal:
            rows = [str(frame) for frame in (*verdict.missing, *verdict.added) if frame.height]
            text = "\n".join(rows) or "the account"
            found.append(f"{play.name}, {verdict.way}: differs without a known cause: {text}")
    return found
