"""Whatever changes after a time, what was decided until then does not."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Context,
    DataFeed,
    MarketEvent,
    ParquetDataFeed,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.data import block, stream
from tests.examples import examples
from tests.markets import FIELDS, Market

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest import Bars

SEEDS = st.integers(0, 2**32 - 1)
HOLES = st.sampled_from([0.0, 0.2])
DAY = dt.timedelta(days=1)


class Curious(Strategy):
    """Looks at everything there is, and lets the last bits of it decide.

    A number is made of what was seen; its digits choose what to do. So anything that leaks from
    later data changes an order with near certainty, and the recorded number surely.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_start(self) -> None:
        """The same dice in every run."""
        self.dice = np.random.default_rng(self.seed)

    def on_market_data(self, event: MarketEvent, context: dict[str, Any]) -> None:
        """Look at one asset."""
        asset = event.asset_id
        n, field = int(self.dice.integers(1, 30)), str(self.dice.choice([*FIELDS, "volume"]))
        seen = [
            float(np.nansum(self.history(asset, n, field))),
            weighted(self.history(asset, n, field)),
            event.close,
            *numbers(event.signals),
            *numbers(context),
            self.get_position(asset),
            self.get_cash(),
            self.get_equity(),
            self.get_buying_power(),
            self.get_unrealized_pnl(asset),
            float(len(self.get_open_orders(asset))),
        ]
        self.decide(asset, event.close, mixed(seen))

    def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
        """Look at all assets at once."""
        names = sorted(bars.chunk.signals)
        seen = [
            float(np.nansum(self.history(None, int(self.dice.integers(1, 5))))),
            float(bars.open.sum()),
            *numbers(context),
            self.get_equity(),
        ]
        for name in names:
            column = bars.signal(name)
            if column.dtype == np.float64:
                seen.append(float(np.nansum(column)))
                seen.append(float(sum(map(len, bars.top(name, 2)))))
        roll = mixed(seen)
        if roll < 0.08:
            weight = 0.9 / len(bars)
            signs = np.where(np.arange(len(bars)) % 3 == math.floor(roll * 1e6) % 3, -1.0, 1.0)
            self.rebalance_to_weights(weight * signs)
        self.record(all=roll)

    def decide(self, asset: str, close: float, roll: float) -> None:
        """One of many things, or nothing."""
        units = 1.0 + math.floor(roll * 1e7) % 300
        things = (
            lambda: self.buy(asset, units),
            lambda: self.sell(asset, units),
            lambda: self.order_target_percent(asset, roll * 2.0 - 0.1),
            lambda: self.close_position(asset),
            lambda: self.buy(asset, units, limit_price=close * 0.99),
            lambda: self.sell(asset, units, stop_price=close * 0.98, time_in_force="day"),
            lambda: self.buy(asset, units, stop_price=close * 1.01, limit_price=close * 1.03),
            lambda: self.cancel_all(asset),
            lambda: self.size_by_confidence(asset, roll, max_percent=0.4),
            lambda: self.sell(asset, units, stop_price=close * 0.97, reduce_only=True),
            lambda: self.sell(asset, units, limit_price=close * 1.02, reduce_only=True),
            lambda: self.buy(asset, units, limit_price=close, time_in_force="ioc"),
            lambda: self.buy(asset, units * 30.0),
        )
        choice = math.floor(roll * 20.0)
        if choice < len(things):
            things[choice]()
        self.record(**{asset: roll})


def weighted(values: np.ndarray) -> float:
    """A product of vectors, whose last bits depend on how they lie in memory."""
    return float(np.dot(values, np.linspace(0.3, 1.1, len(values))))


def numbers(values: dict[str, Any]) -> list[float]:
    """Every value as a number; words by their letters."""
    found = []
    for name in sorted(values):
        value = values[name]
        found.append(float(sum(value.encode())) if isinstance(value, str) else float(value))
    return found


def mixed(seen: list[float]) -> float:
    """A number from 0 to 1 that differs when any bit of what was seen differs, nearly surely."""
    total = sum((i + 1.37) * value for i, value in enumerate(seen))
    return math.modf(abs(math.sin(total)) * 997.0)[0]


