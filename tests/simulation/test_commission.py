"""What each commission charges: tables worked out by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from ml4t.backtest import (
    ConfigError,
    Instrument,
    NoCommission,
    Order,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
    SideFee,
    TieredCommission,
)
from ml4t.backtest.simulation.commission import SumCommission, column_form

SHARE = Instrument(asset_id="A")
JUNE = datetime(2024, 6, 3, 16)


def ask(
    commission: Any,
    side: str,
    quantity: float,
    price: float,
    *,
    when: datetime = JUNE,
    what: Instrument = SHARE,
) -> float:
    """What one fill costs."""
    return float(commission(Order("A", side, quantity), quantity, price, when, what))


def fill(commission: Any, quantity: float, when: datetime) -> None:
    """Tell a commission that something was traded."""
    commission.on_fill(Order("A", "buy", quantity), quantity, 50.0, when, SHARE)


# -- money per unit --------------------------------------------------------------------------

FIXED = PerShareCommission(0.005, minimum=1.0, maximum_rate=0.01)


@pytest.mark.parametrize(
    ("quantity", "price", "money"),
    [
        (100, 25.0, 1.0),  # 0.50 is below the least
        (200, 25.0, 1.0),  # just the least
        (1_000, 25.0, 5.0),
        (1_000, 0.25, 2.5),  # 5.00 is more than 1 % of 250
        (10, 2.0, 0.2),  # the least is more than 1 % of 20, and the most wins
    ],
)
def test_money_per_unit_within_bounds(quantity: float, price: float, money: float) -> None:
    """The examples of Interactive Brokers' own price list, and one below its least."""
    assert ask(FIXED, "buy", quantity, price) == pytest.approx(money)
    assert ask(FIXED, "sell", quantity, price) == pytest.approx(money)


def test_a_most_in_money() -> None:
    """Two cents a unit, at most 29: 1,450 units reach it."""
    capped = PerShareCommission(0.02, maximum=29.0)
    assert [ask(capped, "buy", q, 10.0) for q in (100, 1_450, 9_000)] == [2.0, 29.0, 29.0]


def test_the_most_counts_the_multiplier() -> None:
    """Ten contracts at 4 with 50 units each are worth 2,000; 1 % of it is 20, not 50."""
    future = Instrument(asset_id="A", multiplier=50)
    assert ask(PerShareCommission(5.0, maximum_rate=0.01), "buy", 10, 4.0, what=future) == 20.0


def test_an_order_costs_the_same_however_large() -> None:
    """4.95 for one unit and for a million."""
    ticket = PerOrderCommission(4.95)
    assert [ask(ticket, side, q, 10.0) for side in ("buy", "sell") for q in (1, 1e6)] == [4.95] * 4


@pytest.mark.parametrize("commission", [FIXED, PerOrderCommission(2.0), NoCommission()])
def test_nothing_traded_costs_nothing(commission: Any) -> None:
    """Not even the least."""
    assert commission.charge(1.0, 0.0, 10.0, 1.0) == 0.0


# -- one side --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fee", "bought", "sold"),
    [
        (SideFee("buy", rate=0.005), 10.0, 0.0),  # 2,000 of stamp-dutied shares
        (SideFee("sell", rate=27.8e-6), 0.0, 0.0556),  # 27.80 per million of 2,000
        (SideFee("sell", per_share=0.000166, maximum=8.30), 0.0, 0.0166),
        (
            SideFee("sell", rate=0.001, per_share=0.01, maximum=2.5),
            0.0,
            2.5,
        ),  # 3.00 but for the most
    ],
)
def test_fees_on_one_side(fee: Any, bought: float, sold: float) -> None:
    """100 shares at 20."""
    assert ask(fee, "buy", 100, 20.0) == pytest.approx(bought)
    assert ask(fee, "sell", 100, 20.0) == pytest.approx(sold)


def test_the_most_of_a_fee_is_reached() -> None:
    """At 0.000166 a share, 50,000 shares pay 8.30, and a million as much."""
    taf = SideFee("sell", per_share=0.000166, maximum=8.30)
    assert [ask(taf, "sell", q, 1.0) for q in (49_000, 50_000, 1e6)] == pytest.approx(
        [8.134, 8.30, 8.30]
    )


# -- tiers -----------------------------------------------------------------------------------

TIERS = {0: 0.0035, 300_000: 0.0020, 3_000_000: 0.0015, 20_000_000: 0.0010, 100_000_000: 0.0005}


