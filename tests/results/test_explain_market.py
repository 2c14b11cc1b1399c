"""What the strategy saw, in sentences: bars, signals and their age, context, position and cash."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    FixedSlippage,
    ParquetDataFeed,
    PercentCommission,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)
from tests.results.test_explain import words

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10, 11)]


def prices() -> pl.DataFrame:
    """A rises by one a day from an open of 10; B does the same, without a bar on the 8th."""
    start = pl.int_range(10, 18).cast(pl.Float64)
    lone = pl.DataFrame({"timestamp": DAYS}).with_columns(
        open=start, high=start + 1, low=start - 0.5, close=start + 0.5, volume=100.0
    )
    both = [lone.with_columns(asset_id=pl.lit(name)) for name in ("A", "B")]
    is_there = (pl.col("asset_id") == "A") | (pl.col("timestamp") != DAYS[4])
    return pl.concat(both).filter(is_there)


def scores() -> pl.DataFrame:
    """Published on the 3rd of both, without a value for B, and on the 9th of B alone."""
    rows = [(DAYS[1], "A", 0.5, "up"), (DAYS[1], "B", None, "up"), (DAYS[5], "B", 0.75, "down")]
    return pl.DataFrame(rows, schema=["timestamp", "asset_id", "score", "trend"], orient="row")


class Buys(Strategy):
    """Buys some of A on some days."""

    def __init__(self, quantities: dict[dt.date, float] | None = None) -> None:
        self._quantities = quantities or {}

    def on_bars(self, bars: Bars) -> None:
        """As planned."""
        if quantity := self._quantities.get(bars.timestamp.date()):
            self.buy("A", quantity)


def run(
    data: Any = None, quantities: dict[dt.date, float] | None = None, **options: Any
) -> BacktestResult:
    """What is left of a run that buys A."""
    data = prices() if data is None else data
    return BacktestEngine(data, strategy=Buys(quantities), **options).run()


def loaded(result: BacktestResult, folder: Path) -> BacktestResult:
    """The result after a folder."""
    result.save(folder)
    return BacktestResult.load(folder)


@pytest.fixture(scope="module")
def seen() -> BacktestResult:
    """A run that looks on."""
    return run(signals=scores(), context={"VIX": {DAYS[2]: 15.5}})


# -- bars and signals --------------------------------------------------------------------------


def test_the_bar_is_told(seen: BacktestResult) -> None:
    """Its close first, since that is what the strategy decided on."""
    text = words(seen.explain("A", DAYS[3]))
    assert "It closed at 13.5 (open 13, high 14, low 12.5, volume 100)." in text


@pytest.mark.parametrize(
    ("asset", "day", "said"),
    [
        ("A", 0, "score absent, trend absent (nothing was published yet)."),
        ("A", 1, "score 0.5, trend up (published with this bar)."),
        ("A", 3, "score 0.5, trend up (published 2024-01-03, 2 days before)."),
        ("A", 5, "score absent (expired: the last one, 0.5, was published 2024-01-03, 6 days"),
        ("B", 1, "score absent (no value in what was published with this bar); trend up ("),
        ("B", 3, "score absent (no value in what was published 2024-01-03, 2 days before); "),
        ("B", 6, "score 0.75, trend down (published 2024-01-09, 1 day before)."),
    ],
)
def test_signals_have_an_age(seen: BacktestResult, asset: str, day: int, said: str) -> None:
    """Current, absent or expired, and since when."""
    assert f"Its signals: {said}" in words(seen.explain(asset, DAYS[day]))


def test_a_signal_expires_by_its_own_age() -> None:
    """With an age of three days it is gone on the fourth."""
    result = run(signals=scores(), signal_max_age="3d")
    assert "score absent (expired: the last one, 0.5, was published 2024-01-03, 5 days" in words(
        result.explain("A", DAYS[4])
    )


def test_a_delay_moves_the_publication() -> None:
    """A row is published when it is known, not at the time it is about."""
    text = words(run(signals=scores(), signal_delay="1d").explain("A", DAYS[3]))
    assert "score 0.5, trend up (published 2024-01-04, 1 day before)" in text


def test_signals_that_are_instants() -> None:
    """In a run by the hour the time of arrival is told to the minute."""
    zone = "America/New_York"
    hours = pl.datetime_range(
        dt.datetime(2024, 1, 2, 10), dt.datetime(2024, 1, 2, 16), "1h", eager=True, time_zone=zone
    )
    data = pl.DataFrame({"timestamp": hours, "asset_id": "A", "close": 10.0})
    known = pl.Series([dt.datetime(2024, 1, 2, 10, 30)]).dt.replace_time_zone(zone)
    table = pl.DataFrame({"timestamp": hours[:1], "available_at": known, "score": [0.25]})
    result = run(ParquetDataFeed(data, price_column="close"), signals=table)
    text = words(result.explain("A", "2024-01-02T12:00"))
    assert "It closed at 10. Its signals: score 0.25 (published 2024-01-02 10:30 EST, 1.5" in text
    assert "score absent (nothing was published yet)" in words(
        result.explain("A", "2024-01-02T10:00")
    )
    whole = words(result.explain("A", "2024-01-02"))
    assert "It had 7 bars: open 10, high 10, low 10, close 10 at 2024-01-02 16:00 EST." in whole
    assert "score" not in whole


def test_instants_meet_sessions() -> None:
    """By a daily bar, known at the end of its day, a morning's row is hours old."""
    known = dt.datetime(2024, 1, 4, 9, 30)
    table = pl.DataFrame({"timestamp": [known], "asset_id": ["A"], "score": [0.25]})
    text = words(run(signals=table).explain("A", DAYS[2]))
    assert "score 0.25 (published 2024-01-04 09:30, 14.5 hours before)" in text


