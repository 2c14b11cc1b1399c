"""ml4t.backtest: honest backtests of trading on model predictions.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml4t.backtest._version import __version__

if TYPE_CHECKING:
    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.clock import Clock
    from ml4t.backtest.data.context import Context
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.data.frames import CSVDataFeed, ParquetDataFeed
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.errors import (
        BacktestError,
        ConfigError,
        DataError,
        OrderError,
        StrategyError,
    )
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.simulation.account import UnleveragedAccount
    from ml4t.backtest.simulation.broker import SimulationBroker
    from ml4t.backtest.simulation.commission import (
        NoCommission,
        PercentCommission,
        PerShareCommission,
    )
    from ml4t.backtest.simulation.slippage import BasisPointSlippage, NoSlippage
    from ml4t.backtest.strategy.strategy import Strategy
    from ml4t.backtest.types.bars import Bars, MarketEvent
    from ml4t.backtest.types.events import FillEvent
    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import (
        Order,
        OrderEvent,
        OrderSide,
        OrderStatus,
        OrderType,
        TimeInForce,
    )

__all__ = [
    "BacktestEngine",
    "BacktestError",
    "BacktestResult",
    "Bars",
    "BasisPointSlippage",
    "Broker",
    "CSVDataFeed",
    "Clock",
    "ConfigError",
    "Context",
    "DataError",
    "DataFeed",
    "FillEvent",
    "Instrument",
    "MarketEvent",
    "NoCommission",
    "NoSlippage",
    "Order",
    "OrderError",
    "OrderEvent",
    "OrderSide",
    "OrderStatus",
    "OrderType",
    "ParquetDataFeed",
    "PerShareCommission",
    "PercentCommission",
    "SimulationBroker",
    "Strategy",
    "StrategyError",
    "TimeInForce",
    "UnleveragedAccount",
    "__version__",
]

_HOMES = {
    "BacktestEngine": "engine",
    "BacktestError": "errors",
    "BacktestResult": "results.result",
    "Bars": "types.bars",
    "BasisPointSlippage": "simulation.slippage",
    "Broker": "broker.broker",
    "CSVDataFeed": "data.frames",
    "Clock": "clock",
    "ConfigError": "errors",
    "Context": "data.context",
    "DataError": "errors",
    "DataFeed": "data.feed",
    "FillEvent": "types.events",
    "Instrument": "types.instrument",
    "MarketEvent": "types.bars",
    "NoCommission": "simulation.commission",
    "NoSlippage": "simulation.slippage",
    "Order": "types.order",
    "OrderError": "errors",
    "OrderEvent": "types.order",
    "OrderSide": "types.order",
    "OrderStatus": "types.order",
    "OrderType": "types.order",
    "ParquetDataFeed": "data.frames",
    "PerShareCommission": "simulation.commission",
    "PercentCommission": "simulation.commission",
    "SimulationBroker": "simulation.broker",
    "Strategy": "strategy.strategy",
    "StrategyError": "errors",
    "TimeInForce": "types.order",
    "UnleveragedAccount": "simulation.account",
}


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
