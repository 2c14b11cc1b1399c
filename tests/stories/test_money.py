"""What is affordable, what it costs, and what is left over: worked out by hand."""

from __future__ import annotations

import pytest

from ml4t.backtest import (
    BasisPointSlippage,
    Instrument,
    PercentCommission,
    PerShareCommission,
)
from tests.stories.plan import tell

TWO = """
    0    100 100 100 100
    0 B   50  50  50  50
    1    100 100 100 100
    1 B   50  50  50  50
    2    100 100 100 100
    2 B   50  50  50  50
"""


# -- funding ---------------------------------------------------------------------------------


def test_too_large_an_order_is_scaled() -> None:
    """10,000 buys 97 at 103; the rest is canceled, and counted."""
    result = tell("@1 buy 1000", "2 buy 97 at 103", "1 canceled scaled: buying power")
    assert result.record.counts["clipped_orders"] == 1


def test_an_order_that_a_gap_made_too_large_is_scaled() -> None:
    """95 are affordable at 104 and not at 108: 92 are."""
    tell("@2 buy 95", "3 buy 92 at 108", "1 canceled scaled: buying power")


def test_a_basket_is_scaled_by_one_factor() -> None:
    """15,000 asked, 10,000 there: 66 of each; 67 of each would cost 10,050."""
    tell(
        "@0 buy 100\n@0 buy 100 B",
        "1 buy 66 at 100\n1 buy 66 B at 50",
        "1 canceled scaled: buying power\n2 canceled scaled: buying power",
        bars=TWO,
    )


def test_the_order_of_submission_does_not_change_a_scaled_basket() -> None:
    """The same two orders the other way round."""
    tell("@0 buy 100 B\n@0 buy 100", "1 buy 66 B at 50\n1 buy 66 at 100", bars=TWO)


def test_scaled_in_fractions_nothing_is_left() -> None:
    """With fractional units two thirds of each order use all of the money."""
    result = tell(
        "@0 buy 100\n@0 buy 100 B",
        "1 buy 66.66666667 at 100\n1 buy 66.66666667 B at 50",
        bars=TWO,
        fractional=True,
    )
    assert result.equity["cash"][-1] == pytest.approx(0.0, abs=1e-9)
    assert result.equity["cash"][-1] >= -1e-9


def test_rejecting_takes_orders_in_turn() -> None:
    """The first order takes all the money, the second is refused and says what it needed."""
    tell(
        "@0 buy 100\n@0 buy 100 B",
        "1 buy 100 at 100",
        "1 filled\n2 rejected unaffordable: needs 5,000.00, buying power is 0.00",
        bars=TWO,
        funding="reject",
    )


def test_rejecting_goes_on_to_what_is_affordable() -> None:
    """An order that cannot be paid does not stand in the way of the next."""
    tell(
        "@0 buy 200\n@0 buy 100 B",
        "1 buy 100 B at 50",
        "1 rejected unaffordable: needs 20,000.00, buying power is 10,000.00",
        bars=TWO,
        funding="reject",
    )


def test_rejected_flip_still_closes() -> None:
    """Long 10 and selling 300: the long is closed, the short beyond the means is not opened."""
    tell(
        "@0 buy 10\n@1 sell 300",
        "1 buy 10 at 102\n2 sell 10 at 103",
        "2 canceled unaffordable: needs 29,870.00, buying power is 10,010.00",
        funding="reject",
    )


def test_scaled_flip() -> None:
    """Long 10 from 102, sold at 103: 10,010 of equity collateralise a short of 97 at 103."""
    tell(
        "@0 buy 10\n@1 sell 300",
        "1 buy 10 at 102\n2 sell 107 at 103",
        "2 canceled scaled: buying power",
    )


def test_a_short_is_collateralised_in_full() -> None:
    """100 short at 100 use up 10,000; nothing more can be opened, long or short."""
    tell(
        "@0 sell 100\n@1 sell 1 B\n@1 buy 1 B",
        "1 sell 100 at 100",
        "2 canceled scaled: buying power\n3 canceled scaled: buying power",
        bars=TWO,
    )


def test_a_full_portfolio_can_rotate() -> None:
    """Everything out of A and into B at one open."""
    tell(
        "@0 buy 100\n@1 sell 100\n@1 buy 200 B",
        "1 buy 100 at 100\n2 sell 100 at 100\n2 buy 200 B at 50",
        bars=TWO,
    )


