"""Trades and positions, derived from fills.

A trade opens when an asset's position leaves zero and closes when it returns to zero or changes
sign. The fill that flips a position closes one trade and opens the next: its commission and
slippage are divided by quantity.

A split, or a new name, does not end a trade. All its numbers are in the units of its entry, as
executed: what came later is restated.
"""

from __future__ import annotations

import polars as pl

from ml4t.backtest.results.terms import by_holding, with_terms

_SIGNAL = "signal_"

# Column names of a trade, in order; entry signals follow.
_COLUMNS = (
    "trade_id",
    "asset_id",
    "side",
    "quantity",
    "entry_time",
    "exit_time",
    "entry_price",
    "exit_price",
    "pnl",
    "gross_pnl",
    "return_pct",
    "commission",
    "slippage",
    "financing",
    "bars_held",
    "mfe",
    "mae",
    "entry_reason",
    "exit_reason",
    "status",
)


def trades_of(
    fills: pl.DataFrame,
    orders: pl.DataFrame,
    excursions: pl.DataFrame,
    marks: pl.DataFrame,
    cashflows: pl.DataFrame,
    adjustments: pl.DataFrame,
) -> pl.DataFrame:
    """All round trips of a run, closed and open, in the order in which they were opened.

    `quantity` is the number of units entered, `entry_price` and `exit_price` are averages over
    the fills on that side, and `side` is "long" or "short". All are in the units of the entry: of
    10 shares bought at 700, split 7 for 1 and sold as 70 at 110, `exit_price` is 770. A position
    that ended as a fraction paid in cash has no exit price, and the money is in `financing`.

    `gross_pnl` is before commission and financing; slippage is already in the prices.
    `financing` is what the position received or paid without trading: dividends, fees for
    borrowed shares. A trade still open is valued at its last close, and its `exit_time`,
    `exit_price` and `exit_reason` are null.

    `mfe` and `mae` (maximum favourable and adverse excursion, at least and at most 0) compare
    the extremes of the bars held and the prices of the fills with `entry_price`; `return_pct`
    is `pnl` over the notional entered. All three are fractions: 0.05 is five percent.

    Args:
        fills: See `RunRecord`; so for the others.
        orders: For the signals of the order that opened a trade, and for exits that a limit
            or a margin call forced: their reason is the order's tag, such as
            "limit: max_drawdown".
        excursions: Extremes of the bars between fills.
        marks: Last closes of the positions held at the end.
        cashflows: Money that moved without a trade.
        adjustments: Splits and new names of what was held.

    Formula:
        gross_pnl = d * (Σ exit notional + notional held at the end − Σ entry notional)
        pnl = gross_pnl − commission + financing
        d 1 for a long trade and −1 for a short one, notional = quantity * price * multiplier
    """
    legs = _legs(with_terms(_with_limits(fills, orders), adjustments))
    financed = _financed(legs, cashflows, adjustments)
    trades = (
        _entries(legs)
        .join(_exits(legs), on="trade", how="left", maintain_order="left")
        .join(_held(legs, excursions), on="trade", how="left", maintain_order="left")
        .join(_marked(legs, marks), on="trade", how="left", maintain_order="left")
        .join(financed, on="trade", how="left", maintain_order="left")
    )
    signals = orders.select("order_id", pl.col(f"^{_SIGNAL}.*$"))
    return (
        _figures(trades)
        .sort("fill_id")
        .with_row_index("trade_id", offset=1)
        .with_columns(pl.col("trade_id").cast(pl.Int64))
        .join(signals, on="order_id", how="left", maintain_order="left")
        .select(*_COLUMNS, *signals.columns[1:])
    )


def positions_of(fills: pl.DataFrame, adjustments: pl.DataFrame) -> pl.DataFrame:
    """How every holding changed: one row for each timestamp and asset with a fill or adjustment.

    `quantity` is signed and as after all fills of that timestamp, 0 when the asset is flat then.
    `entry_price` is the average cost per unit without commission: entries move it, exits do
    not, a split divides it. It is null when flat.
    """
    ordered = with_terms(fills, adjustments)
    columns = ("holding", "price", "position", "units")
    costs = _average_costs(*(ordered[name].to_list() for name in columns))
    left = adjustments.filter(
        pl.col("quantity_before") != 0.0, pl.col("asset_id") != pl.col("new_asset_id")
    ).select("timestamp", "asset_id", position=pl.lit(0.0), entry_price=pl.lit(None, pl.Float64))
    changed = ordered.select(
        "timestamp", "asset_id", "position", pl.Series("entry_price", costs, dtype=pl.Float64)
    )
    return (
        pl.concat([left, changed])
        .unique(["timestamp", "asset_id"], keep="last", maintain_order=True)
        .sort("timestamp", "asset_id")
        .select("timestamp", "asset_id", pl.col("position").alias("quantity"), "entry_price")
    )


