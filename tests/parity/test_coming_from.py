"""The pages for those who come from another engine: the left side runs, with the same result."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ml4t.backtest.testing.markets import ten_bars
from tests.conftest import ROOT
from tests.parity.harness import HERE, absence, interpreter

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
BACKTRADER = """
import datetime, sys
sys.path.append({engines!r})
from run_backtrader import Feed
bars = {bars!r}
bars["time"] = [datetime.date.fromisoformat(day) for day in bars["time"]]
feed = Feed(bars=bars)
"""
BACKTESTING = """
import pandas, warnings
warnings.simplefilter("ignore")
bars = {bars!r}
index = pandas.DatetimeIndex(bars.pop("time"))
prices = pandas.DataFrame({{name.title(): column for name, column in bars.items()}}, index)
"""
ZIPLINE = """
import os, pandas, sys, warnings
warnings.simplefilter("ignore")
sys.path.append({engines!r})
os.environ["ZIPLINE_ROOT"] = os.path.join(os.path.dirname(__file__), "zipline")
from zipline.data.bundles import ingest, register
from zipline.utils.calendar_utils import get_calendar, global_calendar_dispatcher
from run_zipline import EveryDay
bars = {bars!r}
days = pandas.DatetimeIndex(bars.pop("time"))

class Weekdays(EveryDay):
    name, weekmask = "WEEKDAYS", "1111100"

global_calendar_dispatcher.register_calendar_type("WEEKDAYS", Weekdays)
calendar = get_calendar("WEEKDAYS")

def write(_, assets, minutes, daily, adjustments, *rest):
    listed = {{"symbol": ["A"], "asset_name": ["A"], "exchange": ["X"], "start_date": days[:1],
               "end_date": days[-1:], "auto_close_date": days[-1:] + pandas.Timedelta(days=9)}}
    exchange = {{"exchange": ["X"], "canonical_name": ["X"], "country_code": ["US"]}}
    assets.write(equities=pandas.DataFrame(listed), exchanges=pandas.DataFrame(exchange))
    daily.write([(0, pandas.DataFrame(bars, days))])
    adjustments.write()

register("ten-bars", write, "WEEKDAYS", days[0], days[-1])
ingest("ten-bars", show_progress=False)
benchmark = pandas.Series(0.0, days)
"""


@pytest.mark.parametrize(
    ("engine", "page", "data"),
    [
        ("backtrader", "coming-from-backtrader.md", BACKTRADER),
        ("backtesting.py", "coming-from-backtesting-py.md", BACKTESTING),
        ("vectorbt", "coming-from-vectorbt.md", BACKTESTING),
        ("zipline", "coming-from-zipline.md", ZIPLINE),
    ],
)
def test_the_other_engine_gives_the_result_on_the_page(
    engine: str, page: str, data: str, tmp_path: Path
) -> None:
    """The final value that it prints is the one that our side asserts."""
    python = interpreter(engine)
    if python is None:
        pytest.skip(absence(engine))
    theirs, ours = BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    bars = ten_bars().drop("asset_id")
    columns = {name: bars[name].to_list() for name in bars.columns if name != "timestamp"}
    columns["time"] = [day.isoformat() for day in bars["timestamp"]]
    script = tmp_path / "page.py"
    prelude = data.format(engines=str(HERE / "engines"), bars=columns)
    script.write_text(prelude + theirs, encoding="utf-8")
    done = subprocess.run([python, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = re.search(r"final_equity, 6\) == ([\d_.]+)", ours)
    assert expected is not None
    assert round(float(done.stdout), 6) == float(expected[1])
