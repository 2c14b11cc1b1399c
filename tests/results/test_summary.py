"""The page, the line and the table that people read."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, ParquetDataFeed, Strategy
from ml4t.backtest.results import summary
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.testing.markets import steady_market

if TYPE_CHECKING:
    from ml4t.backtest import MarketEvent
    from ml4t.backtest.results.record import RunRecord
    from tests.results.conftest import Simulate


def page(record: RunRecord, **changes: Any) -> str:
    """The summary as one run of words, so that a test need not know where lines break."""
    return " ".join(BacktestResult(record.replace(**changes)).summary().split())


def test_no_line_is_wider_than_a_terminal(record: RunRecord) -> None:
    """88 columns, however long parameters, names and reasons are."""
    settings = {
        **record.settings,
        "strategy": {"class": "S", "parameters": {f"parameter_{i}": i / 7 for i in range(30)}},
        "commission": {"class": "Tiered", "parameters": {f"tier_{i}": i / 3 for i in range(30)}},
    }
    orders = record.orders.with_columns(reason=pl.lit("a reason of several words " * 6))
    changed = record.replace(settings=settings, orders=orders)
    lines = BacktestResult(changed).summary().splitlines()
    assert max(map(len, lines)) <= 88
    assert all(line == line.rstrip() for line in lines)


def test_what_limits_trust_comes_first(result: BacktestResult) -> None:
    """Before any return is named, the reader knows what was assumed and what went wrong."""
    text = result.summary()
    trust, performance = text.index("How far to trust it"), text.index("total return")
    for said in ("commission", "orders", "ambiguous bars", "stale holdings", "signals taken"):
        assert trust < text.index(said) < performance


def test_orders_are_counted_with_their_reasons(record: RunRecord) -> None:
    """Rejected, clipped, expired and open orders, each with why."""
    text = page(record)
    assert "58 filled, 6 rejected, 3 clipped, 3 expired, 4 left open" in text
    assert "rejected 3 × no position; 3 × unknown asset" in text
    assert "clipped 3 × scaled: buying power; 0.00% of an order was filled on average" in text
    assert "expired 3 × day ended" in text
    assert "left open at the end of the run: A03" in text


def test_free_trading_is_said_loudly(simulate: Simulate) -> None:
    """No commission and no slippage are assumptions and not omissions."""
    text = page(simulate(rate=0.0, bps=0.0))
    assert "commission NONE: trading is assumed to be free of charge" in text
    assert "slippage NONE: fills are assumed to get the reference price" in text


def test_costs_that_are_not_stated_are_not_called_none(record: RunRecord) -> None:
    """A broker of the user's may charge without telling."""
    text = page(record, settings={})
    assert "commission not stated by the broker slippage not stated by the broker" in text
    assert "NONE" not in BacktestResult(record.replace(settings={}))._repr_html_()


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (None, "NONE"),
        ("none", "NONE"),
        ("NoCommission()", "NONE"),
        ({"class": "NoSlippage"}, "NONE"),
        ({"class": "PercentCommission", "rate": 0.001}, "PercentCommission(rate=0.001)"),
        ({"type": "Own", "parameters": {"a": 1}}, "Own(a=1)"),
        ("PerShareCommission(0.005)", "PerShareCommission(0.005)"),
    ],
)
def test_parts_of_the_broker(part: Any, shown: str) -> None:
    """A part is shown as it would be written."""
    assert summary.part_text(part) == shown


def test_same_close_fills_are_said_loudly(record: RunRecord) -> None:
    """Filling at the close a decision was made on is an assumption."""
    text = page(record, settings={**record.settings, "fill_at": "close"})
    assert "AT THE SAME CLOSE" in text
    counts = {"same_close_fills": 1_234}
    text = page(record, settings={**record.settings, "fill_at": "close"}, counts=counts)
    assert "assumes one can trade there (1,234 fills)" in text
    assert "AT THE SAME CLOSE" not in page(record)


def test_ambiguous_bars_and_stale_holdings(record: RunRecord) -> None:
    """How much is guesswork, and how much of equity stands at old prices."""
    assert "3 bars could have filled two resting orders in either sequence; the worst" in page(
        record
    )
    assert "ambiguous bars none" in page(record, counts={})
    when = dt.datetime(2020, 2, 3)
    stale = pl.DataFrame(
        {"timestamp": [when] * 2, "asset_id": ["A01", "A01"], "share_of_equity": [0.1, 0.125]}
    )
    said = "1 asset held without a bar for 5 sessions or more: A01; at most 12.50% of equity each"
    assert said in page(record, stale=stale)


