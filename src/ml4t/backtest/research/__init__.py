"""Is it real? Questions to a backtest that are answered by running it again."""

from ml4t.backtest.research.bounds import Bounds, bounds

__all__ = ["Bounds", "bounds"]
