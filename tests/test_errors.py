"""What is refused, and in which words: every text is read here."""

from __future__ import annotations

import datetime as dt
import math
import traceback
from typing import Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestError,
    BasisPointSlippage,
    ConfigError,
    CSVDataFeed,
    DataError,
    DataFeed,
    Instrument,
    MarketEvent,
    OrderError,
    ParquetDataFeed,
    PercentCommission,
    PerShareCommission,
    SimulationBroker,
    Strategy,
    StrategyError,
    UnleveragedAccount,
)
from ml4t.backtest.testing.markets import flat_market, random_market, ten_bars, weekdays

DAYS = [dt.datetime.combine(day, dt.time()) for day in weekdays(10)]


class Idle(Strategy):
    """Does nothing."""

    def on_bars(self, bars):
        pass


def run(data: Any = None, strategy: Strategy | None = None, **options: Any) -> Any:
    """A run, by default of nothing on the ten bars."""
    data = ten_bars() if data is None else data
    return BacktestEngine(data, strategy=strategy or Idle(), **options).run()


# -- one tree --------------------------------------------------------------------------------


def test_one_root() -> None:
    """Whoever catches BacktestError catches them all."""
    for kind in (DataError, ConfigError, OrderError, StrategyError):
        assert issubclass(kind, BacktestError)
    error = BacktestError("text")
    assert (error.result, error.hook, error.asset_id, error.timestamp) == (None,) * 4


# -- data ------------------------------------------------------------------------------------


def changed(row: int, **values: Any) -> pl.DataFrame:
    """The ten bars with some values of one row replaced."""
    data = ten_bars().with_row_index("row")
    return data.with_columns(
        pl.when(pl.col("row") == row).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in values.items()
    ).drop("row")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ten_bars().rename({"close": "clsoe"}), ["close", "clsoe"]),
        (ten_bars().drop("timestamp"), ["timestamp"]),
        (
            pl.concat([ten_bars(), ten_bars().head(1)]),
            ["earlier row", "2024-01-02", "'A'", "unique("],
        ),
        (changed(3, close=math.nan), ["close", "2024-01-05", "A"]),
        (changed(3, open=0.0), ["open", "2024-01-05", "0"]),
        (changed(3, low=-1.0), ["low", "2024-01-05", "-1"]),
        (changed(3, high=50.0), ["high", "2024-01-05", "50"]),
        (changed(3, close=math.inf), ["close", "2024-01-05", "inf"]),
        (ten_bars().clear(), ["no"]),
        (ten_bars().with_columns(target=0.5), ["target", "signal_columns"]),
        (ten_bars().with_columns(fwd_5d=0.5), ["fwd_5d", "signal_columns"]),
    ],
)
def test_prices_are_refused_at_the_door(data: pl.DataFrame, words: list[str]) -> None:
    """The text names the column, the first row, and what to do."""
    with pytest.raises(DataError) as caught:
        run(data)
    text = str(caught.value)
    assert [word for word in words if word not in text] == [], text
    assert caught.value.result is None


def test_mixed_zones_are_refused() -> None:
    """Both sources are named."""
    times = pl.Series("timestamp", [day.replace(hour=16) for day in DAYS])
    naive = ten_bars().with_columns(times)
    zoned = ten_bars("B").with_columns(times.dt.replace_time_zone("America/New_York"))
    feeds = {"A": ParquetDataFeed(naive), "B": ParquetDataFeed(zoned)}
    with pytest.raises(DataError, match=r"feeds\['A'\]") as caught:
        BacktestEngine(feeds=feeds, strategy=Idle()).run()
    assert "feeds['B']" in str(caught.value)


def test_predictions_that_match_nothing_are_refused() -> None:
    """Another spelling of the assets is an error, not silence."""
    signals = ten_bars().select("timestamp", pl.lit("a").alias("asset_id"), ml_pred=1.0)
    with pytest.raises(DataError, match="asset"):
        run(signals=signals)


def test_unknown_signal_columns_are_refused() -> None:
    """The nearest column is offered."""
    data = random_market(2, 10)
    with pytest.raises(DataError, match="ml_prd") as caught:
        run(data, signal_columns=["ml_prd"])
    assert "ml_pred" in str(caught.value)


