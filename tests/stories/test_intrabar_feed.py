"""What finer bars settle, worked out by hand.

Bar 8 of the reference bars opens at 103, rises to 108, falls to 96 and closes at 105. The minutes
under it say which came first.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    ConfigError,
    DataError,
    MarginAccount,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.research import bounds
from ml4t.backtest.testing.markets import ten_bars, weekdays
from tests.stories.plan import Plan, parse_bars, tell

if TYPE_CHECKING:
    from collections.abc import Callable

UP_FIRST = """
    0  103 104 102 104
    1  104 108 104 107
    2  107 107 101 102
    3  102 102  96  97
    4   97 105  97 105
"""
DOWN_FIRST = """
    0  103 104 102 102
    1  102 102  96  97
    2   97 101  97 101
    3  101 108 101 107
    4  107 107 105 105
"""


def minutes(text: str, bar: int = 8, *, zone: str | None = None) -> pl.DataFrame:
    """Finer bars within a session of the reference bars, from half past nine."""
    day = dt.datetime.combine(weekdays(10)[bar], dt.time(9, 31))
    times = [day + dt.timedelta(minutes=i) for i in range(20)]
    frame = parse_bars(text, times)
    return frame.with_columns(pl.col("timestamp").dt.replace_time_zone(zone))


def on(when: int, act: Callable[[Plan], Any]) -> Callable[[Plan, int], None]:
    """Do something on one bar."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == when:
            act(plan)

    return acts


def bracket(**prices: Any) -> Callable[[Plan, int], None]:
    """Ten of A, decided on bar 7."""
    return on(7, lambda plan: plan.bracket("A", 10, **prices))


@pytest.mark.parametrize("intrabar", ["worst", "best", "ohlc", "olhc"])
@pytest.mark.parametrize(
    ("finer", "exit_"),
    [
        (UP_FIRST, "107 because take_profit"),
        (DOWN_FIRST, "97 because stop_loss"),
    ],
)
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_stop_and_a_target_in_one_bar(
    intrabar: str, finer: str, exit_: str, zone: str | None
) -> None:
    """Whatever is assumed, the minutes decide, and no bar is left to guess."""
    result = tell(
        fills=f"8 buy 10 at 103\n8 sell 10 at {exit_}",
        acts=bracket(stop_loss=97, take_profit=107),
        intrabar=intrabar,
        intrabar_feed=minutes(finer, zone=zone),
    )
    assert result.record.counts["ambiguous_bars"] == 0
    assert result.settings["intrabar_feed"]["rows"] == 5


@pytest.mark.parametrize(
    ("finer", "exit_"),
    [
        (UP_FIRST, "8 sell 10 at 97 because stop_loss"),  # after the entry it goes on to 96
        (DOWN_FIRST, "8 sell 10 at 107 because take_profit"),
    ],
)
def test_exits_after_an_entry_inside_the_bar(finer: str, exit_: str) -> None:
    """The entry at 101.5 is on the way down, the stop of 95.5 or 97 below it."""
    stop = 97 if finer is UP_FIRST else 95.5
    tell(
        fills=f"8 buy 10 at 101.5 because limit\n{exit_}",
        acts=bracket(limit_price=101.5, stop_loss=stop, take_profit=107),
        intrabar_feed=minutes(finer),
    )


def test_two_touches_in_one_minute_stay_a_guess() -> None:
    """Then the worse one is taken, or the better one, and the bar counts."""
    both = minutes("0 103 108 96 105")
    for intrabar, exit_ in (("worst", "97 because stop_loss"), ("best", "107 because take_profit")):
        result = tell(
            fills=f"8 buy 10 at 103\n8 sell 10 at {exit_}",
            acts=bracket(stop_loss=97, take_profit=107),
            intrabar=intrabar,
            intrabar_feed=both,
        )
        assert result.record.counts["ambiguous_bars"] == 1


