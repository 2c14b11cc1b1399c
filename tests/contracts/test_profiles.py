"""Brokers with the rules of other engines sit the same exam as any."""

from __future__ import annotations

from ml4t.backtest import Broker, SimulationBroker
from ml4t.backtest.testing.contracts import BrokerContract


class TestLikeBacktrader(BrokerContract):
    """One queue, cash asked for twice."""

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("backtrader", initial_cash=20_000)


class TestLikeBacktestingPy(BrokerContract):
    """One list, stops at its front."""

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("backtesting.py", initial_cash=20_000)


class TestLikeBt(BrokerContract):
    """At the close, without a check."""

    fills_at_decision = True

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("bt", initial_cash=20_000)


class TestLikeVectorbt(BrokerContract):
    """At the close, cut to the cash."""

    fills_at_decision = True

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("vectorbt", initial_cash=20_000)


class TestLikePybroker(BrokerContract):
    """In rounds, at the middle of the bar."""

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("pybroker", initial_cash=20_000)


class TestLikeNautilus(BrokerContract):
    """At the close, four prices to a bar."""

    fills_at_decision = True

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("nautilus", initial_cash=20_000)


class TestLikeZipline(BrokerContract):
    """The close of the next bar, and its volume."""

    def make_broker(self) -> Broker:
        """With money for the exam."""
        return SimulationBroker.like("zipline", initial_cash=20_000)
