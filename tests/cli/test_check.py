"""`check`: exit codes, what is said, and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from tests.cli.conftest import DAYS, Invoke
from tests.cli.test_runs import row


def change(**columns: pl.Expr) -> None:
    """Write the prices anew, with some columns changed."""
    pl.read_parquet("prices.parquet").with_columns(**columns).write_parquet("prices.parquet")


def test_sound_data_is_fit(invoke: Invoke) -> None:
    """Exit code 0, strict or not."""
    found = invoke("check", "prices.parquet", "--strict")
    assert found.exit_code == 0, found.output
    assert row(found.stdout, "bars") == ["bars", "80"]
    assert row(found.stdout, "frequency") == ["frequency", "1d"]
    assert row(found.stdout, "span") == ["span", "2024-01-01", "to", "2024-02-09"]
    assert row(found.stdout, "AAA")[:2] == ["AAA", "40"]
    assert "nothing looks odd" in found.stdout


def test_columns_are_told(invoke: Invoke) -> None:
    """What is a price, a signal, or nothing."""
    change(ml_pred=pl.lit(0.5), when=pl.lit(DAYS[0]))
    out = invoke("check", "prices.parquet").stdout
    taken = {tuple(line.split()[1:]) for line in out.splitlines() if line.startswith("prices.")}
    assert ("close", "close") in taken
    assert ("asset_id", "asset_id") in taken
    assert ("ml_pred", "signal") in taken
    assert ("when", "nothing", "(Date)") in taken


def test_a_split_is_a_warning(invoke: Invoke) -> None:
    """Exit code 0, and 1 with `--strict`."""
    late = (pl.col("timestamp") >= DAYS[20]) & (pl.col("asset_id") == "AAA")
    names = ("open", "high", "low", "close")
    change(**{name: pl.when(late).then(pl.col(name) / 4).otherwise(name) for name in names})
    found = invoke("check", "prices.parquet")
    assert found.exit_code == 0
    assert "1 jump looks like a split: AAA at 2024-01-21 (4 new for 1 old)" in found.stdout
    assert invoke("check", "prices.parquet", "--strict").exit_code == 1
    known = json.loads(invoke("check", "prices.parquet", "--json").stdout)
    assert known["fit"] is True
    assert len(known["warnings"]) == 1
    (jump,) = known["jumps"]
    assert (jump["asset_id"], jump["timestamp"], jump["ratio"]) == ("AAA", "2024-01-21", 4.0)


def test_labels_duplicates_and_bad_prices_are_refused(invoke: Invoke) -> None:
    """Exit code 2, with the reason; as JSON too."""
    sound = pl.read_parquet("prices.parquet")
    sound.with_columns(target=pl.lit(1.0)).write_parquet("label.parquet")
    pl.concat([sound, sound[:1]]).write_parquet("twice.parquet")
    sound.with_columns(low=pl.col("high") + 1).write_parquet("low.parquet")
    for name, said in (("label", "'target'"), ("twice", "(timestamp, asset)"), ("low", "'low'")):
        found = invoke("check", f"{name}.parquet")
        assert found.exit_code == 2
        assert said in found.stderr
        known = invoke("check", f"{name}.parquet", "--json")
        assert known.exit_code == 2
        assert said in json.loads(known.stdout)["refused"]
        assert json.loads(known.stdout)["fit"] is False


def test_signals_have_their_coverage(invoke: Invoke) -> None:
    """A quarter of the bars is a warning."""
    pl.DataFrame({"timestamp": DAYS[20:], "asset_id": "BBB", "score": [0.1] * 20}).write_parquet(
        "scores.parquet"
    )
    found = invoke("check", "prices.parquet", "--signals", "scores.parquet")
    assert found.exit_code == 0, found.output
    assert "Signal 'score' is there on 25% of the bars" in found.stdout
    assert row(found.stdout, "score")[2:5] == ["80", "20", "0.25"]


def test_the_data_of_a_file_is_checked(invoke: Invoke) -> None:
    """With its options: only the part of the run is looked at."""
    Path("run.toml").write_text('[data]\npath = "prices.parquet"\nstart = 2024-02-01\n')
    assert row(invoke("check", "-c", "run.toml").stdout, "bars") == ["bars", "18"]
    assert invoke("check").exit_code == 2
    assert invoke("check", "nothing.csv").exit_code == 2


def test_recorded_prices_are_known_to_split(invoke: Invoke, shared_data: Path) -> None:
    """Microsoft split on 2003-02-18 and Apple on 2005-02-28."""
    found = invoke("check", str(shared_data / "equity_daily_wiki.parquet"), "--json")
    known = json.loads(found.stdout)
    jumps = {(jump["asset_id"], jump["timestamp"]): jump["ratio"] for jump in known["jumps"]}
    assert jumps["MSFT", "2003-02-18"] == 2.0
    assert jumps["AAPL", "2005-02-28"] == 2.0
    assert known["rows"] == 8_688
