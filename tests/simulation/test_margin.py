"""Margins and what a call closes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    Account,
    CashAccount,
    ConfigError,
    Instrument,
    MarginAccount,
    SimulationBroker,
    UnleveragedAccount,
)
from ml4t.backtest.simulation.margin_call import units_to_close
from tests.stories.plan import tell

POSITION = st.tuples(st.integers(1, 500), st.floats(0.01, 300.0), st.sampled_from([0.0, 1.0, 10.0]))


@given(positions=st.lists(POSITION, min_size=1, max_size=6), share=st.floats(0.0, 1.2))
def test_a_call_closes_enough_and_not_a_lot_more(
    positions: list[tuple[int, float, float]], share: float
) -> None:
    """The first positions whole, one in part, the others not; without a lot less it would fail."""
    units, relief, lots = (np.array(column, dtype=float) for column in zip(*positions, strict=True))
    deficit = share * float((units * relief).sum())
    closed = units_to_close(deficit, units, relief, lots)
    freed = float((closed * relief).sum())
    assert (closed >= 0.0).all()
    assert (closed <= units).all()
    assert freed >= min(deficit, float((units * relief).sum())) * (1.0 - 1e-9)
    touched = np.flatnonzero(closed)
    if len(touched):
        last = touched[-1]
        assert (closed[:last] == units[:last]).all()
        spare = freed - deficit
        assert spare <= relief[last] * lots[last] * (1.0 + 1e-9) + 1e-9 * freed


def test_one_position_after_the_other() -> None:
    """50 are missing: 20 from all of the first, the rest from 8 of the second."""
    closed = units_to_close(50.0, np.array([10.0, 100.0]), np.array([2.0, 4.0]), np.ones(2))
    assert closed.tolist() == [10.0, 8.0]


def test_no_deficit_closes_nothing() -> None:
    """Nor does a negative one."""
    for deficit in (0.0, -10.0):
        closed = units_to_close(deficit, np.array([10.0]), np.array([2.0]), np.zeros(1))
        assert closed.tolist() == [0.0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"initial": 0.0}, "initial is a share of the value, above 0 and at most 1"),
        ({"initial": 1.5}, "initial is a share"),
        ({"maintenance": -0.1}, "maintenance is a share"),
        ({"short_initial": float("inf")}, "short_initial is a share of the value, above 0, not"),
        ({"short_maintenance": "0.3"}, "short_maintenance is a share"),
        ({"initial": 0.2}, r"maintenance=0.25 is above initial=0.2"),
        ({"short_maintenance": 0.6}, r"short_maintenance=0.6 is above short_initial=0.5"),
    ],
)
def test_margins_that_cannot_be_are_refused(given: dict[str, float], text: str) -> None:
    """Shares of a value, and entries that are not called at once."""
    with pytest.raises(ConfigError, match=text):
        MarginAccount(**given)


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5, float("nan")])
@pytest.mark.parametrize("name", ["initial_margin", "maintenance_margin"])
def test_margins_of_instruments_are_shares(name: str, share: float) -> None:
    """Above 0 and at most 1."""
    margins: dict[str, Any] = {name: share}
    with pytest.raises(ConfigError, match=f"{name} is a share of the notional"):
        Instrument(asset_id="A", **margins)


@pytest.mark.parametrize("account", [None, CashAccount(), UnleveragedAccount()])
def test_margins_of_instruments_need_a_margin_account(account: Account | None) -> None:
    """They would be ignored, and are refused."""
    future = Instrument(asset_id="A", initial_margin=0.1, maintenance_margin=0.05)
    with pytest.raises(ConfigError, match=r"give account=MarginAccount\(\)"):
        SimulationBroker(account=account, instruments=[future])


def test_an_instrument_that_would_be_called_at_once_is_refused() -> None:
    """Its own initial margin, and the account's maintenance margin above it."""
    future = Instrument(asset_id="A", initial_margin=0.1)
    with pytest.raises(ConfigError, match=r"above the initial margin 0.1"):
        SimulationBroker(account=MarginAccount(), instruments=[future])


def test_leverage_is_that_of_the_smallest_margin() -> None:
    """Of longs, shorts and instruments."""
    account = MarginAccount(0.5, 0.2, short_initial=0.4, short_maintenance=0.3)
    assert account.leverage == 2.5
    future = Instrument(asset_id="A", initial_margin=0.1, maintenance_margin=0.05)
    assert SimulationBroker(account=account, instruments=[future]).leverage == 10.0


def test_what_an_account_says_of_itself() -> None:
    """All numbers that count."""
    assert repr(MarginAccount()) == (
        "MarginAccount(initial=0.5, maintenance=0.25, short_initial=0.5, short_maintenance=0.3)"
    )
    assert (
        repr(CashAccount(2, good_faith=True)) == "CashAccount(settlement_days=2, good_faith=True)"
    )


class Careful(Account):
    """An account of a user: keeps a tenth of the money."""

    def free(self, holdings):
        return super().free(holdings) - 0.1 * holdings.cash


def test_an_account_of_a_user() -> None:
    """The general formula, less a tenth: 90 of 100 that were asked for."""
    tell(
        "@0 buy 100",
        "1 buy 90 at 100",
        bars="0 100 100 100 100\n1 100 100 100 100",
        account=Careful(),
    )


def test_an_account_of_a_user_with_shorts() -> None:
    """100 short bind their proceeds and as much again, as in the default account."""
    tell(
        "@0 sell 100\n@1 buy 1",
        "1 sell 90 at 100\n2 buy 1 at 100",
        "1 canceled scaled: buying power",
        bars="0 100 100 100 100\n1 100 100 100 100\n2 100 100 100 100",
        account=Careful(),
    )


def test_two_brokers_can_share_an_account() -> None:
    """A run works on a copy, so nothing of it is left in the object."""
    account = CashAccount()
    before = dict(vars(account))
    for _ in range(2):
        tell(
            "@0 buy 100\n@1 sell 100",
            "1 buy 100 at 100\n2 sell 100 at 100",
            bars="0 100 100 100 100\n1 100 100 100 100\n2 100 100 100 100",
            account=account,
        )
    assert vars(account) == before
