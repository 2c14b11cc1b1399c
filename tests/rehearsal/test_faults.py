"""Faults by themselves: when they strike, and how they are written."""

from __future__ import annotations

import pytest

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.rehearsal.faults import FAULTS, ONLY, Fault, FaultPlan


def strikes(text: str, count: int = 10, **facts: str) -> list[int]:
    """At which of the first occasions a fault strikes, counted from 1."""
    fault = Fault(text)
    return [i for i in range(1, count + 1) if fault.strikes(**facts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lose-update", [1]),
        ("lose-update:after=3", [4]),
        ("lose-update:times=3", [1, 2, 3]),
        ("lose-update:every=4", [4, 8]),
        ("lose-update:every=4,times=1", [4]),
        ("lose-update:after=1,every=3", [4, 7, 10]),
        ("lose-update:times=all", [*range(1, 11)]),
        ("lose-update:probability=0", []),
        ("lose-update:probability=1,times=2", [1, 2]),
    ],
)
def test_when_a_fault_strikes(text: str, expected: list[int]) -> None:
    """By counts."""
    assert strikes(text) == expected


def test_chance_follows_from_the_seed() -> None:
    """About half of many; the same with the same seed, others with another."""
    found = strikes("lose-update:probability=0.5,seed=1", 400)
    assert 150 < len(found) < 250
    assert found == strikes("lose-update:probability=0.5,seed=1", 400)
    assert found != strikes("lose-update:probability=0.5,seed=2", 400)


def test_conditions_decide_which_occasions_count() -> None:
    """What does not meet them is not counted."""
    fault = Fault("lose-update:event=fill,symbol=AAPL,client=run-1,after=1")
    fits = {"event": "fill", "symbol": "AAPL", "client": "run-1-order-7", "side": "buy"}
    assert not fault.strikes(**(fits | {"event": "new"}))
    assert not fault.strikes(**fits)
    assert not fault.strikes(**(fits | {"client": "run-2"}))
    assert fault.strikes(**fits)
    assert (fault.seen, fault.struck) == (2, 1)


def test_a_plan_asks_its_faults_in_turn() -> None:
    """And says how often each struck."""
    plan = FaultPlan(["429:times=1", "429:call=submit"])
    assert plan.take("429", call="account") is plan.faults[0]
    assert plan.take("429", call="account") is None
    assert plan.take("429", call="submit") is plan.faults[1]
    assert plan.take("401", call="submit") is None
    assert plan.report() == [
        {"fault": "429:times=1", "seen": 3, "struck": 1},
        {"fault": "429:call=submit", "seen": 1, "struck": 1},
    ]
    plan.clear()
    assert plan.take("429", call="submit") is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("drop-trade", "Did you mean 'drop-trades'"),
        ("", "no fault ''"),
        ("429:afterr=1", "Did you mean 'after'"),
        ("429:event=fill", "no option 'event'"),
        ("429:call=submt", "Did you mean 'submit'"),
        ("429:after", "option=value"),
        ("429:after=", "option=value"),
        ("429:after=1.5", "a whole number from 0"),
        ("429:every=0", "a whole number from 1"),
        ("429:probability=2", "a number from 0 to 1"),
        ("429:seconds=nan", "a number from 0"),
        ("partial-fill:share=half", "a number from 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, error: str) -> None:
    """With the nearest name, or what was wanted."""
    with pytest.raises(ConfigError, match=error):
        Fault(text)


def test_every_fault_is_listed_with_what_it_does() -> None:
    """For the help of the command and the page."""
    for name, (text, options, conditions) in FAULTS.items():
        assert text
        assert Fault(name).options == options
        assert not set(options) & set(conditions)


def test_a_fault_of_another_protocol_is_refused_whenever_it_is_added() -> None:
    """It would never strike, and whoever asked for it would think that all is well."""
    plan = FaultPlan(["429", "lose-update"])
    with pytest.raises(ConfigError, match="'429' is of --protocol alpaca alone"):
        plan.speak("ib")
    plan.clear()
    with pytest.raises(ConfigError, match="'late-bar' is of --protocol alpaca alone"):
        plan.add("late-bar")
    assert plan.add("link-lost").name == "link-lost"
    assert set(ONLY) <= set(FAULTS)