def test_signals_are_named_with_their_gaps(record: RunRecord) -> None:
    """Which signals were taken, how often they were missing, how often they were too old."""
    text = page(record)
    assert "ml_pred on 90.83% of bars, missing on 44, expired on 9" in text
    assert "regime on every bar" in text
    assert "signals taken none" in page(record, signal_coverage=pl.DataFrame())
    aged = record.signal_coverage.with_columns(max_age=pl.lit(dt.timedelta(days=3)))
    assert "regime on every bar, up to 3 days old" in page(record, signal_coverage=aged)
    empty = record.signal_coverage.with_columns(bars=0, bars_with_value=0)
    assert "ml_pred on no bar" in page(record, signal_coverage=empty)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.5, "less than a second"), (1, "1 second"), (90, "1.5 minutes"), (259_200, "3 days")],
)
def test_ages(seconds: float, shown: str) -> None:
    """In the largest unit that is full."""
    assert summary.age_text(dt.timedelta(seconds=seconds)) == shown


def test_absent_reasons_and_names_do_not_hide_orders(record: RunRecord) -> None:
    """A recorder writes null where there is nothing to say."""
    orders = record.orders.with_columns(
        status=pl.lit("canceled"), reason=pl.lit(None, dtype=pl.String)
    )
    text = page(record, orders=orders, settings={})
    assert f"{len(orders)} canceled" in text
    assert f"canceled {len(orders)} × no reason given" in text
    assert text.startswith("strategy: 2020-01-01 to 2020-06-16")


def test_an_incomplete_run_says_so_everywhere(record: RunRecord) -> None:
    """Page, line and table of a run that ended in an error."""
    broken = BacktestResult(record.replace(complete=False))
    assert "INCOMPLETE: the run ended in an error" in broken.summary()
    assert "INCOMPLETE" in repr(broken)
    assert "INCOMPLETE" in broken._repr_html_()
    assert "INCOMPLETE" not in page(record)


def test_a_calm_run_has_a_calm_page(simulate: Simulate) -> None:
    """No drawdown, no trades, no costs: nothing is divided by nothing."""
    text = page(simulate(n_assets=1, n_sessions=3))
    assert "orders 0 placed" in text
    assert "max drawdown 0.00%" in text
    assert "hit rate" not in text


def test_financing_and_currency_are_shown_when_there_are_any(record: RunRecord) -> None:
    """Only then."""
    row = {"timestamp": record.equity["timestamp"][-1:], "asset_id": None, "kind": "interest"}
    flows = pl.DataFrame({**row, "amount": -12.5}, schema=record.cashflows.schema)
    text = page(record, cashflows=flows, settings={**record.settings, "currency": "EUR"})
    assert "financing -12.50" in text
    assert " EUR total return" in text
    assert "financing" not in page(record)


def test_unusual_assumptions_are_shown(record: RunRecord) -> None:
    """They are why two runs differ; the usual ones are not repeated on every page."""
    usual = {"intrabar": "worst", "limit_fill": "touch", "funding": "scale", "fractional": False}
    assert "chosen" not in page(record, settings={**record.settings, **usual})
    chosen = {"intrabar": "ohlc", "liquidity": "VolumeParticipation(share=0.1)"}
    text = page(record, settings={**record.settings, **usual, **chosen, "fractional": True})
    assert "chosen liquidity=VolumeParticipation(share=0.1), intrabar=ohlc, fractional=True" in text


def test_the_account_is_shown(record: RunRecord) -> None:
    """An account is an assumption too."""
    text = page(record, settings={**record.settings, "account": {"class": "DefaultAccount"}})
    assert "account DefaultAccount" in text


def test_timestamps_are_counted_where_they_are_not_sessions(simulate: Simulate) -> None:
    """Intraday runs have more bars than days."""
    hours = [dt.datetime(2020, 3, 2 + d, h) for d in range(3) for h in (10, 12, 14)]
    assert "3 sessions, 9 timestamps, 5 assets" in page(simulate(stamps=hours))


def test_many_reasons_and_assets_are_cut(record: RunRecord) -> None:
    """A page stays a page."""
    orders = record.orders.with_columns(
        status=pl.lit("rejected"), reason=pl.format("unknown asset 'X{}'", pl.col("order_id"))
    )
    assert f"and {len(orders) - 4} other reasons" in page(record, orders=orders)
    still_open = record.orders.with_columns(
        status=pl.lit("accepted"), asset_id=pl.format("X{}", pl.col("order_id"))
    )
    assert f"X5 and {len(orders) - 5} more" in page(record, orders=still_open)


def test_reasons_that_differ_in_numbers_are_one(record: RunRecord) -> None:
    """What was needed and what was there differ each time; the reason does not."""
    reason = pl.format(
        "unaffordable: needs 4{},672.20, buying power is -{}.5", "order_id", "order_id"
    )
    orders = record.orders.with_columns(status=pl.lit("rejected"), reason=reason)
    said = (
        f"rejected {len(orders)} \N{MULTIPLICATION SIGN} unaffordable: needs …, buying power is …"
    )
    text = page(record, orders=orders)
    assert f"{said} ambiguous bars" in text
    assert "needs 41,672.20, buying power is -1.5" in page(record, orders=orders.head(1))
    quoted = record.orders.with_columns(
        status=pl.lit("rejected"), reason=pl.format("unknown asset '{}'", pl.col("order_id") % 2)
    )
    assert "unknown asset '0'" in page(record, orders=quoted)


