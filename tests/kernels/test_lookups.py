"""Numbers by name: both forms answer alike, and hand on what they do not know."""

from __future__ import annotations

import copy
import gc
import math
import sys
import warnings
import weakref
from typing import Any

import numpy as np
import pytest

from ml4t.backtest.kernels import lookups
from tests.kernels.forms import compiled, needs_compiled

FORMS = [
    pytest.param(lookups.lookup, id="plain"),
    pytest.param(compiled and compiled.lookup, id="compiled", marks=needs_compiled),
]


def asked(*args: Any, **named: Any) -> Any:
    """Says what it was asked."""
    return "asked", args, named


@pytest.mark.parametrize("form", FORMS)
def test_a_number_is_the_one_that_the_column_has_now(form):
    """Also after it has changed; NaN where nothing is held, if that is wished."""
    codes, values, units = {"A": 0, "B": 1}, np.array([1.5, 2.5]), np.array([0.0, -3.0])
    look, entry = form(codes, values, None, asked), form(codes, values, units, asked)
    assert (look("A"), look("B")) == (1.5, 2.5)
    assert math.isnan(entry("A"))
    assert entry("B") == 2.5
    values[1], units[0] = -0.0, 1.0
    assert math.copysign(1.0, look("B")) == -1.0
    assert entry("A") == 1.5
    assert type(look("A")) is float


@pytest.mark.parametrize("form", FORMS)
def test_whatever_else_is_asked_is_handed_on(form):
    """Unknown names, codes beyond the column, other arguments, and everything after the end."""
    places = {"A": 0, "beyond": 7, "before": -1, "far": 2**70}
    look = form(places, np.ones(1), None, asked)
    for args in (("C",), *((name,) for name in list(places)[1:]), (), ("A", 1), (5,), (None,)):
        assert look(*args) == asked(*args)
    assert look(asset_id="A") == asked(asset_id="A")
    assert look("A", x=1) == asked("A", x=1)
    with pytest.raises(TypeError, match="unhashable"):
        look([])
    assert look("A") == 1.0
    look.end()
    look.end()
    assert look("A") == asked("A")


@pytest.mark.parametrize("form", FORMS)
def test_errors_of_the_other_one_come_through(form):
    """As it raises them; and those of a name that cannot be compared."""

    class Odd(str):
        __slots__ = ()

        def __hash__(self):
            return hash("A")

        def __eq__(self, other):
            raise ZeroDivisionError

    def refuse(name):
        raise LookupError(name)

    look = form({"A": 0}, np.ones(1), None, refuse)
    with pytest.raises(LookupError, match="B"):
        look("B")
    with pytest.raises(ZeroDivisionError):
        look(Odd("A"))


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_is_the_same_function(form):
    """So that attributes of a strategy can be copied in a hook."""
    look = form({"A": 0}, np.ones(1), None, asked)
    assert copy.copy(look) is look
    assert copy.deepcopy({"look": look})["look"] is look


@needs_compiled
def test_what_does_not_fit_is_refused():
    """A dict of codes, and columns of floats of the same length."""
    fine = ({"A": 0}, np.ones(1), np.ones(1), asked)
    bad = {0: ["A"], 1: np.ones(1, dtype=int), 2: np.ones(2)}
    for at, value in bad.items():
        with pytest.raises((TypeError, ValueError)):
            compiled.lookup(*fine[:at], value, *fine[at + 1 :])
    with pytest.raises(TypeError):
        compiled.lookup(*fine[:3])
    with pytest.raises(TypeError):
        compiled.lookup(*fine, more=1)
    assert compiled.lookup({"A": "x"}, np.ones(1), None, asked)("A") == asked("A")


@needs_compiled
def test_a_lookup_survives_what_happens_to_its_parts():
    """It is ended while names are compared, and a column is given another shape."""

    class Ends(str):
        __slots__ = ()

        def __hash__(self):
            return hash("A")

        def __eq__(self, other):
            for _ in [{"full": i} for i in range(300)]:  # so that the next dict is freed at once
                pass
            look.end()
            return False

    look = compiled.lookup({"A": 0}, np.ones(1), None, asked)
    assert look(Ends("A"))[0] == "asked"
    values, units = np.array([2.0]), np.array([1.0])
    look = compiled.lookup({"A": 0}, values, units, asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        values.shape = units.shape = ()
    assert look("A") == 2.0


@needs_compiled
def test_nothing_leaks_and_circles_are_found():
    """References are given back, also of a lookup that what it asks holds."""

    class Holder:
        look: Any

        def plain(self, name):
            return name

    codes, values = {"A": 0}, np.ones(1)
    before = sys.getrefcount(codes), sys.getrefcount(values)
    for _ in range(50):
        holder = Holder()
        holder.look = compiled.lookup(codes, values, values, holder.plain)
        holder.look("A")
        holder.look("B")
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None
    assert (sys.getrefcount(codes), sys.getrefcount(values)) == before
