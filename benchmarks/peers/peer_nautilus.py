"""nautilus_trader: external bars, `on_bar` for each asset and bar.

A market order sent from `on_bar` fills at once, at the close of that bar. There is no fill at the
next open; the venue's fill model therefore shows a book that quotes the asset's next open, which
is asked for at each fill only. Money is rounded to cents at every commission.
"""

from __future__ import annotations

from decimal import Decimal

import common as c

with c.phase("import"):
    import pandas as pd
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.backtest.models import FillModel
    from nautilus_trader.config import LoggingConfig, RiskEngineConfig
    from nautilus_trader.model.book import OrderBook
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BarType, BookOrder
    from nautilus_trader.model.enums import AccountType, BookType, OmsType, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.persistence.wranglers import BarDataWrangler
    from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
DEEP = Quantity(10_000_000, 0)


class Asset:
    """What the strategy knows of one asset, and the rows that are still to come."""

    def __init__(self, market, number, step):
        self.number = number
        self.id = InstrumentId(Symbol(market.names[number]), VENUE)
        self.bar_type = BarType.from_str(f"{self.id}-1-{step}-LAST-EXTERNAL")
        columns = market.series(number, ("ml_pred", "confidence", "open"))
        predictions, confidences, opens = (column.tolist() for column in columns.values())
        self.rows = zip(predictions, confidences, [*opens[1:], None], strict=True)
        self.next_open = None
        self.shares, self.entry, self.close, self.prediction = 0, 0.0, 0.0, 0.0

    def instrument(self):
        return Equity(
            instrument_id=self.id,
            raw_symbol=self.id.symbol,
            currency=USD,
            price_precision=2,
            price_increment=Price.from_str("0.01"),
            lot_size=Quantity.from_int(1),
            ts_event=0,
            ts_init=0,
            maker_fee=Decimal(str(c.w.COMMISSION)),
            taker_fee=Decimal(str(c.w.COMMISSION)),
        )


class NextOpen(FillModel):
    def __init__(self, assets):
        super().__init__()
        self.assets = {asset.id: asset for asset in assets}

    def get_orderbook_for_fill_simulation(self, instrument, order, best_bid, best_ask):
        price = Price(self.assets[instrument.id].next_open, 2)
        book = OrderBook(instrument.id, BookType.L2_MBP)
        for number, side in enumerate((OrderSide.BUY, OrderSide.SELL), start=1):
            book.add(BookOrder(side, price, DEEP, number), 0, 0)
        return book


class Job(Strategy):
    def __init__(self, workload, assets):
        super().__init__()
        self.workload, self.assets = workload, assets
        self.by_bar = {asset.bar_type: asset for asset in assets}
        self.by_id = {asset.id: asset for asset in assets}
        self.fills = 0

    def on_start(self):
        for bar_type in self.by_bar:
            self.subscribe_bars(bar_type)

    def send(self, asset, shares):
        if asset.next_open is None:  # nothing follows the last bar
            return
        side = OrderSide.BUY if shares > 0 else OrderSide.SELL
        quantity = Quantity.from_int(abs(shares))
        self.submit_order(self.order_factory.market(asset.id, side, quantity))

    def on_order_filled(self, event):
        self.fills += 1
        asset = self.by_id[event.instrument_id]
        if event.order_side == OrderSide.BUY:
            asset.shares += int(event.last_qty)
            asset.entry = event.last_px.as_double()
        else:
            asset.shares -= int(event.last_qty)


class Threshold(Job):
    def on_bar(self, bar):
        asset = self.by_bar[bar.bar_type]
        prediction, confidence, asset.next_open = next(asset.rows)
        if not asset.shares:
            if prediction > c.w.BUY_ABOVE and confidence > c.w.SURE_ABOVE:
                shares = int(self.workload.budget / bar.close.as_double())
                if shares:
                    self.send(asset, shares)
        elif prediction < c.w.SELL_BELOW or bar.close.as_double() < c.w.STOP * asset.entry:
            self.send(asset, -asset.shares)


class Rebalance(Job):
    def on_bar(self, bar):
        asset, assets = self.by_bar[bar.bar_type], self.assets
        asset.prediction, _, asset.next_open = next(asset.rows)
        asset.close = bar.close.as_double()
        if asset is not assets[-1]:
            return
        closes = [one.close for one in assets]
        predictions = [one.prediction for one in assets]
        held = {one.number: one.shares for one in assets if one.shares}
        cash = self.portfolio.account(VENUE).balance_total(USD).as_double()
        equity = cash + sum(shares * closes[number] for number, shares in held.items())
        for number, shares in c.changes(equity, predictions, closes, held, self.workload.top_n):
            self.send(assets[number], shares)


def bars_of(market, assets):
    """All bars in the order of time; the engine's own sorting takes far longer."""
    index = pd.DatetimeIndex(market.times, tz="UTC")
    found = []
    for asset in assets:
        frame = pd.DataFrame(market.series(asset.number, c.PRICES), index)
        found.append(BarDataWrangler(asset.bar_type, asset.instrument()).process(frame))
    return [bar for row in zip(*found, strict=True) for bar in row]


def prepared(workload, market):
    """The engine and its strategy."""
    config = BacktestEngineConfig(
        logging=LoggingConfig(bypass_logging=True),
        risk_engine=RiskEngineConfig(bypass=True),
        run_analysis=False,
    )
    engine = BacktestEngine(config)
    step = "DAY" if workload.frequency == "1d" else "MINUTE"
    assets = [Asset(market, number, step) for number in range(workload.assets)]
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        base_currency=USD,
        starting_balances=[Money(c.w.INITIAL_CASH, USD)],
        allow_cash_borrowing=True,
        fill_model=NextOpen(assets),
    )
    for asset in assets:
        engine.add_instrument(asset.instrument())
    engine.add_data(bars_of(market, assets), sort=False)
    strategy = (Threshold if workload.strategy == "threshold" else Rebalance)(workload, assets)
    engine.add_strategy(strategy)
    return engine, strategy


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        engine, strategy = prepared(workload, market)
    with c.profiled(args.profile), c.phase("run"):
        engine.run()
    cash = engine.portfolio.account(VENUE).balance_total(USD).as_double()
    held = {asset.number: asset.shares for asset in strategy.assets}
    c.answer("nautilus_trader", market, strategy.fills, market.value(cash, held))


main()
