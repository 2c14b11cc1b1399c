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
    from ml4t.backtest.limits.limits import RiskLimits
    from ml4t.backtest.live.alpaca.broker import AlpacaBroker
    from ml4t.backtest.live.alpaca.clock import RehearsalTime
    from ml4t.backtest.live.alpaca.feed import AlpacaStreamFeed
    from ml4t.backtest.live.buffer import SignalBuffer
    from ml4t.backtest.live.feed import LiveDataFeed
    from ml4t.backtest.live.ib.broker import IBBroker
    from ml4t.backtest.live.ib.feed import IBStreamFeed
    from ml4t.backtest.live.reading import read_journal
    from ml4t.backtest.live.websocket.feed import WebSocketFeed
    from ml4t.backtest.live.websocket.publisher import SignalPublisher
    from ml4t.backtest.results.comparison import compare
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.results.runs import RunStore
    from ml4t.backtest.simulation.account import Account, UnleveragedAccount
    from ml4t.backtest.simulation.admission import CashAtSubmission
    from ml4t.backtest.simulation.broker import SimulationBroker
    from ml4t.backtest.simulation.cash_account import CashAccount
    from ml4t.backtest.simulation.collateral_account import CollateralAccount
    from ml4t.backtest.simulation.commission import (
        NoCommission,
        PercentCommission,
        PerOrderCommission,
        PerShareCommission,
    )
    from ml4t.backtest.simulation.fees import SideFee
    from ml4t.backtest.simulation.financing import BorrowFee, Interest
    from ml4t.backtest.simulation.four_prices import FourPrices
    from ml4t.backtest.simulation.impact import SquareRootImpact, VolumeShareSlippage
    from ml4t.backtest.simulation.in_rounds import InRounds
    from ml4t.backtest.simulation.legs import EachLeg
    from ml4t.backtest.simulation.liquidity import UnlimitedLiquidity, VolumeParticipation
    from ml4t.backtest.simulation.margin_account import MarginAccount
    from ml4t.backtest.simulation.one_by_one import OneByOne
    from ml4t.backtest.simulation.overdraft_account import OverdraftAccount
    from ml4t.backtest.simulation.presets import (
        alpaca_equities,
        interactive_brokers_fixed,
        interactive_brokers_tiered,
        us_regulatory_fees,
    )
    from ml4t.backtest.simulation.slippage import (
        BasisPointSlippage,
        FixedSlippage,
        MarketOnly,
        NoSlippage,
        OpeningOnly,
        WithinBar,
    )
    from ml4t.backtest.simulation.spread import HalfSpreadSlippage, QuotedSpreadSlippage
    from ml4t.backtest.simulation.tiers import TieredCommission
    from ml4t.backtest.strategy.strategy import Strategy
    from ml4t.backtest.types.bars import Bars, MarketEvent
    from ml4t.backtest.types.events import FillEvent
    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import (
        Bracket,
        Order,
        OrderEvent,
        OrderSide,
        OrderStatus,
        OrderType,
        TimeInForce,
    )

__all__ = [
    "Account",
    "AlpacaBroker",
    "AlpacaStreamFeed",
    "BacktestEngine",
    "BacktestError",
    "BacktestResult",
    "Bars",
    "BasisPointSlippage",
    "BorrowFee",
    "Bracket",
    "Broker",
    "CSVDataFeed",
    "CashAccount",
    "CashAtSubmission",
    "Clock",
    "CollateralAccount",
    "ConfigError",
    "Context",
    "DataError",
    "DataFeed",
    "EachLeg",
    "FillEvent",
    "FixedSlippage",
    "FourPrices",
    "HalfSpreadSlippage",
    "IBBroker",
    "IBStreamFeed",
    "InRounds",
    "Instrument",
    "Interest",
    "LiveDataFeed",
    "MarginAccount",
    "MarketEvent",
    "MarketOnly",
    "NoCommission",
    "NoSlippage",
    "OneByOne",
    "OpeningOnly",
    "Order",
    "OrderError",
    "OrderEvent",
    "OrderSide",
    "OrderStatus",
    "OrderType",
    "OverdraftAccount",
    "ParquetDataFeed",
    "PerOrderCommission",
    "PerShareCommission",
    "PercentCommission",
    "QuotedSpreadSlippage",
    "RehearsalTime",
    "RiskLimits",
    "RunStore",
    "SideFee",
    "SignalBuffer",
    "SignalPublisher",
    "SimulationBroker",
    "SquareRootImpact",
    "Strategy",
    "StrategyError",
    "TieredCommission",
    "TimeInForce",
    "UnleveragedAccount",
    "UnlimitedLiquidity",
    "VolumeParticipation",
    "VolumeShareSlippage",
    "WebSocketFeed",
    "WithinBar",
    "__version__",
    "alpaca_equities",
    "compare",
    "interactive_brokers_fixed",
    "interactive_brokers_tiered",
    "read_journal",
    "us_regulatory_fees",
]

