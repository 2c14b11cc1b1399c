"""What price each slippage gives: tables worked out by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from ml4t.backtest import (
    BasisPointSlippage,
    ConfigError,
    DataError,
    FixedSlippage,
    HalfSpreadSlippage,
    NoSlippage,
    Order,
    QuotedSpreadSlippage,
    SquareRootImpact,
    VolumeShareSlippage,
)
from ml4t.backtest.simulation.slippage import column_form
from ml4t.backtest.types.bars import ExecutionBar

NAN = float("nan")


def bar_of(reference: float = 50.0, volume: float = 1_000.0, **signals: Any) -> ExecutionBar:
    """A bar of A, to be filled at a price."""
    when = datetime(2024, 1, 3)
    return ExecutionBar(when, "A", 50, 52, 48, 51, volume, signals, reference=reference)


def pay(slippage: Any, side: str, bar: ExecutionBar, quantity: float = 100.0) -> float:
    """The price of one fill."""
    return float(slippage(Order("A", side, quantity), bar, quantity))


@pytest.mark.parametrize(
    ("slippage", "bought", "sold"),
    [
        (NoSlippage(), 50.0, 50.0),
        (BasisPointSlippage(20), 50.1, 49.9),
        (FixedSlippage(0.03), 50.03, 49.97),
        (HalfSpreadSlippage(money=0.04), 50.02, 49.98),
        (HalfSpreadSlippage(fraction=0.004), 50.1, 49.9),
        (VolumeShareSlippage(), 50.05, 49.95),  # a tenth of the bar: 0.1 * 0.01 of the price
        (VolumeShareSlippage(1.0), 50.5, 49.5),
        (SquareRootImpact(volatility=0.02), 50.316227766, 49.683772234),  # 0.02 * sqrt(0.1)
        (SquareRootImpact(0.5, volatility=0.02), 50.158113883, 49.841886117),
        (FixedSlippage(0.03) + BasisPointSlippage(20), 50.13, 49.87),
        (HalfSpreadSlippage(money=0.04) + VolumeShareSlippage(), 50.07, 49.93),
    ],
    ids=repr,
)
def test_prices_for_100_of_1000_at_50(slippage: Any, bought: float, sold: float) -> None:
    """Worse for both sides."""
    assert pay(slippage, "buy", bar_of()) == pytest.approx(bought)
    assert pay(slippage, "sell", bar_of()) == pytest.approx(sold)


def test_impact_grows_with_the_square_and_with_the_root() -> None:
    """Four times the quantity: sixteen times the one, twice the other."""
    for slippage, times in (
        (VolumeShareSlippage(), 16.0),
        (SquareRootImpact(volatility=0.02), 2.0),
    ):
        small = pay(slippage, "buy", bar_of(), 50) - 50.0
        large = pay(slippage, "buy", bar_of(), 200) - 50.0
        assert large == pytest.approx(times * small)


# -- columns of the data ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slippage", "signals", "bought"),
    [
        (QuotedSpreadSlippage(money="spread"), {"spread": 0.10}, 50.05),
        (QuotedSpreadSlippage(fraction="estimate"), {"estimate": 0.004}, 50.1),
        (QuotedSpreadSlippage(bid="bid", ask="ask"), {"bid": 50.90, "ask": 51.10}, 50.1),
        (QuotedSpreadSlippage(bid="bid", ask="ask"), {"bid": 51.0, "ask": 51.0}, 50.0),  # locked
        (SquareRootImpact(volatility="vol"), {"vol": 0.02}, 50.316227766),
    ],
    ids=repr,
)
def test_numbers_from_columns(slippage: Any, signals: dict[str, float], bought: float) -> None:
    """The width of the quote counts, not its level: it may be of the close."""
    bar = bar_of(**signals)
    assert pay(slippage, "buy", bar) == pytest.approx(bought)
    assert pay(slippage, "sell", bar) == pytest.approx(100.0 - bought)


@pytest.mark.parametrize(
    ("slippage", "bar", "complaint"),
    [
        (QuotedSpreadSlippage(money="spread"), bar_of(), "it has no 'spread' there"),
        (QuotedSpreadSlippage(money="spread"), bar_of(sprad=0.1), "Did you mean 'sprad'"),
        (QuotedSpreadSlippage(money="spread"), bar_of(spread=NAN), "it has no 'spread'"),
        (QuotedSpreadSlippage(money="spread"), bar_of(spread=-0.1), "its spread is negative"),
        (QuotedSpreadSlippage(money="spread"), bar_of(spread="wide"), "is 'wide', not a number"),
        (QuotedSpreadSlippage(bid="bid", ask="ask"), bar_of(bid=50.0), "it has no 'ask' there"),
        (
            QuotedSpreadSlippage(bid="bid", ask="ask"),
            bar_of(bid=50.2, ask=50.1),
            "its quote is crossed, bid 50.2 is above ask 50.1",
        ),
        (VolumeShareSlippage(), bar_of(volume=0.0), "its volume is 0"),
        (VolumeShareSlippage(), bar_of(volume=NAN), "its bar has no volume"),
        (SquareRootImpact(volatility=0.02), bar_of(volume=0.0), "its volume is 0"),
        (SquareRootImpact(volatility="vol"), bar_of(), "it has no 'vol' there"),
        (SquareRootImpact(volatility="vol"), bar_of(vol=-0.1), "its vol is negative"),
        (SquareRootImpact(volatility="vol"), bar_of(vol=True), "is True, not a number"),
        (SquareRootImpact(volatility="vol"), bar_of(volume=NAN, vol=0.1), "has no volume"),
    ],
)
def test_what_a_bar_does_not_say(slippage: Any, bar: ExecutionBar, complaint: str) -> None:
    """An error with asset, time and remedy; with a fallback, that fraction of the price."""
    with pytest.raises(DataError, match=complaint) as caught:
        pay(slippage, "buy", bar)
    assert "buy 100 'A' at 2024-01-03" in str(caught.value)
    assert "fallback=" in str(caught.value)
    slippage = type(slippage)(**{k: v for k, v in vars(slippage).items() if v is not None})
    slippage.fallback = 0.01
    assert pay(slippage, "buy", bar) == pytest.approx(50.5)
    assert pay(slippage, "sell", bar) == pytest.approx(49.5)


# -- sums and columns ------------------------------------------------------------------------

COLUMNS = [
    NoSlippage(),
    BasisPointSlippage(7.0),
    FixedSlippage(0.013),
    HalfSpreadSlippage(money=0.013),
    HalfSpreadSlippage(fraction=0.0007),
    HalfSpreadSlippage(money=0.013) + BasisPointSlippage(3.0) + NoSlippage(),
]


@pytest.mark.parametrize("slippage", COLUMNS, ids=repr)
def test_a_column_is_its_fills(slippage: Any) -> None:
    """Worsened as columns or one by one, the same to the bit."""
    rng = np.random.default_rng(7)
    sign, reference = rng.choice([-1.0, 1.0], 500), np.exp(rng.normal(3.0, 1.0, 500))
    column = column_form(slippage)(sign, reference)
    single = [
        pay(slippage, "buy" if s > 0 else "sell", bar_of(r))
        for s, r in zip(sign, reference.tolist(), strict=True)
    ]
    assert np.asarray(column).tolist() == single


def test_sums_take_functions_and_are_flat() -> None:
    """A user's own is a part like ours, from both sides."""

    def penny(order: Any, bar: Any, quantity: float) -> float:
        return float(bar.reference) + 0.01

    for total in (penny + FixedSlippage(0.02), FixedSlippage(0.02) + penny):
        assert pay(total, "buy", bar_of()) == pytest.approx(50.03)
        assert column_form(total) is None
    flat = (NoSlippage() + FixedSlippage(0.02)) + BasisPointSlippage(1)
    assert repr(flat) == "NoSlippage() + FixedSlippage(amount=0.02) + BasisPointSlippage(bps=1.0)"
    assert len(flat.parts) == 3
    with pytest.raises(TypeError):
        NoSlippage() + 5
    with pytest.raises(TypeError):
        5 + NoSlippage()


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: BasisPointSlippage(-1), "BasisPointSlippage: bps must be"),
        (lambda: BasisPointSlippage(float("nan")), "bps must be 0 to 10,000"),
        (lambda: BasisPointSlippage(True), "bps must be 0 to 10,000"),
        (lambda: BasisPointSlippage(10_000), "bps must be 0 to 10,000"),
        (lambda: FixedSlippage(-0.1), "FixedSlippage: amount must be"),
        (HalfSpreadSlippage, "give exactly one of money, fraction"),
        (lambda: HalfSpreadSlippage(money=1.0, fraction=0.1), "give exactly one"),
        (lambda: HalfSpreadSlippage(money=-1.0), "money must be"),
        (lambda: HalfSpreadSlippage(fraction=1.1), "fraction is a fraction"),
        (QuotedSpreadSlippage, "give exactly one of money, fraction, bid and ask"),
        (lambda: QuotedSpreadSlippage(bid="bid"), "bid and ask need each other"),
        (lambda: QuotedSpreadSlippage(money="s", bid="b", ask="a"), "give exactly one"),
        (lambda: QuotedSpreadSlippage(money=0.1), "money is the name"),  # type: ignore[arg-type]
        (lambda: QuotedSpreadSlippage(money="s", fallback=-1), "fallback must be"),
        (lambda: VolumeShareSlippage(-0.1), "price_impact must be"),
        (lambda: VolumeShareSlippage(fallback=2.0), "fallback is a fraction"),
        (lambda: SquareRootImpact(-1.0, volatility=0.1), "coefficient must be"),
        (lambda: SquareRootImpact(volatility=-0.1), "volatility must be"),
        (lambda: SquareRootImpact(volatility=0.1, fallback=-0.1), "fallback must be"),
    ],
)
def test_bad_numbers_are_refused(make: Any, complaint: str) -> None:
    """At once, with the parameter's name."""
    with pytest.raises(ConfigError, match=complaint):
        make()
