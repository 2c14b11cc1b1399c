"""How much of a result hangs on what is assumed of the path inside the bars."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.broker import SimulationBroker

if TYPE_CHECKING:
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.strategy.strategy import Strategy


class Bounds(NamedTuple):
    """The same run with the worst and the best assumption for every ambiguous bar.

    The truth lies between them as far as a touch decides: a path that is worse in one bar can
    still lead to a better trade in the next, so a figure of `best` may be below that of `worst`.
    """

    worst: BacktestResult
    best: BacktestResult

    @property
    def ambiguous_bars(self) -> int:
        """Bars in which the order of touches had to be assumed, in the worst run."""
        return self.worst.record.counts.get("ambiguous_bars", 0)

    def interval(self, metric: str = "total_return") -> tuple[float, float]:
        """The lower and the upper of the two values of a figure of `BacktestResult.metrics`.

        Raises:
            ConfigError: No figure of this name.
        """
        values = [float(_metric(result, metric)) for result in self]
        return min(values), max(values)

    def __repr__(self) -> str:
        low, high = self.interval()
        return f"Bounds(total_return {low:.2%} to {high:.2%}, {self.ambiguous_bars} ambiguous bars)"


def bounds(engine: BacktestEngine) -> Bounds:
    """Run an engine twice: with the worst and with the best path inside every bar.

    Each run has a copy of the strategy as it is now.

    Args:
        engine: With a `SimulationBroker`; its `intrabar` and its strategy are left as they are.

    Raises:
        ConfigError: Another kind of broker, whose fills are not assumed but happen; one whose
            `matching` decides what comes first; or a strategy that cannot be copied.

    Example:
        >>> from ml4t.backtest import BacktestEngine, Strategy
        >>> from ml4t.backtest.testing.markets import ten_bars
        >>> class Protected(Strategy):
        ...     def on_bars(self, bars):
        ...         if bars.index == 7:
        ...             self.bracket("A", 10, stop_loss=97, take_profit=107)
        >>> bounds(BacktestEngine(ten_bars(), strategy=Protected()))
        Bounds(total_return -0.06% to 0.04%, 1 ambiguous bars)
    """
    broker = engine.broker
    if not isinstance(broker, SimulationBroker):
        raise ConfigError(
            f"bounds() varies the assumptions of a SimulationBroker, not of {broker!r}."
        )
    if broker.matching is not None:
        raise ConfigError(
            f"bounds() varies the path inside a bar, which matching={broker.matching!r} does not "
            "look at: leave matching= out."
        )
    before, strategy = broker.intrabar, engine.strategy
    try:
        results = []
        for intrabar in ("worst", "best"):
            broker.intrabar, engine.strategy = intrabar, _copied(strategy)
            results.append(engine.run())
    finally:
        broker.intrabar, engine.strategy = before, strategy
    return Bounds(*results)


def _copied(strategy: Strategy) -> Strategy:
    """A strategy as it is now: what one run leaves in it is not to reach the next one."""
    try:
        return copy.deepcopy(strategy)
    except Exception as error:
        raise ConfigError(
            f"bounds() runs copies of the strategy, and {type(strategy).__name__} cannot be "
            f"copied: {error}. Make what it holds copyable, or create it in on_start."
        ) from error


def _metric(result: BacktestResult, name: str) -> Any:
    try:
        return result.metrics[name]
    except KeyError:
        known = ", ".join(sorted(result.metrics))
        raise ConfigError(f"There is no figure {name!r}; there are {known}.") from None
