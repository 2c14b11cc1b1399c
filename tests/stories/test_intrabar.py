"""What is assumed of the path inside a bar, worked out by hand.

Bar 8 of the reference bars opens at 103, rises to 108, falls to 96 and closes at 105.
"""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import ConfigError, Order, SimulationBroker
from tests.stories.plan import Plan, tell

MODES = ("worst", "best", "ohlc", "olhc")


def bracket(**prices: Any) -> Any:
    """Ten of A, decided on bar 7."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 7:
            plan.bracket("A", 10, **prices)

    return acts


@pytest.mark.parametrize(
    ("intrabar", "exit_"),
    [
        ("worst", "97 because stop_loss"),
        ("best", "107 because take_profit"),
        ("ohlc", "107 because take_profit"),
        ("olhc", "97 because stop_loss"),
    ],
)
def test_a_stop_and_a_target_in_one_bar(intrabar: str, exit_: str) -> None:
    """Long from the open of 103: 107 and 97 were both touched."""
    result = tell(
        fills=f"8 buy 10 at 103\n8 sell 10 at {exit_}",
        acts=bracket(stop_loss=97, take_profit=107),
        intrabar=intrabar,
    )
    assert result.record.counts["ambiguous_bars"] == 1
    assert result.settings["intrabar"] == intrabar


@pytest.mark.parametrize(
    ("intrabar", "exit_"),
    [
        ("worst", "8 sell 10 at 97 because stop_loss"),
        # The target may have come after the entry, and is assumed to.
        ("best", "8 sell 10 at 107 because take_profit"),
        # High first: 107 was passed before the entry on the way down, which went on to 96.
        ("ohlc", "8 sell 10 at 97 because stop_loss"),
        # Low first: the entry on the way down, then the stop.
        ("olhc", "8 sell 10 at 97 because stop_loss"),
    ],
)
def test_exits_after_an_entry_inside_the_bar(intrabar: str, exit_: str) -> None:
    """The entry at 100 is on the way from above to 96."""
    tell(
        fills=f"8 buy 10 at 100 because limit\n{exit_}",
        acts=bracket(limit_price=100, stop_loss=97, take_profit=107),
        intrabar=intrabar,
    )


@pytest.mark.parametrize(
    ("intrabar", "exit_"),
    [
        ("worst", "9 sell 10 at 105.5 because take_profit"),
        ("best", "8 sell 10 at 104 because take_profit"),
        ("ohlc", "8 sell 10 at 104 because take_profit"),
        ("olhc", "8 sell 10 at 104 because take_profit"),
    ],
)
def test_a_target_on_the_way_to_the_close(intrabar: str, exit_: str) -> None:
    """After the low of 96 the price comes back to 105 (or to 108): 104 is on that way."""
    target = 105.5 if intrabar == "worst" else 104.0
    tell(
        fills=f"8 buy 10 at 100 because limit\n{exit_}",
        acts=bracket(limit_price=100, stop_loss=95, take_profit=target),
        intrabar=intrabar,
    )


@pytest.mark.parametrize(
    ("intrabar", "exit_"),
    [
        # Tested before it moves: 95 is not reached in bar 8, and 101 not in bar 9.
        ("worst", ""),
        # High first: the stop is 101 when the price falls.
        ("ohlc", "8 sell 10 at 101 because stop"),
        # Low first: the open of 103 brings the stop to 96, which is the low.
        ("olhc", "8 sell 10 at 96 because stop"),
    ],
)
def test_a_trail_along_the_path(intrabar: str, exit_: str) -> None:
    """Seven behind the close of 102, then behind the high of 108 of bar 8."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.buy("A", 10)
        if bar == 7:
            plan.submit_order(
                Order("A", "sell", 10, "trailing_stop", trail_amount=7, reduce_only=True)
            )

    tell(fills=f"1 buy 10 at 102\n{exit_}", acts=acts, intrabar=intrabar)


