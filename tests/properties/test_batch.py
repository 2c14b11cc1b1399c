"""Entries cut by one factor: the search against trying every factor."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.simulation.fitting import largest_fit

CENTS = st.integers(1, 500)


def every_factor(
    wanted: list[int], lots: list[int], prices: list[int], minimum: int, free: int
) -> list[int]:
    """The quantities at the largest factor that fits, by trying each at which a lot is added."""
    factors = {Fraction(0)}
    for want, lot in zip(wanted, lots, strict=True):
        factors |= {Fraction(k * lot, want) for k in range(1, want // lot + 1)}
    best = [0] * len(wanted)
    for factor in sorted(factors):
        units = [int(factor * want // lot) * lot for want, lot in zip(wanted, lots, strict=True)]
        need = sum(n * p + (minimum if n else 0) for n, p in zip(units, prices, strict=True))
        if need > free:
            break
        best = units
    return best


@given(
    entries=st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from([1, 1, 5, 10]), CENTS), min_size=1, max_size=6
    ),
    minimum=st.sampled_from([0, 1, 40]),
    share=st.floats(0.0, 1.2),
)
def test_the_search_finds_the_largest_factor(
    entries: list[tuple[int, int, int]], minimum: int, share: float
) -> None:
    """Whole lots, any prices, with and without a minimum commission."""
    wanted, lots, prices = ([*column] for column in zip(*entries, strict=True))
    whole = sum(n * p + minimum for n, p in zip(wanted, prices, strict=True))
    free = int(share * whole)

    def need(quantities: np.ndarray) -> float:
        return float((quantities * prices + minimum * (quantities > 0)).sum())

    fit = largest_fit(need, np.array(wanted, dtype=float), np.array(lots, dtype=float), float(free))
    assert fit.tolist() == every_factor(wanted, lots, prices, minimum, free)


@given(
    wanted=st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8),
    share=st.floats(1e-6, 0.999),
    seed=st.integers(0, 1_000),
)
def test_fractions_use_the_money_up(wanted: list[float], share: float, seed: int) -> None:
    """Without lots all are cut alike, nothing is overspent, and only noise is left."""
    prices = np.random.default_rng(seed).uniform(0.5, 500.0, len(wanted))
    units = np.array(wanted)
    free = share * float((units * prices).sum())
    fit = largest_fit(lambda q: float((q * prices).sum()), units, np.zeros(len(units)), free)
    spent = float((fit * prices).sum())
    assert spent <= free
    assert spent >= free * (1.0 - 1e-9)
    assert np.ptp(fit / units) <= 1e-12


def test_no_money_buys_nothing() -> None:
    """With nothing free, or less, nothing is bought."""
    for free in (0.0, -5.0):
        fit = largest_fit(lambda q: float(q.sum()), np.array([3.0, 4.0]), np.ones(2), free)
        assert fit.tolist() == [0.0, 0.0]


def test_equal_entries_are_cut_equally() -> None:
    """Ten orders of 100 at 10 with money for 994 shares: 99 each, none is favoured."""
    fit = largest_fit(lambda q: float((q * 10.0).sum()), np.full(10, 100.0), np.ones(10), 9_940.0)
    assert fit.tolist() == [99.0] * 10
