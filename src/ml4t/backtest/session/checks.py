"""What is asked of an engine and its strategy before a session begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.engine import BacktestEngine


_WORDS = {
    "reconcile": ("halt", "adopt"),
    "on_stop": ("keep", "cancel", "flatten"),
}
_SECONDS = ("max_data_age", "max_clock_skew", "wait_for_signals", "audit_every")


def check_options(options: dict[str, Any]) -> None:
    """What `run_live` was told makes sense, before anything is connected.

    Raises:
        ConfigError: It does not.
    """
    for name, allowed in _WORDS.items():
        if options[name] not in allowed:
            raise ConfigError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, not {options[name]!r}. "
                f"{did_you_mean(str(options[name]), allowed)}"
            )
    for name in _SECONDS:
        _check_seconds(name, options[name])
    most = options["max_rejections"]
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigError(f"max_rejections must be a whole number from 1, not {most!r}.")
    alert, time = options["alert"], options["time"]
    if alert is not None and not callable(alert):
        raise ConfigError(f"alert= takes a function of a line of text, not {alert!r}.")
    if time is not None and not (hasattr(time, "now") and hasattr(time, "seconds_until")):
        raise ConfigError(f"time= takes an object with now and seconds_until, not {time!r}.")


def _check_seconds(name: str, value: Any) -> None:
    may_be_zero = name in {"max_clock_skew", "wait_for_signals"}
    if value is None and name != "audit_every":
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (not value and not may_be_zero):
        least = "from 0" if may_be_zero else "above 0"
        raise ConfigError(f"{name} must be a number of seconds {least}, not {value!r}.")


def only_feed(engine: BacktestEngine) -> DataFeed:
    """The feed of an engine, which is its only one."""
    feeds = engine.clock.feeds
    if len(feeds) != 1:
        raise ConfigError(
            f"run_live takes one feed that brings all assets, not {len(feeds)}: give it as data=."
        )
    return feeds[0]


def keeps_state(strategy: Strategy) -> bool:
    """Whether a strategy has a state of its own to be kept."""
    saves, loads = (_overrides(strategy, name) for name in ("save_state", "load_state"))
    if saves != loads:
        has, lacks = ("save_state", "load_state") if saves else ("load_state", "save_state")
        raise ConfigError(
            f"{type(strategy).__name__} has {has} and no {lacks}: write both, or neither."
        )
    return saves


def _overrides(strategy: Strategy, name: str) -> bool:
    return getattr(type(strategy), name, None) is not getattr(Strategy, name, None)