def test_a_trailing_stop_follows_the_minutes() -> None:
    """Three below the best so far: 105 after the second minute, met in the third."""
    tell(
        "@7 buy 10\n@7 sell 10 trail 3 reduce_only",
        "8 buy 10 at 103\n8 sell 10 at 105 because stop",
        intrabar_feed=minutes(UP_FIRST),
    )
    # Down first: 99 stands from the first minute's high of 104 and is met at 101 in the second.
    tell(
        "@7 buy 10\n@7 sell 10 trail 3 reduce_only",
        "8 buy 10 at 103\n8 sell 10 at 101 because stop",
        intrabar_feed=minutes(DOWN_FIRST),
    )


def test_a_gap_between_minutes_fills_at_the_next_open() -> None:
    """The third minute opens at 99, below the stop of 100, which the bar itself passed inside."""
    gap = "0 103 108 102 104\n1 99 105 96 105"
    tell(
        "@7 buy 10\n@7 sell 10 stop 100 reduce_only",
        "8 buy 10 at 103\n8 sell 10 at 99 because stop",
        intrabar_feed=minutes(gap),
    )


def test_money_goes_to_what_is_met_first() -> None:
    """One order's worth of cash, two limits in two assets: the minutes say whose turn it is."""
    bars = "0 A 100 100 100 100\n0 B 100 100 100 100\n1 A 100 100 90 95\n1 B 100 100 90 95"
    day = dt.datetime.combine(weekdays(2)[1], dt.time(10))
    times = [day + dt.timedelta(minutes=i) for i in range(2)]
    for first, second in ("AB", "BA"):
        fine = f"""
            0 {first}  100 100 94 95
            0 {second} 100 100 99 99
            1 {first}  95 95 95 95
            1 {second} 99 99 90 95
        """
        result = tell(
            "@0 buy 10 A limit 95\n@0 buy 10 B limit 95",
            f"1 buy 10 {first} at 95 because limit",
            bars=bars,
            cash=1_000.0,
            funding="reject",
            intrabar_feed=parse_bars(fine, times),
        )
        assert result.orders["status"].to_list().count("rejected") == 1


def test_bars_without_finer_ones_are_assumed_and_counted() -> None:
    """The minutes are of bar 8 only; the stop of 100 is met in bar 4."""
    result = tell(
        "@2 buy 10\n@2 sell 10 stop 102 reduce_only",
        "3 buy 10 at 108\n4 sell 10 at 100 because stop at open",
        intrabar_feed=minutes(UP_FIRST),
    )
    assert result.record.counts["bars_without_finer"] == 1  # bar 3; bar 4 traded at its open


def test_a_price_beyond_the_bar_does_not_count() -> None:
    """A print at 90 in a bar that fell to 96 at most."""
    result = tell(
        "@7 buy 10\n@7 sell 10 stop 95 reduce_only",
        "8 buy 10 at 103",
        intrabar_feed=minutes("0 103 108 90 105"),
    )
    assert result.orders["status"].to_list() == ["filled", "accepted"]


def test_trading_hours_count_where_a_calendar_tells_them() -> None:
    """A print at 7:00 touches the target, one in the session the stop."""
    day = dt.datetime.combine(weekdays(10)[8], dt.time())
    times = [day + dt.timedelta(hours=h) for h in (12, 15, 16)]
    fine = parse_bars("0 103 108 103 104\n1 103 103 96 97\n2 97 105 97 105", times)
    fine = fine.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))

    def exit_price(**options: Any) -> float:
        engine = BacktestEngine(
            ten_bars(),
            strategy=Plan("", bracket(stop_loss=97, take_profit=107)),
            broker=SimulationBroker(10_000.0, intrabar_feed=fine),
            **options,
        )
        return float(engine.run().fills["price"][1])

    assert exit_price() == 107.0
    assert exit_price(calendar="XNYS") == 97.0


