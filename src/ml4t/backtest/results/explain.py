"""Why this trade, or why none: what happened to one asset at one time, in sentences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import polars as pl

from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.results.explain_market import look, loss_lines, market_lines
from ml4t.backtest.results.explain_orders import Book
from ml4t.backtest.results.explain_window import window_of
from ml4t.backtest.results.explain_words import price_text, units_text
from ml4t.backtest.results.summary import WIDTH, amounts, value_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from ml4t.backtest.results.explain_market import Seen
    from ml4t.backtest.results.explain_window import Window
    from ml4t.backtest.results.market import Market
    from ml4t.backtest.results.result import BacktestResult


def text(
    result: BacktestResult, market: Market, asset_id: str, at: dt.datetime | dt.date | str
) -> str:
    """See `BacktestResult.explain`."""
    _check_asset(result, asset_id)
    window = window_of(result, at)
    seen, book = look(market, asset_id, window), Book(result, asset_id, window)
    lines = [
        f"{asset_id}, {window.label}",
        *market_lines(seen, window),
        *_context_lines(result, market, seen, window),
        _held(result, asset_id, window),
        *_action_lines(result, asset_id, window),
        *book.lines(seen),
        *loss_lines(seen, has_signals=book.has_signals),
    ]
    return "\n".join(_wrapped(lines))


def _wrapped(lines: list[str]) -> Iterator[str]:
    for line in lines:
        words = line.lstrip()
        indent = " " * (len(line) - len(words))
        yield from textwrap.wrap(
            words,
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


def _context_lines(
    result: BacktestResult, market: Market, seen: Seen, window: Window
) -> Iterator[str]:
    """The context of the decisions as the result keeps it; where there were none, read again."""
    decisions = result.decisions.drop("timestamp")
    then = result.decisions.filter(window.holds("timestamp"))
    if decisions.width:
        for row in then.iter_rows(named=True):
            when = window.when(row.pop("timestamp"))
            yield f"Context of the decisions{when}: {_values(row)}."
    if then.height:
        return
    if seen.context is not None:
        when = "" if window.first == window.last else f" at {window.show(window.last)}"
        yield f"Context{when}: {_values(seen.context)}."
    elif seen.loss is None and (why := market.lost_context()) is not None:
        yield f"Its context is gone ({why}): a result keeps it with decisions only."


def _values(row: dict[str, object]) -> str:
    shown = (f"{name} {value_text(value)}" for name, value in row.items() if value is not None)
    return ", ".join(shown) or "nothing known"


def _held(result: BacktestResult, asset_id: str, window: Window) -> str:
    changes = result.positions.filter(pl.col("asset_id") == asset_id)
    before = changes.filter(pl.col("timestamp") < window.first)["quantity"]
    after = changes.filter(pl.col("timestamp") <= window.last)
    held = float(before[-1]) if len(before) else 0.0
    now = float(after["quantity"][-1]) if len(after) else 0.0
    if now == held == 0.0:
        return "The position was flat."
    cost = f" at an average cost of {price_text(after['entry_price'][-1])}" if now else ""
    if now == held:
        return f"The position was {units_text(now)}{cost}, unchanged."
    return f"The position went from {units_text(held)} to {units_text(now)}{cost}."


def _action_lines(result: BacktestResult, asset_id: str, window: Window) -> Iterator[str]:
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
