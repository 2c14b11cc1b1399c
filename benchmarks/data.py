"""The data of the workloads: made from seeds, the same on every machine, kept in `.data`.

Prices are geometric Brownian motion with a gap before every open (a larger one overnight),
rounded to cents. `ml_pred` and `confidence` are autoregressive, squashed into 0 to 1; `ml_pred`
knows a little about the return of the next bar. Days are Monday to Friday from 2019-01-02,
minutes 09:30 to 15:59.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

SESSION_MINUTES = 390
SEED = 20190102  # of the first data set by name; the next ones count on


@dataclass(frozen=True)
class Process:
    """Standard deviations of log returns, the strength of the prediction, autocorrelations."""

    gap: float
    overnight: float
    bar: float
    wick: float
    edge: float
    prediction_memory: float
    confidence_memory: float


PROCESSES = {
    "1d": Process(0.005, 0.0, 0.013, 0.006, 0.002, 0.95, 0.70),
    "1m": Process(0.0001, 0.006, 0.0007, 0.0004, 0.0001, 0.99, 0.90),
}


def folder() -> Path:
    """Where the files are kept: `.data` beside this file, or where ML4T_BENCH_DATA says."""
    return Path(os.environ.get("ML4T_BENCH_DATA", Path(__file__).parent / ".data"))


def path_of(data: str) -> Path:
    """The file of a data set, made if it is missing."""
    path = folder() / f"{data}.parquet"
    if not path.exists():
        # In a process of its own: the peak memory of a process that starts others is the least
        # that Linux reports for them.
        subprocess.run([sys.executable, __file__, data], check=True, stdout=subprocess.DEVNULL)
    return path


def make_file(data: str) -> Path:
    """The file of a data set, made if it is missing, here."""
    path = folder() / f"{data}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sets = sorted({w.data: w for w in WORKLOADS.values()}.items())
        seed, workload = next((SEED + k, w) for k, (name, w) in enumerate(sets) if name == data)
        columns = make(workload.frequency, workload.assets, workload.bars, seed)
        write(path, [table_of(columns, timestamps(workload.frequency, workload.bars))])
        print(f"made {path} ({path.stat().st_size / 1e6:.0f} MB)", file=sys.stderr)
    return path


def first_bars(data: str, assets: int, bars: int) -> Path:
    """The file of the first timestamps of a data set, made if it is missing."""
    path = folder() / f"{data}_first_{bars}.parquet"
    if not path.exists():
        import pyarrow.parquet as pq

        write(path, [pq.ParquetFile(path_of(data)).read().slice(0, bars * assets)])
    return path


def timestamps(frequency: str, bars: int) -> np.ndarray:
    per_day = 1 if frequency == "1d" else SESSION_MINUTES
    days = np.busday_offset("2019-01-02", np.arange(-(-bars // per_day))).astype("datetime64[ns]")
    if frequency == "1d":
        return days
    minutes = np.arange(9 * 60 + 30, 9 * 60 + 30 + SESSION_MINUTES).astype("timedelta64[m]")
    return (days[:, None] + minutes.astype("timedelta64[ns]")[None, :]).ravel()[:bars]


def squashed_ar1(rng: np.random.Generator, memory: float, bars: int, assets: int) -> np.ndarray:
    z = np.empty((bars, assets))
    z[0] = rng.standard_normal(assets)
    shock = np.sqrt(1 - memory * memory)
    for t in range(1, bars):
        z[t] = memory * z[t - 1] + shock * rng.standard_normal(assets)
    return 1.0 / (1.0 + np.exp(-1.702 * z))


def make(frequency: str, assets: int, bars: int, seed: int) -> dict[str, np.ndarray]:
    """Columns as (bars, assets) matrices. The order of the draws is part of the recipe."""
    p, shape = PROCESSES[frequency], (bars, assets)
    rng = np.random.default_rng(seed)
    prediction = squashed_ar1(rng, p.prediction_memory, bars, assets)
    confidence = squashed_ar1(rng, p.confidence_memory, bars, assets)
    gap = p.gap * rng.standard_normal(shape)
    if p.overnight:
        mornings = gap[::SESSION_MINUTES]
        mornings += p.overnight * rng.standard_normal(mornings.shape)
    move = p.bar * rng.standard_normal(shape)
    move[1:] += p.edge * (prediction[:-1] - 0.5)
    log_close = np.cumsum(gap + move, axis=0) + np.log(rng.uniform(50.0, 300.0, assets))
    open_, close = np.exp(log_close - move), np.exp(log_close)
    wick_up = np.exp(np.abs(p.wick * rng.standard_normal(shape)))
    wick_down = np.exp(-np.abs(p.wick * rng.standard_normal(shape)))
    prices = {
        "open": open_,
        "high": np.maximum(open_, close) * wick_up,
        "low": np.minimum(open_, close) * wick_down,
        "close": close,
    }
    return {
        **{name: np.maximum(np.round(price, 2), 0.01) for name, price in prices.items()},
        "volume": np.floor(np.exp(rng.normal(14.5, 0.5, shape))),
        "ml_pred": prediction,
        "confidence": confidence,
    }


def asset_names(assets: int) -> list[str]:
    """Names whose order as text is that of their numbers."""
    width = max(3, len(str(assets - 1)))
    return [f"A{j:0{width}d}" for j in range(assets)]


def table_of(columns: dict[str, np.ndarray], times: np.ndarray) -> pa.Table:
    """Long form: one row an asset and time, sorted by time and asset."""
    import pyarrow as pa

    bars, assets = columns["close"].shape
    codes = pa.array(np.tile(np.arange(assets, dtype=np.int32), bars))
    names = pa.array(asset_names(assets))
    return pa.table(
        {
            "timestamp": pa.array(np.repeat(times, assets)),
            "asset": pa.DictionaryArray.from_arrays(codes, names),
            **{name: pa.array(column.ravel()) for name, column in columns.items()},
        }
    )


def write(path: Path, tables: Iterable[pa.Table]) -> None:
    """The tables one after the other, in groups of a million rows."""
    import pyarrow.parquet as pq

    part, writer = path.with_suffix(".part"), None
    for table in tables:
        writer = writer or pq.ParquetWriter(part, table.schema, compression="snappy")
        writer.write_table(table, row_group_size=1_000_000)
    writer.close()
    part.rename(path)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or sorted({w.data for w in WORKLOADS.values()}):
        print(make_file(wanted))
