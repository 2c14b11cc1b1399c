"""What is asked of an engine and its strategy before a session begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.engine import BacktestEngine


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
