"""Which hooks a strategy has overridden, and how many arguments they take."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.types.bars import Bars


_NAMES = ("on_start", "on_market_data", "on_bars", "on_fill_event", "on_order_event", "on_end")
_SURELY = 0.85


class Hooks:
    """Which hooks a strategy has overridden, ready to call."""

    def __init__(self, strategy: Strategy) -> None:
        for name in _NAMES:
            _check_plain(strategy, name)
        self.on_market_data = _overridden(strategy, "on_market_data")
        on_bars = _overridden(strategy, "on_bars")
        self.on_fill_event = _overridden(strategy, "on_fill_event")
        self.on_order_event = _overridden(strategy, "on_order_event")
        if self.on_market_data is None and on_bars is None:
            raise ConfigError(
                f"{type(strategy).__name__} overrides neither on_market_data nor on_bars, so it "
                f"could never decide anything.{_near_miss(strategy)}"
            )
        _check_misspelt(strategy)
        self.is_short = self.on_market_data is not None and not _takes(self.on_market_data, 2)
        bars_short = on_bars is not None and not _takes(on_bars, 2)
        self.wants_context = (self.on_market_data is not None and not self.is_short) or (
            on_bars is not None and not bars_short
        )
        self.on_bars: Callable[[Bars, dict[str, Any]], Any] | None = on_bars
        if on_bars is not None and bars_short:
            self.on_bars = lambda bars, _context: on_bars(bars)


def _overridden(strategy: Strategy, name: str) -> Callable[..., Any] | None:
    method = getattr(strategy, name)
    if getattr(method, "__func__", method) is getattr(Strategy, name):
        return None
    return method  # type: ignore[no-any-return]


def _check_plain(strategy: Strategy, name: str) -> None:
    """Refuse a hook whose body would never run, however often it is called."""
    method = getattr(strategy, name)
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        kind = "async"
    elif inspect.isgeneratorfunction(method):
        kind = "a generator (it has a yield)"
    else:
        return
    raise ConfigError(f"{type(strategy).__name__}.{name} is {kind}; hooks are plain functions.")


def _near_miss(strategy: Strategy) -> str:
    """A method whose name looks like a hook's, as the end of a sentence."""
    from difflib import get_close_matches

    for name in dir(strategy):
        if hasattr(Strategy, name) or name.startswith("__"):
            continue
        near = get_close_matches(name, ("on_market_data", "on_bars"), n=1, cutoff=0.7)
        if near:
            return f" It has {name}: did you mean {near[0]}?"
    return ""


def _check_misspelt(strategy: Strategy) -> None:
    """Refuse a method that was surely meant to be a hook, and would never be called."""
    for name in dir(strategy):
        if not name.startswith("on_") or hasattr(Strategy, name):
            continue
        from difflib import get_close_matches  # few strategies come here

        begun = [hook for hook in _NAMES if hook.startswith(name)]
        near = begun or get_close_matches(name, _NAMES, n=1, cutoff=_SURELY)
        if near:
            raise ConfigError(
                f"{type(strategy).__name__} has a method {name}, which the engine never calls: did "
                f"you mean {near[0]}? If it is your own, give it another name."
            )


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a callable accepts `count` positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def adapted(function: Callable[..., Any]) -> Callable[[Bars, dict[str, Any]], Any]:
    """A scheduled function, called with as many arguments as it takes."""
    if _takes(function, 0):
        return lambda _bars, _context: function()
    if _takes(function, 1):
        return lambda bars, _context: function(bars)
    return function
