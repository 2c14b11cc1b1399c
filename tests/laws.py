"""What is true of every run, whatever the strategy: the laws.

Written against the frames of a result and, where the run's data is a table in memory, against that
table; nothing here asks the product to work anything out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import polars as pl

OPEN = frozenset({"pending", "accepted", "partially_filled"})
FINAL = frozenset({"filled", "canceled", "rejected", "expired"})
# Fills without a bar of their own: at the last close, or at a price the user gave.
FORCED = frozenset({"bankrupt", "end", "vanished", "delisted", "renamed"})
# Relative room for sums that were taken in another order.
NOISE = 1e-9
_CELLS = 20_000_000
_DAY_US = 86_400_000_000
_SPELLINGS = {
    "timestamp": ("timestamp", "datetime", "date", "time"),
    "asset_id": ("asset_id", "asset", "symbol", "ticker"),
    **{name: (name,) for name in ("open", "high", "low", "close")},
}


def lawful(run: Callable[[Any], Any], checked: list[Any]) -> Callable[[Any], Any]:
    """`BacktestEngine.run`, followed by the laws; also when it ends in an error.

    Args:
        run: The method as it is.
        checked: Receives every result that was checked.
    """

    @wraps(run)
    def run_and_check(engine: Any) -> Any:
        try:
            result = run(engine)
        except Exception as error:
            partial = getattr(error, "result", None)
            if partial is not None:
                check(partial, bars=bars_of(engine, partial), staged=staged_in(engine))
                checked.append(partial)
            raise
        check(result, bars=bars_of(engine, result), staged=staged_in(engine))
        checked.append(result)
        return result

    return run_and_check


def staged_in(engine: Any) -> int:
    """How many orders were given before the first bar: to the broker, or in `on_start`."""
    return sum(step < 0 for step in engine.broker.blotter.steps)


def check(result: Any, *, bars: pl.DataFrame | None = None, staged: int = 0) -> None:
    """Fail with the law that a result breaks.

    Args:
        result: A `BacktestResult`.
        bars: The run's bars, if they are at hand: timestamp, asset_id, open, high, low, close.
        staged: Orders that were submitted before the run.
    """
    record = result.record
    fills = record.fills.with_columns(
        signed=pl.when(pl.col("side") == "buy").then("quantity").otherwise(-pl.col("quantity"))
    )
    scale = max(abs(record.initial_cash), float(record.equity["equity"].abs().max() or 0.0))
    check_time(record, fills)
    check_orders(result.orders, fills, record.adjustments)
    check_decided_before(result, fills, staged)
    check_cash(record, fills, scale)
    check_positions(fills, record.adjustments, record.marks)
    check_adjustments(record)
    check_profit(result, scale)
    check_figures(result)
    if bars is not None:
        check_references(fills, bars)
        check_worth(record, fills, bars, scale)


def near(one: Any, other: Any, scale: float) -> bool:
    """Whether two columns agree, to a billionth of `scale`."""
    gap = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    return bool(np.all(gap <= NOISE * scale))


def check_time(record: Any, fills: pl.DataFrame) -> None:
    """Time goes forward; fills happen at timestamps of the run, in order."""
    times = record.equity["timestamp"]
    assert times.is_unique().all()
    assert times.is_sorted(), "equity is in order of time"
    assert fills["timestamp"].is_sorted(), "fills are in order of time"
    assert fills["timestamp"].is_in(times.implode()).all(), "fills are at timestamps of the run"
    assert fills["fill_id"].to_list() == list(range(1, fills.height + 1))


def check_orders(orders: pl.DataFrame, fills: pl.DataFrame, adjustments: pl.DataFrame) -> None:
    """Every order is in one state; what did not fill says why; its fills add up.

    An order is told in the terms of its end: units filled before a split are worth more of them.
    """
    assert orders["order_id"].to_list() == list(range(1, orders.height + 1)), "one row an order"
    strange = set(orders["status"]) - OPEN - FINAL
    assert not strange, f"states {strange}"
    final = pl.col("status").is_in(list(FINAL))
    mute = orders.filter(
        final & (pl.col("status") != "filled") & (pl.col("reason").fill_null("") == "")
    )
    assert mute.is_empty(), f"ended without a reason: {mute}"
    fills = _in_last_terms(fills, adjustments)
    sums = fills.group_by("order_id").agg(
        pl.col("quantity").sum().alias("sum"),
        (pl.col("quantity") * pl.col("price")).sum().alias("paid"),
        pl.col("asset_id").unique().alias("assets"),
        pl.col("side").unique().alias("sides"),
    )
    assert set(sums["order_id"]) <= set(orders["order_id"]), "fills belong to orders"
    joined = orders.join(sums, on="order_id", how="left").with_columns(pl.col("sum").fill_null(0.0))
    filled, asked = joined["filled_quantity"].to_numpy(), joined["quantity"].to_numpy()
    room = NOISE * np.nan_to_num(np.abs(asked))
    assert (np.abs(filled - joined["sum"].to_numpy()) <= room).all(), "the sum of an order's fills"
    assert not (filled > np.fmax(asked, 0.0) + room).any(), "no order fills more than it asked for"
    whole = joined.filter(pl.col("status") == "filled")
    assert (whole["filled_quantity"] >= whole["quantity"] * (1 - NOISE)).all(), "filled whole"
    assert (joined.filter(pl.col("status") == "rejected")["filled_quantity"] == 0.0).all()
    traded = joined.filter(pl.col("sum") > 0.0)
    assert (traded["assets"].list.len() == 1).all()
    assert (traded["assets"].list.first() == traded["asset_id"]).all(), "the asset of the order"
    assert (traded["sides"].list.first() == traded["side"]).all(), "the side of the order"
    average, told = traded["paid"] / traded["sum"], traded["average_fill_price"]
    assert ((told - average).abs() <= NOISE * average.abs()).all(), "the average price"


def _in_last_terms(fills: pl.DataFrame, adjustments: pl.DataFrame) -> pl.DataFrame:
    """Fills in the terms of their order's last fill."""
    if adjustments.is_empty():
        return fills
    last = dict(fills.group_by("order_id").agg(pl.col("fill_id").max()).iter_rows())
    rows = []
    for row in fills.iter_rows(named=True):
        for change in adjustments.iter_rows(named=True):
            between = row["fill_id"] <= change["fill_id"] < last[row["order_id"]]
            if between and change["asset_id"] == row["asset_id"]:
                row["quantity"] *= change["ratio"]
                row["price"] /= change["ratio"]
                row["asset_id"] = change["new_asset_id"]
        rows.append(row)
    return pl.DataFrame(rows, schema=fills.schema)