def _average_costs(
    holdings: list[str], prices: list[float | None], positions: list[float], units: list[float]
) -> list[float | None]:
    """Average cost after each fill or adjustment; by holding, then time."""
    costs: list[float | None] = []
    holding, cost, held, before = "", 0.0, 0.0, 1.0
    for name, price, position, now in zip(holdings, prices, positions, units, strict=True):
        if name != holding:
            holding, held = name, 0.0
        if price is None:
            cost *= before / now
        elif held * position <= 0.0:  # opened, flipped or closed
            cost = price
        elif abs(position) > abs(held):
            cost += (price - cost) * (1.0 - held / position)
        held, before = position, now
        costs.append(cost if position else None)
    return costs


def _with_limits(fills: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Fills with the limit, or the margin call, as their reason where it closed a position."""
    is_forced = pl.col("tag").str.starts_with("limit: ") | (pl.col("tag") == "margin call")
    forced = orders.filter(is_forced).select("order_id", "tag")
    if forced.is_empty():
        return fills
    worded = fills.join(forced, on="order_id", how="left", maintain_order="left")
    return worded.with_columns(pl.coalesce("tag", "reason").alias("reason")).drop("tag")


def _legs(fills: pl.DataFrame) -> pl.DataFrame:
    """Fills and adjustments, each with the units it exits and enters and its trade's number.

    A trade's number counts the openings so far, so a fill exits from trade `trade`, or from the
    one before when it opened `trade` itself.
    """
    before, after = pl.col("before"), pl.col("position")
    flips = before * after < 0
    adds = (after.abs() > before.abs()) & ~flips
    return (
        fills.with_columns(
            pl.when(pl.col("holding") == pl.col("holding").shift(1))
            .then(pl.col("position").shift(1))
            .otherwise(0.0)
            .alias("before")
        )
        .with_columns(
            pl.when(flips)
            .then(before.abs())
            .when(adds)
            .then(0.0)
            .otherwise("quantity")
            .alias("out"),
            pl.when(flips).then(after.abs()).when(adds).then("quantity").otherwise(0.0).alias("in"),
            (flips | (before == 0)).alias("opens"),
        )
        .with_columns(
            pl.col("opens").cast(pl.Int64).cum_sum().alias("trade"),
            (pl.col("out") / (pl.col("out") + pl.col("in"))).fill_nan(0.0).alias("share_out"),
            pl.when("opens").then("units").forward_fill().alias("units_opened"),
        )
        .with_columns(
            (pl.col("units") / pl.col("units_opened")).alias("in_ratio"),
            (pl.col("units") / pl.col("units_opened").shift(1)).alias("out_ratio"),
        )
    )


def _sums(quantity: pl.Expr, share: pl.Expr, prefix: str) -> list[pl.Expr]:
    """Totals of a side; quantities and prices in the units of the trade's entry."""
    paid, ratio = quantity * pl.col("price"), pl.col(f"{prefix}_ratio")
    return [
        (quantity / ratio).sum().alias(f"{prefix}_quantity"),
        paid.sum().alias(f"{prefix}_paid"),
        (paid * pl.col("multiplier")).sum().alias(f"{prefix}_notional"),
        (pl.col("commission") * share).sum().alias(f"{prefix}_commission"),
        (pl.col("slippage") * share).sum().alias(f"{prefix}_slippage"),
        (pl.col("price") * ratio).max().alias(f"{prefix}_highest"),
        (pl.col("price") * ratio).min().alias(f"{prefix}_lowest"),
    ]


def _entries(legs: pl.DataFrame) -> pl.DataFrame:
    return (
        legs.filter(pl.col("in") > 0)
        .group_by("trade", maintain_order=True)
        .agg(
            pl.col("asset_id", "fill_id", "order_id").first(),
            pl.col("timestamp").first().alias("entry_time"),
            pl.col("reason").first().alias("entry_reason"),
            pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0).first().alias("sign"),
            *_sums(pl.col("in"), 1.0 - pl.col("share_out"), "in"),
        )
    )