@pytest.mark.parametrize("intrabar", MODES)
@pytest.mark.parametrize(
    ("prices", "exit_"),
    [
        ((97, 104, 95, 100), "97 because stop_loss at open"),
        ((103, 104, 95, 100), "103 because take_profit at open"),
    ],
)
def test_an_entry_beyond_its_exits_leaves_at_once(
    intrabar: str, prices: tuple[float, ...], exit_: str
) -> None:
    """The open has passed the stop of 98.5, or the target of 102: nothing is assumed."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, stop_loss=98.5, take_profit=102)

    bars = f"0 100 100 100 100\n1 {' '.join(map(str, prices))}"
    expected = exit_ if intrabar in {"worst", "best"} else exit_.replace(" at open", "")
    result = tell(
        fills=f"1 buy 10 at {prices[0]}\n1 sell 10 at {expected}",
        bars=bars,
        acts=acts,
        intrabar=intrabar,
    )
    assert result.record.counts["ambiguous_bars"] == 0


def test_exits_are_met_along_the_leg() -> None:
    """Up to 110 the trail follows to 108, which the way down meets before the stop of 99."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 1:
            stops: list[dict[str, Any]] = [{"trail_amount": 2}, {"stop_price": 99}]
            for stop in stops:
                plan.sell("A", 10, reduce_only=True, **stop)

    bars = "0 100 100 100 100\n1 100 100 100 100\n2 100 110 90 95"
    fills = "1 buy 10 at 100\n2 sell 10 at 108 because stop"
    tell("@0 buy 10", fills, bars=bars, acts=acts, intrabar="ohlc")


@pytest.mark.parametrize("intrabar", ["worst", "ohlc", "olhc"])
def test_a_stop_without_a_link_is_met_on_the_way_too(intrabar: str) -> None:
    """Ordered beside the entry, it fills at its level behind it."""
    tell(
        "@0 buy 1 limit 97.5\n@0 sell 1 stop 96 reduce_only",
        "1 buy 1 at 97.5 because limit\n1 sell 1 at 96 because stop",
        bars="0 100 100 100 100\n1 100 101 90 99\n2 99 99 99 99",
        intrabar=intrabar,
    )


@pytest.mark.parametrize("intrabar", ["worst", "best"])
def test_a_trail_born_inside_a_bar_knows_nothing_of_what_was_before(intrabar: str) -> None:
    """Bought at 96 on the way down from 110: the stop is 91, not 105."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.set_trailing_stop(amount=5)

    bars = "0 100 100 100 100\n1 100 110 95 97\n2 97 97 97 97"
    fills = "1 buy 10 at 96 because limit"
    tell("@0 buy 10 limit 96", fills, bars=bars, acts=acts, intrabar=intrabar)


@pytest.mark.parametrize("intrabar", MODES)
def test_entries_inside_the_bar_are_funded_as_one_on_their_leg(intrabar: str) -> None:
    """A and B fall through 9 together, and there is money for ten in all."""
    bars = "0 A 10 10 10 10\n0 B 10 10 10 10\n1 A 10 10 8 9\n1 B 10 10 8 9"
    tell(
        "@0 buy 10 A limit 9\n@0 buy 10 B limit 9",
        "1 buy 5 A at 9 because limit\n1 buy 5 B at 9 because limit",
        bars=bars,
        cash=90.0,
        intrabar=intrabar,
    )


@pytest.mark.parametrize("intrabar", MODES)
def test_gaps_and_plain_touches_do_not_depend_on_the_path(intrabar: str) -> None:
    """Where one order is touched there is nothing to assume."""
    tell(
        "@0 buy 10\n@3 sell 5 stop 101\n@4 sell 5 limit 98",
        "1 buy 10 at 102\n4 sell 5 at 100 because stop at open\n5 sell 5 at 98 because limit",
        intrabar=intrabar,
    )


def test_a_path_is_one_of_four() -> None:
    """With the nearest one."""
    with pytest.raises(ConfigError, match="intrabar must be one of 'worst', 'best', 'ohlc'"):
        SimulationBroker(intrabar="hloc")  # type: ignore[arg-type]


# -- several entries, flips, groups and trails inside one bar --------------------------------------

FALL = """
    0  105 105 105 105
    1  105 105  98  99
    2   99  99  99  99