def check_adjustments(record: Any) -> None:
    """What an adjustment leaves over is less than it was, and is paid for."""
    paid = record.cashflows.filter(kind="cash_in_lieu")
    held = record.adjustments.filter(pl.col("quantity_before") != 0.0)
    units = held["quantity_before"] * held["ratio"]
    rest = units - held["quantity"]
    has_rest = rest.abs() > NOISE * units.abs()
    assert (held["quantity"].abs() <= units.abs() * (1 + NOISE)).all(), "no unit from nowhere"
    assert (held["quantity"] * held["quantity_before"] >= 0.0).all(), "a long stays long"
    assert int(has_rest.sum()) == paid.height, "every fraction is paid in cash, once"
    assert (paid["amount"].sign() == rest.filter(has_rest).sign()).all(), "shorts pay"


def check_decided_before(result: Any, fills: pl.DataFrame, staged: int) -> None:
    """No fill before its decision, none at it except at the same close."""
    joined = fills.join(result.orders.select("order_id", "created_at"), on="order_id")
    assert joined.filter(pl.col("timestamp") < pl.col("created_at")).is_empty(), "before decided"
    at_once = joined.filter(
        (pl.col("timestamp") == pl.col("created_at"))
        & ~pl.col("reason").is_in(list(FORCED))
        & (pl.col("order_id") > staged)
    )
    if result.settings.get("fill_at") == "close":
        at_once = at_once.filter(~pl.col("reason").str.ends_with("close"))
    assert at_once.is_empty(), f"filled at the time of the decision: {at_once}"