def test_an_unknown_signal_of_bars() -> None:
    """Asked for in a hook, with the nearest name, and the hook in the text."""

    class Typo(Strategy):
        def on_bars(self, bars):
            bars.signal("ml_prd")

    text = r"no signal 'ml_prd'. Did you mean 'ml_pred'\? \(in Typo.on_bars at 2024-01-02"
    with pytest.raises(DataError, match=text):
        run(random_market(2, 10), Typo())


def test_an_unknown_asset_of_bars() -> None:
    """`bars["..."]` is a look-up like that of a dict; the nearest name is offered."""

    class Typo(Strategy):
        def on_bars(self, bars):
            bars["B"]

    with pytest.raises(StrategyError, match=r"KeyError: .*Unknown asset 'B'. Known: 'A'"):
        run(strategy=Typo())


def test_bars_outside_of_start_and_end() -> None:
    """An empty window is an error that says which."""
    with pytest.raises(DataError, match="2030"):
        run(start="2030-01-01")
    with pytest.raises(ConfigError, match="start='2024-01-09' is after end='2024-01-05'"):
        run(start="2024-01-09", end="2024-01-05")


class Backwards(DataFeed):
    """Goes back in time after two days."""

    def __init__(self) -> None:
        self.days = [DAYS[0], DAYS[2], DAYS[1]]

    def get_next_event(self):
        return MarketEvent(self.days.pop(0), "A", 10.0, 11.0, 9.0, 10.0) if self.days else None

    def is_exhausted(self):
        return not self.days


def test_a_feed_that_goes_back_in_time() -> None:
    """Both times are named, and what had happened until then is on the error."""
    text = "Backwards went back in time: after 2024-01-04 came 2024-01-03"
    with pytest.raises(DataError, match=text) as caught:
        BacktestEngine(feed=Backwards(), strategy=Idle()).run()
    assert caught.value.result is None or not caught.value.result.complete


def test_a_feed_that_was_used_up() -> None:
    """A second run over a feed that can be walked once is refused."""

    class Once(Backwards):
        def __init__(self) -> None:
            self.days = DAYS[:3]

    engine = BacktestEngine(feed=Once(), strategy=Idle())
    engine.run()
    with pytest.raises(DataError, match="once"):
        engine.run()


def test_a_feed_that_gives_no_event() -> None:
    """A dict is no MarketEvent."""

    class Dicts(Backwards):
        def get_next_event(self):
            self.days.pop()
            return {"close": 1.0}

    with pytest.raises(DataError, match="gave a dict; it must give a MarketEvent"):
        BacktestEngine(feed=Dicts(), strategy=Idle()).run()


# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of data=, feed= or feeds=; none of them was given"),
        ({"data": 1, "feed": 2}, "one of data=, feed= or feeds=; data and feed were given"),
        ({"feeds": []}, r"feeds= takes a mapping such as \{\"AAPL\": feed\}"),
        ({"feeds": {}}, "feeds= takes a mapping"),
        ({"data": flat_market(), "broker": SimulationBroker}, "broker= takes a Broker object"),
        ({"data": flat_market(), "max_history": 0}, "max_history must be a whole number from 1"),
        ({"data": flat_market(), "periods_per_year": -1}, "periods_per_year must be a positive"),
        ({"data": flat_market(), "periods_per_year": math.inf}, "periods_per_year must be a pos"),
        ({"data": flat_market(), "calendar": "NYSEX"}, "NYSEX"),
    ],
)
def test_engine_options(options: dict[str, Any], text: str) -> None:
    """Options that contradict each other or cannot be are refused when the engine is made."""
    with pytest.raises(ConfigError, match=text):
        BacktestEngine(**options, strategy=Idle())


def test_a_class_instead_of_a_strategy() -> None:
    """The text shows what to write."""
    with pytest.raises(ConfigError, match=r"takes an object, not a class: write strategy=Idle\(\)"):
        BacktestEngine(ten_bars(), strategy=Idle)  # type: ignore[arg-type]


