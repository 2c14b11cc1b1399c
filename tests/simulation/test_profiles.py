"""The rules of other engines, by name: what a broker of them says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import (
    BacktestEngine,
    ConfigError,
    MarginAccount,
    NoCommission,
    PercentCommission,
    SimulationBroker,
    VolumeParticipation,
)
from ml4t.backtest.testing.markets import ten_bars
from tests.simulation.test_lenient_parts import batch
from tests.simulation.test_one_by_one import Plan, run


@pytest.mark.parametrize("name", ["backtrader", "backtesting.py", "bt", "pybroker", "vectorbt"])
def test_a_profile_says_its_version_and_takes_overrides(name: str) -> None:
    """On the broker and on the result."""
    broker = SimulationBroker.like(name, initial_cash=5_000, commission=PercentCommission(0.01))
    assert broker.profile is not None
    assert broker.initial_cash == 5_000.0
    result = BacktestEngine(ten_bars(), strategy=Plan(batch(("buy", 10))), broker=broker).run()
    assert result.settings["profile"] == f"{name} {broker.profile.version}"
    assert result.settings["commission"] == "PercentCommission(rate=0.01)"
    price = 103.5 if name == "pybroker" else 103.0
    assert result.fills["commission"].to_list() == [pytest.approx(10 * price * 0.01)]


def test_profiles_share_nothing() -> None:
    """Two brokers of one profile do not hold the same parts."""
    one, other = (SimulationBroker.like("backtrader") for _ in range(2))
    assert one.account is not other.account


def test_an_unknown_profile_is_refused_with_the_nearest() -> None:
    """As any misspelt name."""
    with pytest.raises(ConfigError, match="Did you mean 'backtrader'"):
        SimulationBroker.like("backtrder")
    with pytest.raises(ConfigError, match="Known: "):
        SimulationBroker.like("zzz")


def test_a_plain_broker_has_no_profile() -> None:
    """And says nothing of one."""
    assert "profile" not in run({}).settings


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bt", {"initial_cash": 5_000.0, "commission": PercentCommission(0.1)}, ""),
        ("zipline", {"commission": NoCommission()}, ""),
        ("zipline", {"liquidity": VolumeParticipation(1.0)}, ", but for liquidity"),
        ("bt", {"fill_at": "close"}, ""),
        (
            "bt",
            {"fill_at": "next_open", "account": MarginAccount(), "close_at_end": True},
            ", but for account, close_at_end, fill_at",
        ),
    ],
)
def test_a_profile_says_which_of_its_rules_were_replaced(
    name: str, options: dict[str, Any], said: str
) -> None:
    """Costs are the user's; what is given as it was is no change."""
    broker = SimulationBroker.like(name, **options)
    assert broker.profile is not None
    result = BacktestEngine(ten_bars(), strategy=Plan(batch(("buy", 10))), broker=broker).run()
    assert result.settings["profile"] == f"{broker.profile}{said}"
    assert f"rules             of {broker.profile}" in result.summary()


@pytest.mark.parametrize("name", [None, 3, ["bt"]])
def test_a_profile_has_a_name(name: Any) -> None:
    """Nothing else is looked up."""
    with pytest.raises(ConfigError, match="There is no profile of an engine"):
        SimulationBroker.like(name)


def test_a_broker_of_ones_own_may_be_like_another_engine() -> None:
    """A subclass with an option of its own, which is no rule of the engine."""

    class Own(SimulationBroker):
        def __init__(self, *, desk: str, **options: Any) -> None:
            super().__init__(**options)
            self.desk = desk

    broker = Own.like("bt", desk="north")
    assert broker.desk == "north"
    assert broker.settings()["profile"] == str(broker.profile)
