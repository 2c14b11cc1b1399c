from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import polars as pl
import pytest

from ml4t.backtest import BacktestResult, RunStore
from tests.cli.conftest import DAYS, Invoke, start

# 10 units bought at the second open, 101, are worth 139 each at the end.
GAIN = 10 * (139.0 - 101.0)


def test_a_run_needs_a_strategy_and_data(invoke: Invoke) -> None:
    """The shortest command prints the summary, and keeps nothing."""
    found = invoke("run", "strategy.py", "--data", "prices.parquet")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("Hold: 2024-01-01 to 2024-02-09\n")
    assert f"100,000 to {100_000 + GAIN:,.0f} USD" in found.stdout
    assert "\x1b" not in found.stdout
    assert sorted(p.name for p in Path.cwd().iterdir() if p.suffix) == [
        "prices.parquet",
        "strategy.py",
    ]


def test_options_reach_every_table(invoke: Invoke) -> None:
    """`--set` sets money, parameters and parts; the kept run has all of it."""
    found = invoke(
        *("run", "strategy.py:Hold", "--data", "prices.parquet"),
        *("--set", "broker.initial_cash=50000", "strategy.units=20"),
        *("--set", "commission.kind=percent", "--set", "commission.rate=0.001"),
        *("--save", "kept", "--name", "twenty", "--family", "first"),
    )
    assert found.exit_code == 0, found.output
    store = RunStore("kept")
    result = store.load("twenty")
    assert result.final_equity == pytest.approx(50_000 + 20 * 38.0 - 0.001 * 20 * 101.0)
    description = result.settings["description"]
    assert description["broker"] == {"initial_cash": 50_000}
    assert description["strategy"]["parameters"] == {"units": 20}
    assert description["commission"] == {"kind": "percent", "rate": 0.001}
    assert store.trials("first") == 1


def test_a_kept_description_runs_again(invoke: Invoke) -> None:
    """What a run was described by gives the same run, to the bit."""
    from ml4t.backtest.description import RunDescription

    invoke("run", "strategy.py", "--data", "prices.parquet", "--set", "strategy.units=7", "--save")
    (run_id,) = RunStore().frame()["run_id"]
    result = RunStore().load(run_id)
    again = RunDescription(result.settings["description"]).engine().run()
    assert again.fingerprint == result.fingerprint


def test_a_file_describes_a_run_and_options_win(invoke: Invoke) -> None:
    """Relative paths of a file are relative to it, those of options to the working directory."""
    Path("deep").mkdir()
    Path("strategy.py").rename("deep/mine.py")
    Path("deep/run.toml").write_text(
        '[data]\npath = "../prices.parquet"\nstart = 2024-01-11\n'
        '[strategy]\nfile = "mine.py"\nparameters = { units = 3 }\n'
        '[output]\nname = "from the file"\n',
        encoding="utf-8",
    )
    found = invoke(
        "run", "--config", "deep/run.toml", "--save", "kept", "--set", "data.end=2024-01-20"
    )
    assert found.exit_code == 0, found.output
    result = RunStore("kept").load("from the file")
    assert result.equity["timestamp"].to_list() == DAYS[10:20]
    assert result.final_equity == 100_000 + 3 * (119.0 - 111.0)
    invoke("run", "--config", "deep/run.toml", "--name", "mine", "--save", "kept")
    assert RunStore("kept").load("mine").equity.height == 30


def test_many_files_are_one_market(invoke: Invoke) -> None:
    """What a shell makes of a pattern belongs to `--data`."""
    frame = pl.read_parquet("prices.parquet")
    for asset in ("AAA", "BBB"):
        frame.filter(asset_id=asset).drop("asset_id").write_csv(f"{asset}.csv")
    found = invoke("run", "--data", "AAA.csv", "BBB.csv", "strategy.py", "--save", "kept")
    assert found.exit_code == 0, found.output
    result = RunStore("kept").load("Hold")
    assert result.record.asset_ids == ["AAA", "BBB"]
    assert result.final_equity == 100_000 + GAIN


