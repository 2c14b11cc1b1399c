"""A broker whose account settles, is called, and pays for what it borrows sits the same exam."""

from __future__ import annotations

from ml4t.backtest import Broker, CashAccount, Interest, MarginAccount, SimulationBroker
from ml4t.backtest.testing.contracts import BrokerContract


class TestCashAccount(BrokerContract):
    """Settled money alone buys, in a day or two."""

    def make_broker(self) -> Broker:
        """With interest."""
        return SimulationBroker(20_000, account=CashAccount(), rates=0.02)


class TestGoodFaith(BrokerContract):
    """Unsettled money may buy."""

    def make_broker(self) -> Broker:
        """Two days until settlement."""
        return SimulationBroker(20_000, account=CashAccount(2, good_faith=True))


class TestMarginAccount(BrokerContract):
    """Leverage, with all that it costs."""

    def make_broker(self) -> Broker:
        """Small margins, so that there are calls."""
        return SimulationBroker(
            20_000,
            account=MarginAccount(0.2, 0.19, short_initial=0.2, short_maintenance=0.19),
            rates=Interest(0.03, debit_spread=0.01),
            borrow=0.02,
        )


class TestMarginAtTheClose(BrokerContract):
    """Orders and calls trade at the close they were decided on."""

    fills_at_decision = True

    def make_broker(self) -> Broker:
        """As above."""
        return SimulationBroker(
            20_000,
            fill_at="close",
            account=MarginAccount(0.2, 0.19, short_initial=0.2, short_maintenance=0.19),
            rates=0.03,
            borrow=0.02,
        )
