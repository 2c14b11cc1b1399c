"""The packaged example: it knows only the past, repeats itself, and says what it found."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import BacktestResult
from ml4t.backtest.demo import __main__ as demo
from ml4t.backtest.demo import forecast, strategy, verdict
from ml4t.backtest.demo.verdict import Interval
from tests.conftest import ROOT

FOLDER = Path(demo.__file__).parent


@pytest.fixture(scope="module")
def prices() -> pl.DataFrame:
    """The packaged prices."""
    return forecast.load_prices()


@pytest.fixture(scope="module")
def predictions(prices: pl.DataFrame) -> pl.DataFrame:
    """What the model predicts from them."""
    return forecast.walk_forward(forecast.training_table(prices))


def test_prices_are_what_the_notice_says(prices: pl.DataFrame) -> None:
    """Three assets, no gaps of splits, every bar sound."""
    spans = prices.group_by("asset_id").agg(
        pl.len(), first=pl.col("timestamp").min(), last=pl.col("timestamp").max()
    )
    end = dt.date(2013, 3, 1)
    assert spans.sort("asset_id").rows() == [
        ("AAPL", 3270, dt.date(2000, 3, 1), end),
        ("GOOG", 2148, dt.date(2004, 8, 19), end),
        ("MSFT", 3270, dt.date(2000, 3, 1), end),
    ]
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    assert prices.filter((pl.col("low") > low) | (pl.col("high") < high)).is_empty()
    # AAPL fell by half on 2000-09-29, after a profit warning; nothing else is near.
    change = (pl.col("close") / pl.col("close").shift(1).over("asset_id") - 1.0).abs()
    jumps = prices.sort("asset_id", "timestamp").filter(change > 0.25)
    assert jumps["timestamp"].to_list() == [dt.date(2000, 9, 29)]
    assert (FOLDER / "prices.parquet").stat().st_size < 250_000


def test_prices_are_the_recorded_ones_adjusted(prices: pl.DataFrame, shared_data: Path) -> None:
    """Every row follows from the raw row by the rule in the notice."""
    factor = pl.col("adj_close") / pl.col("close")
    raw = pl.read_parquet(shared_data / "equity_daily_wiki.parquet").select(
        pl.col("timestamp").cast(pl.Date),
        pl.col("asset").alias("asset_id"),
        *((pl.col(name) * factor).round(4) for name in ("open", "high", "low")),
        pl.col("adj_close").round(4).alias("close"),
        (pl.col("volume") / factor).round(0).cast(pl.Int64),
    )
    assert raw.sort("asset_id", "timestamp").equals(prices.sort("asset_id", "timestamp"))


def test_a_fit_sees_only_returns_that_were_known(prices: pl.DataFrame) -> None:
    """The last rows before a fit are left out: their returns reach beyond it."""
    table = forecast.training_table(prices)
    wait = (table["known_in"] - table["session"]).drop_nulls()
    assert wait.unique().to_list() == [forecast.HORIZON + 1]
    row = table.row(5_000, named=True)
    ahead = prices.filter(
        (pl.col("asset_id") == row["asset_id"]) & (pl.col("timestamp") > row["timestamp"])
    ).sort("timestamp")["open"]
    assert row["followed"] == ahead[forecast.HORIZON] / ahead[0] - 1.0


def test_the_future_does_not_reach_predictions_or_context(
    prices: pl.DataFrame, predictions: pl.DataFrame
) -> None:
    """Other prices after a day change no prediction and no context up to that day."""
    day = dt.date(2007, 6, 29)
    rng = np.random.default_rng(3)
    noise = pl.Series("noise", np.exp(rng.normal(0.0, 0.1, len(prices))))
    factor = pl.when(pl.col("timestamp") > day).then(noise).otherwise(1.0)
    other = prices.with_columns(pl.col("open", "high", "low", "close") * factor)
    until = pl.col("timestamp") <= day
    changed = forecast.walk_forward(forecast.training_table(other))
    columns = ["timestamp", "asset_id", "predicted_return"]
    assert changed.filter(until).select(columns).equals(predictions.filter(until).select(columns))
    assert not changed.select(columns).equals(predictions.select(columns))
    assert (
        forecast.market_context(other)
        .filter(until)
        .equals(forecast.market_context(prices).filter(until))
    )


def test_two_runs_are_the_same(prices: pl.DataFrame, predictions: pl.DataFrame) -> None:
    """Fitting and trading again gives the same fingerprint."""
    again = forecast.walk_forward(forecast.training_table(prices))
    runs = [
        demo.run(prices, given, strategy.PredictedReturns()).fingerprint
        for given in (predictions, again)
    ]
    assert runs[0] == runs[1]


def test_demo_runs_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints summary and verdict, and what it saved can be loaded."""
    out = tmp_path / "result"
    assert demo.main(["--out", str(out)]) == 0
    said = capsys.readouterr().out
    result = BacktestResult.load(out)
    assert result.summary() in said
    assert "Was there an edge?" in said
    assert str(out) in said
    assert strategy.__file__ in said
    assert max(len(line) for line in said.splitlines() if str(tmp_path) not in line) <= 100


