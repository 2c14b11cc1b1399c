"""What the runners of the peers share: the question, the market as matrices, the answer.

    <the peer's python> benchmarks/peers/peer_bt.py W2 --path daily_100.parquet [--profile out.prof]

Every engine gets its cheapest fair form: no reports and no plots where they can be left out, and
predictions from lists in the order of the bars where the engine's own way to carry them is slower.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

# At the end: nothing of ours may stand before a module of the peer.
sys.path.append(str(Path(__file__).parent.parent))

import floors
import workloads as w
from measure import Phases, profiled

PRICES = floors.COLUMNS[:5]
phase = Phases()


def question():
    """The workload, and where its file is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(w.WORKLOADS))
    parser.add_argument("--path", required=True)
    parser.add_argument("--profile", help="write cProfile statistics of the run here")
    args = parser.parse_args()
    return w.WORKLOADS[args.workload], args


class Market:
    """The file as matrices: a row for each timestamp, a column for each asset."""

    def __init__(self, workload, path):
        times, self.names, columns = floors.load(path, workload.assets)
        self.times = np.array(times).view("datetime64[ns]")
        for name, column in zip(floors.COLUMNS, columns, strict=True):
            setattr(self, name, column.reshape(len(times), workload.assets))

    def __len__(self):
        return len(self.times)

    def series(self, asset, columns=floors.COLUMNS):
        """The columns of one asset, each an array of its own."""
        return {name: np.ascontiguousarray(getattr(self, name)[:, asset]) for name in columns}

    def rows(self, name):
        """A column as lists, one for each timestamp."""
        return getattr(self, name).tolist()

    def value(self, cash, held):
        """Cash and `held` shares by asset number at the last closes."""
        return float(cash) + sum(
            float(shares) * float(self.close[-1, asset]) for asset, shares in held.items()
        )


def changes(equity, predictions, closes, held, top_n):
    """(asset number, signed shares) to equal weights in the best assets, sells before buys."""
    each = w.WEIGHTS * equity / top_n
    best = sorted(range(len(closes)), key=predictions.__getitem__, reverse=True)[:top_n]
    wanted = {asset: int(each / closes[asset]) for asset in best}
    moves = [(asset, wanted.get(asset, 0) - held.get(asset, 0)) for asset in held | wanted]
    sells = [move for move in moves if move[1] < 0]
    return sells + [move for move in moves if move[1] > 0]


def answer(package, market, fills, final_equity):
    """Print the line of JSON."""
    found = {
        "name": package,
        "version": version(package),
        "python": platform.python_version(),
        "events": int(market.close.size),
        "fills": int(fills),
        "final_equity": float(final_equity),
        "seconds": phase.seconds,
        "cpu": phase.cpu,
    }
    print(json.dumps(found))


__all__ = ["PRICES", "Market", "answer", "changes", "phase", "profiled", "question", "w"]
