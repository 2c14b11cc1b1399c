"""The largest common factor that money pays for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.simulation.fitting import largest_fit
from tests.examples import examples


def straight(prices: np.ndarray) -> Any:
    """What units cost without commission."""
    return lambda units: float(np.dot(units, prices))


def bent(prices: np.ndarray, least: float) -> Any:
    """What units cost with a least commission each."""
    return lambda units: float(np.dot(units, prices) + least * np.count_nonzero(units))


@examples(100)
@given(
    orders=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 500), st.sampled_from([1.0, 10.0, 0.1])),
        min_size=1,
        max_size=8,
    ),
    share=st.floats(0.0, 1.1),
    least=st.sampled_from([0.0, 3.0]),
)
def test_no_larger_factor_can_be_paid(
    orders: list[tuple[int, int, float]], share: float, least: float
) -> None:
    """Every stair is tried; orders of the same size reach their lots together, or not at all."""
    count, price, lots = (np.array(column, dtype=float) for column in zip(*orders, strict=True))
    wanted, need = count * lots, bent(price, least)
    free = need(wanted) * share
    units = largest_fit(need, wanted, lots, free)
    assert (units <= wanted).all()
    assert need(units) <= free or not units.any()
    edges = sorted({n / int(c) for c in count for n in range(1, int(c) + 1)})
    middles = [(a + b) / 2 for a, b in zip(edges, [*edges[1:], edges[-1] + 2e-9], strict=True)]
    best = np.zeros(len(count))
    for factor in middles:
        stair = np.minimum(np.floor(count * factor), count) * lots
        if need(stair) <= free:
            best = stair
    assert units == pytest.approx(best)


@examples(50)
@given(
    prices=st.lists(st.floats(0.01, 1e4), min_size=1, max_size=10),
    share=st.floats(0.001, 0.999),
    least=st.sampled_from([0.0, 0.01]),
)
def test_fractions_spend_all_but_noise(prices: list[float], share: float, least: float) -> None:
    """Any part of a unit can be had: nothing is left, and nothing is overspent."""
    price = np.array(prices)
    wanted = 1_000.0 / price
    need = bent(price, least)
    free = need(wanted) * share
    units = largest_fit(need, wanted, np.zeros(len(price)), free)
    assert need(units) <= free
    if free > least * len(price):
        assert need(units) == pytest.approx(free, rel=1e-13)
    assert units / wanted == pytest.approx(np.full(len(price), units[0] / wanted[0]))


def test_lots_and_fractions_share_a_factor() -> None:
    """One asset trades in hundreds, one in any fraction."""
    prices, wanted, lots = np.array([1.0, 1.0]), np.array([1_000.0, 1_000.0]), np.array([100.0, 0])
    units = largest_fit(straight(prices), wanted, lots, 1_450.0)
    assert units.tolist() == [700.0, pytest.approx(750.0)]


def test_nothing_is_bought_with_nothing() -> None:
    """Money that is gone, or less than nothing."""
    for free in (0.0, -5.0):
        units = largest_fit(straight(np.ones(2)), np.full(2, 3.0), np.ones(2), free)
        assert units.tolist() == [0.0, 0.0]


def test_many_lots_take_few_looks() -> None:
    """A hundred orders of a million lots each: the search does not go through their stairs."""
    rng = np.random.default_rng(1)
    prices, wanted = rng.uniform(1, 100, 100), np.floor(rng.uniform(5e5, 1e6, 100))
    looks = 0

    def need(units: np.ndarray) -> float:
        nonlocal looks
        looks += 1
        return float(np.dot(units, prices))

    free = need(wanted) * 0.987654321
    units = largest_fit(need, wanted, np.ones(100), free)
    assert 0.0 <= free - need(units) < prices.sum()
    assert looks < 25


@pytest.mark.parametrize("lots", [0.0, 1.0])
def test_a_commission_that_is_more_than_the_money(lots: float) -> None:
    """Not even the smallest part of what is asked for can be paid."""
    prices, wanted = np.array([3.0, 7.0]), np.array([1e6, 2e6])
    units = largest_fit(bent(prices, 10.0), wanted, np.full(2, lots), 9.5)
    assert units.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("units", [1e6, 1e9, 1e10, 1e15, 1e20, 1e24, 1e300])
@pytest.mark.parametrize("lot", [1.0, 0.001, 1e-8])
def test_far_too_much_is_cut_to_what_there_is(units: float, lot: float) -> None:
    """However many lots that are, all money is used, but for orders that are beyond all measure."""
    prices = np.array([100.0])
    need = bent(prices, 1.0)
    (bought,) = largest_fit(need, np.array([units]), np.array([lot]), 100_000.0).tolist()
    assert need(np.array([bought])) <= 100_000.0
    if units < 1e14:
        assert 99_999.0 - bought * 100.0 < 100.0 * lot * 1.001 + 1e-9
