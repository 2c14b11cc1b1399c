"""Why this trade, or why none: what happened to one asset at one time, in sentences."""

from __future__ import annotations

import datetime as dt
import textwrap
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.results.record import normalised
from ml4t.backtest.results.summary import (
    BEFORE,
    OPEN_STATES,
    WIDTH,
    amounts,
    close_only,
    count,
    value_text,
)
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.results.result import BacktestResult

_FILLED_AT = {
    "open": "at the open",
    "close": "at the close",
    "limit": "at its limit",
    "stop": "at its stop",
}
_DONE = {"buy": "bought", "sell": "sold"}


class _Clock(msgspec.Struct, frozen=True):
    """How the run writes its times."""

    axis: TimeAxis

    def __call__(self, moment: dt.date | None) -> str:
        if moment is None:
            return BEFORE
        if self.axis.is_session or not isinstance(moment, dt.datetime):
            return f"{moment:%Y-%m-%d}"
        clock = "%H:%M:%S" if moment.second else "%H:%M"
        return moment.strftime(f"%Y-%m-%d {clock} %Z").strip()


class _Window(msgspec.Struct, frozen=True):
    """The bars that are asked about: from time `first` to time `last`, inclusive."""

    first: Any
    last: Any
    label: str
    is_session: bool
    is_first: bool
    show: _Clock

    def holds(self, column: str) -> pl.Expr:
        """Rows whose time lies inside."""
        return pl.col(column).is_between(self.first, self.last)

    def is_before(self) -> pl.Expr:
        """Orders from earlier bars, or from before the first one (which have no time)."""
        earlier: pl.Expr = pl.col("created_at") < self.first
        return earlier.fill_null(value=True)

    def when(self, moment: dt.date | None) -> str:
        """The time as a clause, where the label has not told it."""
        if moment is None:
            return f" {BEFORE}"
        return f" at {self.show(moment)}" if self.first != self.last else ""


def text(result: BacktestResult, asset_id: str, at: dt.datetime | dt.date | str) -> str:
    """See `BacktestResult.explain`."""
    _check_asset(result, asset_id)
    window = _window(result, at)
    mine = pl.col("asset_id") == asset_id
    orders, fills = result.orders.filter(mine), _worded_fills(result, asset_id).filter(mine)
    filled = fills.filter(window.holds("timestamp"))
    waiting = _waiting(orders, fills, window)
    told = [*filled["order_id"], *waiting["order_id"]]
    new = ~pl.col("order_id").is_in(told)
    early = orders.filter(pl.col("created_at").is_null(), new, pl.lit(window.is_first))
    decided = orders.filter(window.holds("created_at"))
    lines = [
        f"{asset_id}, {window.label}",
        _held(result, asset_id, window),
        *_action_lines(result, asset_id, window),
        *_fill_lines(filled, orders, window),
        *_waiting_lines(waiting, fills, window),
        *_order_lines(early, fills, window),
        *_order_lines(decided, fills, window),
    ]
    if decided.is_empty():
        lines += _why_nothing(result, orders, fills, window, [*told, *early["order_id"]])
    lines += _context_lines(result, window)
    return "\n".join(_wrapped(lines))


def _worded_fills(result: BacktestResult, asset_id: str) -> pl.DataFrame:
    """The fills, with words for reasons that mean something else where closes are all there is."""
    few, feeds = close_only(result, asset_id)
    if not few:
        return result.fills
    price = "close" if few == feeds else "open (the close, where prices are close-only)"
    return result.fills.with_columns(
        pl.when(pl.col("reason") == "open")
        .then(pl.lit(f"at the {price}"))
        .otherwise(pl.col("reason").str.replace(r" open$", f" {price}"))
        .alias("reason")
    )