def test_demo_does_not_replace_what_is_not_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with something else in it stays as it is."""
    (tmp_path / "diary.txt").write_text("mine", encoding="utf-8")
    assert demo.main(["--out", str(tmp_path)]) == 1
    assert "Cannot save" in capsys.readouterr().err
    assert (tmp_path / "diary.txt").read_text(encoding="utf-8") == "mine"


def test_demo_without_its_model_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without scikit-learn there is one clear sentence and no traceback."""
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    assert demo.main([]) == 1
    assert "pip install 'ml4t-backtest[demo]'" in capsys.readouterr().err
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any("scikit-learn" in item for item in extras["optional-dependencies"]["demo"])


def test_demo_helps(tmp_path: Path) -> None:
    """`python -m ml4t.backtest.demo --help` works from anywhere."""
    done = subprocess.run(
        [sys.executable, "-m", "ml4t.backtest.demo", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--out" in done.stdout


def test_strategy_is_short_enough_to_copy() -> None:
    """The strategy has fewer than 20 lines of code."""
    source = Path(strategy.__file__).read_text(encoding="utf-8")
    body = source[source.index("class PredictedReturns") :]
    quoted = body.split('"""')
    lines = [line for part in quoted[::2] for line in part.splitlines() if line.strip()]
    assert len(lines) < 20


@pytest.mark.parametrize(
    ("money", "risk", "says"),
    [
        (Interval(0.05, 0.01, 0.09), Interval(0.1, -0.1, 0.3), "Perhaps."),
        (Interval(-0.05, -0.09, -0.01), Interval(0.1, -0.1, 0.3), "No."),
        (Interval(0.01, -0.05, 0.07), Interval(0.1, -0.1, 0.3), "earned more than holding"),
        (Interval(-0.01, -0.05, 0.07), Interval(0.1, 0.05, 0.3), "it did earn more"),
        (Interval(-0.01, -0.05, 0.07), Interval(-0.1, -0.3, -0.05), "it did earn less"),
    ],
)
def test_verdict_says_what_the_intervals_allow(money: Interval, risk: Interval, says: str) -> None:
    """No edge is claimed when zero lies in the interval, and even then only perhaps."""
    assert says in verdict._on_returns(money, risk)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (Interval(0.05, 0.01, 0.1), "did say something"),
        (Interval(-0.05, -0.1, -0.01), "wrong way"),
        (Interval(0.0, -0.1, 0.1), "did not measurably"),
    ],
)
def test_verdict_on_predictions(known: Interval, says: str) -> None:
    """Skill is claimed only when its interval is above zero."""
    assert says in verdict._on_predictions(known)


def test_interval_agrees_with_textbook() -> None:
    """For independent rows the interval of a mean is about 1.96 standard errors to either side."""
    rows = np.random.default_rng(5).normal(0.1, 1.0, 20_000)
    found = verdict._interval(
        np.column_stack([np.ones(len(rows)), rows]), lambda sums: sums[1] / sums[0]
    )
    error = rows.std() / len(rows) ** 0.5
    assert found.estimate == pytest.approx(rows.mean(), rel=1e-12)
    assert found.low == pytest.approx(rows.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(rows.mean() + 1.96 * error, abs=0.15 * error)


def test_skill_is_a_correlation() -> None:
    """The estimate is the plain correlation of the pairs that are complete."""
    rng = np.random.default_rng(5)
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=i // 3) for i in range(600)]
    x = rng.normal(size=600)
    frame = pl.DataFrame(
        {"timestamp": days, "predicted_return": x, "followed": 0.3 * x + rng.normal(size=600)}
    )
    expected = np.corrcoef(frame["predicted_return"], frame["followed"])[0, 1]
    late = frame.tail(3).with_columns(pl.lit(None, dtype=pl.Float64).alias("followed"))
    found = verdict.skill(pl.concat([frame, late]))
    assert found.estimate == pytest.approx(expected, rel=1e-9)
    assert found.low < expected < found.high
