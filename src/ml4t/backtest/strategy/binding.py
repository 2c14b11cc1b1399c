"""What stands on a strategy object while it runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ml4t.backtest.kernels import is_compiled, lookup
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.strategy.desk import Desk

# As they are written: one that somebody has put into the class instead is theirs, and asked.
_PLAIN = {"get_position": Strategy.get_position, "get_entry_price": Strategy.get_entry_price}


@contextmanager
def bound(strategy: Strategy, desk: Desk) -> Iterator[None]:
    """The helpers of a strategy work, by way of this desk.

    The two that most strategies ask for every event are answered on the object itself, compiled,
    unless the strategy has its own.
    """
    place = vars(strategy)
    for name in _PLAIN:
        if isinstance(place.get(name), lookup):
            del place[name]  # of another run: it came with a copy made there
    is_hot = is_compiled and desk.takes_short_ways and not desk.is_growing
    hot = _lookups(strategy, desk) if is_hot else {}
    try:
        place.update(hot, _desk=desk)
        yield
    finally:
        for name, look in hot.items():
            look.end()  # somebody may have kept it
            if place.get(name) is look:
                del place[name]
        place.pop("_desk", None)


def _lookups(strategy: Strategy, desk: Desk) -> dict[str, lookup]:
    """The two, by name, as far as the strategy has none of its own."""
    codes, portfolio = desk.universe.codes, desk.portfolio
    units = portfolio.quantity
    columns = {"get_position": (units, None), "get_entry_price": (portfolio.entry_price, units)}
    return {
        name: lookup(codes, *columns[name], plain.__get__(strategy))
        for name, plain in _PLAIN.items()
        if getattr(type(strategy), name) is plain and name not in vars(strategy)
    }