"""


@pytest.mark.parametrize("swapped", [False, True])
def test_brackets_keep_to_their_own_entries(swapped: bool) -> None:
    """Entries at 104 and 100 in one bar: the first one's stop of 101 lies behind its own entry."""
    prices: list[Any] = [
        {"limit_price": 104, "stop_loss": 101},
        {"limit_price": 100, "stop_loss": 90},
    ]

    def acts(plan: Plan, bar: int) -> None:
        for given in reversed(prices) if swapped else prices:
            if bar == 0:
                plan.bracket("A", 10, take_profit=120, **given)

    result = tell(fills=_by_order(swapped), bars=FALL, acts=acts)
    assert result.final_equity == 10_000 - 50 + 20 - 10 * (101 - 99) + 20 - 10


def _by_order(swapped: bool) -> str:
    entries = ["1 buy 10 at 104 because limit", "1 buy 10 at 100 because limit"]
    lines = reversed(entries) if swapped else entries
    return "\n".join([*lines, "1 sell 10 at 101 because stop_loss"])


@pytest.mark.parametrize("swapped", [False, True])
def test_targets_on_a_path_keep_to_their_own_entries(swapped: bool) -> None:
    """High first: after the entry at 100 the price goes on to 98 and closes at 99, below 103."""
    prices: list[Any] = [
        {"limit_price": 104, "take_profit": 110},
        {"limit_price": 100, "take_profit": 103},
    ]

    def acts(plan: Plan, bar: int) -> None:
        for given in reversed(prices) if swapped else prices:
            if bar == 0:
                plan.bracket("A", 10, stop_loss=90, **given)

    fills = _by_order(swapped).rsplit("\n", 1)[0]
    tell(fills=fills, bars=FALL, acts=acts, intrabar="ohlc")


def test_a_position_that_turns_inside_the_bar_is_protected() -> None:
    """From long 6 to short 6 at 105: three percent above is 108.15, and the high is 110."""
    bars = "0 100 100 100 100\n1 100 100 100 100\n2 100 110 100 100"

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.set_stop_loss("A", percent=0.03)

    result = tell(
        "@0 buy 6\n@1 sell 12 limit 105",
        "1 buy 6 at 100\n2 sell 12 at 105\n2 buy 6 at 108.15 because stop_loss",
        bars=bars,
        acts=acts,
    )
    assert result.record.counts["ambiguous_bars"] == 1


@pytest.mark.parametrize("intrabar", MODES)
def test_a_touch_is_not_through_on_any_path(intrabar: str) -> None:
    """The low is the limit."""
    bars = "0 100 100 100 100\n1 100 106 95 100\n2 100 100 100 100"
    tell("@0 buy 10 limit 95", "", bars=bars, intrabar=intrabar, limit_fill="through")


@pytest.mark.parametrize(
    ("intrabar", "side", "price"), [("worst", "buy", 105), ("best", "sell", 95)]
)
def test_a_breakout_either_way(intrabar: str, side: str, price: float) -> None:
    """Both entries of a group are touched; the bar closes at 98: the sale at 95 is worth less."""
    bars = "0 100 100 100 100\n1 100 106 94 98\n2 98 98 98 98"

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.submit_order(Order("A", "buy", 10, "stop", stop_price=105, oco="out"))
            plan.submit_order(Order("A", "sell", 10, "stop", stop_price=95, oco="out"))

    result = tell(
        fills=f"1 {side} 10 at {price} because stop", bars=bars, acts=acts, intrabar=intrabar
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_the_bounds_hold_what_a_trailing_stop_may_have_got() -> None:
    """Three below a high of 110 is 107; the bar closes at 100, beyond it."""
    bars = "0 100 100 100 100\n1 100 100 100 100\n2 100 110 100 100\n3 90 90 90 90"
    orders = "@0 buy 10\n@1 sell 10 trail 3 reduce_only"
    entry = "1 buy 10 at 100\n"
    for intrabar, exit_ in (("worst", "3 sell 10 at 90"), ("best", "2 sell 10 at 107")):
        result = tell(orders, entry + exit_, bars=bars, intrabar=intrabar)
        assert result.record.counts["ambiguous_bars"] == 1
    tell(orders, entry + "2 sell 10 at 107", bars=bars, intrabar="ohlc")
