"""Order plans under limits, and what became of their orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest import BacktestEngine, BacktestResult, RiskLimits, SimulationBroker
from tests.stories.plan import Plan, parse_bars

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

# Three assets at 100, 50 and 20 that never move: equity stays 10,000.
THREE = "\n".join(
    f"{bar} {name} {price} {price} {price} {price}"
    for bar in range(6)
    for name, price in (("A", 100), ("B", 50), ("C", 20))
)


def closes(*prices: float) -> str:
    """Bars of A, each at one price."""
    return "\n".join(f"{i} {p} {p} {p} {p}" for i, p in enumerate(prices))


def guarded(
    limits: RiskLimits | None,
    orders: str = "",
    *,
    bars: str = THREE,
    acts: Callable[[Plan, int], Any] | None = None,
    times: Sequence[dt.date | dt.datetime] | None = None,
    **broker: Any,
) -> BacktestResult:
    """Run a plan with 10,000 of money under limits."""
    return BacktestEngine(
        parse_bars(bars, times),
        strategy=Plan(orders, acts),
        broker=SimulationBroker(10_000, **broker),
        limits=limits,
    ).run()


def statuses(result: BacktestResult) -> str:
    """The state of every order at the end, by its first letter: filled, rejected, accepted, ..."""
    return "".join(status[0] for status in result.orders["status"])


def reason(result: BacktestResult, order_id: int) -> str:
    """Why an order ended."""
    return result.orders.row(order_id - 1, named=True)["reason"] or ""
