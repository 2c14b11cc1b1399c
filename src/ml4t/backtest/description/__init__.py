"""A run as a typed description: what a TOML file says, and the engine that it makes."""

from ml4t.backtest.description.description import RunDescription

__all__ = ["RunDescription"]
