"""nautilus_trader in the common words of the probes: external bars, and nothing else.

Prices are in cents and shares whole, as an `Equity` has them. The strategy sends its orders when
the last asset's bar of a timestamp has come. The user must choose the account: a cash account,
unless a question is about shorts or says that one may borrow (then a margin account).
"""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel, PerContractFeeModel
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, OrderType, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from tests.parity.probes import common as c

VENUE = Venue("SIM")
START = pd.Timestamp("2024-01-01", tz="UTC")
DAY = 86_400_000_000_000


def instrument_of(name: str, fee: float) -> Equity:
    """A share that is quoted in cents."""
    return Equity(
        instrument_id=InstrumentId(Symbol(name), VENUE),
        raw_symbol=Symbol(name),
        currency=USD,
        price_precision=2,
        price_increment=Price.from_str("0.01"),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(str(fee)),
        taker_fee=Decimal(str(fee)),
    )


def type_of(name: str) -> BarType:
    """Daily bars of last prices from outside."""
    return BarType.from_str(f"{name}.{VENUE}-1-DAY-LAST-EXTERNAL")


def bar_of(name: str, number: int, bar: c.Bar) -> Bar:
    """The bar, at its own time."""
    prices = [Price(value, 2) for value in bar[:4]]
    time = START.value + number * DAY
    return Bar(type_of(name), *prices, Quantity(bar.volume, 0), time, time)


class Job(Strategy):
    """Sends the orders, and writes down what it is told."""

    def __init__(self, markets: c.Markets, orders: list[c.Order], run: c.Run) -> None:
        super().__init__()
        self.markets, self.to_send, self.told = markets, orders, run
        self.numbers: dict[Any, int] = {}
        self.filled: set[Any] = set()
        rows = max(map(len, markets.values()))
        self.last = [
            [a for a, bars in markets.items() if n < len(bars) and bars[n]] for n in range(rows)
        ]

    def on_start(self) -> None:
        """All bars, and a look at the account after those of each day."""
        for name in self.markets:
            self.subscribe_bars(type_of(name))
        first = START - pd.Timedelta(hours=12)
        self.clock.set_timer("after", pd.Timedelta(days=1), first, None, self.look)

    def look(self, _: Any = None) -> None:
        """Write down what the account says."""
        account = self.portfolio.account(VENUE)
        self.told.cash.append(account.balance_total(USD).as_double())
        self.told.equity.append(self.told.cash[-1] + self.worth(account))

    def on_bar(self, bar: Bar) -> None:
        """Send what is to be sent in this bar."""
        now = (bar.ts_event - START.value) // DAY
        if bar.bar_type.instrument_id.symbol.value != self.last[now][-1]:
            return
        self.told.calls.append(now)
        for number, order in enumerate(self.to_send):
            if order.bar == now:
                self.send(number, order)

    def worth(self, account: Any) -> float:
        """Of the positions, beside the account's balance, by the engine's unrealised profit."""
        total = 0.0
        for position in self.cache.positions_open():
            profit = self.portfolio.unrealized_pnl(position.instrument_id)
            total += profit.as_double()
            if account.type != AccountType.MARGIN:
                total += position.signed_qty * position.avg_px_open
        return total

    def send(self, number: int, order: c.Order) -> None:
        """In the engine's words."""
        identity = InstrumentId(Symbol(order.asset), VENUE)
        instrument = self.cache.instrument(identity)
        side = OrderSide.BUY if order.quantity > 0 else OrderSide.SELL
        try:
            words = (identity, side, instrument.make_qty(abs(order.quantity)))
        except ValueError as error:
            self.told.states[number] = "refused with an error"
            self.told.notes.append(str(error))
            return
        if order.bracket:
            stop, target = (Price(price, 2) for price in order.bracket)
            levels: dict[str, Any] = {"sl_trigger_price": stop, "tp_price": target}
            if order.limit:
                levels["entry_order_type"] = OrderType.LIMIT
                levels["entry_price"] = Price(order.limit, 2)
            sent = self.order_factory.bracket(*words, **levels)
            self.numbers[sent.first.client_order_id] = number
            self.submit_order_list(sent)
            return
        sent = self.single(order, words)
        self.numbers[sent.client_order_id] = number
        self.submit_order(sent)

    def single(self, order: c.Order, words: tuple[Any, ...]) -> Any:
        """An order without children."""
        make = self.order_factory
        kept: dict[str, Any] = {"time_in_force": TimeInForce.DAY} if order.day else {}
        if order.trail:
            offset = Decimal(str(order.trail))
            return make.trailing_stop_market(*words, trailing_offset=offset)
        if order.stop and order.limit:
            return make.stop_limit(*words, Price(order.limit, 2), Price(order.stop, 2), **kept)
        if order.stop:
            return make.stop_market(*words, Price(order.stop, 2), **kept)
        if order.limit:
            return make.limit(*words, Price(order.limit, 2), **kept)
        return make.market(*words)

    def on_order_filled(self, event: Any) -> None:
        """One execution."""
        self.filled.add(event.client_order_id)
        sign = 1 if event.order_side == OrderSide.BUY else -1
        self.told.fills.append(
            c.Fill(
                asset=event.instrument_id.symbol.value,
                bar=(event.ts_event - START.value) // DAY,
                quantity=sign * event.last_qty.as_double(),
                price=event.last_px.as_double(),
                fee=event.commission.as_double(),
                time=str(pd.Timestamp(event.ts_event)),
            )
        )

    def on_event(self, event: Any) -> None:
        """Reasons of refusals."""
        reason = getattr(event, "reason", None)
        if reason:
            self.told.notes.append(f"{type(event).__name__}: {reason}")

    def on_position_closed(self, event: Any) -> None:
        """A position that is flat again."""
        self.told.profits.append(event.realized_pnl.as_double())