def test_signals_context_and_actions_come_from_files(invoke: Invoke) -> None:
    """Each has a path of its own; several signals have a delay of their own in a file."""
    days = pl.Series("timestamp", DAYS)
    pl.DataFrame({"timestamp": days, "asset_id": "AAA", "fast": range(40)}).write_parquet(
        "f.parquet"
    )
    pl.DataFrame({"timestamp": days, "asset_id": "AAA", "slow": range(40)}).write_csv("s.csv")
    pl.DataFrame({"timestamp": days, "VIX": [20.0] * 40}).write_csv("vix.csv")
    pl.DataFrame(
        {"timestamp": [DAYS[20]], "asset_id": ["AAA"], "kind": ["dividend"], "amount": [2.0]}
    ).write_csv("actions.csv")
    Path("strategy.py").write_text(
        "from ml4t.backtest import Strategy\n"
        "class Look(Strategy):\n"
        "    def on_market_data(self, event, context):\n"
        "        if event.asset_id == 'AAA':\n"
        "            self.order_target('AAA', 1)\n"
        "            for name, value in {**event.signals, **context}.items():\n"
        "                self.record(**{name: value})\n",
        encoding="utf-8",
    )
    Path("run.toml").write_text(
        '[signals.a]\npath = "f.parquet"\n[signals.b]\npath = "s.csv"\ndelay = "2d"\n',
        encoding="utf-8",
    )
    found = invoke(
        *("run", "strategy.py", "-d", "prices.parquet", "-c", "run.toml"),
        *("--context", "vix.csv", "--actions", "actions.csv", "--save", "kept"),
    )
    assert found.exit_code == 0, found.output
    result = RunStore("kept").load("Look")
    last = {r["name"]: r["value"] for r in result.records.filter(timestamp=DAYS[30]).to_dicts()}
    assert last == {"fast": 30.0, "slow": 28.0, "VIX": 20.0}
    assert result.cashflows["amount"].to_list() == [2.0]


def test_saving_needs_no_folder_before_the_strategy(invoke: Invoke) -> None:
    """`--save strategy.py` is not a folder called strategy.py."""
    found = invoke("run", "--data", "prices.parquet", "--save", "strategy.py")
    assert found.exit_code == 0, found.output
    assert Path("ml4t-runs").is_dir()
    assert re.search(r"Kept as Hold-[0-9a-f]{8} in .*ml4t-runs\.", found.stdout)


def test_parameters_may_be_attributes_of_the_class(invoke: Invoke) -> None:
    """A class without a constructor is set up by its plain attributes."""
    Path("strategy.py").write_text(
        "from ml4t.backtest import Strategy\n"
        "class Simple(Strategy):\n"
        "    units = 1\n"
        "    def on_bars(self, bars):\n"
        "        self.order_target('AAA', self.units)\n",
        encoding="utf-8",
    )
    found = invoke(
        "run", "strategy.py", "-d", "prices.parquet", "--set", "strategy.units=4", "--save"
    )
    assert found.exit_code == 0, found.output
    (run_id,) = RunStore().frame()["run_id"]
    result = RunStore().load(run_id)
    assert result.final_equity == 100_000 + 4 * 38.0
    assert result.settings["strategy"]["parameters"] == {"units": 4}


def test_modules_beside_the_strategy_can_be_imported(invoke: Invoke) -> None:
    """As when the file is run by Python itself, from whatever folder."""
    Path("lib").mkdir()
    Path("lib/sizes_of_mine.py").write_text("UNITS = 5\n", encoding="utf-8")
    Path("lib/strategy.py").write_text(
        "from sizes_of_mine import UNITS\n"
        + Path("strategy.py").read_text().replace("10", "UNITS"),
        encoding="utf-8",
    )
    found = invoke("run", "lib/strategy.py", "--data", "prices.parquet")
    assert found.exit_code == 0, found.output
    assert f"{100_000 + 5 * 38.0:,.0f} USD" in found.stdout


def test_the_module_is_the_command(folder: Path) -> None:
    """`python -m ml4t.backtest` runs real processes, whose streams are plain when piped."""
    process = start("run", "strategy.py", "--data", "prices.parquet", cwd=folder)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "100,380 USD" in out


def test_recorded_prices_run_from_a_file(invoke: Invoke, shared_data: Path) -> None:
    """Prices of three companies, with their own column names and a calendar of years."""
    path = shared_data / "equity_daily_wiki.parquet"
    Path("run.toml").write_text(
        f'[data]\npath = "{path}"\nstart = 2005-01-01\nsignal_columns = ["adj_close"]\n'
        '[strategy]\nfile = "strategy.py"\n'
        "[strategy.parameters]\nunits = 10\n",
        encoding="utf-8",
    )
    Path("strategy.py").write_text(
        Path("strategy.py").read_text(encoding="utf-8").replace("AAA", "MSFT"), encoding="utf-8"
    )
    found = invoke("run", "-c", "run.toml", "--save", "kept")
    assert found.exit_code == 0, found.output
    result = RunStore("kept").load("Hold")
    bars = pl.read_parquet(path).filter(
        pl.col("asset") == "MSFT", pl.col("timestamp") >= dt.datetime(2005, 1, 1)
    )
    gain = 10 * (bars["close"][-1] - bars["open"][1])
    assert result.final_equity == pytest.approx(100_000 + gain)
    assert isinstance(result, BacktestResult)