def check_cash(record: Any, fills: pl.DataFrame, scale: float) -> None:
    """Cash moves by fills, their costs and financing, and by nothing else."""
    paid = pl.col("signed") * pl.col("price") * pl.col("multiplier") + pl.col("commission")
    by_time = fills.group_by("timestamp").agg(paid.sum().alias("paid"))
    flows = record.cashflows.group_by("timestamp").agg(pl.col("amount").sum())
    frame = record.equity.join(by_time, on="timestamp", how="left", maintain_order="left").join(
        flows, on="timestamp", how="left", maintain_order="left"
    )
    moved = (frame["amount"].fill_null(0.0) - frame["paid"].fill_null(0.0)).cum_sum().to_numpy()
    cash = frame["cash"].to_numpy()
    assert near(cash, record.initial_cash + moved, scale), "cash moves by fills, costs, cashflows"
    assert flows["timestamp"].is_in(frame["timestamp"].implode()).all(), "flows are at timestamps"
    assert near(frame["equity"], frame["cash"] + frame["net_exposure"], scale)
    assert (frame["gross_exposure"] >= frame["net_exposure"].abs() - NOISE * scale).all()


def check_positions(fills: pl.DataFrame, adjustments: pl.DataFrame, marks: pl.DataFrame) -> None:
    """Positions are the sum of fills, in the terms that adjustments give them; so at the end."""
    held: dict[str, float] = {}
    moved: dict[str, float] = {}
    changes = [(row["fill_id"], 1, row) for row in adjustments.iter_rows(named=True)]
    events = [(row["fill_id"], 0, row) for row in fills.iter_rows(named=True)]
    for _, is_change, row in sorted([*events, *changes], key=lambda event: event[:2]):
        asset = row["asset_id"]
        before = held.get(asset, 0.0)
        if not is_change:
            moved[asset] = moved.get(asset, 0.0) + row["quantity"]
            gap = abs(before + row["signed"] - row["position"])
            assert gap <= NOISE * moved[asset], f"the sum of fills is the position: {row}"
            held[asset] = row["position"]
        elif row["quantity_before"]:
            assert before == row["quantity_before"], f"what is adjusted is what was held: {row}"
            held[asset] = 0.0
            held[row["new_asset_id"]] = row["quantity"]
            moved[row["new_asset_id"]] = abs(row["quantity"])
    now = {asset: units for asset, units in held.items() if units}
    assert dict(marks.select("asset_id", "quantity").iter_rows()) == now, "what is held at the end"


def check_profit(result: Any, scale: float) -> None:
    """Net P&L of all trades and what moved for the account are the change of equity."""
    record = result.record
    own = record.cashflows.filter(pl.col("asset_id").is_null())["amount"].sum()
    pnl = result.trades["pnl"].sum() + own
    assert near(pnl, result.final_equity - record.initial_cash, scale), "P&L is change of equity"
    trades, fills = result.trades, record.fills
    assert near(trades["commission"].sum(), fills["commission"].sum(), scale)
    assert near(trades["slippage"].sum(), fills["slippage"].sum(), scale)


def check_figures(result: Any) -> None:
    """Drawdowns are never positive; prices and quantities are positive and finite."""
    assert (result.equity["drawdown"] <= 0.0).all(), "drawdown"
    assert result.max_drawdown <= 0.0
    worthless = (pl.col("reason") == "delisted") & (pl.col("price") == 0.0)
    fills = result.fills.filter(~worthless)
    for name in ("quantity", "price"):
        column = fills[name]
        assert (column > 0.0).all(), name
        assert column.is_finite().all(), name


def check_references(fills: pl.DataFrame, bars: pl.DataFrame) -> None:
    """Every fill's price before slippage lies within the bar it filled in, or it says so."""
    says_so = pl.col("reason").str.ends_with("in a gap")
    own = fills.filter(~pl.col("reason").is_in(list(FORCED)) & ~says_so)
    joined = own.join(bars, on=["timestamp", "asset_id"], how="left").with_columns(
        reference=pl.col("price") - pl.col("slippage") / (pl.col("signed") * pl.col("multiplier"))
    )
    assert joined["low"].null_count() == 0, "a fill has a bar of its asset"
    outside = joined.filter(
        (pl.col("reference") > pl.col("high") * (1 + NOISE))
        | (pl.col("reference") < pl.col("low") * (1 - NOISE))
    )
    assert outside.is_empty(), f"reference price outside of its bar: {outside}"