def test_under_bars_with_a_time_of_day() -> None:
    """Hours above minutes: those complete after the hour began and at its end at the latest."""
    start = dt.datetime(2024, 1, 2, 9)
    hours = [start + dt.timedelta(hours=i) for i in range(10)]
    last = hours[8]
    times = [
        last - dt.timedelta(minutes=60),
        *(last - dt.timedelta(minutes=m) for m in (50, 20, 0)),
    ]
    # The first of them ends with the hour before: it is none of bar 8.
    fine = parse_bars(
        "0 102 120 80 102\n1 103 104 96 97\n2 97 108 97 107\n3 107 107 105 105", times
    )
    tell(
        fills="8 buy 10 at 103\n8 sell 10 at 97 because stop_loss",
        acts=bracket(stop_loss=97, take_profit=107),
        bars=TEN_TEXT,
        times=hours,
        intrabar="best",
        intrabar_feed=fine,
    )


TEN_TEXT = "\n".join(
    " ".join(map(str, (i, *row)))
    for i, row in enumerate(ten_bars().select("open", "high", "low", "close").rows())
)


def test_the_bounds_close() -> None:
    """With the minutes there is nothing left between the worst and the best."""

    def run(**broker: Any) -> Any:
        strategy = Plan("", bracket(stop_loss=97, take_profit=107))
        return bounds(
            BacktestEngine(
                ten_bars(), strategy=strategy, broker=SimulationBroker(10_000.0, **broker)
            )
        )

    low, high = run().interval("total_return")
    assert low < high
    low, high = run(intrabar_feed=minutes(UP_FIRST)).interval("total_return")
    assert low == high == pytest.approx(0.004)


def test_an_engine_runs_again() -> None:
    """The finer feed is walked anew, and everything is the same."""
    engine = BacktestEngine(
        ten_bars(),
        strategy=Plan("", bracket(stop_loss=97, take_profit=107)),
        broker=SimulationBroker(10_000.0, intrabar_feed=minutes(UP_FIRST)),
    )
    assert engine.run().fingerprint == engine.run().fingerprint


def test_what_cannot_be_finer_is_refused() -> None:
    """Other assets, other zones, labels under moments, prices in other terms."""
    strategy = Plan("", bracket(stop_loss=97, take_profit=107))

    def run(data: pl.DataFrame, finer: Any) -> None:
        broker = SimulationBroker(10_000.0, intrabar_feed=finer)
        BacktestEngine(data, strategy=strategy, broker=broker).run()

    with pytest.raises(DataError, match="none of the assets of the run: it holds X, the run A"):
        run(ten_bars(), minutes(UP_FIRST).with_columns(asset_id=pl.lit("X")))
    halves = minutes(UP_FIRST).with_columns(pl.col("open", "high", "low", "close") / 2)
    with pytest.raises(DataError, match=r"'A' between 48 and 54 .* are 103, 108, 96, 105;"):
        run(ten_bars(), halves)
    hours = [dt.datetime(2024, 1, 2, 9) + dt.timedelta(hours=i) for i in range(10)]
    with pytest.raises(ConfigError, match="labelled by session"):
        run(parse_bars(TEN_TEXT, hours), ten_bars())
    with pytest.raises(DataError, match="Naive and zoned"):
        run(parse_bars(TEN_TEXT, hours), minutes(UP_FIRST, zone="UTC"))
    with pytest.raises(DataError, match=r"^intrabar_feed: .* NaN|^intrabar_feed: .*null"):
        run(ten_bars(), minutes(UP_FIRST).with_columns(open=pl.lit(None, dtype=pl.Float64)))
    with pytest.raises(DataError, match=r"^intrabar_feed: .*int"):
        run(ten_bars(), 5)


