"""Business days and settlement cycles."""

from __future__ import annotations

import datetime as dt

import pytest

from ml4t.backtest import BacktestEngine, CashAccount, ConfigError, SimulationBroker
from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.simulation.settlement import business_days, standard_cycle
from tests.stories.plan import Plan, parse_bars


def day(text: str) -> int:
    """Days since 1970-01-01."""
    return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("trade", "cycle"),
    [
        ("1999-01-04", 3),
        ("2017-09-01", 3),
        ("2017-09-05", 2),
        ("2024-05-24", 2),
        ("2024-05-28", 1),
        ("2026-01-02", 1),
    ],
)
def test_the_cycle_of_a_trade_date(trade: str, cycle: int) -> None:
    """T+3, T+2 from 2017-09-05, T+1 from 2024-05-28."""
    assert standard_cycle(day(trade)) == cycle


@pytest.mark.parametrize(
    ("before", "after", "days"),
    [
        ("2024-06-06", "2024-06-07", 1),  # Thursday to Friday
        ("2024-06-07", "2024-06-10", 1),  # over a weekend
        ("2024-05-24", "2024-05-28", 1),  # over Memorial Day: the next session is the next day
        ("2024-06-07", "2024-06-08", 0),  # to Saturday
        ("2024-06-08", "2024-06-10", 1),  # from Saturday to Monday
        ("2024-06-07", "2024-06-14", 5),  # weekly bars
        ("2024-05-31", "2024-06-28", 20),  # monthly bars
    ],
)
def test_business_days_between_sessions_of_a_run(before: str, after: str, days: int) -> None:
    """Without a calendar the run's own sessions say when there was business."""
    assert business_days(day(before), day(after), None) == days


def test_business_days_of_a_calendar() -> None:
    """A weekly bar over Memorial Day holds four sessions."""
    calendar = TradingCalendar("XNYS")
    assert business_days(day("2024-05-24"), day("2024-05-31"), calendar) == 4


def test_a_calendar_settles_weekly_bars_by_its_sessions() -> None:
    """Five days to settle: the week with the holiday has four, so it takes another one."""
    weeks = [dt.date(2024, 5, 10) + dt.timedelta(weeks=i) for i in range(5)]
    bars = "\n".join(f"{i} 100 100 100 100" for i in range(5))
    for calendar, expected in ((None, [0.0, 0.0, 5_000.0, 0.0]), ("XNYS", [0.0] * 2 + [5e3] * 2)):
        broker, seen = SimulationBroker(10_000.0, account=CashAccount(5)), list[float]()
        plan = Plan(
            "@0 buy 100\n@1 sell 50",
            lambda *_, broker=broker, seen=seen: seen.append(broker.unsettled_cash),
        )
        data = parse_bars(bars, weeks)
        BacktestEngine(data, strategy=plan, broker=broker, calendar=calendar).run()
        assert seen[:4] == expected
        assert seen[4] == 0.0


@pytest.mark.parametrize("days", [-1, 1.5, True, "1"])
def test_settlement_days_are_a_count(days: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigError, match="settlement_days must be a whole number from 0"):
        CashAccount(days)  # type: ignore[arg-type]


def test_good_faith_is_a_flag() -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigError, match="good_faith must be True or False"):
        CashAccount(good_faith=1)  # type: ignore[arg-type]


def test_before_a_run_nothing_is_unsettled() -> None:
    """All the money can be used."""
    broker = SimulationBroker(5_000.0, account=CashAccount())
    assert (broker.unsettled_cash, broker.buying_power()) == (0.0, 5_000.0)
