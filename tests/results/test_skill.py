"""What predictions were worth; every figure worked out again by plain loops."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise
from statistics import NormalDist, fmean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    ConfigError,
    DataError,
    ParquetDataFeed,
    Strategy,
)
from ml4t.backtest.results import skill
from ml4t.backtest.testing.markets import market_of_bars, random_market, weekdays, without_bars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

Z = NormalDist().inv_cdf(0.975)
Pair = tuple[Any, str, float, float]  # time, asset, signal, return


class Idle(Strategy):
    """Looks on."""

    def on_bars(self, bars: Bars) -> None:
        """At nothing."""


def run(market: pl.DataFrame | ParquetDataFeed) -> BacktestResult:
    """A run that trades nothing: predictions are judged by the market alone."""
    return BacktestEngine(market, strategy=Idle()).run()


# -- by plain loops ----------------------------------------------------------------------------


def pairs_of(market: pl.DataFrame, name: str, horizon: int) -> list[Pair]:
    """Each signal with the return from the asset's next open to its close `horizon` bars on."""
    found: list[Pair] = []
    for asset in sorted(set(market["asset_id"])):
        rows = market.filter(asset_id=asset).sort("timestamp").to_dicts()
        for i in range(len(rows) - horizon):
            signal = rows[i][name]
            if signal is not None and not math.isnan(signal):
                gain = rows[i + horizon]["close"] / rows[i + 1]["open"] - 1.0
                found.append((rows[i]["timestamp"], asset, float(signal), gain))
    return sorted(found, key=lambda pair: pair[:2])


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share their mean."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's; None without variance."""
    a, b = fmean(x), fmean(y)
    xx, yy = sum((v - a) ** 2 for v in x), sum((v - b) ** 2 for v in y)
    if xx == 0.0 or yy == 0.0:
        return None
    return sum((v - a) * (w - b) for v, w in zip(x, y, strict=True)) / math.sqrt(xx * yy)


def lag_of(n: int, horizon: int) -> int:
    """How many neighbours depend on each other."""
    return min(max(3 * (horizon - 1), math.floor(4 * (n / 100) ** (2 / 9))), n - 1)


def error_of(deviations: Sequence[float], lag: int) -> float:
    """Standard deviation of their sum with Bartlett weights, by a double loop."""
    n = len(deviations)
    total = 0.0
    for s in range(n):
        for t in range(max(0, s - lag), min(n, s + lag + 1)):
            total += (1 - abs(s - t) / (lag + 1)) * deviations[s] * deviations[t]
    return math.sqrt(max(total, 0.0))


def reach_of(n: int, lag: int) -> float:
    """Standard errors to each side."""
    b = (lag + 1) / n
    return 1.96 + 2.9694 * b + 0.416 * b * b - 0.5324 * b**3


def check_across(row: dict[str, Any], pairs: list[Pair]) -> None:
    """One row of the coefficients is what loops say."""
    times = sorted({pair[0] for pair in pairs})
    values = []
    for time in times:
        _, assets, x, y = zip(*(pair for pair in pairs if pair[0] == time), strict=True)
        found = correlation(ranks(x), ranks(y)) if len(assets) >= 3 else None
        if found is not None:
            values.append(found)
    n, horizon = len(values), row["horizon"]
    mean, lag = fmean(values), lag_of(n, horizon)
    error = error_of([v - mean for v in values], lag) / n * math.sqrt(n / (n - 1))
    assert row["kind"] == "across assets"
    assert (row["timestamps"], row["skipped"]) == (n, len(times) - n)
    assert row["mean"] == pytest.approx(mean, abs=1e-12)
    assert row["std"] == pytest.approx(stdev(values))
    assert row["t_stat"] == pytest.approx(mean / error)
    assert row["low"] == pytest.approx(mean - reach_of(n, lag) * error)
    assert row["high"] == pytest.approx(mean + reach_of(n, lag) * error)


# -- information coefficient ---------------------------------------------------------------------


def test_coefficients_are_what_loops_say() -> None:
    """With missing bars, absent and equal signals."""
    market = without_bars(random_market(6, 70, seed=3, information=0.2), 0.25, seed=1)
    place = pl.int_range(pl.len())
    market = market.with_columns(pl.when(place % 7 != 0).then(pl.col("ml_pred").round(1)))
    horizons = (1, 2, 5)
    found = run(market).information_coefficient("ml_pred", horizons)
    assert found.columns == [
        *("horizon", "kind", "timestamps", "skipped", "mean", "std", "t_stat", "low", "high")
    ]
    for row, horizon in zip(found.to_dicts(), horizons, strict=True):
        assert row["horizon"] == horizon
        check_across(row, pairs_of(market, "ml_pred", horizon))
    assert found["skipped"].sum() > 0