def test_finer_bars_of_other_times_are_refused_or_counted() -> None:
    """Minutes of the day before: once enough were looked at, most must not differ."""
    n = 60
    noise = np.random.default_rng(1)
    close = 100 + np.cumsum(noise.normal(size=n))
    opens = np.append(100.0, close[:-1])
    days = weekdays(n)
    ranges = {"open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close)}
    market = pl.DataFrame(
        {"timestamp": days, "asset_id": "A", **ranges, "close": close, "volume": 1e6}
    )
    right = market.with_columns(
        pl.col("timestamp").cast(pl.Datetime("us")) + dt.timedelta(hours=16)
    )
    wrong = right.with_columns(pl.col("timestamp").shift(-1)).drop_nulls("timestamp")

    class Resting(Strategy):
        def on_bars(self, bars):
            self.buy("A", 1, limit_price=float(bars.close[0]) - 0.1, time_in_force="day")

    def run(finer: pl.DataFrame) -> Any:
        broker = SimulationBroker(1e6, intrabar_feed=finer)
        return BacktestEngine(market, strategy=Resting(), broker=broker).run()

    assert run(right).record.counts["bars_unlike_finer"] == 0
    with pytest.raises(DataError, match=r"bar_label='open'"):
        run(wrong)
    some = pl.concat([wrong.head(5), right.slice(6)])
    result = run(some)
    assert result.record.counts["bars_unlike_finer"] > 0
    assert "far from the prices of their finer bars" in " ".join(result.summary().split())


def test_assets_with_bars_at_times_of_their_own() -> None:
    """B's bar in the middle of A's does not end the inside of A's."""
    start = dt.datetime(2024, 1, 2, 9, 30)

    def at(minute: int, asset: str, low: float = 99.0) -> dict[str, Any]:
        when = start + dt.timedelta(minutes=minute)
        prices = {"open": 100.0, "high": 101.0, "low": low, "close": 100.0, "volume": 1.0}
        return {"timestamp": when, "asset_id": asset, **prices}

    own = [at(7, "A"), at(31, "A"), at(70, "A", 90.0), at(88, "A"), at(131, "A")]
    other = [at(t, "B") for t in (12, 40, 66, 95, 120)]
    minutes = [at(t, "A", 90.0 if t == 35 else 99.0) for t in range(1, 132)]

    class Resting(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == start + dt.timedelta(minutes=31):
                self.buy("A", 1, limit_price=95.0)

    for rows in (own, own + other):
        market = pl.DataFrame(rows).sort("timestamp", "asset_id")
        broker = SimulationBroker(intrabar_feed=pl.DataFrame(minutes))
        result = BacktestEngine(market, strategy=Resting(), broker=broker).run()
        assert result.fills["price"].to_list() == [95.0]


def test_buying_power_is_that_of_the_moment() -> None:
    """Short of A, which has gone to 130 before B is met: less is left than at the open."""
    bars = """
        0 A 100 100 100 100
        0 B 100 100 100 100
        1 A 100 100 100 100
        1 B 100 100 100 100
        2 A 100 130 100 130
        2 B 100 100  99  99
    """
    fine = """
        0 A 100 130 100 130
        0 B 100 100 100 100
        1 A 130 130 130 130
        1 B 100 100  99  99
    """
    day = dt.datetime.combine(weekdays(3)[2], dt.time(10))
    finer = parse_bars(fine, [day, day + dt.timedelta(minutes=1)])
    tell(
        "@0 sell 500 A\n@1 buy 1400 B limit 99",
        "1 sell 500 A at 100\n2 buy 1060 B at 99",
        bars=bars,
        cash=100_000.0,
        account=MarginAccount(),
        intrabar_feed=finer,
    )


def test_good_till_a_time_inside_the_bar() -> None:
    """The stop is met in the third minute, at 9:33."""

    def guard(plan: Plan) -> None:
        until = dt.datetime.combine(weekdays(10)[8], dt.time(9, 32))
        plan.sell("A", 10, stop_price=97, time_in_force="gtd", expires_at=until)

    tell(
        "@0 buy 10",
        "1 buy 10 at 102",
        acts=on(7, guard),
        intrabar_feed=minutes("0 103 104 102 104\n1 104 108 104 106\n2 106 106 96 105"),
    )