def same_decisions(base: BacktestResult, other: BacktestResult, until: Any) -> None:
    """What was seen, decided and filled up to a time is equal to the bit."""
    asked = [
        "order_id", "created_at", "asset_id", "side", "type", "quantity", "limit_price",
        "stop_price", "time_in_force", "tag",
    ]  # fmt: skip
    for name, time in (("orders", "created_at"), ("fills", "timestamp"), ("equity", "timestamp")):
        left, right = (getattr(r, name).filter(pl.col(time) <= until) for r in (base, other))
        if name == "orders":
            kept = [*asked, *sorted(c for c in left.columns if c.startswith("signal_"))]
            left, right = left.select(kept), right.select(kept)
        assert left.equals(right), f"{name} differ at or before {until}"
    for name in ("records", "decisions"):
        left, right = (getattr(r, name).filter(pl.col("timestamp") <= until) for r in (base, other))
        assert left.equals(right), f"{name} differ at or before {until}"


def rewritten(frame: pl.DataFrame, later: pl.Series, seed: int) -> pl.DataFrame:
    """A frame whose marked rows hold other numbers, some of them gone."""
    dice = np.random.default_rng(seed)
    n = frame.height
    factor = pl.Series(np.exp(dice.normal(0.0, 0.3, n)))
    columns = []
    for column in frame:
        if column.name in (*FIELDS, "volume"):  # one factor a row keeps high above low
            columns.append(
                column * pl.select(pl.when(later).then(factor).otherwise(1.0)).to_series()
            )
        elif column.dtype == pl.Float64:
            noise = pl.Series(dice.normal(0.0, 5.0, n))
            columns.append(pl.select(pl.when(later).then(noise).otherwise(column)).to_series())
        elif column.name == "word":
            other = pl.select(pl.when(later).then(pl.lit("other")).otherwise(column)).to_series()
            columns.append(other)
        else:
            columns.append(column)
    changed = pl.DataFrame([c.alias(name) for c, name in zip(columns, frame.columns, strict=True)])
    dropped = later & pl.Series(dice.random(n) < 0.2)
    return changed.filter(~dropped)


def run(seed: int, **inputs: Any) -> BacktestResult:
    """A run of the curious strategy."""
    broker = SimulationBroker(commission=PercentCommission(0.0005))
    return BacktestEngine(strategy=Curious(seed), broker=broker, **inputs).run()


def check(
    seed: int, until: Any, build: Callable[[Callable[[pl.DataFrame, pl.Series], Any]], Any]
) -> BacktestResult:
    """Run on the data and on data that differs later; the past must be the same."""
    base = run(seed, **build(lambda frame, _later: frame))
    other = run(seed, **build(lambda frame, later: rewritten(frame, later, seed + 1)))
    same_decisions(base, other, until)
    return base


def context_frame(seed: int, times: list[Any]) -> pl.DataFrame:
    """Two market-wide series."""
    dice = np.random.default_rng(seed)
    words = ["calm" if x else "wild" for x in dice.random(len(times)) < 0.5]
    return pl.DataFrame(
        {"timestamp": times, "VIX": dice.uniform(10.0, 40.0, len(times)), "word": words}
    )


@examples(50)
@given(seed=SEEDS, missing=HOLES, cut=st.integers(0, 29))
@example(seed=26_685, missing=0.0, cut=21)  # a sum over a matrix laid out otherwise in memory
def test_prices_signals_and_context_in_days(seed: int, missing: float, cut: int) -> None:
    """Daily bars with a prediction beside them and a daily context."""
    market = Market(seed, assets=4, steps=30, missing=missing, late=missing)
    until = market.times[cut]
    prices = market.frame(signal="ml_pred")
    context = context_frame(seed, market.times)

    def build(change: Any) -> dict[str, Any]:
        return {
            "data": change(prices, prices["timestamp"] > until),
            "context": Context(change(context, context["timestamp"] > until)),
        }

    check(seed, until, build)