# -- commission ------------------------------------------------------------------------------


def test_percent_commission() -> None:
    """One percent of 10 * 103."""
    tell(
        "@1 buy 10",
        "2 buy 10 at 103 fee 10.3",
        commission=PercentCommission(0.01),
    )


def test_percent_commission_and_slippage() -> None:
    """One percent of slippage on 103 is 104.03; one percent of 1,040.30 is the fee."""
    tell(
        "@1 buy 10",
        "2 buy 10 at 104.03 fee 10.403 slip 10.3",
        commission=PercentCommission(0.01),
        slippage=BasisPointSlippage(100),
    )


def test_commission_is_part_of_what_must_be_paid() -> None:
    """With one percent, 96 at 103 cost 9,986.88; 97 would cost 10,090.91."""
    result = tell("@1 buy 1000", "2 buy 96 at 103 fee 98.88", commission=PercentCommission(0.01))
    assert result.equity["cash"][-1] == pytest.approx(10_000 - 96 * 103 * 1.01)


def test_per_share_commission_has_a_minimum() -> None:
    """One cent a share is 0.10 for ten, so the minimum of 1 is charged; 0.9 for 90 the same."""
    tell(
        "@1 buy 10\n@2 sell 10",
        "2 buy 10 at 103 fee 1\n3 sell 10 at 108 fee 1",
        commission=PerShareCommission(0.01, minimum=1.0),
    )


def test_per_share_commission_above_its_minimum() -> None:
    """Five cents a share for 90 shares."""
    tell("@1 buy 90", "2 buy 90 at 103 fee 4.5", commission=PerShareCommission(0.05, minimum=1.0))


def test_a_minimum_commission_counts_in_scaling() -> None:
    """Nothing is bought with a fee of 9,900 to pay: 103 and the fee exceed 10,000."""
    tell(
        "@1 buy 1000",
        "",
        "1 canceled scaled: buying power",
        commission=PerShareCommission(0.0, minimum=9_900.0),
    )


def test_a_user_commission_as_a_function() -> None:
    """A tax of half a percent on sales only."""

    def tax(order, quantity, price, timestamp, instrument):
        return 0.005 * quantity * price if order.side == "sell" else 0.0

    tell(
        "@1 buy 10\n@2 sell 10",
        "2 buy 10 at 103 fee 0\n3 sell 10 at 108 fee 5.4",
        commission=tax,
    )


def test_a_user_commission_as_an_object() -> None:
    """Two of money an order."""

    class PerOrder:
        def __init__(self, amount: float) -> None:
            self.amount = amount

        def __call__(self, order, quantity, price, timestamp, instrument):
            return self.amount

    tell("@1 buy 10", "2 buy 10 at 103 fee 2", commission=PerOrder(2.0))


# -- slippage --------------------------------------------------------------------------------


def test_slippage_on_both_sides() -> None:
    """Ten basis points: 103 becomes 103.103 for a buyer, 108 becomes 107.892 for a seller."""
    tell(
        "@1 buy 10\n@2 sell 10",
        "2 buy 10 at 103.103 slip 1.03\n3 sell 10 at 107.892 slip 1.08",
        slippage=BasisPointSlippage(10),
    )


def test_slippage_on_a_stop() -> None:
    """A stop at 92 with one percent of slippage gets 91.08."""
    tell(
        "@0 buy 10\n@4 sell 10 stop 92",
        "1 buy 10 at 103.02\n5 sell 10 at 91.08 slip 9.2",
        slippage=BasisPointSlippage(100),
    )


def test_slippage_never_pays_more_than_the_limit() -> None:
    """At the open of 100 two percent would be 102; the limit of 101.5 is the most to pay."""
    tell(
        "@2 buy 10 limit 101.5",
        "4 buy 10 at 101.5 slip 15",
        slippage=BasisPointSlippage(200),
    )


def test_slippage_never_gets_less_than_the_limit() -> None:
    """At the open of 108 five percent less would be 102.6; the limit of 106 is the least to get."""
    tell("@2 sell 10 limit 106", "3 sell 10 at 106 slip 20", slippage=BasisPointSlippage(500))


def test_slippage_on_a_limit_at_its_level_is_none() -> None:
    """At the level itself there is no room for slippage."""
    tell("@3 buy 10 limit 95", "4 buy 10 at 95 slip 0", slippage=BasisPointSlippage(50))


