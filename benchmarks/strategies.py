"""The strategies of the workloads, written as a user would write them."""

from __future__ import annotations

import workloads as w

from ml4t.backtest import Strategy


class Threshold(Strategy):
    """Buys what the model is sure of; sells when it no longer is, or 5% under the entry."""

    def __init__(self, budget):
        self.budget = budget

    def on_market_data(self, event):
        asset, signals = event.asset_id, event.signals
        if not self.get_position(asset):
            if signals["ml_pred"] > w.BUY_ABOVE and signals["confidence"] > w.SURE_ABOVE:
                shares = int(self.budget / event.close)
                if shares:
                    self.buy(asset, shares)
        elif signals["ml_pred"] < w.SELL_BELOW or event.close < w.STOP * self.get_entry_price(
            asset
        ):
            self.close_position(asset)


class ThresholdOnBars(Strategy):
    """The same by columns: arrays are compared, and only what trades is looked at."""

    def __init__(self, budget):
        self.budget = budget

    def on_bars(self, bars):
        closes, predictions = bars.close, bars.signal("ml_pred")
        is_sure = bars.signal("confidence") > w.SURE_ABOVE
        is_held = self.get_position_array() != 0.0
        is_down = closes < w.STOP * self.get_entry_price_array()
        enters = ~is_held & is_sure & (predictions > w.BUY_ABOVE)
        leaves = is_held & (is_down | (predictions < w.SELL_BELOW))
        for row in (enters | leaves).nonzero()[0].tolist():
            asset = bars.asset_ids[row]
            if leaves[row]:
                self.close_position(asset)
            elif shares := int(self.budget / closes[row]):
                self.buy(asset, shares)


class RebalanceOnBars(Strategy):
    """Equal weights in the assets with the highest prediction, every bar."""

    def __init__(self, top_n):
        self.top_n = top_n

    def on_bars(self, bars):
        weight = w.WEIGHTS / self.top_n
        self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", self.top_n), weight))


class RebalanceOnMarketData(Strategy):
    """The same, collecting the predictions asset by asset."""

    def __init__(self, top_n, last_asset):
        self.top_n = top_n
        self.last_asset = last_asset
        self.predictions = {}

    def on_market_data(self, event):
        predictions = self.predictions
        predictions[event.asset_id] = event.signals["ml_pred"]
        if event.asset_id == self.last_asset:
            weight = w.WEIGHTS / self.top_n
            best = sorted(predictions, key=predictions.__getitem__, reverse=True)[: self.top_n]
            self.rebalance_to_weights(dict.fromkeys(best, weight))


class Steady(Strategy):
    """Buys a share of the same assets at one timestamp and sells it at the next."""

    def __init__(self, assets):
        self.assets = assets
        self.holds = False

    def on_bars(self, bars):
        send = self.sell if self.holds else self.buy
        for asset in self.assets:
            send(asset, 1)
        self.holds = not self.holds


class Empty(Strategy):
    """Sees every bar and does nothing."""

    def on_bars(self, bars):
        pass


def make(workload, side):
    """The strategy of a workload for one of our sides."""
    if side == "empty_on_bars":
        return Empty()
    if workload.strategy == "threshold":
        kind = ThresholdOnBars if side == "on_bars" else Threshold
        return kind(workload.budget)
    if side == "on_bars":
        return RebalanceOnBars(workload.top_n)
    return RebalanceOnMarketData(workload.top_n, f"A{workload.assets - 1:03d}")
