"""Is it real? Questions to a backtest that are answered by running it again."""

from ml4t.backtest.research.bounds import Bounds, bounds
from ml4t.backtest.research.replay import Replay, replay

__all__ = ["Bounds", "Replay", "bounds", "replay"]