def test_amounts_on_a_line_have_one_precision(record: RunRecord) -> None:
    """Cents for all amounts that stand together, or for none."""
    assert summary.amounts(21_142.78, 8_457.18) == ["21,142.78", "8,457.18"]
    assert summary.amounts(21_142.78, 0.0) == ["21,143", "0"]
    assert summary.amounts(21_142.78, math.nan) == ["21,143", "n/a"]
    n = len(record.fills)
    fills = record.fills.with_columns(
        commission=pl.lit(8_457.18 / n), slippage=pl.lit(12_685.6 / n)
    )
    text = page(record, fills=fills)
    assert "costs 21,142.78, 21.14% of initial cash commission 8,457.18, slippage 12,685.60" in text


def test_orders_from_before_the_first_bar_are_counted(record: RunRecord) -> None:
    """They have no date, and the page says why."""
    early = pl.col("order_id") <= 2
    orders = record.orders.with_columns(created_at=pl.when(~early).then("created_at"))
    assert "left open; 2 of them before the first bar rejected" in page(record, orders=orders)
    assert "before the first bar" not in page(record)


def test_close_only_prices_are_said_loudly(record: RunRecord) -> None:
    """There is no open to fill at, and nothing is known between two closes."""
    closes = {"name": "prices", "price_column": "Close"}
    text = page(record, source={"feeds": [closes]})
    trust = text[text.index("How far to trust it") :]
    assert trust.startswith("How far to trust it prices CLOSE-ONLY: bars open, trade and close at")
    assert "market orders fill at the close of the asset's next bar orders" in text
    assert "at the open" not in text
    same = {**record.settings, "fill_at": "close"}
    assert "AT THE SAME CLOSE" in page(record, source={"feeds": [closes]}, settings=same)
    text = page(record, source={"feeds": [closes, {"name": "bars", "price_column": None}]})
    assert "CLOSE-ONLY in 1 of 2 feeds" in text
    assert "at the open of the asset's next bar, at its close where prices are close-only" in text
    assert "CLOSE-ONLY" not in page(record)


def test_a_close_only_run_says_so() -> None:
    """From the feed's option to the page and the explanation."""
    market = steady_market(sessions=4).select("timestamp", "asset_id", "close")
    feed = ParquetDataFeed(market, price_column="close")

    class Buy(Strategy):
        def on_market_data(self, event: MarketEvent) -> None:
            self.order_target(event.asset_id, 1)

    result = BacktestEngine(feed=feed, strategy=Buy()).run()
    assert "prices            CLOSE-ONLY: " in result.summary()
    assert "at the open" not in result.summary()
    fill = result.fills.row(0, named=True)
    assert "(at the close)" in " ".join(result.explain(fill["asset_id"], fill["timestamp"]).split())


@pytest.mark.parametrize(
    "columns",
    [
        [{"name": "note", "dtype": "String"}, {"name": "due", "dtype": "Date"}],
        {"note": "String", "due": "Date"},
    ],
)
def test_columns_that_were_left_out_are_named(record: RunRecord, columns: Any) -> None:
    """A prediction that is no number would otherwise be missed in silence."""
    feeds = [{"name": "a", "columns_left_out": columns}, {"name": "b", "columns_left_out": columns}]
    text = page(record, source={"feeds": feeds})
    said = "columns left out note (String), due (Date); the strategy did not see them periods"
    assert said in text
    assert "columns left out" not in page(record, source={"feeds": [{"columns_left_out": []}]})


def test_the_line_is_one_line(result: BacktestResult) -> None:
    """Strategy, span and the few figures people compare."""
    text = repr(result)
    assert text.startswith("<BacktestResult Rotation, 2020-01-01 to 2020-06-16: final equity ")
    assert "\n" not in text
    assert "Sharpe" in text


def test_the_table_is_escaped(record: RunRecord) -> None:
    """A name with markup in it is shown, not run."""
    settings = {"strategy": "<script>alert(1)</script>", "commission": "<b>"}
    text = BacktestResult(record.replace(settings=settings))._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567.891, "1,234,568"),
        (-9999.994, "-9,999.99"),
        (-0.004, "0.00"),
        (-0.0, "0.00"),
        (0.5, "0.50"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_money(value: float, shown: str) -> None:
    """Separators, and cents below ten thousand."""
    assert summary.money(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "+12.34%"),
        (-1.5, "-150.00%"),
        (-1e-9, "0.00%"),
        (12.0, "+1,200.00%"),
        (math.nan, "n/a"),
    ],
)
def test_percent(value: float, shown: str) -> None:
    """Fractions as percent, never a minus before a zero."""
    assert summary.percent(value, sign=True) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.005, "1.00"),
        (-0.001, "0.00"),
        (-0.5, "-0.50"),
        (math.inf, "infinite"),
        (-math.inf, "-infinite"),
        (math.nan, "n/a"),
    ],
)
def test_ratio(value: float, shown: str) -> None:
    """Two digits, or a word."""
    assert summary.ratio(value) == shown