# Where the source shows which answers.
MATCHING = "nautilus_trader/backtest/engine.pyx:OrderMatchingEngine"
PLACES = {
    f"{MATCHING}.fill_market_order": (
        "market_order two_orders order_of_fills reversal order_in_the_last_bar "
        "order_before_a_gap order_in_a_gap no_volume fill_time"
    ),
    f"{MATCHING}.determine_limit_fills_with_simulation": (
        "limit_gap marketable_limit stop_limit limit_in_a_gap"
    ),
    "nautilus_trader/execution/matching_core.pyx:MatchingCore.is_limit_matched": (
        "limit_trigger limit_touch"
    ),
    "nautilus_trader/execution/matching_core.pyx:MatchingCore.is_stop_triggered": (
        "stop_trigger stop_touch"
    ),
    f"{MATCHING}.determine_market_fills_with_simulation": ("stop_gap bracket_gap"),
    f"{MATCHING}._process_stop_market_order": ("stop_behind"),
    f"{MATCHING}._trail_stop_order": "trailing_stop",
    f"{MATCHING}._process_trade_ticks_from_bar": ("stop_and_target stop_and_limit_apart volume"),
    f"{MATCHING}._update_contingent_orders": ("other_leg"),
    f"{MATCHING}.process_bar": ("legs_in_the_bar_of_entry legs_behind_a_limit late_asset"),
    f"{MATCHING}.iterate": "time_in_force day_order",
    "nautilus_trader/accounting/accounts/cash.pyx:CashAccount.update_balances": (
        "too_dear cash_for_the_fee batch resting_orders sale_pays"
    ),
    "nautilus_trader/risk/engine.pyx:RiskEngine._check_orders_risk": "cash_check",
    f"{MATCHING}.process_order": ("short_sale order_before_the_first_bar"),
    "nautilus_trader/accounting/accounts/margin.pyx:MarginAccount.calculate_pnls": (
        "short_pays ruin"
    ),
    "nautilus_trader/backtest/models/fee.pyx:MakerTakerFeeModel.get_commission": "percent_fee",
    "nautilus_trader/backtest/models/fee.pyx:PerContractFeeModel.get_commission": "share_fee",
    "nautilus_trader/backtest/models/fill.pyx:FillModel.is_slipped": "slippage",
    f"{MATCHING}.apply_fills": "slippage_elsewhere",
    "nautilus_trader/backtest/engine.pyx:BacktestEngine.add_venue": "defaults",
    "nautilus_trader/model/instruments/base.pyx:Instrument.make_qty": (
        "fractions fractions_on_request"
    ),
    "nautilus_trader/portfolio/portfolio.pyx:Portfolio.unrealized_pnl": (
        "equity_mark value_in_a_gap position_at_the_end"
    ),
    "nautilus_trader/model/position.pyx:Position.apply": "closed_trades",
    "nautilus_trader/backtest/engine.pyx:BacktestEngine.run": "first_decision",
    "nautilus_trader/backtest/modules.pyx:SimulationModule": "holding_costs",
}


class Nautilus:
    """nautilus_trader on bars, but for the choice of the account."""

    name = "nautilus"
    package = "nautilus_trader"
    module = "nautilus_trader"
    needs_cash = True
    unsupported: dict[str, str] = {}  # noqa: RUF012
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run a strategy that sends these orders."""
        if any(order.fraction is not None for order in orders):
            raise c.Unsupported("no helper for targets: the strategy computes quantities")
        if terms.least_fee:
            raise c.Unsupported("fee models: maker/taker percent, fixed, per contract; no minimum")
        run = c.Run(states=["never sent"] * len(orders))
        config = BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True))
        engine = BacktestEngine(config)
        more: dict[str, Any] = {}
        if terms.share_fee:
            more["fee_model"] = PerContractFeeModel(Money(terms.share_fee, USD))
        if terms.slippage:
            more["fill_model"] = FillModel(prob_slippage=1.0)
        if terms.may_short:
            more["default_leverage"] = Decimal(1)
        engine.add_venue(
            venue=VENUE,
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN if terms.may_short else AccountType.CASH,
            base_currency=USD,
            starting_balances=[Money(terms.cash or 10_000, USD)],
            **more,
        )
        for name in markets:
            engine.add_instrument(instrument_of(name, terms.percent_fee))
        rows = max(map(len, markets.values()))
        engine.add_data(
            [
                bar_of(name, n, bar)
                for n in range(rows)
                for name, bars in markets.items()
                if (bar := bars[n])
            ]
        )
        job = Job(markets, orders, run)
        engine.add_strategy(job)
        try:
            engine.run()
            if len(run.cash) < rows:
                job.look()
            for identity, number in job.numbers.items():
                state = engine.cache.order(identity).status_string().lower()
                is_told = state != "filled" or identity in job.filled
                run.states[number] = state if is_told else "the run stops, without an error"
        finally:
            engine.dispose()
        return run


ENGINE = Nautilus()

if __name__ == "__main__":
    c.main(ENGINE)
