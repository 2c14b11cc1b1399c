"""Price lists of brokers and regulators, each with the dates for which it is known.

A price list is what was charged *then*. A backtest over many years charges it to all of them, which
answers what the strategy would cost at those prices.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime
from typing import Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.checks import not_negative
from ml4t.backtest.simulation.commission import (
    PerShareCommission,
    SumCommission,
)
from ml4t.backtest.simulation.fees import SideFee
from ml4t.backtest.simulation.tiers import TieredCommission

# From this date on, a fraction of sales. SEC fee rate orders under Section 31 of
# the Securities Exchange Act: 88 FR 5051 (2023), 89 FR 29402 (2024), 91 FR 10643 (2026); FINRA
# Information Notices of 2021-02-16 and 2025-04-24.
_SEC_RATE = {
    date(2021, 2, 25): 0.0000051,
    date(2022, 5, 14): 0.0000229,
    date(2023, 2, 27): 0.0000080,
    date(2024, 5, 22): 0.0000278,
    date(2025, 5, 14): 0.0,
    date(2026, 4, 4): 0.0000206,
}
# From this date on, dollars per share sold and the most for one trade. FINRA By-Laws, Schedule A,
# Section 1: SR-FINRA-2020-032 (85 FR 66592), SR-FINRA-2024-019 (89 FR 93709), and the pause of
# October to December 2026, SR-FINRA-2026-021 (SEC Release 34-106409).
_TAF = {
    date(2022, 1, 1): (0.000130, 6.49),
    date(2023, 1, 1): (0.000145, 7.27),
    date(2024, 1, 1): (0.000166, 8.30),
    date(2026, 1, 1): (0.000195, 9.79),
    date(2026, 10, 1): (0.0, 0.0),
}
_FIRST, _LAST = date(2022, 1, 1), date(2026, 10, 9)
# Shares traded in the month from which the rate holds.
_IB_TIERS = {
    0: 0.0035,
    300_000: 0.0020,
    3_000_000: 0.0015,
    20_000_000: 0.0010,
    100_000_000: 0.0005,
}
_CLEARING_PER_SHARE = 0.00020


def us_regulatory_fees(*, as_of: date | str) -> SumCommission:
    """What regulators took from sellers of US equities, on one day.

    The SEC's Section 31 fee, a fraction of sales, and FINRA's Trading Activity Fee (TAF), money per
    share sold with a most per trade. Brokers round both up to a cent, per trade or per account and
    day; here nothing is rounded, so an account with few trades a day pays up to a cent or two a
    day more than this. The Consolidated Audit Trail fee is left out: it changed several times, and
    brokers published between 0.000003 and 0.000072 dollars a share.

    Args:
        as_of: A date from 2022-01-01 to 2026-10-09, or its ISO string.

    Raises:
        ConfigError: No rates are known for that day.

    Source:
        SEC orders "Annual Adjustments to Transaction Fee Rates" and FINRA By-Laws, Schedule A,
        Section 1; both by trade date. SEC, per million: 5.10 until 2022-05-13, 22.90, from
        2023-02-27 8.00, from 2024-05-22 27.80, from 2025-05-14 0.00, from 2026-04-04 20.60. TAF,
        per share and at most: 2022 0.000130 and 6.49; 2023 0.000145 and 7.27; 2024 and 2025
        0.000166 and 8.30; 2026 until September 0.000195 and 9.79; from October 2026 none.
        The day of May 2022, the TAF of 2022 and the numbers of 2026 were read in secondary
        sources only.

    Example:
        >>> us_regulatory_fees(as_of="2024-06-03")
        SideFee(side='sell', rate=2.78e-05) + SideFee(side='sell', per_share=0.000166, maximum=8.3)
    """
    day = _known("us_regulatory_fees", as_of)
    rate, (per_share, maximum) = _at(_SEC_RATE, day), _at(_TAF, day)
    fees: list[SideFee] = []
    if rate:
        fees.append(SideFee("sell", rate=rate))
    if per_share:
        fees.append(SideFee("sell", per_share=per_share, maximum=maximum))
    return SumCommission(*fees)


def interactive_brokers_fixed(*, as_of: date | str) -> SumCommission:
    """Interactive Brokers, IBKR Pro, US stocks and ETFs, fixed pricing.

    0.005 dollars a share, at least 1.00 an order, at most 1 % of what is traded (which wins over
    the least), and `us_regulatory_fees`. Exchange and clearing fees are included in the rate. An
    order that lives on overnight counts as a new one. Not covered: the lower least for fractional
    shares, orders routed by hand or through the API to one exchange.

    Args:
        as_of: A date from 2022-01-01 to 2026-10-09, or its ISO string.

    Raises:
        ConfigError: No price list is known for that day.

    Source:
        interactivebrokers.com, "Commissions: Stocks, ETFs, Warrants", United States, and "Stock and
        ETF Fixed vs. Tiered Pricing Comparison Examples"; copies of 2019, 2023, 2024 or 2025, and
        2026-10-09 show the same rates. Days between copies are assumed to have had them too.

    Example:
        >>> own, taf = interactive_brokers_fixed(as_of="2025-06-02").parts
        >>> own
        PerShareCommission(per_share=0.005, minimum=1.0, maximum_rate=0.01, per='session')
    """
    day = _known("interactive_brokers_fixed", as_of)
    own = PerShareCommission(0.005, minimum=1.0, maximum_rate=0.01, per="session")
    return SumCommission(own, *_fees(day))


def interactive_brokers_tiered(
    *, as_of: date | str, exchange_per_share: float = 0.003
) -> SumCommission:
    """Interactive Brokers, IBKR Pro, US stocks and ETFs, tiered pricing.

    From 0.0035 dollars a share down to 0.0005 by the shares of the month, at least 0.35 an order,
    at most 1 % of what is traded; clearing at 0.00020 a share; the exchange's fee; and
    `us_regulatory_fees`. Left out: pass-through fees of NYSE and FINRA, together 0.07 % of the
    commission, rebates for orders that wait in the book, and what `interactive_brokers_fixed`
    leaves out.

    Args:
        as_of: A date from 2022-01-01 to 2026-10-09, or its ISO string.
        exchange_per_share: What the exchange takes from an order that is filled at once. 0.003 is
            the most that Rule 610(c) of Regulation NMS allowed in this time for shares above one
            dollar, and what the broker's own examples use.

    Raises:
        ConfigError: No price list is known for that day, or `exchange_per_share` is negative.

    Source:
        As `interactive_brokers_fixed`.

    Example:
        >>> own, clearing_and_exchange, taf = interactive_brokers_tiered(as_of="2025-06-02").parts
        >>> own.tiers[0], own.minimum, clearing_and_exchange
        (0.0035, 0.35, PerShareCommission(per_share=0.0032))
    """
    owner = "interactive_brokers_tiered"
    day = _known(owner, as_of)
    exchange = not_negative(owner, "exchange_per_share", exchange_per_share)
    own = TieredCommission(_IB_TIERS, minimum=0.35, maximum_rate=0.01)
    third_party = PerShareCommission(_CLEARING_PER_SHARE + exchange)
    return SumCommission(own, third_party, *_fees(day))


def alpaca_equities(*, as_of: date | str) -> SumCommission:
    """Alpaca, US stocks and ETFs, retail accounts: no commission, and `us_regulatory_fees`.

    What the broker earns from order flow is in the price that it gets you; a half spread is the
    least one should assume beside this.

    Args:
        as_of: A date from 2022-01-01 to 2026-10-09, or its ISO string.

    Raises:
        ConfigError: No price list is known for that day.

    Source:
        alpaca.markets, "Regulatory Fees" and the Brokerage Fee Schedule; copies of 2022, 2024 or
        2025, after 2025-05-14, and one revised 2026-10-01 have no commission, and both fees. The
        copies of 2022 lag behind FINRA's rate of that year; the official rate is used.

    Example:
        >>> alpaca_equities(as_of="2026-10-01")
        SideFee(side='sell', rate=2.06e-05)
    """
    return SumCommission(*_fees(_known("alpaca_equities", as_of)))


def _fees(day: date) -> tuple[Any, ...]:
    return us_regulatory_fees(as_of=day).parts


def _at(table: dict[date, Any], day: date) -> Any:
    starts = list(table)
    return table[starts[bisect_right(starts, day) - 1]]


def _known(owner: str, as_of: Any) -> date:
    """The day, if the tables cover it."""
    try:
        day = date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    except ValueError:
        day = None
    if isinstance(day, datetime):
        day = day.date()
    if not isinstance(day, date):
        raise ConfigError(f'{owner}: as_of must be a date such as "2024-06-03", not {as_of!r}.')
    if not _FIRST <= day <= _LAST:
        raise ConfigError(
            f"{owner}: no price list is known for {day}; known are {_FIRST} to {_LAST}. Take a day "
            "of these, or add up parts with the rates you know."
        )
    return day
