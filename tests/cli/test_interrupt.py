"""Ctrl-C in a long run, as a person presses it."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, RunStore, Strategy
from tests.cli.conftest import prices, start

# A bar takes two milliseconds, so that the whole would take a minute. The mark says it has begun.
SLOW = """\
import time
from pathlib import Path
from ml4t.backtest import Strategy

class Slow(Strategy):
    def on_bars(self, bars):
        time.sleep(0.002)
        self.order_target("AAA", 10)
        if self.get_position("AAA"):
            Path("begun").touch()
"""
HANGING = SLOW.replace('Path("begun").touch()', 'Path("begun").touch(); time.sleep(60)')


@pytest.fixture
def long_folder(folder: Path) -> Path:
    """30,000 minutes of one asset."""
    first = dt.datetime(2024, 1, 1)
    times = [first + dt.timedelta(minutes=i) for i in range(30_000)]
    frame = pl.DataFrame({"timestamp": times, "asset_id": "AAA"}).with_columns(
        *(pl.lit(100.0).alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.lit(1.0),
    )
    frame.write_parquet(folder / "prices.parquet")
    return folder


def interrupted(folder: Path, *words: str, presses: int = 1) -> tuple[int, str, str]:
    """Exit code and output of a run that is interrupted once it holds a position."""
    process = start("run", "strategy.py", "--data", "prices.parquet", *words, cwd=folder)
    _wait_for(folder / "begun", process)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_had_happened_is_kept_with_save(long_folder: Path) -> None:
    """Exit code 130; the partial result is a run like others, and says that it is partial."""
    (long_folder / "strategy.py").write_text(SLOW)
    code, out, err = interrupted(long_folder, "--save", "kept", "--name", "stopped")
    assert (code, out) == (130, "")
    assert "Stopping at the next bar" in err
    assert "Interrupted after 2024-01-01" in err
    assert "What had happened until then is kept as Slow-" in err
    assert "Traceback" not in err
    store = RunStore(long_folder / "kept")
    assert store.frame()["status"].to_list() == ["partial"]
    result = store.load("stopped")
    assert not result.complete
    assert result.fills["quantity"].to_list() == [10.0]
    assert 2 <= result.equity.height < 30_000
    assert result.settings["description"]["strategy"]["file"].endswith("strategy.py")


def test_nothing_is_kept_without_save(long_folder: Path) -> None:
    """The user is told so, and how it would have been."""
    (long_folder / "strategy.py").write_text(SLOW)
    code, out, err = interrupted(long_folder)
    assert (code, out) == (130, "")
    assert "Nothing is kept; with --save" in err
    assert not (long_folder / "ml4t-runs").exists()


def test_the_second_press_stops_a_hook_that_hangs(long_folder: Path) -> None:
    """The first is remembered until the next bar, which does not come."""
    (long_folder / "strategy.py").write_text(HANGING)
    begun = time.monotonic()
    code, _, err = interrupted(long_folder, "--save", "kept", presses=2)
    assert code == 130
    assert "kept as Slow-" in err
    assert time.monotonic() - begun < 45


class Stops(Strategy):
    """Somebody presses Ctrl-C in the third hook."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_start(self) -> None:
        self.seen = 0

    def on_bars(self, bars):
        self.seen += 1
        self.order_target("AAA", 10)
        if self.seen > self.after:
            raise KeyboardInterrupt


def test_python_finds_the_partial_result_on_the_interrupt() -> None:
    """The bar in which it came is the last one; an engine can run again afterwards."""
    strategy = Stops(2)
    engine = BacktestEngine(prices(), strategy=strategy, progress=False)
    with pytest.raises(KeyboardInterrupt) as caught:
        engine.run()
    result = caught.value.result  # type: ignore[attr-defined]
    assert not result.complete
    assert result.equity.height == 3
    assert result.fills["price"].to_list() == [101.0]
    assert result.final_equity == 100_000 + 10 * (102.0 - 101.0)
    strategy.after = 1_000
    assert engine.run().complete


def test_an_interrupt_before_the_first_bar_has_no_result() -> None:
    """Nothing has happened."""

    class AtOnce(Stops):
        def on_start(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        BacktestEngine(prices(), strategy=AtOnce(0)).run()
    assert caught.value.result is None  # type: ignore[attr-defined]