def test_tiers_are_marginal() -> None:
    """Interactive Brokers' example of 30 million shares: 1,050 + 5,400 + 25,500 + 10,000."""
    assert ask(TieredCommission(TIERS), "sell", 30_000_000, 5.0) == pytest.approx(41_950.0)


def test_volume_is_brought_forward_at_the_end_of_a_day() -> None:
    """After 290,000 shares on Monday, 20,000 on Tuesday are half dear and half cheap."""
    tiered = TieredCommission(TIERS)
    fill(tiered, 290_000, datetime(2024, 6, 3, 10))
    assert ask(tiered, "buy", 20_000, 50.0, when=datetime(2024, 6, 3, 15)) == pytest.approx(70.0)
    tuesday = datetime(2024, 6, 4, 10)
    assert ask(tiered, "buy", 20_000, 50.0, when=tuesday) == pytest.approx(35.0 + 20.0)
    fill(tiered, 20_000, tuesday)
    assert ask(tiered, "buy", 20_000, 50.0, when=tuesday) == pytest.approx(35.0 + 20.0)
    assert ask(tiered, "buy", 20_000, 50.0, when=datetime(2024, 6, 5)) == pytest.approx(40.0)


def test_a_month_begins_at_nothing() -> None:
    """The first of July pays the first tier again, and so does a June of another year."""
    tiered = TieredCommission(TIERS)
    fill(tiered, 5_000_000, datetime(2024, 6, 28))
    for when in (datetime(2024, 7, 1), datetime(2025, 6, 30)):
        assert ask(tiered, "buy", 1_000, 50.0, when=when) == pytest.approx(3.5)
    fill(tiered, 1_000, datetime(2024, 7, 1))
    assert ask(tiered, "buy", 1_000, 50.0, when=datetime(2024, 7, 2)) == pytest.approx(3.5)


def test_asking_changes_nothing() -> None:
    """A commission is asked many times about one fill."""
    tiered = TieredCommission(TIERS)
    assert [ask(tiered, "buy", 290_000, 50.0) for _ in range(3)] == pytest.approx([1_015.0] * 3)


def test_start_forgets() -> None:
    """A new run begins in the first tier."""
    tiered = TieredCommission(TIERS)
    fill(tiered, 5_000_000, datetime(2024, 6, 3))
    tiered.start()
    assert ask(tiered, "buy", 1_000, 50.0, when=datetime(2024, 6, 4)) == pytest.approx(3.5)


def test_bounds_of_tiers() -> None:
    """At least 0.35, at most 1 % of what is traded; nothing for nothing."""
    tiered = TieredCommission(TIERS, minimum=0.35, maximum_rate=0.01)
    assert ask(tiered, "buy", 10, 50.0) == 0.35
    assert ask(tiered, "buy", 10, 0.5) == pytest.approx(0.05)
    assert ask(tiered, "buy", 0, 50.0) == 0.0


def test_tiers_in_any_order() -> None:
    """They are sorted, and may be whole numbers."""
    backwards = TieredCommission(dict(reversed(TIERS.items())))
    assert repr(backwards) == repr(TieredCommission(TIERS))


# -- sums ------------------------------------------------------------------------------------


def test_a_sum_charges_all() -> None:
    """5 basis points of 2,000, a ticket of 2, and stamp duty on purchases."""
    total = PercentCommission(0.0005) + PerOrderCommission(2.0) + SideFee("buy", rate=0.005)
    assert ask(total, "buy", 100, 20.0) == pytest.approx(1.0 + 2.0 + 10.0)
    assert ask(total, "sell", 100, 20.0) == pytest.approx(1.0 + 2.0)


def test_functions_can_be_added_from_both_sides() -> None:
    """A user's own is a part like ours."""

    def one(order: Any, quantity: float, price: float, timestamp: Any, instrument: Any) -> float:
        return 1.0

    for total in (one + PerOrderCommission(2.0), PerOrderCommission(2.0) + one):
        assert ask(total, "buy", 10, 10.0) == 3.0
        assert len(total.parts) == 2
        assert column_form(total) is None


def test_what_is_no_commission_cannot_be_added() -> None:
    """A number is none."""
    with pytest.raises(TypeError):
        PercentCommission(0.001) + 5
    with pytest.raises(TypeError):
        5 + PercentCommission(0.001)


