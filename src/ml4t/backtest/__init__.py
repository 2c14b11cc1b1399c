"""ml4t.backtest: honest backtests of trading on model predictions."""

from ml4t.backtest._version import __version__
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
