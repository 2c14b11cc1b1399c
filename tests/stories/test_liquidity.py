"""How much a bar can take, worked out by hand; every reference bar has a volume of 1,000."""

from __future__ import annotations

import math

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    ConfigError,
    DataError,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)
from tests.stories.plan import Plan, parse_bars, tell

TWENTY = VolumeParticipation(0.02)


def test_an_order_is_carried_over_bars() -> None:
    """Fifty at twenty a bar take three."""
    result = tell(
        "@0 buy 50",
        "1 buy 20 at 102 because open\n2 buy 20 at 103\n3 buy 10 at 108",
        "1 filled",
        liquidity=TWENTY,
    )
    assert result.trades["bars_held"].to_list() == [9]


def test_orders_of_an_asset_share_its_bar() -> None:
    """In order of submission."""
    tell(
        "@0 buy 15\n@0 buy 15",
        "1 buy 15 at 102\n1 buy 5 at 102\n2 buy 10 at 103",
        liquidity=TWENTY,
    )


def test_what_is_killed_takes_no_part_in_a_cut() -> None:
    """Each alone could be paid: the one that must fill whole ends, the other fills whole."""
    bars = "0 A 100 100 100 100\n0 B 100 100 100 100\n1 A 100 100 100 100\n1 B 100 100 100 100"
    tell(
        "@0 buy 100 A\n@0 buy 100 B fok",
        "1 buy 100 A at 100",
        "2 canceled fill or kill: not enough buying power for all of it",
        bars=bars,
    )


def test_a_bar_is_not_used_twice() -> None:
    """What rests inside it and what trades at its close take from the same volume."""
    tell(
        "@3 buy 15 limit 100\n@4 buy 15",
        "4 buy 15 at 100 because limit at open\n4 buy 5 at 96\n5 buy 10 at 98",
        liquidity=TWENTY,
        fill_at="close",
    )


def test_immediate_or_cancel_takes_what_there_is() -> None:
    """The rest is canceled."""
    tell(
        "@0 buy 50 ioc",
        "1 buy 20 at 102",
        "1 canceled immediate or cancel: the rest was not filled in its bar",
        liquidity=TWENTY,
    )


def test_fill_or_kill_takes_nothing() -> None:
    """Twenty are not fifty."""
    tell(
        "@0 buy 50 fok",
        "",
        "1 canceled fill or kill: 20 of 50 could be filled",
        liquidity=TWENTY,
    )


def test_what_is_left_of_a_stop_goes_at_any_price() -> None:
    """Triggered at 8 in bar 3; bar 4 opens above it, and takes the other ten all the same."""
    bars = "0 9 9 9 9\n1 9 9 9 9\n2 9 9 9 9\n3 9 9 7 9\n4 9 9 9 9\n5 9 9 9 9"
    tell(
        "@0 buy 30\n@2 sell 30 stop 8",
        "1 buy 20 at 9\n2 buy 10 at 9\n3 sell 20 at 8 because stop\n4 sell 10 at 9",
        bars=bars,
        liquidity=TWENTY,
    )


def test_the_legs_of_a_bracket_follow_their_entry() -> None:
    """Twenty in bar 1 and twenty in bar 2 are protected as they come; bar 3 opens at the target."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 40, stop_loss=95, take_profit=107)

    tell(
        fills="1 buy 20 at 102\n2 buy 20 at 103\n3 sell 20 at 108 because take_profit at open\n"
        "4 sell 20 at 95 because stop_loss",
        liquidity=TWENTY,
        acts=acts,
    )


def test_a_rule_follows_a_position_that_comes_in_parts() -> None:
    """Twenty at 102 and twenty at 103: five percent under 102.5 is 97.375."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.set_stop_loss(percent=0.05)

    tell(
        "@0 buy 40",
        "1 buy 20 at 102\n2 buy 20 at 103\n4 sell 20 at 97.375 because stop_loss\n"
        "5 sell 20 at 97 because stop_loss at open",
        liquidity=TWENTY,
        acts=acts,
    )