def test_something_else_instead_of_a_strategy() -> None:
    """A function is no strategy."""
    with pytest.raises(ConfigError, match="takes a Strategy, not function: derive your class"):
        BacktestEngine(ten_bars(), strategy=run)  # type: ignore[arg-type]


def test_a_strategy_that_overrides_no_hook() -> None:
    """It could never decide anything; a misspelt hook is pointed out."""

    class Empty(Strategy):
        def on_fill_event(self, fill):
            pass

    class Misspelt(Strategy):
        def on_bar(self, bars):
            pass

    with pytest.raises(ConfigError, match="Empty overrides neither on_market_data nor on_bars"):
        run(strategy=Empty())
    with pytest.raises(ConfigError, match=r"It has on_bar: did you mean on_bars\?"):
        run(strategy=Misspelt())


def test_hooks_that_would_never_run() -> None:
    """An async hook, or one with a yield, only looks like a hook."""

    class Async(Strategy):
        async def on_bars(self, bars):  # type: ignore[override]
            pass

    class Generator(Strategy):
        def on_market_data(self, event):
            yield event

    with pytest.raises(ConfigError, match=r"Async.on_bars is async; hooks are plain functions"):
        run(strategy=Async())
    with pytest.raises(ConfigError, match=r"Generator.on_market_data is a generator"):
        run(strategy=Generator())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"initial_cash": 0}, "initial_cash must be a positive, finite number, not 0"),
        ({"initial_cash": math.nan}, "initial_cash must be a positive, finite number, not nan"),
        ({"initial_cash": "1000"}, "initial_cash must be a positive, finite number, not '1000'"),
        ({"fill_at": "open"}, r"fill_at must be one of 'next_open', .* Did you mean 'next_open'\?"),
        ({"funding": "margin"}, "funding must be one of 'scale', 'reject', not 'margin'"),
        ({"limit_fill": "touched"}, r"limit_fill must be one of .* Did you mean 'touch'\?"),
        ({"commission": PercentCommission}, "commission takes an object, not a class"),
        ({"commission": 0.001}, "commission must be an object that can be called"),
        ({"slippage": 5}, "slippage must be an object that can be called"),
        ({"account": UnleveragedAccount}, r"account must be an object such as UnleveragedAccount"),
        ({"instruments": ["ES"]}, "instruments must be Instrument objects, not 'ES'"),
        ({"instruments": Instrument(asset_id="ES")}, "instruments takes a list"),
        ({"instruments": [Instrument(asset_id="ES")] * 2}, "instruments names 'ES' twice"),
        ({"fractional": "no"}, "fractional must be True or False, not 'no'"),
        ({"close_at_end": 1}, "close_at_end must be True or False, not 1"),
        ({"stale_after": 0}, "stale_after must be a whole number from 1, not 0"),
        ({"on_vanish": "sell"}, "on_vanish must be one of 'mark', 'close', not 'sell'"),
        ({"on_vanish": -1.0}, "on_vanish must be a positive, finite number, not -1.0"),
    ],
)
def test_broker_options(options: dict[str, Any], text: str) -> None:
    """Each names the option, what was given and what is allowed."""
    with pytest.raises(ConfigError, match=text):
        SimulationBroker(**options)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PercentCommission(5), r"rate is a fraction, 0.001 is ten basis points"),
        (lambda: PercentCommission(-0.1), "rate must be zero or positive"),
        (lambda: PerShareCommission(math.nan), "per_share must be zero or positive and finite"),
        (lambda: PerShareCommission(0.1, minimum=-1), "minimum must be zero or positive"),
        (lambda: BasisPointSlippage(-1), "bps must be 0 to 10,000, not -1"),
        (lambda: Instrument(asset_id="ES", multiplier=0), "'ES': multiplier must be positive"),
        (lambda: Instrument(asset_id="ES", lot_size=-1), "'ES': lot_size must be zero"),
    ],
)
def test_parts_of_a_broker(make: Any, text: str) -> None:
    """Costs and instruments that cannot be."""
    with pytest.raises(ConfigError, match=text):
        make()


