"""Price lists against what their publishers worked out themselves."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from ml4t.backtest import (
    ConfigError,
    Instrument,
    Order,
    alpaca_equities,
    interactive_brokers_fixed,
    interactive_brokers_tiered,
    us_regulatory_fees,
)

SHARE = Instrument(asset_id="A")


def ask(commission: Any, side: str, quantity: float, price: float) -> float:
    """What one order costs when it is filled at once."""
    return float(
        commission(Order("A", side, quantity), quantity, price, datetime(2024, 6, 3), SHARE)
    )


@pytest.mark.parametrize(("quantity", "money"), [(30_000_000, 151_207.27), (200_000, 1_015.27)])
def test_fixed_pricing_as_the_broker_worked_it_out(quantity: float, money: float) -> None:
    """Sales at 5, from its page of comparison examples of 2023 (SEC fee 0.000008, TAF cap 7.27)."""
    assert ask(interactive_brokers_fixed(as_of="2023-06-01"), "sell", quantity, 5.0) == (
        pytest.approx(money)
    )


@pytest.mark.parametrize(
    ("quantity", "money", "passed_through"),
    [(30_000_000, 139_188.10, 23.49 + 7.34), (200_000, 1_355.78, 0.39 + 0.12)],
)
def test_tiered_pricing_as_the_broker_worked_it_out(
    quantity: float, money: float, passed_through: float
) -> None:
    """The same page, removing liquidity, less the two pass-through fees that are left out."""
    tiered = interactive_brokers_tiered(as_of="2023-06-01")
    assert ask(tiered, "sell", quantity, 5.0) == pytest.approx(money - passed_through, abs=0.01)


@pytest.mark.parametrize(
    ("quantity", "price", "money"), [(100, 25.0, 1.0), (1_000, 25.0, 5.0), (1_000, 0.25, 2.5)]
)
def test_purchases_at_fixed_pricing(quantity: float, price: float, money: float) -> None:
    """The examples of the price list."""
    fixed = interactive_brokers_fixed(as_of="2026-10-09")
    assert ask(fixed, "buy", quantity, price) == pytest.approx(money)


def test_the_exchange_fee_can_be_given() -> None:
    """1,000 shares: 3.50, clearing 0.20, and 3.00 or nothing for the exchange."""
    dear = interactive_brokers_tiered(as_of="2025-06-02")
    cheap = interactive_brokers_tiered(as_of="2025-06-02", exchange_per_share=0.0)
    assert ask(dear, "buy", 1_000, 25.0) == pytest.approx(6.70)
    assert ask(cheap, "buy", 1_000, 25.0) == pytest.approx(3.70)


@pytest.mark.parametrize(
    ("as_of", "per_million", "per_share", "most"),
    [
        ("2022-01-01", 5.10, 0.000130, 6.49),
        ("2022-05-13", 5.10, 0.000130, 6.49),
        ("2022-05-14", 22.90, 0.000130, 6.49),
        ("2023-01-01", 22.90, 0.000145, 7.27),
        ("2023-02-27", 8.00, 0.000145, 7.27),
        ("2024-05-21", 8.00, 0.000166, 8.30),
        ("2024-05-22", 27.80, 0.000166, 8.30),
        ("2025-05-13", 27.80, 0.000166, 8.30),
        ("2025-05-14", 0.00, 0.000166, 8.30),
        ("2026-01-01", 0.00, 0.000195, 9.79),
        ("2026-04-04", 20.60, 0.000195, 9.79),
        ("2026-09-30", 20.60, 0.000195, 9.79),
        ("2026-10-01", 20.60, 0.0, 0.0),
    ],
)
def test_regulatory_fees_by_day(
    as_of: str, per_million: float, per_share: float, most: float
) -> None:
    """A million dollars of 1,000 shares, and of a million shares; buyers pay nothing."""
    fees = us_regulatory_fees(as_of=as_of)
    assert ask(fees, "sell", 1_000, 1_000.0) == pytest.approx(per_million + 1_000 * per_share)
    assert ask(fees, "sell", 1_000_000, 1.0) == pytest.approx(per_million + most)
    assert ask(fees, "buy", 1_000, 1_000.0) == 0.0


def test_alpaca_charges_the_regulators_fees_alone() -> None:
    """1,000 shares at 50: nothing to buy, 27.80 per million and 0.000166 a share to sell."""
    alpaca = alpaca_equities(as_of=date(2024, 6, 3))
    assert ask(alpaca, "buy", 1_000, 50.0) == 0.0
    assert ask(alpaca, "sell", 1_000, 50.0) == pytest.approx(1.39 + 0.166)


def test_a_day_can_be_written_in_three_ways() -> None:
    """As text, as a date and as a datetime."""
    ways = ("2024-06-03", date(2024, 6, 3), datetime(2024, 6, 3, 9, 30))
    assert len({repr(us_regulatory_fees(as_of=day)) for day in ways}) == 1


PRESETS: list[Any] = [
    us_regulatory_fees,
    alpaca_equities,
    interactive_brokers_fixed,
    interactive_brokers_tiered,
]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("as_of", "complaint"),
    [
        ("2021-12-31", "no price list is known for 2021-12-31; known are 2022-01-01 to 2026-10-09"),
        ("2026-10-10", "no price list is known"),
        ("June 2024", "as_of must be a date"),
        (2024, "as_of must be a date"),
        (None, "as_of must be a date"),
    ],
)
def test_days_without_a_price_list_are_refused(preset: Any, as_of: Any, complaint: str) -> None:
    """Rather than charged at the nearest one."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        preset(as_of=as_of)
    assert preset.__name__ in str(caught.value)


def test_a_bad_exchange_fee_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="exchange_per_share must be"):
        interactive_brokers_tiered(as_of="2024-06-03", exchange_per_share=-0.001)
