"""User code that a strict type checker must accept as it stands."""

from __future__ import annotations

from typing import Any

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Bars,
    FillEvent,
    MarketEvent,
    OrderEvent,
    PercentCommission,
    SimulationBroker,
    Strategy,
)


class WithContext(Strategy):
    """Hooks that take the context."""

    def on_market_data(self, event: MarketEvent, context: dict[str, Any]) -> None:
        if context.get("VIX", 0) < 30 and event.signals.get("ml_pred", 0) > 0.5:
            self.order_target_percent(event.asset_id, 0.1)

    def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
        self.record(count=len(bars), size=len(context))


class WithoutContext(Strategy):
    """Hooks that do not."""

    def on_market_data(self, event: MarketEvent) -> None:
        self.buy(event.asset_id, 1)

    def on_bars(self, bars: Bars) -> None:
        self.rebalance_to_weights(dict.fromkeys(bars.asset_ids, 0.5))

    def on_fill_event(self, fill: FillEvent) -> None:
        self.log(f"{fill.asset_id} {fill.price}")

    def on_order_event(self, order: OrderEvent) -> None:
        self.log(order.reason)


def run(path: str) -> BacktestResult:
    """A run as a user writes it."""
    broker = SimulationBroker(50_000, commission=PercentCommission(0.001), fill_at="next_close")
    return BacktestEngine(path, strategy=WithContext(), broker=broker).run()


def test_both_forms_of_a_hook_type_check() -> None:
    """The classes above exist; what matters is that the type checker accepts this file."""
    assert issubclass(WithContext, Strategy)
    assert issubclass(WithoutContext, Strategy)