def _exits(legs: pl.DataFrame) -> pl.DataFrame:
    exited = pl.col("trade") - pl.col("opens").cast(pl.Int64)
    return (
        legs.filter((pl.col("out") > 0) | (pl.col("adjusts") & (pl.col("position") == 0)))
        .with_columns(exited.alias("trade"))
        .group_by("trade", maintain_order=True)
        .agg(
            pl.col("timestamp").last().alias("exit_time"),
            pl.col("reason").last().alias("exit_reason"),
            *_sums(pl.col("out"), pl.col("share_out"), "out"),
        )
    )


def _held(legs: pl.DataFrame, excursions: pl.DataFrame) -> pl.DataFrame:
    """Extremes and number of the bars of each trade."""
    return (
        legs.filter(pl.col("position") != 0, ~pl.col("adjusts"))
        .select("trade", "fill_id", "in_ratio")
        .join(excursions, on="fill_id", how="inner", maintain_order="left")
        .group_by("trade", maintain_order=True)
        .agg(
            (pl.col("high") * pl.col("in_ratio")).max().alias("held_highest"),
            (pl.col("low") * pl.col("in_ratio")).min().alias("held_lowest"),
            pl.col("bars").sum().alias("bars_held"),
        )
    )


def _marked(legs: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """Value of the trades that are still open; a holding's open trade is its last one."""
    held = legs.group_by("holding", maintain_order=True).agg(
        pl.col("asset_id", "trade", "position").last()
    )
    notional = pl.col("position").abs() * pl.col("price") * pl.col("multiplier")
    return (
        held.filter(pl.col("position") != 0)
        .join(marks, on="asset_id", how="left", maintain_order="left")
        .select("trade", notional.alias("open_notional"), pl.lit(value=True).alias("is_open"))
    )


def _financed(
    legs: pl.DataFrame, cashflows: pl.DataFrame, adjustments: pl.DataFrame
) -> pl.DataFrame:
    """Money that moved because of each trade's position, without a fill.

    It moves before the fills of its timestamp, so it belongs to the trade that was open then.
    """
    openings = (
        legs.filter("opens")
        .select("holding", "trade", pl.col("timestamp").alias("from"))
        .sort("from", maintain_order=True)
    )
    return (
        by_holding(cashflows, adjustments)
        .join_asof(
            openings,
            left_on="timestamp",
            right_on="from",
            by="holding",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .group_by("trade", maintain_order=True)
        .agg(pl.col("amount").sum().alias("financing"))
    )


def _figures(trades: pl.DataFrame) -> pl.DataFrame:
    is_open = pl.col("is_open").fill_null(value=False)
    out = [pl.col(f"out_{name}").fill_null(0.0) for name in ("notional", "commission", "slippage")]
    value = out[0] + pl.when(is_open).then("open_notional").otherwise(0.0)
    entry = pl.col("in_paid") / pl.col("in_quantity")
    highest = pl.max_horizontal("in_highest", "out_highest", "held_highest") - entry
    lowest = pl.min_horizontal("in_lowest", "out_lowest", "held_lowest") - entry
    is_long = pl.col("sign") > 0
    best = pl.when(is_long).then(highest).otherwise(-lowest) / entry.abs()
    worst = pl.when(is_long).then(lowest).otherwise(-highest) / entry.abs()
    closed = pl.when(~is_open)
    net = pl.col("gross_pnl") - pl.col("commission") + pl.col("financing")
    return trades.with_columns(
        pl.when(is_long).then(pl.lit("long")).otherwise(pl.lit("short")).alias("side"),
        pl.col("in_quantity").alias("quantity"),
        entry.alias("entry_price"),
        closed.then("exit_time").alias("exit_time"),
        closed.then("exit_reason").alias("exit_reason"),
        closed.then(pl.col("out_paid") / pl.col("out_quantity")).fill_nan(None).alias("exit_price"),
        (pl.col("sign") * (value - pl.col("in_notional"))).alias("gross_pnl"),
        (pl.col("in_commission") + out[1]).alias("commission"),
        (pl.col("in_slippage") + out[2]).alias("slippage"),
        pl.col("financing").fill_null(0.0),
        pl.col("bars_held").fill_null(0),
        best.clip(lower_bound=0.0).alias("mfe"),
        worst.clip(upper_bound=0.0).alias("mae"),
        pl.when(is_open).then(pl.lit("open")).otherwise(pl.lit("closed")).alias("status"),
    ).with_columns(
        net.alias("pnl"),
        (net / pl.col("in_notional").abs()).alias("return_pct"),
    )