@examples(50)
@given(
    seed=SEEDS,
    missing=HOLES,
    cut=st.integers(3, 29),
    delay=st.sampled_from([None, 1, 3]),
    max_age=st.sampled_from([None, 4]),
)
def test_signals_of_their_own(
    seed: int, missing: float, cut: int, delay: int | None, max_age: int | None
) -> None:
    """Two frames of predictions, one that says when it was available, one that is delayed."""
    market = Market(seed, assets=4, steps=30, missing=missing)
    until = market.times[cut]
    prices = market.frame()
    first, second = predictions(seed, market, "fast"), predictions(seed + 1, market, "slow", 5)
    wait = pl.Series("wait", np.random.default_rng(seed).integers(0, 4, first.height))
    available = pl.col("timestamp") + pl.duration(days="wait")
    first = first.with_columns(wait).with_columns(available_at=available).drop("wait")

    def build(change: Any) -> dict[str, Any]:
        late = second["timestamp"] + dt.timedelta(days=delay or 0) > until
        return {
            "data": change(prices, prices["timestamp"] > until),
            "signals": {
                "first": change(first, first["available_at"] > until),
                "second": change(second, late),
            },
            "signal_delay": None if delay is None else delay * DAY,
            "signal_max_age": None if max_age is None else max_age * DAY,
        }

    check(seed, until, build)


def predictions(seed: int, market: Market, name: str, step: int = 1) -> pl.DataFrame:
    """Numbers and words for every asset on every `step`-th timestamp."""
    dice = np.random.default_rng(seed)
    times = market.times[::step]
    n = len(times) * len(market.assets)
    words = [str(w) for w in dice.choice(["up", "down"], n)]
    return pl.DataFrame(
        {
            "timestamp": [time for time in times for _ in market.assets],
            "asset_id": market.assets * len(times),
            name: dice.normal(size=n),
            "word" if name == "fast" else f"{name}_flag": words
            if name == "fast"
            else dice.random(n) < 0.5,
        }
    )


