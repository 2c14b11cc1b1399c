"""What the runners share: the question from a folder, the answer as JSON.

    <the engine's python> tests/parity/engines/run_bt.py <folder>

The folder holds `bars.parquet` (timestamp, asset_id, open, high, low, close, volume, signal) and
`scenario.json`; the answer is written to `answer.json` beside them. Nothing of ours is imported
but the playbook, which is plain Python.
"""

# mypy: ignore-errors
# Runs in the environments of other engines, where it is checked by being run.

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq

# At the end: nothing of ours may stand before a module of the engine.
sys.path.append(str(Path(__file__).parent.parent))

from playbook import Playbook, View

COLUMNS = ("open", "high", "low", "close", "volume", "signal")


class Question:
    """A scenario.

    Attributes:
        times: The distinct timestamps, in order.
        bars: By asset, columns as lists: time, prices, volume, signal.
        at: By timestamp, the row of each asset that has a bar then.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        text = (self.folder / "scenario.json").read_text(encoding="utf-8")
        self.scenario = json.loads(text)
        table = pq.read_table(self.folder / "bars.parquet").to_pydict()
        self.bars, self.at = {}, {}
        for row, (time, asset) in enumerate(
            zip(table["timestamp"], table["asset_id"], strict=True)
        ):
            bars = self.bars.setdefault(asset, {name: [] for name in ("time", *COLUMNS)})
            bars["time"].append(time)
            for name in COLUMNS:
                bars[name].append(table[name][row])
            cells = self.at.setdefault(time, {})
            cells[asset] = {name: table[name][row] for name in COLUMNS}
        self.times = sorted(self.at)
        self.playbook = Playbook(self.scenario["plan"])

    def view(self, index, equity, position):
        """What a rule may look at."""
        cells = self.at[self.times[index]]
        return View(
            index,
            equity,
            position={asset: units for asset, units in position.items() if units},
            close={asset: cell["close"] for asset, cell in cells.items()},
            signal={asset: cell["signal"] for asset, cell in cells.items()},
        )

    def commission(self):
        """A function of (quantity, price), or None."""
        terms = self.scenario["commission"]
        if terms is None:
            return None
        if terms["kind"] == "percent":
            return lambda quantity, price: abs(quantity) * price * terms["rate"]
        return lambda quantity, price: max(abs(quantity) * terms["per_share"], terms["minimum"])


def play(main):
    """Play the scenario in the folder that was named, or with "-" in each that is asked for.

    An interpreter that stays imports its engine once. It answers each folder with a line.
    """
    if sys.argv[1] != "-":
        main(sys.argv[1])
        return
    said, sys.stdout = sys.stdout, sys.stderr  # whatever the engine has to say
    for line in sys.stdin:
        main(line.strip())
        said.write("done\n")
        said.flush()


class Answer:
    """What an engine did, in the form in which it is compared."""

    def __init__(self, question, engine):
        self.path = question.folder / "answer.json"
        self.said = {"engine": engine, "version": version(engine)}
        self.said |= {"fills": [], "bars": [], "trades": [], "orders": []}

    def fill(self, time, asset, quantity, price, commission, order):
        """An execution of signed units."""
        self.said["fills"].append(
            {
                "time": day(time),
                "asset": asset,
                "side": "buy" if quantity > 0 else "sell",
                "quantity": abs(float(quantity)),
                "price": float(price),
                "commission": float(commission),
                "order": order,
            }
        )

    def bar(self, time, cash, equity, positions):
        """Where the account stands after a bar."""
        held = {asset: float(units) for asset, units in positions.items() if units}
        self.said["bars"].append(
            {"time": day(time), "cash": float(cash), "equity": float(equity), "positions": held}
        )

    def trade(self, asset, entry_time, exit_time, pnl):
        """A round trip, from flat to flat, net of commission."""
        self.said["trades"].append(
            {
                "asset": asset,
                "entry_time": day(entry_time),
                "exit_time": day(exit_time),
                "pnl": float(pnl),
            }
        )

    def order(self, key, asset, status, filled):
        """How an order ended: filled, canceled, rejected, expired, or open."""
        self.said["orders"].append(
            {"order": key, "asset": asset, "status": status, "filled": abs(float(filled))}
        )

    def leave_out(self, *parts):
        """Parts that this engine does not have."""
        for part in parts:
            del self.said[part]

    def write(self):
        self.path.write_text(json.dumps(self.said), encoding="utf-8")


def day(time):
    """A date as text."""
    return str(time)[:10]