def test_sums_are_flat_and_say_what_they_are() -> None:
    """The summary prints this."""
    a, b = PercentCommission(0.001), PerShareCommission(0.005, minimum=1.0)
    total = (a + b) + (NoCommission() + SideFee("sell", rate=0.0001))
    assert len(total.parts) == 4
    assert repr(total) == (
        "PercentCommission(rate=0.001) + PerShareCommission(per_share=0.005, minimum=1.0) + "
        "NoCommission() + SideFee(side='sell', rate=0.0001)"
    )


# -- columns ---------------------------------------------------------------------------------

COLUMNS = [
    NoCommission(),
    PercentCommission(0.0013),
    PerShareCommission(0.0071),
    PerShareCommission(0.0071, 1.5, maximum=3.0, maximum_rate=0.01),
    PerOrderCommission(4.95),
    SideFee("buy", rate=0.005),
    SideFee("sell", per_share=0.000166, maximum=0.02),
    PercentCommission(0.0013) + FIXED + SideFee("sell", rate=27.8e-6),
]


@pytest.mark.parametrize("commission", COLUMNS, ids=repr)
def test_a_column_is_its_fills(commission: Any) -> None:
    """Charged as columns or one by one, the same to the bit."""
    rng = np.random.default_rng(7)
    sign = rng.choice([-1.0, 1.0], 500)
    quantity = np.round(np.exp(rng.normal(4.0, 2.0, 500)))
    price, multiplier = np.exp(rng.normal(2.0, 2.0, 500)), rng.choice([1.0, 0.3, 50.0], 500)
    column = column_form(commission)(sign, quantity, price, multiplier)
    single = [
        ask(
            commission,
            "buy" if s > 0 else "sell",
            q,
            p,
            what=Instrument(asset_id="A", multiplier=m),
        )
        for s, q, p, m in zip(sign, quantity, price, multiplier, strict=True)
    ]
    assert np.broadcast_to(column, 500).tolist() == single


def test_what_keeps_state_has_no_columns() -> None:
    """It has to hear of every fill."""
    assert column_form(TieredCommission(TIERS)) is None
    assert column_form(PercentCommission(0.001) + TieredCommission(TIERS)) is None

    class Counting(PercentCommission):
        def on_fill(self, *fill: Any) -> None:
            """Notice."""

    assert column_form(Counting(0.001)) is None
    assert column_form(SumCommission(Counting(0.001))) is None


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: PercentCommission(-0.1), "PercentCommission: rate must be zero or positive"),
        (lambda: PercentCommission(1.5), "rate is a fraction"),
        (lambda: PercentCommission("1"), "rate must be"),  # type: ignore[arg-type]
        (lambda: PercentCommission(True), "rate must be"),
        (lambda: PerShareCommission(float("nan")), "per_share must be"),
        (lambda: PerShareCommission(0.01, -1.0), "minimum must be"),
        (lambda: PerShareCommission(0.01, maximum=-1.0), "maximum must be"),
        (lambda: PerShareCommission(0.01, maximum_rate=2.0), "maximum_rate is a fraction"),
        (lambda: PerShareCommission(0.01, 5.0, maximum=1.0), "minimum 5 is more than maximum 1"),
        (
            lambda: PerShareCommission(0.01, per="fill"),  # type: ignore[arg-type]
            "per must be one of 'order', 'session', not 'fill'",
        ),
        (lambda: PerOrderCommission(float("inf")), "amount must be"),
        (lambda: PerOrderCommission(1.0, per="day"), "per must be"),  # type: ignore[arg-type]
        (lambda: SideFee("both", rate=0.1), "side must be one of"),  # type: ignore[arg-type]
        (lambda: SideFee("buy"), "give rate or per_share"),
        (lambda: SideFee("buy", rate=-0.1), "rate must be"),
        (lambda: SideFee("buy", per_share=-0.1), "per_share must be"),
        (lambda: SideFee("buy", rate=0.1, maximum=-1.0), "maximum must be"),
        (lambda: TieredCommission({}), "beginning with 0"),
        (lambda: TieredCommission({100: 0.01}), "beginning with 0"),
        (lambda: TieredCommission(5), "beginning with 0"),  # type: ignore[arg-type]
        (lambda: TieredCommission({0: -0.01}), "tiers must be zero or positive"),
        (lambda: TieredCommission({0: 0.01}, minimum=-1), "minimum must be"),
        (lambda: TieredCommission({0: 0.01}, maximum_rate=1.1), "maximum_rate is a fraction"),
    ],
)
def test_bad_numbers_are_refused(make: Any, complaint: str) -> None:
    """At once, with the parameter's name."""
    with pytest.raises(ConfigError, match=complaint):
        make()