def _wrapped(lines: list[str]) -> Iterator[str]:
    for line in lines:
        indent = "  " if line.startswith("  ") else ""
        yield from textwrap.wrap(
            line.strip(),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _check_asset(result: BacktestResult, asset_id: str) -> None:
    if not isinstance(asset_id, str):
        raise DataError(f"explain takes the name of an asset as text first, not {asset_id!r}.")
    known = {*result.record.asset_ids, *result.orders["asset_id"].unique()}
    if asset_id not in known:
        raise DataError(
            f"The run knows no asset {asset_id!r}. {did_you_mean(asset_id, sorted(known))}"
        )


# -- when --------------------------------------------------------------------------------------


def _axis(times: pl.Series) -> TimeAxis:
    zone = getattr(times.dtype, "time_zone", None)
    if times.dtype == pl.Date:
        return TimeAxis(is_session=True, is_date=True)
    clock = times.dt.replace_time_zone(None) if zone else times
    midnight = bool((clock.dt.time() == dt.time()).all())
    return TimeAxis(zone=zone, is_session=midnight)


def _window(result: BacktestResult, at: dt.datetime | dt.date | str) -> _Window:
    frame = normalised(result.record, "equity")
    times, sessions = frame["timestamp"], frame["session"]
    if times.is_empty():
        raise DataError("There is nothing to explain: the run ended before its first bar.")
    axis = _axis(times)
    asked = _parse(at)
    is_day = axis.is_session or not isinstance(asked, dt.datetime)
    keys, key = _days(sessions, asked) if is_day else _instants(times, axis, asked)
    stop = int(np.searchsorted(keys, key, side="right"))
    if stop == 0 or key >= keys[-1] + (1 if is_day else DAY_US):
        raise DataError(f"{at} lies outside the run, which covers {sessions[0]} to {sessions[-1]}.")
    start = int(np.searchsorted(keys, keys[stop - 1], side="left"))
    show = _Clock(axis)
    label = f"session {sessions[stop - 1]}" if is_day else f"bar {show(times[stop - 1])}"
    if keys[stop - 1] != key:
        label += f" (the last one before {at})"
    return _Window(times[start], times[stop - 1], label, is_day, start == 0, show)


def _days(sessions: pl.Series, asked: dt.date) -> tuple[np.ndarray, int]:
    day = asked.date() if isinstance(asked, dt.datetime) else asked
    return sessions.to_physical().to_numpy(), (day - dt.date(1970, 1, 1)).days


def _instants(times: pl.Series, axis: TimeAxis, asked: dt.date) -> tuple[np.ndarray, int]:
    assert isinstance(asked, dt.datetime)
    if axis.zone is None and asked.tzinfo is not None:
        raise DataError(
            f"{asked} has a time zone and the data's times have none. Leave the zone out."
        )
    if axis.zone is not None and asked.tzinfo is None:
        asked = asked.replace(tzinfo=ZoneInfo(axis.zone))
    us = times.cast(pl.Datetime("us", axis.zone)).to_physical().to_numpy()
    return us, axis.to_microseconds(asked)


def _parse(at: object) -> dt.datetime | dt.date:
    if isinstance(at, dt.date):
        return at
    if not isinstance(at, str):
        raise DataError(
            f"at={at!r} is not a date or time: explain takes a date, a datetime, or text such as "
            "'2020-03-02' or '2020-03-02T15:45'."
        )
    for kind in (dt.date, dt.datetime):
        try:
            return kind.fromisoformat(at)
        except ValueError:
            continue
    raise DataError(
        f"{at!r} is not a date or time. Write it like '2020-03-02' or '2020-03-02T15:45'."
    )


# -- what --------------------------------------------------------------------------------------


def _held(result: BacktestResult, asset_id: str, window: _Window) -> str:
    changes = result.positions.filter(pl.col("asset_id") == asset_id)
    before = changes.filter(pl.col("timestamp") < window.first)["quantity"]
    after = changes.filter(pl.col("timestamp") <= window.last)
    held = float(before[-1]) if len(before) else 0.0
    now = float(after["quantity"][-1]) if len(after) else 0.0
    if now == held == 0.0:
        return "The position was flat."
    cost = f" at an average cost of {_price(after['entry_price'][-1])}" if now else ""
    if now == held:
        return f"The position was {_units(now)}{cost}, unchanged."
    return f"The position went from {_units(held)} to {_units(now)}{cost}."


def _action_lines(result: BacktestResult, asset_id: str, window: _Window) -> Iterator[str]:
    """What happened to the holding without a trade."""
    named = (pl.col("asset_id") == asset_id) | (pl.col("new_asset_id") == asset_id)
    for row in result.adjustments.filter(window.holds("timestamp"), named).iter_rows(named=True):
        units = f"{row['ratio']:,.8g} new units for each old one"
        if row["kind"] == "split":
            yield f"A split gave {units}."
        else:
            rate = f", {units}" if row["ratio"] != 1.0 else ""
            yield f"{row['asset_id']} became {row['new_asset_id']}{rate}."
    flows = result.cashflows.filter(window.holds("timestamp"), pl.col("asset_id") == asset_id)
    for row in flows.iter_rows(named=True):
        verb = "received" if row["amount"] > 0 else "paid"
        kind = row["kind"].replace("_", " ")
        yield f"It {verb} {amounts(abs(row['amount']))[0]} ({kind})."


def _fill_lines(fills: pl.DataFrame, orders: pl.DataFrame, window: _Window) -> Iterator[str]:
    created = dict(orders.select("order_id", "created_at").iter_rows())
    for fill in fills.iter_rows(named=True):
        known = fill["order_id"] in created
        decided = f", decided {window.show(created[fill['order_id']])}," if known else ""
        when = f", {window.show(fill['timestamp'])}" if window.first != window.last else ""
        yield (
            f"Order {fill['order_id']}{decided} {_DONE[fill['side']]} {_units(fill['quantity'])} "
            f"at {_price(fill['price'])} ({_where(fill['reason'])}{when}); {_costs(fill)}."
        )


def _order_lines(orders: pl.DataFrame, fills: pl.DataFrame, window: _Window) -> Iterator[str]:
    for order in orders.iter_rows(named=True):
        when = window.when(order["created_at"])
        tag = f", tagged {order['tag']!r}" if order["tag"] else ""
        yield f"The strategy ordered{when}: {_order(order)} (order {order['order_id']}{tag})."
        yield f"  {_outcome(order, fills, window)}"
        if signals := _signals(order):
            yield f"  Signals at the decision: {signals}."


def _outcome(order: dict[str, Any], fills: pl.DataFrame, window: _Window) -> str:
    done = fills.filter(pl.col("order_id") == order["order_id"])
    status, why = order["status"], order["reason"]
    said = ""
    if len(done):
        last = done.row(-1, named=True)
        said = (
            f"It filled {_units(order['filled_quantity'])} at {_price(order['average_fill_price'])}"
            f", {window.show(last['timestamp'])} ({_where(last['reason'])})"
        )
        if status == "filled":
            return f"{said}."
    because = f": {why}" if why else ""
    if status in OPEN_STATES:
        return f"{said or 'It did not fill'} and was still open at the end of the run."
    rest = f"{said}; the rest was" if said else "It did not fill; it was"
    return f"{rest} {status}{because}."


def _why_nothing(
    result: BacktestResult,
    orders: pl.DataFrame,
    fills: pl.DataFrame,
    window: _Window,
    told: list[int],
) -> Iterator[str]:
    span = "in this session" if window.is_session else "at this bar"
    yield f"The strategy ordered nothing for this asset {span}."
    earlier = orders.filter(window.is_before())
    later = orders.filter(pl.col("created_at") > window.last)
    if len(earlier) and earlier["order_id"][-1] not in told:
        yield "Its last order before: " + _dated(earlier.row(-1, named=True), fills, window)
    if len(later):
        yield "Its next order: " + _dated(later.row(0, named=True), fills, window)
    if orders.is_empty():
        yield "Nor did it in the whole run."
    others = result.orders.filter(window.holds("created_at"))
    if len(others):
        yield f"It placed {count(len(others), 'order')} for other assets then."
    if any(c.startswith("signal_") for c in orders.columns):
        yield "A result keeps signals with orders only, so what they said then is not in it."


def _waiting(orders: pl.DataFrame, fills: pl.DataFrame, window: _Window) -> pl.DataFrame:
    """Older orders that were in the book for certain: filled later, or open at the very end."""
    later = fills.filter(pl.col("timestamp") > window.last)["order_id"]
    rests = pl.col("status").is_in(OPEN_STATES) | pl.col("order_id").is_in(later.implode())
    return orders.filter(window.is_before(), rests)


def _waiting_lines(waiting: pl.DataFrame, fills: pl.DataFrame, window: _Window) -> Iterator[str]:
    for order in waiting.iter_rows(named=True):
        created = order["created_at"]
        since = f"{'from' if created is None else 'of'} {window.show(created)}"
        yield f"Order {order['order_id']} {since} was waiting: {_order(order)}."
        yield f"  {_outcome(order, fills, window)}"


def _dated(order: dict[str, Any], fills: pl.DataFrame, window: _Window) -> str:
    return f"{window.show(order['created_at'])}, {_order(order)}. {_outcome(order, fills, window)}"


def _context_lines(result: BacktestResult, window: _Window) -> Iterator[str]:
    decisions = result.decisions
    if decisions.width < 2:  # noqa: PLR2004  timestamp and one name at least
        return
    then = decisions.filter(window.holds("timestamp"))
    for row in then.iter_rows(named=True):
        moment = row.pop("timestamp")
        when = window.when(moment)
        shown = ", ".join(f"{k} {value_text(v)}" for k, v in row.items() if v is not None)
        yield f"Context of the decisions{when}: {shown or 'nothing known'}."


# -- words -------------------------------------------------------------------------------------


def _order(order: dict[str, Any]) -> str:
    said = f"{order['side']} {_units(order['quantity'])}"
    if order["stop_price"] is not None:
        said += f", stop {_price(order['stop_price'])}"
    if order["limit_price"] is not None:
        said += f", limit {_price(order['limit_price'])}"
    if order["stop_price"] is None and order["limit_price"] is None:
        said += f", {order['type'].replace('_', '-')}"
    return f"{said}, {order['time_in_force']}"


def _signals(order: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.removeprefix('signal_')} {value_text(value)}"
        for name, value in order.items()
        if name.startswith("signal_") and value is not None
    )


def _where(reason: str) -> str:
    return _FILLED_AT.get(reason, reason or "no reason given")


def _costs(fill: dict[str, Any]) -> str:
    commission, slippage = amounts(fill["commission"], fill["slippage"])
    return f"commission {commission}, slippage {slippage}"


def _units(quantity: float | None) -> str:
    return "an unreadable quantity" if quantity is None else f"{quantity + 0.0:,.8g}"


def _price(price: float | None) -> str:
    return "n/a" if price is None else f"{price:,.8g}"