class Buyer(Strategy):
    """Buys one on every bar."""

    def on_bars(self, bars):
        self.buy("A", 1)


@pytest.mark.parametrize("answer", [None, math.nan, -1.0, 0.0, "102"])
def test_a_slippage_that_answers_no_price(answer: Any) -> None:
    """The text names the function, the asset and the time; the partial result is there."""
    broker = SimulationBroker(slippage=lambda order, bar, quantity: answer)
    text = "must return a positive, finite price"
    with pytest.raises(
        ConfigError, match=f"slippage .* returned {answer!r} for 'A' at .*{text}"
    ) as caught:
        run(strategy=Buyer(), broker=broker)
    assert not caught.value.result.complete


@pytest.mark.parametrize("answer", [None, math.nan, "free"])
def test_a_commission_that_answers_no_money(answer: Any) -> None:
    """The same for a commission."""
    broker = SimulationBroker(commission=lambda *_: answer)
    with pytest.raises(ConfigError, match=f"commission .* returned {answer!r} for 'A' at"):
        run(strategy=Buyer(), broker=broker)


def test_what_was_held_when_a_commission_fails_is_worth_the_same_everywhere() -> None:
    """The error comes before the bar is marked; the partial result ends with that bar all the same.

    The laws, checked after every run, compare equity, trades and what is held.
    """

    class Once:
        calls = 0

        def __call__(self, *_: Any) -> float:
            self.calls += 1
            if self.calls > 1:
                raise ValueError("no price list")
            return 1.0

    class Twice(Strategy):
        def on_bars(self, bars):
            if bars.index in {0, 2}:
                self.buy("A", 10)

    engine = BacktestEngine(
        ten_bars(), strategy=Twice(), broker=SimulationBroker(commission=Once())
    )
    with pytest.raises(BacktestError, match="no price list") as caught:
        engine.run()
    assert caught.value.result is not None
    assert caught.value.result.equity.height == 4


def test_schedules() -> None:
    """Unknown rules, rules without a calendar, no function, and the wrong place."""

    class Timed(Strategy):
        def __init__(self, rule: Any, function: Any = print, *, late: bool = False) -> None:
            self.call = lambda: self.every(rule, function)
            self.late = late

        def on_start(self):
            if not self.late:
                self.call()

        def on_bars(self, bars):
            self.call()

    with pytest.raises(ConfigError, match=r"every\('month_end'\) needs a calendar"):
        run(strategy=Timed("month_end"))
    with pytest.raises(ConfigError, match="month_ends") as caught:
        run(strategy=Timed("month_ends"), calendar="24/7")
    assert "month_end" in str(caught.value)
    with pytest.raises(ConfigError, match="15:45"):
        run(strategy=Timed("15:45"), calendar="24/7")
    with pytest.raises(ConfigError, match="takes a function, not 5"):
        run(strategy=Timed(dt.timedelta(days=1), 5))
    with pytest.raises(ConfigError, match="belongs in on_start"):
        run(strategy=Timed(dt.timedelta(days=1), late=True))


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, 5, "0.1"])
def test_tolerances(tolerance: Any) -> None:
    """A tolerance is a fraction of equity."""

    class Tolerant(Strategy):
        def on_bars(self, bars):
            self.order_target("A", 1, tolerance=tolerance)

    with pytest.raises(OrderError, match=r"is refused: it is a fraction of equity, 0.05 is five"):
        run(strategy=Tolerant())


# -- strategies that raise -------------------------------------------------------------------