def minutes_and_days(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars every half hour of three days for two assets, and bars a day for two others."""
    parts = []
    for day in range(3):
        start = dt.date(2021, 3, 1) + day * DAY
        market = Market(
            seed + day, assets=["M1", "M2"], steps=13, start=start, every=dt.timedelta(minutes=30)
        )
        parts.append(market.frame())
    daily = Market(seed + 9, assets=["D1", "D2"], steps=3).frame()
    return pl.concat(parts), daily


@examples(30)
@given(seed=SEEDS, cut=st.integers(0, 38), labelled=st.booleans())
def test_minutes_and_days_together(seed: int, cut: int, labelled: bool) -> None:
    """Intraday bars, daily bars (stamped at the close, or labels), daily signals and context."""
    fast, slow = minutes_and_days(seed)
    closes = slow["timestamp"].cast(pl.Datetime("us"))
    known = closes + (DAY if labelled else dt.timedelta(hours=16))
    if not labelled:
        slow = slow.with_columns(timestamp=known)
    fast = fast.with_columns(timestamp=pl.col("timestamp").cast(pl.Datetime("us")))
    until = fast["timestamp"].unique().sort()[cut]
    signals = predictions(seed, Market(seed, assets=["M1", "M2", "D1"], steps=3), "fast")
    context = context_frame(seed, [dt.date(2021, 2, 26) + i * DAY for i in range(6)])

    def at_end_of_day(frame: pl.DataFrame) -> pl.Series:
        return frame["timestamp"].cast(pl.Datetime("us")) + DAY > until

    def build(change: Any) -> dict[str, Any]:
        return {
            "feeds": {
                **by_asset(change(fast, fast["timestamp"] > until), "30m"),
                **by_asset(change(slow, known > until), "1d"),
            },
            "signals": change(signals, at_end_of_day(signals)),
            "context": Context(change(context, at_end_of_day(context))),
        }

    base = check(seed, until, build)
    began_after_the_decision(base)


def by_asset(frame: pl.DataFrame, duration: str) -> dict[str, ParquetDataFeed]:
    """A feed for each asset."""
    return {
        str(asset): ParquetDataFeed(part, bar_duration=duration)
        for (asset,), part in frame.group_by(["asset_id"], maintain_order=True)
    }


def began_after_the_decision(result: BacktestResult) -> None:
    """No order filled in a bar that began before it was decided, but those of a bankruptcy."""
    length = pl.when(pl.col("asset_id").str.starts_with("D")).then(DAY)
    decided = result.fills.filter(pl.col("reason") != "bankrupt")
    joined = decided.join(result.orders.select("order_id", "created_at"), on="order_id")
    early = joined.filter(
        pl.col("timestamp") - length.otherwise(dt.timedelta(minutes=30)) < pl.col("created_at")
    )
    assert early.is_empty(), early


def test_a_daily_bar_does_not_fill_what_was_decided_during_it() -> None:
    """Decided at 10:00 of the second day, a daily asset fills at the open of the third."""
    fast, slow = minutes_and_days(1)
    slow = slow.with_columns(timestamp=pl.col("timestamp").cast(pl.Datetime("us")) + DAY * (2 / 3))
    second = dt.datetime(2021, 3, 2, 10, 0)

    class Once(Strategy):
        def on_bars(self, bars: Bars) -> None:
            """Buy at ten."""
            if bars.timestamp == second:
                self.buy("D1", 10.0)

    feeds = {**by_asset(fast, "30m"), **by_asset(slow, "1d")}
    result = BacktestEngine(feeds=feeds, strategy=Once()).run()
    assert result.fills["timestamp"].to_list() == [dt.datetime(2021, 3, 3, 16, 0)]


class Rows(DataFeed):
    """Gives the rows of a frame as events."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.rows = list(frame.sort("timestamp", "asset_id").iter_rows(named=True))

    def get_next_event(self) -> MarketEvent | None:
        """The next row."""
        return MarketEvent(**self.rows.pop(0)) if self.rows else None

    def is_exhausted(self) -> bool:
        """Whether all rows were given."""
        return not self.rows


@pytest.mark.parametrize("kind", ["few", "large", "streamed", "custom"])
def test_a_long_bar_of_one_source_does_not_fill_what_was_decided_during_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half hours and days in one source, whose lengths nothing declares."""
    fast, slow = minutes_and_days(1)
    slow = slow.with_columns(timestamp=pl.col("timestamp").cast(pl.Datetime("us")) + DAY * (2 / 3))
    if kind == "large":
        later = pl.concat(
            slow.with_columns(pl.col("timestamp") + DAY * (3 * i)) for i in range(1, 10)
        )
        slow = pl.concat([slow, later])
        monkeypatch.setattr(block, "SAMPLE_ROWS", 50)
    columns = ["timestamp", "asset_id", "open", "high", "low", "close", "volume"]
    fast = fast.with_columns(timestamp=pl.col("timestamp").cast(pl.Datetime("us")))
    frame = pl.concat([fast.select(columns), slow.select(columns)])
    if kind == "streamed":
        monkeypatch.setattr(stream, "_WHOLE_CELLS", 0)
    data = {"streamed": frame.sort("timestamp").lazy(), "custom": Rows(frame)}.get(kind, frame)

    class Once(Strategy):
        def on_bars(self, bars: Bars) -> None:
            """Buy at ten."""
            if bars.timestamp == dt.datetime(2021, 3, 2, 10, 0):
                self.buy("D1", 10.0)
                self.buy("M1", 10.0)

    feed = {"feed": data} if isinstance(data, Rows) else {"data": data}
    result = BacktestEngine(strategy=Once(), **feed).run()
    filled = dict(result.fills.select("asset_id", "timestamp").iter_rows())
    assert filled["D1"] == dt.datetime(2021, 3, 3, 16, 0)
    assert filled["M1"] == dt.datetime(2021, 3, 2, 10, 30)


@pytest.mark.breaks_laws("a control: it looks ahead")
def test_a_strategy_that_looks_ahead_is_seen() -> None:
    """The comparison fails for a strategy that holds tomorrow's prices."""
    market = Market(1, assets=2, steps=20)
    until = market.times[9]
    prices = market.frame()

    def cheat(frame: pl.DataFrame) -> BacktestResult:
        ahead = frame.sort("asset_id", "timestamp").with_columns(
            tomorrow=pl.col("close").shift(-1).over("asset_id")
        )
        return run(3, data=ahead)

    other = rewritten(prices, prices["timestamp"] > until, 4)
    with pytest.raises(AssertionError):
        same_decisions(cheat(prices), cheat(other), until)
