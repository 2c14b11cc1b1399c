"""The account of a rehearsal in TWS's messages: values, positions, portfolio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.rehearsal.ib_orders import CURRENCY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml4t.backtest.rehearsal.ib_orders import Fields
    from ml4t.backtest.rehearsal.ib_words import Listing
    from ml4t.backtest.rehearsal.venue import Venue


def values_of(venue: Venue) -> dict[str, float]:
    """What an account is worth, by TWS's names."""
    portfolio, accounts = venue.market.portfolio, venue.accounts
    held = accounts.holdings()
    initial, maintenance = accounts.margins()
    gross = sum(abs(one.value) for one in held)
    return {
        "NetLiquidation": portfolio.equity,
        "TotalCashValue": portfolio.cash,
        "SettledCash": portfolio.cash,
        "BuyingPower": accounts.buying_power(),
        "AvailableFunds": portfolio.equity - initial,
        "ExcessLiquidity": portfolio.equity - maintenance,
        "EquityWithLoanValue": portfolio.equity,
        "GrossPositionValue": gross,
        "InitMarginReq": initial,
        "MaintMarginReq": maintenance,
    }


def position_fields(
    venue: Venue, account: str, listings: Mapping[str, Listing], *, flat: bool = False
) -> list[Fields]:
    """Messages 61: what is held; with `flat` also that nothing is held of what was."""
    held = {one.symbol: one for one in venue.accounts.holdings()}
    rows: list[Fields] = []
    traded = dict.fromkeys(ticket.asked.symbol for ticket in venue.register.tickets.values())
    for symbol in (*held, *(name for name in traded if flat and name not in held)):
        one = held.get(symbol)
        cost = 0.0 if one is None else one.entry_price * one.multiplier
        quantity = 0.0 if one is None else one.qty
        rows.append([61, 3, account, *listings[symbol].fields, quantity, cost])
    return rows


def account_fields(venue: Venue, account: str, listings: Mapping[str, Listing]) -> list[Fields]:
    """Messages 6, 7 and 8: values, what is held with its worth, and the time."""
    rows: list[Fields] = [
        [6, 2, name, f"{value:.10f}", CURRENCY, account] for name, value in values_of(venue).items()
    ]
    rows.append([6, 2, "AccountCode", account, "", account])
    traded = dict.fromkeys(ticket.asked.symbol for ticket in venue.register.tickets.values())
    held = {one.symbol for one in venue.accounts.holdings()}
    for one in map(venue.accounts.holding, sorted(held | traded.keys())):
        ask = listings[one.symbol].fields
        cost = one.entry_price * one.multiplier if one.qty else 0.0
        gain = one.value - one.cost if one.qty else 0.0
        rows.append(
            [
                *(7, 8, *ask[:7], listings[one.symbol].primary_exchange, *ask[8:]),
                *(one.qty, one.price, one.value if one.qty else 0.0, cost, gain, 0.0),
                account,
            ]
        )  # fmt: skip
    rows.append([8, 1, f"{venue.now:%H:%M}"])
    return rows


def summary_fields(venue: Venue, account: str, request: int, tags: str) -> list[Fields]:
    """Messages 63 and 64: the values that a client names."""
    values = values_of(venue)
    wanted = [tag for tag in tags.split(",") if tag in values]
    return [
        *([63, 1, request, account, tag, f"{values[tag]:.10f}", CURRENCY] for tag in wanted),
        [64, 1, request],
    ]


def multi_fields(venue: Venue, account: str, request: int, model: str) -> list[Fields]:
    """Messages 73 and 74: all values."""
    return [
        *(
            [73, 1, request, account, model, tag, f"{value:.10f}", CURRENCY]
            for tag, value in values_of(venue).items()
        ),
        [74, 1, request],
    ]
