"""The jobs that are timed, and what each must come to. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_CASH = 1_000_000.0
COMMISSION = 0.0001  # fraction of notional, each side
BUY_ABOVE, SURE_ABOVE, SELL_BELOW, STOP = 0.8, 0.7, 0.4, 0.95
INVESTED = 0.5  # what the threshold strategy spends if it holds every asset
TOP, WEIGHTS = 0.1, 0.95  # the share of assets a rebalance holds, and what they add up to


@dataclass(frozen=True)
class Workload:
    """One strategy over one data set.

    `fills` and `final_equity` (to a hundredth of a cent) come from two other programs, a compiled
    loop over price matrices and a plain one over events, which agree with each other.
    """

    name: str
    data: str
    frequency: str
    assets: int
    bars: int
    strategy: str  # "threshold" or "rebalance"
    fills: int
    final_equity: float

    @property
    def events(self) -> int:
        return self.assets * self.bars

    @property
    def budget(self) -> float:
        """Money for one purchase of the threshold strategy."""
        return INVESTED * INITIAL_CASH / self.assets

    @property
    def top_n(self) -> int:
        """Assets that a rebalance holds."""
        return max(1, int(self.assets * TOP))


WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "daily_1", "1d", 1, 1260, "threshold", 26, 1178716.6695),
        Workload("W2", "daily_100", "1d", 100, 1260, "threshold", 3004, 1141666.2676),
        Workload("W3", "minute_10", "1m", 10, 98_280, "threshold", 4654, 1429699.6606),
        Workload("W4", "minute_100", "1m", 100, 98_280, "threshold", 47112, 1461917.5523),
        Workload("W5", "daily_500", "1d", 500, 2520, "threshold", 28596, 1226500.9238),
        Workload("R2", "daily_100", "1d", 100, 1260, "rebalance", 15121, 2980979.7599),
        Workload("R5", "daily_500", "1d", 500, 2520, "rebalance", 143106, 8956301.5245),
    )
}


@dataclass(frozen=True)
class Comparison:
    """One line of the table: our engine through one hook against one floor.

    `target` is what the project has set itself; `limit` is what the guard refuses.
    """

    workload: str
    side: str
    floor: str
    target: float | None
    limit: float | None = None


COMPARISONS = (
    Comparison("W1", "on_market_data", "floor_build", None),
    Comparison("W2", "on_market_data", "floor_build", 0.75, limit=1.6),
    Comparison("W3", "on_market_data", "floor_build", 0.75),
    Comparison("W4", "on_market_data", "floor_build", 0.75),
    Comparison("W5", "on_market_data", "floor_build", 0.75, limit=1.1),
    Comparison("W2", "empty_on_bars", "floor_build", 0.3),
    Comparison("W3", "empty_on_bars", "floor_build", 0.3),
    Comparison("W5", "empty_on_bars", "floor_build", 0.3),
    Comparison("W2", "on_bars", "floor_build", None),
    Comparison("W3", "on_bars", "floor_build", None),
    Comparison("W5", "on_bars", "floor_build", None),
    Comparison("R2", "on_bars", "floor_engine", 0.5, limit=1.1),
    Comparison("R5", "on_bars", "floor_engine", 0.4),
    Comparison("R2", "on_market_data", "floor_engine", 1.0),
    Comparison("R5", "on_market_data", "floor_engine", 1.0),
)
