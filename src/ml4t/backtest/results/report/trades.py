"""Sections about trades: distributions, a table with explanations, and what each asset brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.errors import DataError
from ml4t.backtest.results.charts import activity
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import (
    Column,
    missing,
    number,
    paragraph,
    scrolling,
    table,
    text,
    when,
)
from ml4t.backtest.results.summary import count, percent

if TYPE_CHECKING:
    import datetime as dt

    from ml4t.backtest.results.report.draft import Draft
    from ml4t.backtest.results.result import BacktestResult

GAINS, LOSSES, LATEST = 100, 100, 100
_ASSETS = 100
_COLUMNS = (
    ("#", "number"),
    ("Asset", "text"),
    ("Side", "text"),
    ("Entry", "time"),
    ("Exit", "time"),
    ("Quantity", "number"),
    ("Entry price", "number"),
    ("Exit price", "number"),
    ("P&L", "number"),
    ("Return", "number"),
    ("Bars", "number"),
    ("MFE", "number"),
    ("MAE", "number"),
    ("Exit reason", "words"),
)


def chosen(trades: pl.DataFrame) -> pl.DataFrame:
    """The trades to list: the largest gains, the largest losses and the latest.

    Args:
        trades: As of a result.
    """
    if len(trades) <= GAINS + LOSSES + LATEST:
        return trades
    known = trades.drop_nulls("pnl").sort("pnl", "trade_id")
    ids = [
        *known["trade_id"].head(LOSSES),
        *known["trade_id"].tail(GAINS),
        *trades["trade_id"].tail(LATEST),
    ]
    return trades.filter(pl.col("trade_id").is_in(ids))


def trades(draft: Draft) -> Section:
    """Distributions and the table."""
    frame = draft.result.trades
    title = "Trades"
    if frame.is_empty():
        return Section("trades", title, "Trades", missing("Not shown:", "the run had no trades."))
    shown = chosen(frame)
    draft.data("explanations", explanations(draft.result, shown))
    panels = (
        draft.figure(f"trades-{i}", activity.trade_panel(frame, name))
        for i, name in enumerate(activity.PANELS)
    )
    charts = f'<div class="pair">{"".join(panels)}</div>'
    return Section("trades", title, "Trades", charts + "<h3>One by one</h3>" + _list(frame, shown))


def explanations(result: BacktestResult, trades: pl.DataFrame) -> dict[str, Any]:
    """What `explain` says of entries and exits, each text once.

    Args:
        result: The run.
        trades: Some of its trades.

    Returns:
        `texts`, and for the id of each `trades` the places of its texts: entry, then exit.
    """
    places: dict[tuple[str, Any], int] = {}
    texts: list[str] = []
    found: dict[str, list[int]] = {}
    columns = ("trade_id", "asset_id", "entry_time", "exit_time")
    for trade_id, asset_id, *times in trades.select(columns).iter_rows():
        own = found.setdefault(str(trade_id), [])
        for at in times:
            if at is None:
                continue
            if (asset_id, at) not in places:
                places[asset_id, at] = len(texts)
                texts.append(_explained(result, asset_id, at))
            own.append(places[asset_id, at])
    return {"texts": texts, "trades": found}


def _explained(result: BacktestResult, asset_id: str, at: dt.date) -> str:
    try:
        return result.explain(asset_id, at)
    except DataError as error:  # a trade that went on under another name may outlive this one
        return str(error)


def _list(frame: pl.DataFrame, shown: pl.DataFrame) -> str:
    words = f"All {len(frame):,} trades."
    if len(shown) < len(frame):
        words = (
            f"{len(shown):,} of {len(frame):,} trades: the {GAINS} largest gains, the {LOSSES} "
            f"largest losses and the latest {LATEST}. result.trades has all of them."
        )
    words += " Open a trade to read why it was entered and left; a column's name sorts by it."
    heads = "".join(
        f'<th scope="col" class="{kind}" aria-sort="none"><button type="button">{text(name)}'
        "</button></th>"
        for name, kind in _COLUMNS
    )
    rows = "".join(_row(trade) for trade in shown.iter_rows(named=True))
    controls = (
        '<div class="controls" hidden>'
        '<label>Find <input type="search" id="trade-find" placeholder="asset, reason" '
        'autocomplete="off"></label>'
        '<label>Side <select id="trade-side"><option value="">all</option><option>long</option>'
        "<option>short</option></select></label>"
        '<label>Outcome <select id="trade-outcome"><option value="">all</option>'
        "<option>gain</option><option>loss</option><option>open</option></select></label>"
        f'<output id="trade-count">{count(len(shown), "trade")}</output></div>'
    )
    inner = (
        '<table class="sortable" id="trade-table"><caption>Trades</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
    more = '<p class="print-only">Printed: the first 40 rows.</p>' if len(shown) > 40 else ""  # noqa: PLR2004
    return paragraph(words) + controls + scrolling("Trades, one by one", inner, "tall") + more


def _row(trade: dict[str, Any]) -> str:
    pnl = trade["pnl"]
    outcome = "open" if trade["status"] == "open" else "gain" if (pnl or 0.0) > 0.0 else "loss"
    cells: list[tuple[str, Any]] = [
        (text(trade["asset_id"]), trade["asset_id"]),
        (trade["side"], trade["side"]),
        (when(trade["entry_time"]), trade["entry_time"]),
        (when(trade["exit_time"]) or "open", trade["exit_time"]),
        (number(trade["quantity"], ",.6g"), trade["quantity"]),
        (number(trade["entry_price"], ",.6g"), trade["entry_price"]),
        (number(trade["exit_price"], ",.6g"), trade["exit_price"]),
        (number(pnl), pnl),
        (_share(trade["return_pct"], sign=True), trade["return_pct"]),
        (number(trade["bars_held"], ",.0f"), trade["bars_held"]),
        (_share(trade["mfe"]), trade["mfe"]),
        (_share(trade["mae"]), trade["mae"]),
        (text(trade["exit_reason"] or ""), trade["exit_reason"]),
    ]
    trade_id = trade["trade_id"]
    first = (
        f'<th scope="row" class="number" data-value="{trade_id}"><button type="button" '
        f'aria-expanded="false" aria-label="Explain trade {trade_id}">{trade_id}</button></th>'
    )
    others = "".join(
        f'<td class="{kind} {outcome if name == "P&L" else ""}"{_value(kind, value)}>{shown}</td>'
        for (shown, value), (name, kind) in zip(cells, _COLUMNS[1:], strict=True)
    )
    side = text(trade["side"])
    attributes = f'data-trade="{trade_id}" data-side="{side}" data-outcome="{outcome}"'
    return f"<tr {attributes}>{first}{others}</tr>"


def _value(kind: str, value: Any) -> str:
    if kind != "number":
        return ""
    return f' data-value="{"" if value is None else repr(float(value))}"'


def _share(value: float | None, *, sign: bool = False) -> str:
    return "" if value is None else percent(value, sign=sign)


def assets(draft: Draft) -> Section:
    """What each asset contributed."""
    title = "Contribution by asset"
    frame = draft.result.by_asset().sort("pnl", descending=True)
    if frame.is_empty():
        return Section("assets", title, "Assets", missing("Not shown:", "the run had no trades."))
    figure = draft.figure("assets", activity.assets(frame))
    shown = frame
    words = "The sum of all rows is the gain of the run."
    if len(frame) > _ASSETS:
        shown = pl.concat([frame.head(_ASSETS // 2), frame.tail(_ASSETS // 2)])
        words = f"The {_ASSETS // 2} best and the {_ASSETS // 2} worst of {len(frame):,} rows."
    numbers = ("Trades", "Open", "P&L", "Share", "Commission", "Slippage", "Financing", "Hit rate")
    columns = [Column("Asset", is_number=False), *map(Column, numbers)]
    rows = [
        [
            "no asset" if row["asset_id"] is None else row["asset_id"],
            *(number(row[name], ",.0f") for name in ("trades", "open_trades")),
            number(row["pnl"]),
            _share(row["share"]),
            *(number(row[name]) for name in ("commission", "slippage", "financing")),
            _share(row["hit_rate"]),
        ]
        for row in shown.iter_rows(named=True)
    ]
    listed = table("Contribution by asset", columns, rows)
    return Section("assets", title, "Assets", f"{figure}{paragraph(words)}{listed}")