def test_coefficients_of_real_prices(shared_data: Path) -> None:
    """Of two years of American shares, for a signal that knows a little."""
    bars = pl.read_parquet(shared_data / "equity_daily_raw.parquet").filter(
        pl.col("timestamp").is_between(dt.datetime(2017, 1, 1), dt.datetime(2017, 9, 1))
    )
    market = bars.rename({"asset": "asset_id"}).drop("ticker").sort("asset_id", "timestamp")
    after = (pl.col("close").shift(-1) / pl.col("close") - 1.0).over("asset_id")
    luck = pl.Series(np.random.default_rng(5).normal(0.0, 0.02, market.height))
    market = market.with_columns((after + luck).alias("hunch"))
    result = run(market.sort("timestamp", "asset_id"))
    for row in result.information_coefficient("hunch", [1, 5]).to_dicts():
        check_across(row, pairs_of(market, "hunch", row["horizon"]))
    check_buckets(result.signal_buckets("hunch", 4, 5), pairs_of(market, "hunch", 5), 4, 5)


@pytest.mark.parametrize("assets", [1, 2, 5])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_signal_that_is_the_future_has_a_coefficient_of_one(assets: int, horizon: int) -> None:
    """Across assets and over time; and minus one when it is upside down."""
    market = random_market(assets, 60, seed=2).sort("asset_id", "timestamp")
    ahead = pl.col("close").shift(-horizon) / pl.col("open").shift(-1) - 1.0
    market = market.with_columns(ahead.over("asset_id").alias("oracle"))
    result = run(market.with_columns(liar=-pl.col("oracle")).sort("timestamp", "asset_id"))
    for name, truth in (("oracle", 1.0), ("liar", -1.0)):
        row = result.information_coefficient(name, [horizon]).row(0, named=True)
        assert row["kind"] == ("across assets" if assets > 2 else "over time")
        assert row["timestamps"] == 60 - horizon
        assert [row["mean"], row["low"], row["high"]] == pytest.approx([truth] * 3)


def test_assets_that_never_meet_are_judged_over_time() -> None:
    """Four assets, of which never more than two have bars: no ranking, but a figure."""
    market = random_market(4, 80, seed=4, information=0.3)
    days = market["timestamp"].unique().sort()
    is_early = pl.col("asset_id").is_in(["A00", "A01"])
    market = market.filter(is_early == (pl.col("timestamp") < days[40]))
    (row,) = run(market).information_coefficient("ml_pred", [1]).to_dicts()
    assert row["kind"] == "over time"
    assert row["timestamps"] == 2 * 39
    by_asset: list[float] = []
    for asset in ("A00", "A01", "A02", "A03"):
        pairs = [pair for pair in pairs_of(market, "ml_pred", 1) if pair[1] == asset]
        x, y = ranks([pair[2] for pair in pairs]), ranks([pair[3] for pair in pairs])
        by_asset.append(correlation(x, y) or math.nan)
    assert row["mean"] == pytest.approx(np.mean(by_asset))


@pytest.mark.parametrize("assets", [1, 8])
def test_the_interval_of_noise_covers_zero(assets: int) -> None:
    """In about 95 of 100 markets, also where returns overlap and signals last."""
    covered = []
    for seed in range(60):
        market = random_market(assets, 300, seed=seed).sort("asset_id", "timestamp")
        lasting = pl.col("ml_pred").ewm_mean(half_life=10).over("asset_id")
        market = market.with_columns(lasting.alias("lasting"))
        for name in ("ml_pred", "lasting"):
            found = skill.information_coefficient(market, name, (1, 5))
            covered += ((found["low"] < 0.0) & (found["high"] > 0.0)).to_list()
    assert 0.88 < fmean(covered) < 0.99


def test_an_asset_alone_is_judged_over_time() -> None:
    """The rank correlation of its signals with its returns; the error by influence."""
    market = random_market(1, 80, seed=9, information=0.3)
    market = market.with_columns(pl.when(pl.int_range(pl.len()) % 9 != 4).then("ml_pred"))
    for row in run(market).information_coefficient("ml_pred", (1, 5)).to_dicts():
        pairs = pairs_of(market, "ml_pred", row["horizon"])
        x, y = ranks([pair[2] for pair in pairs]), ranks([pair[3] for pair in pairs])
        mean, n = correlation(x, y), len(pairs)
        assert mean is not None
        u, v = ((np.array(r) - fmean(r)) / np.std(r) for r in (x, y))
        lag = lag_of(n, row["horizon"])
        influence = (u * v - mean * (u * u + v * v) / 2.0).tolist()
        error = error_of(influence, lag) / n * math.sqrt(n / (n - 1))
        assert (row["kind"], row["timestamps"], row["skipped"]) == ("over time", n, 0)
        assert row["std"] is None
        assert row["mean"] == pytest.approx(mean)
        assert row["t_stat"] == pytest.approx(mean / error)
        assert row["high"] == pytest.approx(mean + reach_of(n, lag) * error)