def test_a_user_slippage_as_a_function() -> None:
    """A quarter of the bar's range, against the order."""

    def quarter(order, bar, quantity):
        step = (bar.high - bar.low) / 4
        return bar.reference + step if order.side == "buy" else bar.reference - step

    tell(
        "@1 buy 10\n@2 sell 10",
        "2 buy 10 at 103.75 slip 7.5\n3 sell 10 at 107.25 slip 7.5",
        slippage=quarter,
    )


def test_a_user_slippage_as_an_object() -> None:
    """A fixed amount per unit."""

    class Fixed:
        def __call__(self, order, bar, quantity):
            return bar.reference + (0.5 if order.side == "buy" else -0.5)

    tell("@1 buy 10", "2 buy 10 at 103.5 slip 5", slippage=Fixed())


def test_a_user_slippage_is_held_to_the_limit_too() -> None:
    """Whatever a slippage answers, a limit order pays no more than its limit."""
    tell(
        "@2 buy 10 limit 101.5",
        "4 buy 10 at 101.5",
        slippage=lambda order, bar, quantity: 2 * bar.reference,
    )


# -- lots and fractions ----------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "left"), [("10.7", "0.7"), ("10.99995", "0.99995")])
def test_the_remainder_below_a_lot_is_canceled(asked: str, left: str) -> None:
    """Ten are bought, and the order says what became of the rest."""
    tell(f"@1 buy {asked}", "2 buy 10 at 103", f"1 canceled below one lot: {left} units")


def test_less_than_a_lot_is_rejected() -> None:
    """Whole shares by default."""
    tell("@1 buy 0.4", "", "1 rejected below one lot: 0.4 units")


def test_fractional() -> None:
    """Any quantity goes."""
    tell("@1 buy 10.7\n@2 buy 0.004", "2 buy 10.7 at 103\n3 buy 0.004 at 108", fractional=True)


def test_lots_of_an_instrument() -> None:
    """Lots of 25: two of them in 60."""
    tell(
        "@1 buy 60",
        "2 buy 50 at 103",
        "1 canceled below one lot: 10 units",
        instruments=[Instrument(asset_id="A", lot_size=25)],
    )


def test_a_multiplier() -> None:
    """One contract of 50 times the price: 5,150 of notional, 51.5 of commission."""
    result = tell(
        "@1 buy 1\n@2 sell 1",
        "2 buy 1 at 103 fee 51.5\n3 sell 1 at 108 fee 54",
        commission=PercentCommission(0.01),
        instruments=[Instrument(asset_id="A", multiplier=50)],
    )
    assert result.final_equity == pytest.approx(10_000 + 250 - 105.5)


# -- costs are bounded by what is there -------------------------------------------------------


def test_cash_is_never_negative_through_longs() -> None:
    """Whatever is asked for, cash stays at or above zero."""
    result = tell(
        "@0 buy 40\n@1 buy 40\n@2 buy 40\n@3 buy 40",
        "1 buy 40 at 102.102 fee 4.08408\n2 buy 40 at 103.103 fee 4.12412\n"
        "3 buy 16 at 108.108 fee 1.729728",
        "3 canceled scaled: buying power\n4 canceled scaled: buying power",
        commission=PercentCommission(0.001),
        slippage=BasisPointSlippage(10),
    )
    assert result.equity["cash"].min() == pytest.approx(
        10_000 - 1.001 * (40 * 102.102 + 40 * 103.103 + 16 * 108.108)
    )


def test_a_subclass_that_overrides_the_call_is_called() -> None:
    """The column form of a cost stands in only where calling the cost would give the same."""

    class Flat(PercentCommission):
        def __call__(self, order, quantity, price, timestamp, instrument, /):
            return 5.0

    class Far(BasisPointSlippage):
        def __call__(self, order, bar, quantity, /):
            return bar.reference * 1.5

    class Odd:
        """A user's own, with an attribute that is called as ours are."""

        price = 1.0

        def __call__(self, order, bar, quantity):
            return bar.reference + 1.0

    tell("@1 buy 10", "2 buy 10 at 103", commission=Flat(0.001), cash=10_000)
    for slippage, paid in ((Far(1), 154.5), (Odd(), 104.0)):
        tell("@1 buy 10", f"2 buy 10 at {paid:g}", slippage=slippage, cash=10_000)
