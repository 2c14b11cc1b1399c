"""What stands on a strategy object while it runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ml4t.backtest.kernels import is_compiled, lookup
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.strategy.desk import Desk


@contextmanager
def bound(strategy: Strategy, desk: Desk) -> Iterator[None]:
    """The helpers of a strategy work, by way of this desk.

    The two that most strategies ask for every event are answered on the object itself, compiled,
    unless the strategy has its own.
    """
    place, hot = vars(strategy), {}
    place["_desk"] = desk
    if is_compiled and desk.takes_short_ways and not desk.is_growing:
        portfolio = desk.portfolio
        units = portfolio.quantity
        columns = {"get_position": (units, None), "get_entry_price": (portfolio.entry_price, units)}
        for name, given in columns.items():
            plain = getattr(Strategy, name)
            if getattr(type(strategy), name) is plain and name not in place:
                hot[name] = lookup(desk.universe.codes, *given, plain.__get__(strategy))
        place.update(hot)
    try:
        yield
    finally:
        for name, look in hot.items():
            look.end()  # somebody may have kept it
            if place.get(name) is look:
                del place[name]
        del place["_desk"]
