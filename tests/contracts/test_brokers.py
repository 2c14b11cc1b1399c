"""Every broker sits the same exam: ours in its settings, and one a user writes in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest import (
    BasisPointSlippage,
    Broker,
    FillEvent,
    OrderSide,
    OrderType,
    PercentCommission,
    PerShareCommission,
    SimulationBroker,
)
from ml4t.backtest.testing.contracts import BrokerContract

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.order import Order


class TestSimulationBroker(BrokerContract):
    """As it comes."""

    def make_broker(self) -> Broker:
        """The default."""
        return SimulationBroker()


class TestSimulationBrokerWithCosts(BrokerContract):
    """Costs on columns, and little money, so that much is scaled."""

    def make_broker(self) -> Broker:
        """With costs."""
        return SimulationBroker(
            20_000, commission=PerShareCommission(0.01, 1.0), slippage=BasisPointSlippage(5)
        )


class TestSimulationBrokerWithFunctions(BrokerContract):
    """Costs as plain functions, rejecting what cannot be paid, in fractions, strict limits."""

    def make_broker(self) -> Broker:
        """With functions."""
        return SimulationBroker(
            20_000,
            commission=lambda order, quantity, price, timestamp, instrument: 0.001 * quantity,
            slippage=lambda order, bar, quantity: bar.reference,
            funding="reject",
            limit_fill="through",
            fractional=True,
        )


class TestSimulationBrokerAtNextClose(BrokerContract):
    """Market orders at the close of the next bar."""

    def make_broker(self) -> Broker:
        """Next close."""
        return SimulationBroker(fill_at="next_close", commission=PercentCommission(0.001))


class TestSimulationBrokerAtClose(BrokerContract):
    """Market orders at the close they were decided on."""

    fills_at_decision = True

    def make_broker(self) -> Broker:
        """Same close."""
        return SimulationBroker(fill_at="close")


class TinyBroker(Broker):
    """What a user has to write: market orders, whole, at the next open."""

    def advance(self, bars: Bars) -> News:
        """Fill what has a bar."""
        news: News = []
        for working in self.blotter.working():
            name, quantity = working.order.asset_id, working.remaining
            if name in bars:
                price, side = bars[name].open, OrderSide(working.order.side)
                now = bars.timestamp
                fill = FillEvent(
                    working.order_id, name, now, side, quantity, price, 0.0, 0.0, "open"
                )
                self.blotter.fill(working, quantity, price)
                news.append(fill)
        return news

    def submit(self, orders: Iterable[Order]) -> News:
        """Accept market orders for known assets."""
        for order in orders:
            plain, code, reason = self.blotter.check(order)
            if not reason and plain.type is not OrderType.MARKET:
                reason = "market orders only"
            if reason:
                self.blotter.reject(order, reason, code)
            else:
                self.blotter.accept(plain, code, plain.quantity)
        return []


class TestTinyBroker(BrokerContract):
    """A broker that implements `advance` and `submit` only."""

    def make_broker(self) -> Broker:
        """Nothing to set."""
        return TinyBroker()