def test_two_assets_are_each_judged_over_time() -> None:
    """A level of its own does not make an asset's signals right."""
    market = random_market(2, 100, seed=1)
    is_first = pl.col("asset_id") == "A00"
    high = market.with_columns(pl.col("ml_pred") + pl.when(is_first).then(100.0).otherwise(0.0))
    known = skill.information_coefficient(market, "ml_pred")
    assert skill.information_coefficient(high, "ml_pred").equals(known)
    alone = [
        skill.information_coefficient(market.filter(asset_id=asset), "ml_pred")["mean"][0]
        for asset in ("A00", "A01")
    ]
    assert known["mean"][0] == pytest.approx(fmean(alone))


def test_the_return_begins_after_the_bar_of_the_signal() -> None:
    """By hand: a signal at 100 sees the next open at 200 and what comes then."""
    bars = [(100, 100, 100, 100), (200, 220, 200, 220), (230, 242, 230, 242)]
    market = pl.concat(
        market_of_bars(bars, asset_id=name).with_columns(s=pl.lit(value))
        for name, value in (("A", 1.0), ("B", 2.0))
    )
    found = [skill.signal_buckets(market, "s", 1, horizon).row(0, named=True) for horizon in (1, 2)]
    first = (220 / 200 - 1.0, 242 / 230 - 1.0)
    assert found[0]["count"] == 4
    assert found[0]["average_return"] == pytest.approx(fmean(first))
    assert found[1]["count"] == 2  # only the first bar has a future of two
    assert found[1]["average_return"] == pytest.approx(242 / 200 - 1.0)
    assert found[1]["low_return"] is None


def test_too_little_to_say() -> None:
    """Few timestamps have a mean without interval; equal signals, or no future, have nothing."""
    market = random_market(4, 22, seed=1).with_columns(same=pl.lit(1.0))
    found = skill.information_coefficient(market, "ml_pred", (1, 3, 5, 30)).to_dicts()
    assert [row["timestamps"] for row in found] == [21, 19, 17, 0]
    assert [row["low"] is None for row in found] == [False, True, True, True]
    assert [row["mean"] is None for row in found] == [False, False, False, True]
    flat = skill.information_coefficient(market, "same", (1,)).row(0, named=True)
    assert (flat["timestamps"], flat["skipped"], flat["mean"]) == (0, 21, None)
    alone = market.filter(asset_id="A00")
    flat = skill.information_coefficient(alone, "same", (1,)).row(0, named=True)
    assert (flat["timestamps"], flat["skipped"], flat["mean"]) == (0, 21, None)
    none = market.with_columns(same=pl.lit(None))
    flat = skill.information_coefficient(none, "same", (1,)).row(0, named=True)
    assert (flat["timestamps"], flat["skipped"], flat["mean"]) == (0, 0, None)
    assert skill.signal_buckets(none, "same").is_empty()
    assert skill.calibration(none, "same")["count"].sum() == 0
    assert math.isnan(skill.brier_score(none, "same"))


def test_prices_that_define_no_return_are_left_out() -> None:
    """Zero and negative opens; a signal of NaN is absent."""
    bars = [(10, 10, 10, 10), (0, 5, 0, 5), (-1, 1, -1, 1), (10, 12, 10, 12), (10, 11, 10, 11)]
    signals = [1.0, 2.0, 3.0, math.nan, 5.0]
    market = market_of_bars(bars).with_columns(s=pl.Series(signals))
    found = skill.signal_buckets(market, "s", 1).row(0, named=True)
    assert (found["count"], found["low"], found["average_return"]) == (1, 3.0, pytest.approx(0.2))


# -- buckets -------------------------------------------------------------------------------------


