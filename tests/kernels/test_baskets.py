"""The compiled arithmetic of baskets gives the bits of the Python form; what is bad is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.kernels import baskets, noise
from tests.kernels.forms import (
    SEEDS,
    SIZES,
    bits,
    compiled,
    needs_compiled,
    numbers,
    positive,
    same,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_compiled


@given(SEEDS, SIZES)
def test_sums(rng, size):
    """Sums, and the value of what is held, where a flat asset may have no price."""
    same("total", numbers(rng, size))
    same("held_value", numbers(rng, size), numbers(rng, size, nan=True), positive(rng, size))
    same("are_positive", numbers(rng, size, nan=True))
    same("are_positive", positive(rng, size))


@given(SEEDS, SIZES, st.integers(0, 45), st.booleans())
def test_top(rng, size, n, nan):
    """The highest, with ties, gaps, and more asked for than there are."""
    same("top", np.round(numbers(rng, size, nan=nan), -1), n)
    same("top", np.full(size, np.nan), n)
    same("top", np.where(rng.random(size) < 0.5, -np.inf, np.inf), n)


def test_top_of_many_is_a_sorted_list():
    """Compared with sorting plain tuples, over sizes at which a heap has several levels."""
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=3000), 2)
    for n in (1, 2, 3, 31, 32, 33, 1000, 2999, 3000, 4000):
        expected = sorted(range(3000), key=lambda i: (-values[i], i))[:n]
        assert compiled.top(values, n).tolist() == expected
        assert baskets.top(values, n).tolist() == expected


@given(SEEDS, SIZES)
def test_weights(rng, size):
    """By name, in any order, as floats, whole numbers and NumPy's."""
    codes = {f"A{i}": i for i in range(size)}
    names = rng.permutation(list(codes)) if size else []
    values = numbers(rng, size).tolist()
    weights = {str(name): value for name, value in zip(names, values, strict=True)}
    kinds = (float, np.float64, round, bool)
    mixed = {name: kinds[i % 4](value) for i, (name, value) in enumerate(weights.items())}
    for given_weights in (weights, {}, mixed):
        assert bits(compiled.weights_by_code(given_weights, codes, size)) == bits(
            baskets.weights_by_code(given_weights, codes, size)
        )


