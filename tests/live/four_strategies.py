"""What is played four ways."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ml4t.backtest import Strategy


class Predicted(Strategy):
    """Holds what is predicted to rise, at the market."""

    def on_market_data(self, event: Any, context: Any) -> None:
        prediction = event.signals.get("ml_pred")
        held = self.get_position(event.asset_id)
        if prediction is None:
            return
        if prediction > 0.6 and not held:
            self.buy(event.asset_id, 100)
        elif prediction < 0.4 and held:
            self.close_position(event.asset_id)


class Protected(Strategy):
    """Enters by every kind of order, follows the price, and has exits that the broker works."""

    def on_bars(self, bars: Any) -> None:
        for event in bars:
            prediction, asset = event.signals.get("ml_pred"), event.asset_id
            if prediction is None:
                continue
            is_busy = bool(self.get_open_orders(asset))
            if self.get_position(asset) and prediction < 0.3:
                self.cancel_all(asset)
                self.close_position(asset)
            elif is_busy and not self.get_position(asset):
                self.follow(asset, event.close, prediction)
            elif not is_busy and not self.get_position(asset):
                self.enter(asset, event.close, prediction)

    def follow(self, asset: str, close: float, prediction: float) -> None:
        """An entry that waits is moved to the price, or taken back."""
        for order in self.get_open_orders(asset):
            if prediction < 0.2:
                self.cancel_order(order.order_id)
            elif order.type == "limit" and not order.reduce_only:
                self.replace_order(order.order_id, limit_price=round(close * 0.9998, 2))

    def enter(self, asset: str, close: float, prediction: float) -> None:
        """By bracket, limit, stop, stop-limit, or a stop that follows the price down."""
        if prediction > 0.7:
            stop, target = round(close * 0.9985, 2), round(close * 1.0015, 2)
            self.bracket(asset, 50, stop_loss=stop, take_profit=target)
        elif prediction > 0.6:
            self.buy(asset, 30, limit_price=round(close * 0.9995, 2))
        elif prediction > 0.5:
            self.buy(asset, 20, stop_price=round(close * 1.0003, 2))
        elif prediction > 0.45:
            stop, limit = round(close * 1.0003, 2), round(close * 1.001, 2)
            self.buy(asset, 10, stop_price=stop, limit_price=limit)
        elif prediction > 0.4:
            self.buy(asset, 15, trail_percent=0.0005)


class Reversing(Strategy):
    """Long or short, from one to the other in one order."""

    def on_market_data(self, event: Any, context: Any) -> None:
        prediction = event.signals.get("ml_pred")
        if prediction is not None and not 0.2 < prediction < 0.8:
            self.order_target(event.asset_id, 40 if prediction > 0.5 else -40)


class Invested(Strategy):
    """All of the money in what is predicted to rise most: each purchase needs a sale."""

    def on_bars(self, bars: Any) -> None:
        best = bars.top("ml_pred", 1)
        if best and not self.get_position(best[0]) and not self.get_open_orders():
            self.rebalance_to_weights({best[0]: 0.99})


class Trailed(Strategy):
    """Enters by a stop that follows the price down, with a limit behind it."""

    def on_market_data(self, event: Any, context: Any) -> None:
        asset, held = event.asset_id, self.get_position(event.asset_id)
        prediction = event.signals.get("ml_pred")
        if prediction is not None and prediction > 0.6 and held:
            self.close_position(asset)
        elif prediction is not None and prediction < 0.4 and not self.get_open_orders(asset):
            self.buy(asset, 10, trail_percent=0.0003, limit_offset=0.05)


class Timed(Strategy):
    """Limits that are good for three minutes."""

    def on_market_data(self, event: Any, context: Any) -> None:
        asset, until = event.asset_id, event.timestamp + dt.timedelta(minutes=3)
        if not self.get_open_orders(asset) and self.get_position(asset) < 500:
            price = round(event.close * 0.9997, 2)
            self.buy(asset, 10, limit_price=price, time_in_force="gtd", expires_at=until)


class Fractional(Strategy):
    """A tenth of the account in each share, to the last fraction."""

    def on_bars(self, bars: Any) -> None:
        for event in bars:
            prediction = event.signals.get("ml_pred")
            if prediction is not None and not 0.2 < prediction < 0.8:
                self.order_target_percent(event.asset_id, 0.1 if prediction > 0.5 else 0.0)
