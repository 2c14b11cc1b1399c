"""Why a trade, or why none, in sentences."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ml4t.backtest.errors import DataError
from ml4t.backtest.results.result import BacktestResult
from tests.results.conftest import record_of

if TYPE_CHECKING:
    from ml4t.backtest.results.record import RunRecord
    from tests.results.conftest import Simulate


def words(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def first(result: BacktestResult, **wanted: str) -> dict[str, object]:
    """The first order with these values."""
    return result.orders.filter(*(pl.col(k) == v for k, v in wanted.items())).row(0, named=True)


def test_a_decision_names_order_outcome_signals_and_context(result: BacktestResult) -> None:
    """On the day of the decision: what was wanted, what came of it, what was known."""
    order = first(result, status="filled", asset_id="A01")
    fill = result.fills.filter(pl.col("order_id") == order["order_id"]).row(0, named=True)
    text = words(result.explain("A01", order["created_at"]))  # type: ignore[arg-type]
    quantity = f"{order['quantity']:,.8g}"
    assert f"The strategy ordered: {order['side']} {quantity}, market, gtc" in text
    assert f"It filled {quantity} at {fill['price']:.8g}, {fill['timestamp']:%Y-%m-%d}" in text
    assert "(at the open)" in text
    assert "regime calm" in text
    assert "Context of the decisions: VIX " in text


def test_the_next_session_shows_the_fill_and_its_costs(result: BacktestResult) -> None:
    """On the day of the fill: when it was decided, at what price and cost, what is held now."""
    fill = result.fills.row(0, named=True)
    decided = result.orders.filter(pl.col("order_id") == fill["order_id"])["created_at"][0]
    text = words(result.explain(fill["asset_id"], f"{fill['timestamp']:%Y-%m-%d}"))
    verb = {"buy": "bought", "sell": "sold"}[fill["side"]]
    assert (
        f"decided {decided:%Y-%m-%d}, {verb} {fill['quantity']:.8g} at {fill['price']:.8g}" in text
    )
    assert f"commission {fill['commission']:.2f}, slippage {fill['slippage']:.2f}" in text
    assert "The position went from 0 to " in text


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        ("A00", "It did not fill; it was rejected: unknown asset."),
        ("A01", "It did not fill; it was canceled: scaled: buying power."),
        ("A02", "It did not fill; it was expired: day ended."),
        ("A03", "It did not fill and was still open at the end of the run."),
    ],
)
def test_orders_that_came_to_nothing_say_why(result: BacktestResult, asset: str, said: str) -> None:
    """The reason of the order is the reason of the sentence."""
    assert said in words(result.explain(asset, "2020-01-08"))


def test_prices_and_tags_of_orders_are_told(result: BacktestResult) -> None:
    """A stop says its stop, a limit its limit, a tag comes back."""
    assert "sell 25, stop 2.25, gtc (order 6, tagged 'protect')" in result.explain(
        "A03", "2020-01-08"
    )
    assert "buy 40, limit 1.5, day" in result.explain("A02", "2020-01-08")


def test_an_order_filled_in_part(record: RunRecord) -> None:
    """What filled, and what became of the rest."""
    fill = record.fills.row(0, named=True)
    mine = pl.col("order_id") == fill["order_id"]
    orders = record.orders.with_columns(
        status=pl.when(mine).then(pl.lit("canceled")).otherwise("status"),
        reason=pl.when(mine).then(pl.lit("scaled: buying power")).otherwise("reason"),
    )
    result = BacktestResult(record.replace(orders=orders))
    when = orders.filter(mine)["created_at"][0]
    text = words(result.explain(fill["asset_id"], when))
    assert "(at the open); the rest was canceled: scaled: buying power." in text


def test_nothing_happened_and_the_neighbours_are_named(result: BacktestResult) -> None:
    """A quiet day of a traded asset: what is held, the orders around it."""
    quiet = "2020-03-05"
    text = words(result.explain("A01", quiet))
    assert "The strategy ordered nothing for this asset in this session." in text
    assert "Its last order before: 2020-03-04, buy 30, market, gtc." in text
    assert "Its next order: 2020-03-" in text
    assert "unchanged" in text
    assert "keeps signals with orders only" in text


def test_what_was_told_is_not_told_again(result: BacktestResult) -> None:
    """An order that filled on the asked day, or waits, is not also "the last order before"."""
    seen = 0
    for fill in result.fills.iter_rows(named=True):
        day = fill["timestamp"]
        text = words(result.explain(fill["asset_id"], day))
        orders = result.orders.filter(
            pl.col("asset_id") == fill["asset_id"], pl.col("created_at") < day
        )
        if orders["order_id"][-1] == fill["order_id"] and "ordered nothing" in text:
            assert "Its last order before" not in text
            seen += 1
    assert seen > 10
    waits = words(result.explain("A03", "2020-01-09"))
    assert "Order 6 of 2020-01-08 was waiting" in waits
    assert "Its last order before" not in waits


def _undated(record: RunRecord, *order_ids: int) -> BacktestResult:
    early = pl.col("order_id").is_in(order_ids)
    orders = record.orders.with_columns(created_at=pl.when(~early).then("created_at"))
    return BacktestResult(record.replace(orders=orders))


def test_orders_from_before_the_first_bar(record: RunRecord) -> None:
    """They have no time, and are told all the same: when they fill, wait, or come to nothing."""
    fill = record.fills.row(0, named=True)
    early = _undated(record, fill["order_id"])
    asset, day = fill["asset_id"], fill["timestamp"]
    assert "decided before the first bar, " in words(early.explain(asset, day))
    waits = words(early.explain(asset, "2020-01-01"))
    assert f"Order {fill['order_id']} from before the first bar was waiting: " in waits
    refused = BacktestResult(record).orders.filter(status="rejected", asset_id="A00")
    early = _undated(record, *refused["order_id"][:2])
    text = words(early.explain("A00", "2020-01-01"))
    assert text.count("The strategy ordered before the first bar: buy 50, market, gtc") == 2
    assert text.count("It did not fill; it was rejected: unknown asset.") == 2
    assert "Its last order before" not in text
    last = _undated(record, *record.orders["order_id"])
    said = "Its last order before: before the first bar, "
    assert said in words(last.explain("A01", "2020-06-16"))


def test_close_only_prices_have_no_open(record: RunRecord) -> None:
    """A fill at the only price of a bar is one at its close."""
    fill = record.fills.row(0, named=True)
    asset, day = fill["asset_id"], fill["timestamp"]
    closes, bars = {"name": "prices", "price_column": "Close"}, {"name": "bars"}

    def told(*feeds: dict[str, str], **changes: Any) -> str:
        changed = record.replace(source={"feeds": list(feeds)}, **changes)
        return words(BacktestResult(changed).explain(asset, day))

    assert "(at the open)" in told(bars)
    assert "(at the close)" in told(closes)
    assert "(at the open (the close, where prices are close-only))" in told(closes, bars)
    own = {"name": f"feeds[{asset!r}]", "price_column": "Close"}
    assert "(at the close)" in told(own, bars)
    stops = record.fills.with_columns(reason=pl.lit("stop at open"))
    assert "(stop at close)" in told(closes, fills=stops)


def test_a_waiting_order_is_named(result: BacktestResult) -> None:
    """A stop that rests in the book is why nothing else may have happened."""
    text = words(result.explain("A03", "2020-01-10"))
    assert "Order 6 of 2020-01-08 was waiting: sell 25, stop 2.25, gtc." in text


def test_an_asset_that_was_never_ordered(result: BacktestResult) -> None:
    """Known to the run, untouched by the strategy, while others were traded."""
    text = words(result.explain("QUIET", "2020-01-08"))
    assert "The position was flat." in text
    assert "Nor did it in the whole run." in text
    assert "It placed 5 orders for other assets then." in text


def test_an_unknown_asset_is_refused_with_the_nearest(result: BacktestResult) -> None:
    """A typing error is not an asset without orders."""
    with pytest.raises(DataError, match=r"no asset 'QUIT'\. Did you mean 'QUIET'\?"):
        result.explain("QUIT", "2020-01-08")


@pytest.mark.parametrize("at", ["2019-12-31", "2020-06-17", dt.date(2035, 1, 1)])
def test_times_outside_the_run_are_refused(result: BacktestResult, at: str | dt.date) -> None:
    """The text says what the run covers."""
    with pytest.raises(DataError, match="outside the run, which covers 2020-01-01 to 2020-06-16"):
        result.explain("A00", at)


def test_a_text_that_is_no_time_is_refused(result: BacktestResult) -> None:
    """With an example of one that is."""
    with pytest.raises(DataError, match=r"'last week' is not a date or time\. Write it like"):
        result.explain("A00", "last week")


@pytest.mark.parametrize("at", [5, 20200302, None, 1.5, ["2020-01-08"]])
def test_what_is_no_time_at_all_is_refused(result: BacktestResult, at: Any) -> None:
    """With what is accepted, and not with an error from deep inside."""
    with pytest.raises(DataError, match=r"takes a date, a datetime, or text such as '2020-03-02'"):
        result.explain("A00", at)


@pytest.mark.parametrize("asset", [None, 5, ["A00"]])
def test_what_is_no_name_is_refused(result: BacktestResult, asset: Any) -> None:
    """An asset is asked for by its name."""
    with pytest.raises(DataError, match="takes the name of an asset as text first"):
        result.explain(asset, "2020-01-08")


def test_a_run_without_bars_has_nothing_to_explain() -> None:
    """An error before the first bar leaves nothing."""
    with pytest.raises(DataError, match="ended before its first bar"):
        BacktestResult(record_of({}, asset_ids=["A"])).explain("A", "2020-01-01")


def test_a_day_without_session_shows_the_one_before(result: BacktestResult) -> None:
    """A Sunday is answered with Friday, and says so."""
    expected = "A00, session 2020-01-31 (the last one before 2020-02-02)"
    for at in ("2020-02-02", dt.date(2020, 2, 2), dt.datetime(2020, 2, 2, 15)):
        assert result.explain("A00", at).startswith(expected[:44])


def _intraday(simulate: Simulate, zone: str | None) -> BacktestResult:
    hours = [dt.datetime(2020, 3, d, h, 30) for d in (2, 3, 4, 5) for h in range(9, 16)]
    times = pl.Datetime("us", zone)
    stamps = pl.Series(hours).dt.replace_time_zone(zone).to_list()
    return BacktestResult(simulate(stamps=stamps, times=times, n_assets=4))


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_intraday_times_mean_the_bar_at_or_before(simulate: Simulate, zone: str | None) -> None:
    """A time without a zone is read on the data's clock; between bars the last one is meant."""
    result = _intraday(simulate, zone)
    shown = "2020-03-02 14:30" if zone is None else f"2020-03-02 14:30 {_short(zone)}"
    assert result.explain("A00", "2020-03-02T14:30").startswith(f"A00, bar {shown}\n")
    between = result.explain("A00", dt.datetime(2020, 3, 2, 15, 29))
    assert between.startswith(f"A00, bar {shown} (the last one before 2020-03-02 15:29:00)")
    assert "ordered" in result.explain("A00", "2020-03-02T14:30")