def test_a_bar_without_volume_takes_nothing() -> None:
    """A halt: bars are made of the last price."""
    bars = parse_bars("0 9 9 9 9\n1 9 9 9 9\n2 8 8 8 8").with_columns(
        volume=pl.Series([10.0, 0.0, 10.0])
    )

    class Once(Strategy):
        def on_bars(self, bars):
            if bars.index == 0:
                self.buy("A", 5)

    broker = SimulationBroker(liquidity=VolumeParticipation(1.0))
    result = BacktestEngine(bars, strategy=Once(), broker=broker).run()
    assert result.fills.select("price", "quantity").rows() == [(8.0, 5.0)]


def test_a_source_without_volumes_is_an_error() -> None:
    """Not an endless wait."""
    bars = parse_bars("0 9 9 9 9\n1 9 9 9 9").with_columns(volume=pl.lit(math.nan))

    class Once(Strategy):
        def on_bars(self, bars):
            self.buy("A", 5)

    broker = SimulationBroker(liquidity=TWENTY)
    with pytest.raises(DataError, match="needs volumes, but 'A' has none at 2024-01-03"):
        BacktestEngine(bars, strategy=Once(), broker=broker).run()


def test_a_position_is_closed_over_bars() -> None:
    """A market order that only reduces has something to reduce until the position is gone."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 3:
            plan.close_position("A")

    bars = "\n".join(f"{n} 9 9 9 9" for n in range(8))
    fills = "1 buy 20 at 9\n2 buy 20 at 9\n4 sell 20 at 9\n5 sell 20 at 9"
    tell("@0 buy 40", fills, bars=bars, liquidity=TWENTY, acts=acts)


def test_a_stop_that_finds_no_room_goes_with_the_next_bar() -> None:
    """Bar 2 has no volume left after the purchase, and falls through the stop."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.set_stop_loss(percent=0.05)

    bars = "0 9 9 9 9\n1 9 9 9 9\n2 9 9 5 9\n3 9 9 9 9\n4 9 9 9 9\n5 9 9 9 9"
    fills = "1 buy 20 at 9\n2 buy 20 at 9\n3 sell 20 at 9 because stop_loss at open\n4 sell 20 at 9"
    tell("@0 buy 40", fills, bars=bars, liquidity=TWENTY, acts=acts)


def test_what_cannot_trade_takes_no_room() -> None:
    """A sale with nothing to reduce, and one that is killed."""
    tell(
        "@0 sell 20 stop 120 reduce_only\n@0 buy 20",
        "1 buy 20 at 102\n2 sell 20 at 103",
        liquidity=TWENTY,
    )
    tell("@0 buy 50 fok\n@0 buy 20", "1 buy 20 at 102", liquidity=TWENTY)


def test_an_exit_ends_the_rest_of_its_entry() -> None:
    """Twenty of forty came before the target was passed; nothing comes in behind it unprotected."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 40, stop_loss=95, take_profit=107, limit_price=102)

    bars = "0 100 100 100 100\n1 102 102 102 102\n2 108 108 108 108\n3 99 99 99 99\n4 80 80 80 80"
    result = tell(
        fills="1 buy 20 at 102\n2 sell 20 at 108 because take_profit at open",
        bars=bars,
        liquidity=TWENTY,
        acts=acts,
    )
    assert result.orders["status"].to_list() == ["canceled", "canceled", "canceled"]


def test_a_liquidity_of_one_s_own() -> None:
    """Any function of an order and its bar."""
    tell(
        "@0 buy 5",
        "1 buy 2 at 102\n2 buy 2 at 103\n3 buy 1 at 108",
        liquidity=lambda order, bar: 2.7 if order.side == "buy" else math.inf,
    )


@pytest.mark.parametrize("answer", [math.nan, -1.0, None, "many"])
def test_a_liquidity_that_answers_no_quantity(answer: object) -> None:
    """The error names it, the asset and the time."""
    with pytest.raises(ConfigError, match=r"returned .* for 'A' at 2024-01-03"):
        tell("@0 buy 5", liquidity=lambda order, bar: answer)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, "half", None])
def test_a_share_is_a_fraction(share: object) -> None:
    """Above nothing and at most all."""
    with pytest.raises(ConfigError, match="share is a fraction"):
        VolumeParticipation(share)  # type: ignore[arg-type]