class Word(str):
    """A text that could have ideas of its own."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({"B": 1.0}, KeyError),
        ({"A": None}, TypeError),
        ({"A": "0.5"}, TypeError),
        ({"A": 1j}, TypeError),
        ({Word("A"): 0.5}, TypeError),
        ({5: 0.5}, TypeError),
        ({"A": 10**400}, OverflowError),
    ],
)
def test_weights_that_are_no_plain_numbers(weights, error):
    """Left to the Python form, which asks them for their number."""
    with pytest.raises(error):
        compiled.weights_by_code(weights, {"A": 0}, 1)
    with pytest.raises(IndexError):
        compiled.weights_by_code({"A": 1.0}, {"A": 7}, 1)


@given(SEEDS, SIZES, st.sampled_from([0.0, 1.0, 0.001, 100.0]), st.sampled_from([0.0, 1e4, -5.0]))
def test_changes_to_weights(rng, size, lot, least):
    """Held and wanted, long and short, priced and not, lots of all sizes."""
    weights, held = numbers(rng, size) / 100, numbers(rng, size)
    weights[rng.random(size) < 0.4] = 0.0
    lots = np.full(size, lot) if rng.random() < 0.5 else rng.choice([0.0, 1.0, 0.01], size)
    prices = np.where(rng.random(size) < 0.1, np.nan, positive(rng, size))
    same("changes_to_weights", weights, held, prices, positive(rng, size), lots, 1e5, least)


@given(SEEDS, SIZES, st.sampled_from(["dense", "rows", "begins"]))
def test_match(rng, size, kind):
    """Exits, entries and flips, with and without a bar, begun before and after the decision."""
    width = size + 3
    codes = rng.permutation(width)[:size].astype(np.int64)
    quantities = numbers(rng, size)
    quantities[quantities == 0.0] = 1.0
    held = numbers(rng, width)
    exact = rng.random(size) < 0.3
    quantities[exact] = np.where(held[codes[exact]] == 0.0, 1.0, -held[codes[exact]])
    prices, start = positive(rng, 3 * width), int(rng.integers(0, 2 * width))
    rows = None if kind == "dense" else rng.integers(-1, 3 * width, size)
    begins = rng.integers(0, 3, 3 * width) if kind == "begins" else None
    known = width if kind != "dense" else int(rng.integers(0, width + 1))
    arguments = (rows, start, known, begins, 1, prices, held, positive(rng, width))
    same("match", rng.permutation(size).astype(np.int64) + 7, codes, quantities, *arguments)


@given(SEEDS, SIZES, st.booleans())
def test_money(rng, size, has_column):
    """Cash after exits, what entries need, and what fills lost to slippage."""
    sign = rng.choice([-1.0, 1.0], size)
    units, price, reference = positive(rng, size), positive(rng, size), positive(rng, size)
    multiplier, charge = positive(rng, size), numbers(rng, size)
    closing = int(rng.integers(0, size + 1))
    same("pay_exits", 1e5, sign, units, price, multiplier, charge, closing)
    initial = positive(rng, size) / 100 if has_column else 1.0
    same("needs", sign, units, price, reference, multiplier, charge, initial)
    same("slippages", sign, price, reference, units, multiplier)


@given(SEEDS, SIZES)
def test_book(rng, size):
    """Opening, adding, reducing, closing with float noise, and flipping."""
    width = size + 2
    codes = rng.permutation(width)[:size].astype(np.int64)
    held, change = numbers(rng, width), numbers(rng, size)
    change[change == 0.0] = 3.0
    closing = rng.random(size) < 0.3
    exact = -held[codes[closing]] * rng.choice([1.0, 1.0 + 1e-13, 1.0 - 2e-16], closing.sum())
    change[closing] = np.where(exact == 0.0, 2.0, exact)
    entry = np.where(held == 0.0, 0.0, positive(rng, width))
    price, charge = positive(rng, size), numbers(rng, size)
    same("book", codes, change, price, charge, held, entry, positive(rng, width), 12345.6)


def test_noise_is_the_same_in_both():
    """The two allowances for float noise, from just inside and just outside."""
    one = np.ones(1)
    for share, stays in ((0.9, False), (1.1, True)):
        left = 2.0 * noise.DUST * share
        held, entry = np.array([1.0 + left]), np.array([5.0])
        fill = (np.zeros(1, dtype=np.int64), -one, one, np.zeros(1))
        after, _, _ = same("book", *fill, held, entry, one, 0.0)
        assert (after[0] != 0.0) == stays
        wanted = np.array([1.0 + 2.0 * noise.WHOLE * share])
        codes, _, _ = same("changes_to_weights", wanted, one, one, one, np.zeros(1), 1.0, 0.0)
        assert (len(codes) == 1) == stays


COLUMN, CODES = np.ones(3), np.arange(3)
TWO, FAR, NINE = np.ones(2), np.array([0, 1, 9]), np.ones(9)
CALLS: dict[str, tuple[Any, ...]] = {
    "held_value": (COLUMN, COLUMN, COLUMN),
    "top": (COLUMN, 2),
    "changes_to_weights": (COLUMN,) * 5 + (1.0, 0.0),
    "match": (CODES, CODES, COLUMN, None, 0, 3, None, 0, COLUMN, COLUMN, COLUMN),
    "pay_exits": (1.0,) + (COLUMN,) * 5 + (1,),
    "needs": (COLUMN,) * 6 + (1.0,),
    "slippages": (COLUMN,) * 5,
    "worth": (NINE, COLUMN, COLUMN, CODES, CODES, COLUMN),
    "ranges": (NINE, NINE, 3, CODES, CODES - 1, CODES),
    "steep": (NINE, COLUMN, CODES, 2.0),
    "book": (CODES, COLUMN, COLUMN, COLUMN, COLUMN.copy(), COLUMN.copy(), COLUMN, 1.0),
}
BAD_COLUMNS: dict[str, Any] = {
    "of another length": TWO,
    "of short floats": COLUMN.astype(np.float32),
    "of objects": COLUMN.astype(object),
    "a matrix": np.ones((3, 1)),
    "with steps": np.ones(6)[::2],
    "swapped bytes": COLUMN.astype(">f8"),
    "a list": [1.0] * 3,
    "a word": "x",
}


def spoiled() -> Iterator[Any]:
    """Every call with one of its arguments made wrong."""
    for name, args in CALLS.items():
        for at, arg in enumerate(args):
            bad = BAD_COLUMNS if isinstance(arg, np.ndarray) else {"a word": "x"}
            for what, value in bad.items():
                if name != "top" or what != "of another length":  # it has only one
                    yield pytest.param(name, at, value, id=f"{name}-{at}-{what}")


@pytest.mark.parametrize(("name", "at", "bad"), list(spoiled()))
def test_what_does_not_fit_is_refused(name, at, bad):
    """Another kind, length, dimension or step, in every place: an error, and no crash."""
    args = list(CALLS[name])
    args[at] = bad
    with pytest.raises((TypeError, ValueError, IndexError)):
        getattr(compiled, name)(*args)


def test_codes_and_rows_beyond_the_columns_are_refused():
    """Nothing is read or written outside."""
    book, match = list(CALLS["book"]), list(CALLS["match"])
    for bad in (FAR, -CODES - 1):
        with pytest.raises(IndexError):
            compiled.book(bad, *book[1:])
        with pytest.raises(IndexError):
            compiled.match(CODES, bad, *match[2:])
    match[3] = FAR
    with pytest.raises(IndexError):
        compiled.match(*match)
    with pytest.raises(IndexError):
        compiled.match(CODES, CODES, COLUMN, None, 2, 3, None, 0, COLUMN, COLUMN, COLUMN)
    fixed = COLUMN.copy()
    fixed.flags.writeable = False
    for at in (4, 5):
        with pytest.raises(ValueError, match="read-only"):
            compiled.book(*book[:at], fixed, *book[at + 1 :])


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_number_of_columns_is_refused(name):
    """One too few, and one too many."""
    for args in (CALLS[name][:-1], (*CALLS[name], 1.0)):
        with pytest.raises(TypeError, match="arguments"):
            getattr(compiled, name)(*args)