def _short(zone: str) -> str:
    return dt.datetime(2020, 3, 2, tzinfo=ZoneInfo(zone)).strftime("%Z")


def test_a_date_means_the_whole_session(simulate: Simulate) -> None:
    """All orders and fills of that day, each with its time."""
    result = _intraday(simulate, None)
    text = result.explain("A00", "2020-03-02")
    assert text.startswith("A00, session 2020-03-02\n")
    decided = result.orders.filter(
        pl.col("asset_id") == "A00", pl.col("created_at").dt.date() == dt.date(2020, 3, 2)
    )
    assert text.count("The strategy ordered at 2020-03-02 ") == len(decided) > 0


def test_zones_are_compared_as_instants(simulate: Simulate) -> None:
    """A time in another zone finds its bar; a zone on data without one is refused."""
    zoned = _intraday(simulate, "America/New_York")
    noon = dt.datetime(2020, 3, 2, 19, 30, tzinfo=dt.UTC)
    assert zoned.explain("A00", noon).startswith("A00, bar 2020-03-02 14:30 EST\n")
    with pytest.raises(DataError, match=r"has a time zone and the data's times have none"):
        _intraday(simulate, None).explain("A00", noon)


def test_dates_as_times(simulate: Simulate) -> None:
    """Data whose times are dates is asked by date."""
    days = [dt.date(2020, 1, 6) + dt.timedelta(days=i) for i in range(30)]
    result = BacktestResult(simulate(stamps=days, times=pl.Date()))
    order = first(result, status="filled")
    text = result.explain(str(order["asset_id"]), dt.datetime(2020, 1, 11, 12))
    assert text.startswith(f"{order['asset_id']}, session 2020-01-11\n")
    assert "It filled" in words(result.explain(str(order["asset_id"]), str(order["created_at"])))


def test_a_run_without_signals_or_context(record: RunRecord) -> None:
    """Then nothing is said of them."""
    orders = record.orders.drop("signal_ml_pred", "signal_regime")
    decisions = record.decisions.select("timestamp")
    bare = BacktestResult(record.replace(orders=orders, decisions=decisions))
    for at in ("2020-01-08", "2020-03-05"):
        text = bare.explain("A01", at).lower()
        assert "signal" not in text
        assert "context" not in text


def test_an_order_whose_quantity_was_no_number(record: RunRecord) -> None:
    """NaN shares were asked for: the order is rejected, and can still be talked about."""
    orders = record.orders.with_columns(quantity=pl.lit(float("nan")), status=pl.lit("rejected"))
    result = BacktestResult(record.replace(orders=orders))
    assert "buy an unreadable quantity, market, gtc" in result.explain("A00", "2020-01-08")


def test_no_line_is_wide(result: BacktestResult) -> None:
    """Explanations fit a terminal."""
    for day in result.returns["session"].to_list()[:40]:
        for asset in ("A00", "A01", "A02", "A03"):
            assert max(map(len, result.explain(asset, day).splitlines())) <= 88