_HOMES = {
    "Account": "simulation.account",
    "AlpacaBroker": "live.alpaca.broker",
    "AlpacaStreamFeed": "live.alpaca.feed",
    "BacktestEngine": "engine",
    "BacktestError": "errors",
    "BacktestResult": "results.result",
    "Bars": "types.bars",
    "BasisPointSlippage": "simulation.slippage",
    "BorrowFee": "simulation.financing",
    "Bracket": "types.order",
    "Broker": "broker.broker",
    "CSVDataFeed": "data.frames",
    "CashAccount": "simulation.cash_account",
    "CashAtSubmission": "simulation.admission",
    "Clock": "clock",
    "CollateralAccount": "simulation.collateral_account",
    "ConfigError": "errors",
    "Context": "data.context",
    "DataError": "errors",
    "DataFeed": "data.feed",
    "EachLeg": "simulation.legs",
    "FillEvent": "types.events",
    "FixedSlippage": "simulation.slippage",
    "FourPrices": "simulation.four_prices",
    "HalfSpreadSlippage": "simulation.spread",
    "IBBroker": "live.ib.broker",
    "IBStreamFeed": "live.ib.feed",
    "InRounds": "simulation.in_rounds",
    "Instrument": "types.instrument",
    "Interest": "simulation.financing",
    "LiveDataFeed": "live.feed",
    "MarginAccount": "simulation.margin_account",
    "MarketEvent": "types.bars",
    "MarketOnly": "simulation.slippage",
    "NoCommission": "simulation.commission",
    "NoSlippage": "simulation.slippage",
    "OneByOne": "simulation.one_by_one",
    "OpeningOnly": "simulation.slippage",
    "Order": "types.order",
    "OrderError": "errors",
    "OrderEvent": "types.order",
    "OrderSide": "types.order",
    "OrderStatus": "types.order",
    "OrderType": "types.order",
    "OverdraftAccount": "simulation.overdraft_account",
    "ParquetDataFeed": "data.frames",
    "PerOrderCommission": "simulation.commission",
    "PerShareCommission": "simulation.commission",
    "PercentCommission": "simulation.commission",
    "QuotedSpreadSlippage": "simulation.spread",
    "RehearsalTime": "live.alpaca.clock",
    "RiskLimits": "limits.limits",
    "RunStore": "results.runs",
    "SideFee": "simulation.fees",
    "SignalBuffer": "live.buffer",
    "SignalPublisher": "live.websocket.publisher",
    "SimulationBroker": "simulation.broker",
    "SquareRootImpact": "simulation.impact",
    "Strategy": "strategy.strategy",
    "StrategyError": "errors",
    "TieredCommission": "simulation.tiers",
    "TimeInForce": "types.order",
    "UnleveragedAccount": "simulation.account",
    "UnlimitedLiquidity": "simulation.liquidity",
    "VolumeParticipation": "simulation.liquidity",
    "VolumeShareSlippage": "simulation.impact",
    "WebSocketFeed": "live.websocket.feed",
    "WithinBar": "simulation.slippage",
    "alpaca_equities": "simulation.presets",
    "compare": "results.comparison",
    "interactive_brokers_fixed": "simulation.presets",
    "interactive_brokers_tiered": "simulation.presets",
    "read_journal": "live.reading",
    "us_regulatory_fees": "simulation.presets",
}


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