def test_columns_of_the_prices_have_no_age() -> None:
    """They are known with their bar."""
    data = prices().with_columns(score=pl.when(pl.col("asset_id") == "A").then(0.5))
    result = run(data)
    assert "Its signals: score 0.5. " in words(result.explain("A", DAYS[3]))
    text = words(result.explain("B", DAYS[3]))
    assert "Its signals: score absent. " in text
    assert "No signal was known for it." in text


def test_context_without_a_decision(seen: BacktestResult) -> None:
    """It is read again."""
    assert "Context: VIX 15.5." in seen.explain("A", DAYS[4])
    assert "Context: nothing known." in seen.explain("A", DAYS[0])


# -- nothing happened --------------------------------------------------------------------------


def test_no_order_was_sent(seen: BacktestResult) -> None:
    """What was there to see is told; what the strategy thought cannot be."""
    text = words(seen.explain("A", DAYS[3]))
    assert "Cash was 100,000, of an equity of 100,000." in text
    assert "The strategy ordered nothing for this asset in this session." in text
    assert "What it made of the signals is not recorded" in text
    assert "No signal was known" not in text


def test_no_bar(seen: BacktestResult) -> None:
    """The last bar before is named."""
    text = words(seen.explain("B", DAYS[4]))
    assert "It had no bar in this session; its last one, 2024-01-05, closed at 13.5." in text
    assert "signals" not in text


def test_no_bar_yet() -> None:
    """Nor before, for an asset that came later."""
    late = prices().filter((pl.col("asset_id") == "A") | (pl.col("timestamp") > DAYS[4]))
    text = words(run(late).explain("B", DAYS[1]))
    assert "It had no bar in this session, nor in the 31 days before." in text


class Misspells(Buys):
    """Orders what there is not."""

    def on_bars(self, bars: Bars) -> None:
        """Once."""
        if bars.timestamp.date() == DAYS[1]:
            self.buy("AA", 5)


def test_an_asset_that_is_not_in_the_data() -> None:
    """Its order was rejected, and that can be asked about."""
    text = words(BacktestEngine(prices(), strategy=Misspells()).run().explain("AA", DAYS[1]))
    assert "The data have no such asset." in text
    assert "It did not fill; it was rejected: " in text


# -- orders ------------------------------------------------------------------------------------


def in_parts() -> BacktestResult:
    """Thirty of A ordered on the 3rd, ten a day to be had; five more on the 5th."""
    broker = SimulationBroker(
        initial_cash=1_000,
        commission=PercentCommission(0.01),
        slippage=FixedSlippage(0.5),
        liquidity=VolumeParticipation(0.1),
    )
    return run(quantities={DAYS[1]: 30, DAYS[3]: 5}, broker=broker, signals=scores())