def check_buckets(found: pl.DataFrame, pairs: list[Pair], buckets: int, horizon: int) -> None:
    """The buckets are what loops say."""
    by_value = sorted(pair[2] for pair in pairs)
    places: dict[float, list[int]] = {}
    for i, value in enumerate(by_value):
        places.setdefault(value, []).append(i)
    middle = {value: (min(own) + max(own) + 1) / 2 for value, own in places.items()}
    place = {value: int(m * buckets / len(pairs)) + 1 for value, m in middle.items()}
    times = sorted({pair[0] for pair in pairs})
    assert sum(found["count"]) == len(pairs)
    for row in found.to_dicts():
        own = [pair for pair in pairs if place[pair[2]] == row["bucket"]]
        gains = [pair[3] for pair in own]
        signals = [pair[2] for pair in own]
        mean, seen = fmean(gains), len({pair[0] for pair in own})
        deviations = [sum(p[3] - mean for p in own if p[0] == time) for time in times]
        lag = lag_of(len(times), horizon)
        error = error_of(deviations, lag) / len(own) * math.sqrt(seen / (seen - 1))
        reach = reach_of(seen, lag) * error
        expected = {
            "low": min(signals),
            "high": max(signals),
            "count": len(own),
            "average_signal": fmean(signals),
            "average_return": mean,
            "median_return": median(gains),
            "hit_rate": sum(gain > 0.0 for gain in gains) / len(own),
            "low_return": mean - reach,
            "high_return": mean + reach,
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("horizon", [1, 4])
def test_buckets_are_what_loops_say(horizon: int) -> None:
    """On all bars, with equal signals that stay together."""
    market = without_bars(random_market(5, 60, seed=8, information=0.3), 0.2, seed=2)
    market = market.with_columns(pl.col("ml_pred").round(1))
    found = run(market).signal_buckets("ml_pred", 4, horizon)
    check_buckets(found, pairs_of(market, "ml_pred", horizon), 4, horizon)


def test_better_signals_earn_more() -> None:
    """Predictions of known worth order the returns, and the ends are told from each other."""
    market = random_market(20, 400, seed=6, information=0.3)
    found = run(market).signal_buckets("ml_pred")
    assert all(a < b for a, b in pairwise(found["average_return"]))
    assert found["high_return"][0] < 0.0 < found["low_return"][-1]


def test_booleans_are_numbers() -> None:
    """True is one, false is zero, and equal values are not divided."""
    market = random_market(4, 50, seed=6).with_columns(up=pl.col("ml_pred") > -0.5)
    found = run(market).signal_buckets("up", 2)
    assert found["count"][0] < found["count"][1]
    assert found["low"].to_list() == [0.0, 1.0]
    assert found["high"].to_list() == [0.0, 1.0]


# -- calibration ---------------------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    """Sixteen bars, four buckets, one of them empty."""
    bars = [(10, 11, 10, 11) if i % 3 else (11, 11, 10, 10) for i in range(17)]
    confidence = [0.1, 0.3, 0.75, 1.0] * 4 + [0.5]
    market = market_of_bars(bars).with_columns(confidence=pl.Series(confidence))
    result = run(market)
    found = result.calibration(buckets=4)
    ups = [bool((i + 1) % 3) for i in range(16)]
    hits = [sum(ups[i::4]) for i in range(4)]
    assert found["low"].to_list() == [0.0, 0.25, 0.5, 0.75]
    assert found["high"].to_list() == [0.25, 0.5, 0.75, 1.0]
    assert found["count"].to_list() == [4, 4, 0, 8]
    assert found["average_confidence"].to_list() == [0.1, 0.3, None, 0.875]
    rates = [hits[0] / 4, hits[1] / 4, None, (hits[2] + hits[3]) / 8]
    assert found["hit_rate"].to_list() == rates
    assert found["low_rate"][2] is None
    squares = [(c - up) ** 2 for c, up in zip(confidence[:16], ups, strict=True)]
    assert result.brier_score() == pytest.approx(fmean(squares))


def test_the_interval_of_a_share_is_where_a_test_would_refuse_it() -> None:
    """At each end the share observed lies 1.96 standard errors away; overlap counts less."""
    market = random_market(4, 200, seed=3, information=0.2).with_columns(
        confidence=1.0 / (1.0 + (-pl.col("ml_pred")).exp())
    )
    for horizon in (1, 5):
        for row in run(market).calibration(horizon=horizon).to_dicts():
            n = row["count"] / horizon
            for end in (row["low_rate"], row["high_rate"]):
                distance = abs(row["hit_rate"] - end)
                assert distance == pytest.approx(Z * math.sqrt(end * (1.0 - end) / n), rel=1e-9)


def test_a_hit_is_in_the_direction_that_was_claimed() -> None:
    """By loops, for a signal whose sign says which way; zero and absent claim nothing."""
    market = random_market(3, 60, seed=3, information=0.2)
    place = pl.int_range(pl.len())
    way = pl.when(place % 5 == 0).then(0.0).when(place % 7 != 0).then(pl.col("ml_pred"))
    market = market.with_columns(
        way.alias("way"), (pl.col("ml_pred") > 0.0).alias("is_up"), confidence=pl.lit(0.7)
    )
    result = run(market)
    for name in ("way", "is_up"):
        hits = []
        for *_, claim, gain in pairs_of(market, name, 2):
            up = claim > 0.5 if name == "is_up" else claim > 0.0
            if name == "is_up" or claim != 0.0:
                hits.append(gain > 0.0 if up else gain < 0.0)
        found = result.calibration("confidence", 10, 2, direction=name).filter(pl.col("count") > 0)
        assert found["low"].to_list() == [0.7]
        assert found["count"].to_list() == [len(hits)]
        assert found["hit_rate"].to_list() == [pytest.approx(fmean(hits))]
        score = result.brier_score(horizon=2, direction=name)
        assert score == pytest.approx(fmean((0.7 - hit) ** 2 for hit in hits))


# -- refusals ------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused() -> None:
    """Text, unknown names, numbers out of range."""
    market = random_market(3, 30).with_columns(
        mood=pl.lit("calm"), confidence=pl.lit(1.5), sure=pl.lit(0.5)
    )
    result = run(market)
    with pytest.raises(DataError, match="no column 'ml_perd'"):
        result.information_coefficient("ml_perd")
    with pytest.raises(DataError, match="'mood' has type String"):
        result.information_coefficient("mood")
    with pytest.raises(DataError, match=r"'confidence' is 1.5 for 'A00' on 2024-01-02"):
        result.calibration()
    with pytest.raises(DataError, match="'mood' has type String"):
        result.brier_score("sure", direction="mood")
    with pytest.raises(ConfigError, match="horizons is empty"):
        result.information_coefficient("ml_pred", ())
    for horizon in (0, 1.5):
        with pytest.raises(ConfigError, match="whole number of bars"):
            result.information_coefficient("ml_pred", (1, horizon))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="whole number of bars"):
            result.signal_buckets("ml_pred", horizon=horizon)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="whole number of bars"):
            result.brier_score(horizon=horizon)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="buckets must be at least 1"):
        result.signal_buckets("ml_pred", 0)
    with pytest.raises(ConfigError, match="buckets must be at least 1"):
        result.calibration(buckets=0)