class Fails(Strategy):
    """Raises in one hook; trades before."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def fail(self, hook: str) -> None:
        if hook == self.hook:
            raise KeyError("ml_pred")

    def on_start(self):
        self.fail("on_start")

    def on_market_data(self, event):
        if event.timestamp == DAYS[4] and event.asset_id == "A01":
            self.fail("on_market_data")

    def on_bars(self, bars):
        self.buy("A00", 1)
        if bars.timestamp == DAYS[4]:
            self.fail("on_bars")

    def on_fill_event(self, fill):
        self.fail("on_fill_event")

    def on_order_event(self, order):
        self.fail("on_order_event")

    def on_end(self):
        self.fail("on_end")


@pytest.mark.parametrize(
    ("hook", "day", "asset_id", "steps", "fills"),
    [
        ("on_market_data", 4, "A01", 5, 4),
        ("on_bars", 4, None, 5, 4),
        ("on_fill_event", 1, "A00", 2, 1),
        ("on_order_event", 1, "A00", 2, 1),
        ("on_end", 9, None, 10, 9),
    ],
)
def test_a_strategy_that_raises(
    hook: str, day: int, asset_id: str | None, steps: int, fills: int
) -> None:
    """The error names strategy, hook, time and asset, and holds what had happened until then."""
    with pytest.raises(StrategyError) as caught:
        run(flat_market(2, sessions=10), Fails(hook))
    error = caught.value
    assert (error.hook, error.timestamp, error.asset_id) == (hook, DAYS[day], asset_id)
    where = f"Fails.{hook} at {DAYS[day]}" + (f" for {asset_id!r}" if asset_id else "")
    assert str(error) == f"{where} raised KeyError: 'ml_pred'"
    assert isinstance(error.__cause__, KeyError)
    assert not error.result.complete
    assert error.result.equity.height == steps
    assert error.result.fills.height == fills
    assert error.result.summary()


def test_a_strategy_that_raises_in_on_start() -> None:
    """Nothing had happened, so there is no result."""
    with pytest.raises(StrategyError, match=r"Fails.on_start raised KeyError: 'ml_pred'") as caught:
        run(strategy=Fails("on_start"))
    assert caught.value.result is None


def test_the_traceback_leads_to_the_line() -> None:
    """Whatever the error, the user's own line is in the traceback."""

    class Wrong(Strategy):
        def on_bars(self, bars):
            self.rebalance_to_weights({"A": math.nan})  # this very line

    with pytest.raises(OrderError) as caught:
        run(strategy=Wrong())
    assert "# this very line" in "".join(traceback.format_exception(caught.value))
    assert (caught.value.hook, caught.value.timestamp) == ("on_bars", DAYS[0])


def test_the_engine_can_run_again_after_an_error() -> None:
    """Nothing of the failed run is left."""
    strategy = Fails("on_bars")
    engine = BacktestEngine(flat_market(2, sessions=10), strategy=strategy)
    with pytest.raises(StrategyError):
        engine.run()
    strategy.hook = "none"
    result = engine.run()
    assert result.complete
    assert result.fills.height == 9


def test_an_interrupt_is_not_an_error_of_the_strategy() -> None:
    """Ctrl-C stays what it is, and unbinds the strategy."""

    class Long(Strategy):
        def on_bars(self, bars):
            raise KeyboardInterrupt

    strategy = Long()
    with pytest.raises(KeyboardInterrupt):
        run(strategy=strategy)
    with pytest.raises(OrderError, match="is not running"):
        strategy.get_cash()


# -- what the summary says about orders --------------------------------------------------------


def test_rejected_orders_are_counted_in_the_summary() -> None:
    """With their number, so that nobody overlooks them."""

    class Clumsy(Strategy):
        def on_bars(self, bars):
            self.buy("NOBODY", 1)
            self.buy("A", np.nan)

    result = run(strategy=Clumsy())
    assert result.orders["status"].to_list() == ["rejected"] * 20
    (line,) = [line for line in result.summary().splitlines() if "rejected" in line.lower()][:1]
    assert "20" in line


def test_files_that_are_not_there(tmp_path: Any) -> None:
    """The path is named."""
    for make in (ParquetDataFeed, CSVDataFeed):
        with pytest.raises((DataError, ConfigError), match="nowhere"):
            BacktestEngine(feed=make(tmp_path / "nowhere.parquet"), strategy=Idle()).run()


# -- found by using it -----------------------------------------------------------------------