def test_all_parts_of_an_order_are_told() -> None:
    """Each with price, time, reason and costs."""
    text = words(in_parts().explain("A", DAYS[1]))
    assert "When it decided, the strategy held 0 and had 1,000.00 in cash." in text
    assert "It filled 30 at an average of 13.5, in 3 parts until 2024-01-08 (at the open)." in text
    for part in (
        "10 at 12.5, 2024-01-04 (at the open); commission 1.25, slippage 5.00 (12 without it).",
        "10 at 13.5, 2024-01-05 (at the open); commission 1.35, slippage 5.00 (13 without it).",
        "10 at 14.5, 2024-01-08 (at the open); commission 1.45, slippage 5.00 (14 without it).",
    ):
        assert part in text


def test_position_and_cash_at_the_decision() -> None:
    """After the fills of the bar: 1,000 less 125 and 135 and one percent of both."""
    text = words(in_parts().explain("A", DAYS[3]))
    assert "When it decided, the strategy held 20 and had 737.40 in cash." in text


def test_cash_before_a_fill_at_the_same_close() -> None:
    """What an order sent now takes is not gone when it is decided."""
    broker = SimulationBroker(initial_cash=1_000, fill_at="close")
    result = run(quantities={DAYS[1]: 10, DAYS[3]: 10}, broker=broker)
    text = words(result.explain("A", DAYS[3]))
    assert "The position went from 10 to 20" in text
    assert "When it decided, the strategy held 10 and had 885.00 in cash." in text  # 10 at 11.5
    assert text.count("commission") == 1  # told with the fill, and not again


# -- after loading -----------------------------------------------------------------------------


def test_a_loaded_result_tells_the_same(tmp_path: Path) -> None:
    """As long as its files are there."""
    prices().write_parquet(tmp_path / "prices.parquet")
    scores().write_csv(tmp_path / "scores.csv")
    pl.DataFrame({"timestamp": DAYS, "VIX": 15.5}).write_csv(tmp_path / "vix.csv")
    for number, context in enumerate(
        (str(tmp_path / "vix.csv"), {"VIX": str(tmp_path / "vix.csv")})
    ):
        fresh = run(
            tmp_path / "prices.parquet",
            {DAYS[1]: 30},
            signals=tmp_path / "scores.csv",
            context=context,
        )
        kept = loaded(fresh, tmp_path / f"run{number}")
        for day in DAYS:
            for asset in ("A", "B"):
                assert kept.explain(asset, day) == fresh.explain(asset, day)
        assert "Context: VIX 15.5." in kept.explain("B", DAYS[6])
    (tmp_path / "prices.parquet").unlink()
    text = words(kept.explain("A", DAYS[1]))
    assert "prices.parquet' is missing), and a result keeps signals with orders only." in text
    assert "The strategy ordered: buy 30, market, gtc" in text
    assert "Signals at the decision: score 0.5, trend up." in text
    assert "It closed" not in text


def test_signals_and_context_that_were_in_memory(tmp_path: Path) -> None:
    """Bars are read again, and what is gone is named once."""
    prices().write_parquet(tmp_path / "prices.parquet")
    context = {"VIX": dict.fromkeys(DAYS, 15.5)}
    fresh = run(tmp_path / "prices.parquet", {DAYS[1]: 30}, signals=scores(), context=context)
    kept = loaded(fresh, tmp_path / "run")
    text = words(kept.explain("A", DAYS[1]))
    assert "It closed at 11.5 (" in text
    assert "Signals at the decision: score 0.5, trend up." in text
    assert "Context of the decisions: VIX 15.5." in text
    quiet = words(kept.explain("A", DAYS[3]))
    assert "The values of score, trend are gone (signals: it was a table in memory)" in quiet
    assert "Its context is gone (it was a table in memory)" in quiet
    assert "What it made of the signals" not in quiet


def test_a_file_that_cannot_be_found_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that named its file by a relative path is asked from another folder."""
    monkeypatch.chdir(tmp_path)
    prices().write_parquet("prices.parquet")
    fresh = run("prices.parquet", {DAYS[1]: 30})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = words(fresh.explain("A", DAYS[1]))
    assert "The strategy ordered: buy 30, market, gtc" in text
    assert "The bars of the run are gone (" in text
    assert "No such file" in text