def check_worth(record: Any, fills: pl.DataFrame, bars: pl.DataFrame, scale: float) -> None:
    """Equity is cash and, at the last closes, all that was bought and not sold."""
    equity, moves = record.equity, _moves(fills, record.adjustments)
    assets = moves["asset_id"].unique().sort().to_list()
    if not assets or equity.height * len(assets) > _CELLS:
        return
    price = _matrix(equity, bars, assets, "close", pl.col("close").last())
    moved = _matrix(equity, moves, assets, "signed", pl.col("signed").sum())
    multiplier = dict(moves.select("asset_id", "multiplier").iter_rows())
    units = np.cumsum(np.nan_to_num(moved), axis=0)
    value = units * np.nan_to_num(_forward(price)) * np.array([multiplier[a] for a in assets])
    expected = equity["cash"].to_numpy() + value.sum(axis=1)
    # Units that were bought and sold in fractions leave dust; its worth is noise of the turnover.
    assert near(equity["equity"], expected, scale), "equity is cash and market value"
    assert near(equity["gross_exposure"], np.abs(value).sum(axis=1), scale), "gross exposure"


def _moves(fills: pl.DataFrame, adjustments: pl.DataFrame) -> pl.DataFrame:
    """Signed units that came or went: by fills, and by adjustments."""
    moves = fills.select("timestamp", "asset_id", "signed", "multiplier")
    held = adjustments.filter(pl.col("quantity_before") != 0.0).join(
        moves.select("asset_id", "multiplier").unique("asset_id"), on="asset_id", how="left"
    )
    names = (("asset_id", -pl.col("quantity_before")), ("new_asset_id", pl.col("quantity")))
    extra = [
        held.select(
            "timestamp",
            pl.col(name).alias("asset_id"),
            units.alias("signed"),
            pl.col("multiplier").fill_null(1.0),
        )
        for name, units in names
    ]
    return pl.concat([moves, *extra])


def _matrix(
    equity: pl.DataFrame, rows: pl.DataFrame, assets: list[str], name: str, how: pl.Expr
) -> np.ndarray:
    """A column as float64[timestamps, assets], NaN where there is no row."""
    t = equity.select("timestamp").with_row_index("t")
    a = pl.DataFrame({"asset_id": assets}).with_row_index("a")
    cells = rows.join(t, on="timestamp").join(a, on="asset_id").group_by("t", "a").agg(how)
    matrix = np.full((equity.height, len(assets)), np.nan)
    matrix[cells["t"].to_numpy(), cells["a"].to_numpy()] = cells[name].to_numpy()
    return matrix


def _forward(matrix: np.ndarray) -> np.ndarray:
    for row, before in zip(matrix[1:], matrix[:-1], strict=True):
        np.copyto(row, before, where=np.isnan(row))
    return matrix


# What a run was given


def bars_of(engine: Any, result: Any) -> pl.DataFrame | None:
    """The bars of a run whose data is a plain table in memory; None when it is not.

    A table whose times are of another type than the run's was changed at the door, and is not
    compared.
    """
    times = result.record.equity.schema["timestamp"]
    tables = [_table(feed, asset_id, times) for feed, asset_id in engine.clock._feeds]
    known = [table for table in tables if table is not None]
    return pl.concat(known) if tables and len(known) == len(tables) else None


def _table(feed: Any, asset_id: str | None, times: Any) -> pl.DataFrame | None:
    data = getattr(feed, "_data", None)
    if not isinstance(data, pl.DataFrame) or not _is_plain(feed):
        return None
    columns = {name.lower(): name for name in data.columns}
    found = {
        ours: [columns[s] for s in words if s in columns] for ours, words in _SPELLINGS.items()
    }
    if asset_id is not None and not found["asset_id"]:
        data, found["asset_id"] = data.with_columns(asset_id=pl.lit(asset_id)), ["asset_id"]
    if any(len(names) != 1 for names in found.values()):
        return None
    table = data.select(pl.col(names[0]).alias(ours) for ours, names in found.items())
    if table.schema["timestamp"] != times:
        return None
    prices = pl.col("open", "high", "low", "close").cast(pl.Float64)
    return table.with_columns(pl.col("asset_id").cast(pl.String), prices)


def _is_plain(feed: Any) -> bool:
    """Whether a feed takes its table as it is."""
    naming, timing = getattr(feed, "_naming", None), getattr(feed, "_timing", None)
    if naming is None or timing is None or naming.columns or naming.price_column is not None:
        return False
    return not timing.is_open and (timing.duration or 0) <= _DAY_US and naming.asset_id is None
