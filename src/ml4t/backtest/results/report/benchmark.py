"""What a run is measured against: an asset, the whole universe, a series of yours, another run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.results import skill
from ml4t.backtest.results.summary import count, span, strategy

if TYPE_CHECKING:
    from ml4t.backtest.results.result import BacktestResult

EQUAL_WEIGHT = "equal_weight"
_VALUES = ("equity", "close", "price", "value")


class Benchmark(msgspec.Struct, frozen=True):
    """A curve to compare with, as money: it starts with what the run started with.

    Args:
        name: What to call it.
        equity: timestamp (those of the run), equity.
        note: What it leaves out.
        lacks: Which part of the run it says nothing of; empty when it has all of it.
    """

    name: str
    equity: pl.DataFrame
    note: str
    lacks: str = ""

    def returns(self, result: BacktestResult) -> pl.DataFrame:
        """Returns of the run's sessions: session, equity, return."""
        sessions = (
            result.record.equity.select("timestamp", "session")
            .join(self.equity, on="timestamp", how="inner", maintain_order="left")
            .group_by("session", maintain_order=True)
            .agg(pl.col("equity").last())
        )
        before = pl.col("equity").shift(1, fill_value=result.initial_cash)
        return sessions.with_columns((pl.col("equity") / before - 1.0).alias("return"))


def resolve(result: BacktestResult, benchmark: Any) -> Benchmark:
    """Finds a benchmark.

    Args:
        result: The run.
        benchmark: An asset of the run, "equal_weight", a pandas or Polars series or frame with
            times and prices or equity, or another result.

    Raises:
        ConfigError: It is none of these.
        DataError: It does not reach into the run, or has several values at one time.
    """
    from ml4t.backtest.results.result import BacktestResult

    if isinstance(benchmark, BacktestResult):
        frame = benchmark.equity.select("timestamp", "equity")
        return _fitted(result, f"{strategy(benchmark)} (benchmark)", frame, "")
    if isinstance(benchmark, str):
        return _of_market(result, benchmark)
    name, frame = _given(benchmark)
    return _fitted(result, name, frame, "")


def _of_market(result: BacktestResult, name: str) -> Benchmark:
    if name in result.record.asset_ids:
        bars = _restated(result, result.market([name], ["close"]))
        prices = bars.select("timestamp", equity="close")
        return _fitted(result, name, prices, f"{name} at its prices: no dividends, no costs.")
    if name != EQUAL_WEIGHT:
        known = [*result.record.asset_ids, EQUAL_WEIGHT]
        raise ConfigError(
            f"The run knows no asset {name!r} to compare with. {did_you_mean(name, known)}"
        )
    gain = pl.col("close") / pl.col("close").forward_fill().shift(1).over("asset_id") - 1.0
    mean = (
        _restated(result, result.market(columns=["close"]))
        .with_columns(gain.alias("gain"))
        .group_by("timestamp", maintain_order=True)
        .agg(pl.col("gain").mean().fill_null(0.0))
    )
    grown = mean.select("timestamp", equity=(1.0 + pl.col("gain")).cum_prod())
    note = "All assets in equal parts, restored at every bar: no dividends, no costs."
    return _fitted(result, "equal weight", grown, note)


def _restated(result: BacktestResult, bars: pl.DataFrame) -> pl.DataFrame:
    """A split is no return of a benchmark, either."""
    return skill.restated(bars, result.record.source.get("splits"))


def _given(benchmark: Any) -> tuple[str, pl.DataFrame]:
    """A name and a frame of timestamp and equity, from what the caller has."""
    name = "benchmark"
    kind = type(benchmark).__module__.partition(".")[0]
    if kind == "pandas":
        name = str(getattr(benchmark, "name", None) or name)
        frame = benchmark.to_frame("value") if benchmark.ndim == 1 else benchmark
        time = str(frame.index.name or "timestamp")
        if "timestamp" not in frame.columns:
            frame = frame.rename_axis(time).reset_index()
        benchmark = pl.from_pandas(frame)
    if isinstance(benchmark, pl.Series):
        raise ConfigError(
            "A Polars series has no times. Give a frame with the columns timestamp and equity."
        )
    if not isinstance(benchmark, pl.DataFrame):
        raise ConfigError(
            f"benchmark must be an asset of the run, {EQUAL_WEIGHT!r}, a series or frame with "
            f"times, or another result, not {type(benchmark).__name__}."
        )
    times = [c for c, t in benchmark.schema.items() if t.is_temporal()]
    numbers = [c for c, t in benchmark.schema.items() if t.is_numeric()]
    value = next((c for c in _VALUES if c in numbers), numbers[0] if len(numbers) == 1 else None)
    if len(times) != 1 or value is None:
        raise ConfigError(
            "benchmark needs one column of times and one of prices or equity (named equity, "
            f"close, price or value where there are several); it has {benchmark.columns}."
        )
    return (value if name == "benchmark" and value not in _VALUES else name), benchmark.select(
        pl.col(times[0]).alias("timestamp"), pl.col(value).cast(pl.Float64).alias("equity")
    )