def test_close_only_prices_earn_from_the_second_bar_on() -> None:
    """What is bought at the next open, which is the close, has earned nothing by that close."""
    rng = np.random.default_rng(4)
    frames = [
        pl.DataFrame(
            {
                "timestamp": weekdays(60),
                "asset_id": name,
                "price": 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 60))),
                "s": rng.normal(size=60),
            }
        )
        for name in "ABCD"
    ]
    market = pl.concat(frames).sort("timestamp", "asset_id")
    result = run(ParquetDataFeed(market, price_column="price"))
    found = result.information_coefficient("s", (1, 2)).to_dicts()
    assert [row["timestamps"] for row in found] == [0, 58]
    for call in (result.signal_buckets, result.calibration):
        with pytest.raises(ConfigError, match="horizon=2 or more"):
            call("s")
    assert result.signal_buckets("s", 1, 2)["count"].to_list() == [4 * 58]


def test_a_split_is_no_return(tmp_path: Path) -> None:
    """Two for one on the fourth day: what one unit became gained ten percent in two days."""
    days = [dt.date(2024, 1, d) for d in (2, 3, 4, 5, 8, 9)]
    prices = [100.0, 100.0, 100.0, 55.0, 55.0, 55.0]
    data = pl.DataFrame(
        {
            "timestamp": days,
            "asset_id": "A",
            **dict.fromkeys(("open", "high", "low", "close"), prices),
            "volume": 1.0,
            "ml_pred": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    data.write_parquet(tmp_path / "prices.parquet")
    split = {"timestamp": days[3], "asset_id": "A", "kind": "split", "ratio": 2.0}

    class Idle(Strategy):
        def on_bars(self, bars):
            pass

    engine = BacktestEngine(
        tmp_path / "prices.parquet", strategy=Idle(), actions=pl.DataFrame([split])
    )
    result = engine.run()
    result.save(tmp_path / "run")
    for one in (result, BacktestResult.load(tmp_path / "run")):
        table = one.signal_buckets("ml_pred", buckets=4, horizon=2)
        # From the next open to the close two days on; only the second day's spans the split.
        assert table["average_return"].to_list() == pytest.approx([0.0, 0.1, 0.0, 0.0])