def test_a_broker_or_strategy_is_in_one_run_at_a_time() -> None:
    """A run inside a run with the same broker would take its orders away."""
    broker = SimulationBroker()

    class Inner(Strategy):
        def on_bars(self, bars):
            pass

    class Outer(Strategy):
        def on_start(self):
            BacktestEngine(ten_bars(), strategy=Inner(), broker=broker).run()

        def on_bars(self, bars):
            pass

    class Again(Strategy):
        def on_start(self):
            BacktestEngine(ten_bars(), strategy=self).run()

        def on_bars(self, bars):
            pass

    with pytest.raises(ConfigError, match="This SimulationBroker is in a run already"):
        BacktestEngine(ten_bars(), strategy=Outer(), broker=broker).run()
    with pytest.raises(ConfigError, match="This Again is in a run already"):
        BacktestEngine(ten_bars(), strategy=Again()).run()
    assert not broker.is_running


@pytest.mark.parametrize(
    "part",
    [
        {"commission": lambda order, quantity, price, timestamp, instrument: 1 / 0},
        {"slippage": lambda order: 1.0},
    ],
)
def test_a_part_that_raises_leaves_a_partial_result(part: dict[str, Any]) -> None:
    """The error is one of ours, says when, keeps the original and what had happened."""

    class Buy(Strategy):
        def on_bars(self, bars):
            self.buy("A", 1)

    with pytest.raises(
        BacktestError, match=r"A commission, slippage, broker or feed raised"
    ) as caught:
        BacktestEngine(ten_bars(), strategy=Buy(), broker=SimulationBroker(**part)).run()
    assert caught.value.timestamp is not None
    assert caught.value.result.complete is False
    assert isinstance(caught.value.__cause__, ZeroDivisionError | TypeError)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_fill", "on_fill_event"),
        ("on_order", "on_order_event"),
        ("on_market_dat", "on_market_data"),
        ("on_ends", "on_end"),
    ],
)
def test_a_misspelt_hook_is_refused(name: str, meant: str) -> None:
    """A method that looks like a hook would never be called."""
    strategy = type(
        "Typo", (Strategy,), {"on_bars": lambda self, bars: None, name: lambda self, x: None}
    )()
    with pytest.raises(ConfigError, match=f"has a method {name}.*did you mean {meant}"):
        BacktestEngine(ten_bars(), strategy=strategy).run()


def test_a_class_where_an_object_belongs() -> None:
    """The text says what to write."""
    with pytest.raises(ConfigError, match=r"commission takes an object, not a class: write Perc"):
        SimulationBroker(commission=PercentCommission)  # type: ignore[arg-type]


def test_an_instrument_without_data_is_refused() -> None:
    """A multiplier under a misspelt name would be ignored."""
    broker = SimulationBroker(instruments=[Instrument(asset_id="AA", multiplier=50)])
    with pytest.raises(ConfigError, match=r"describes 'AA', but the data has no such.*mean 'A'"):
        BacktestEngine(ten_bars(), strategy=Idle(), broker=broker).run()


def test_a_run_that_cannot_start_leaves_nothing_behind() -> None:
    """Neither the broker nor the strategy is held by a run that never began."""
    broker, strategy = SimulationBroker(), Idle()
    with pytest.raises(ConfigError, match="progress must be"):
        BacktestEngine(ten_bars(), strategy=strategy, broker=broker, progress="x").run()  # type: ignore[arg-type]
    assert not broker.is_running
    assert not strategy.is_running
    with pytest.raises(OrderError, match="is not running"):
        strategy.get_cash()
    assert BacktestEngine(ten_bars(), strategy=strategy, broker=broker).run().complete


def test_a_method_that_only_begins_like_a_hook_is_the_users_own() -> None:
    """`on_end_of_month` is no misspelt `on_end`."""

    class Monthly(Idle):
        def on_end_of_month(self):
            """A function for a schedule."""

    assert BacktestEngine(ten_bars(), strategy=Monthly()).run().complete


def test_a_time_of_arrival_beside_prices_is_refused() -> None:
    """It counts in a table of predictions only."""
    prices = ten_bars().with_columns(score=0.5, available_at=pl.col("timestamp"))
    with pytest.raises(DataError, match=r"'available_at'.*with signals="):
        BacktestEngine(prices, strategy=Idle()).run()