def _fitted(result: BacktestResult, name: str, frame: pl.DataFrame, note: str) -> Benchmark:
    """The curve at the times of the run: the last value known at each, from the run's money.

    Where either has one value a day they meet by day: at the last bar of the run's session.
    """
    own = result.record.equity.select("timestamp", "session")
    curve = frame.filter(pl.col("equity").is_finite()).sort("timestamp")
    _check_single(name, curve)
    if _is_daily(curve["timestamp"]) or _is_daily(own["timestamp"]):
        values = _by_day(own, curve)
    else:
        values = _by_time(own["timestamp"], curve)
    filled = values.fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()
    if values.null_count() == len(values) or filled[0] <= 0.0:
        raise DataError(
            f"The benchmark {name!r} has no positive value within the run, {span(result)}."
        )
    equity = pl.Series("equity", filled / filled[0] * result.initial_cash)
    lacks = _uncovered(name, own["session"], curve["timestamp"])
    return Benchmark(name, own.select("timestamp", equity), note, lacks)


def _check_single(name: str, curve: pl.DataFrame) -> None:
    """Refuse several values at one time: a table of many assets is no curve."""
    repeated = curve.unique().filter(pl.col("timestamp").is_duplicated()).sort("timestamp")
    if repeated.height:
        at = repeated["timestamp"][0]
        values = repeated.filter(pl.col("timestamp") == at)["equity"].sort().head(2).to_list()
        raise DataError(
            f"The benchmark {name!r} has several values at {at}, such as {values[0]:g} and "
            f"{values[1]:g}. Give one row a time: choose one asset of a table that has many."
        )


def _uncovered(name: str, sessions: pl.Series, times: pl.Series) -> str:
    """What part of the run the benchmark says nothing of; it is level there."""
    known = sessions.unique().sort()
    begins, ends = times.dt.date()[0], times.dt.date()[-1]
    early, late = (known < begins).sum(), (known > ends).sum()
    said = []
    if early:
        said.append(f"begins on {begins}, {count(early, 'session')} after the run")
    if late:
        said.append(f"ends on {ends}, {count(late, 'session')} before the run")
    return f"{name} {' and '.join(said)}: its curve is level there." if said else ""


def _is_daily(times: pl.Series) -> bool:
    if times.dtype == pl.Date:
        return True
    return bool((times.dt.truncate("1d") == times).all())


def _by_day(own: pl.DataFrame, curve: pl.DataFrame) -> pl.Series:
    days = curve.group_by(pl.col("timestamp").dt.date().alias("session")).agg(
        pl.col("equity").last()
    )
    joined = own.select("session").join_asof(
        days.sort("session"), on="session", check_sortedness=False
    )
    is_last = own["session"] != own["session"].shift(-1)
    return joined.select(pl.when(is_last.fill_null(value=True)).then("equity"))["equity"]


def _by_time(times: pl.Series, curve: pl.DataFrame) -> pl.Series:
    zone = _zone(times)
    given = curve["timestamp"].cast(pl.Datetime("us", _zone(curve["timestamp"])))
    if zone is None:
        given = given.dt.replace_time_zone(None)
    elif _zone(given) is None:
        given = given.dt.replace_time_zone(zone)
    else:
        given = given.dt.convert_time_zone(zone)
    key = pl.DataFrame({"timestamp": times.cast(pl.Datetime("us", zone))})
    known = curve.with_columns(given.alias("timestamp"))
    return key.join_asof(known, on="timestamp", check_sortedness=False)["equity"]


def _zone(times: pl.Series) -> str | None:
    return times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
