"""Fills in the order in which they happened to a holding, across splits and new names.

A holding keeps its identity under another name, and its units change by a split. Here fills meet
the adjustments between them, so that what follows can tell what one unit was worth at any time.
"""

from __future__ import annotations

from typing import Any

import polars as pl


def with_terms(fills: pl.DataFrame, adjustments: pl.DataFrame) -> pl.DataFrame:
    """Fills and, between them, the adjustments of what was held; by holding, then in order.

    An adjustment is a row that trades nothing: its `position` is that of the holding after it,
    its `reason` says what happened, and its side and price are null.

    Returns:
        The columns of the fills and `holding` (the asset, or the one it was called at first),
        `units` (how many units one of the holding's first ones has become) and `adjusts`.
    """
    plain = fills.with_columns(
        pl.col("asset_id").alias("holding"), units=pl.lit(1.0), adjusts=pl.lit(value=False)
    )
    held = adjustments.filter(pl.col("quantity_before") != 0.0)
    if held.is_empty():
        return plain.sort("asset_id", "fill_id")
    terms, rows = _walk(held, fills)
    known = fills.sort("fill_id").join_asof(
        terms.sort("fill_id"),
        on="fill_id",
        by="asset_id",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return pl.concat(
        [
            known.with_columns(
                pl.coalesce("holding", "asset_id").alias("holding"),
                pl.col("units").fill_null(1.0),
                adjusts=pl.lit(value=False),
            ),
            rows,
        ],
        how="diagonal",
    ).sort("holding", "fill_id", "adjusts", maintain_order=True)


def _walk(adjustments: pl.DataFrame, fills: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each asset's fills after a fill belong to, and the adjustments as rows among fills."""
    multiplier = dict(fills.select("asset_id", "multiplier").iter_rows())
    now: dict[str, tuple[str, float]] = {}
    terms: dict[tuple[str, int], dict[str, Any]] = {}
    rows = []
    for item in adjustments.iter_rows(named=True):
        old, new, fill_id = item["asset_id"], item["new_asset_id"], item["fill_id"]
        holding, units = now.get(old, (old, 1.0))
        now[new] = (holding, units * item["ratio"])
        changed = [new]
        if new != old:  # whatever is called by the old name from now on is another holding
            now[old] = (_reused(old, fill_id), 1.0)
            changed.append(old)
        for asset in changed:
            named = dict(zip(("holding", "units"), now[asset], strict=True))
            terms[asset, fill_id] = {"asset_id": asset, "fill_id": fill_id, **named}
        rows.append(
            {
                "fill_id": fill_id,
                "timestamp": item["timestamp"],
                "asset_id": new,
                "quantity": 0.0,
                "commission": 0.0,
                "slippage": 0.0,
                "reason": item["kind"] if item["quantity"] else "cash_in_lieu",
                "position": item["quantity"],
                "multiplier": multiplier.get(old, 1.0),
                "holding": holding,
                "units": now[new][1],
                "adjusts": True,
            }
        )
    schema: dict[str, Any] = {
        **fills.schema,
        "holding": pl.String,
        "units": pl.Float64,
        "adjusts": pl.Boolean,
    }
    known = {name: kind for name, kind in schema.items() if name in rows[0]}
    return (
        pl.DataFrame(
            list(terms.values()),
            schema={
                "asset_id": pl.String,
                "fill_id": pl.Int64,
                "holding": pl.String,
                "units": pl.Float64,
            },
        ),
        pl.DataFrame(rows, schema=known),
    )


def by_holding(cashflows: pl.DataFrame, adjustments: pl.DataFrame) -> pl.DataFrame:
    """Money of assets with the `holding` it belongs to, in order of time.

    At the time of a rename, money under the old name was paid before it, and money under the new
    name after it.
    """
    own = cashflows.drop_nulls("asset_id").sort("timestamp", maintain_order=True)
    names = _names(adjustments)
    if names.is_empty():
        return own.with_columns(pl.col("asset_id").alias("holding"))
    joined = own.with_columns(_twice(own["timestamp"])).join_asof(
        names, on="moment", by="asset_id", check_sortedness=False
    )
    return joined.with_columns(pl.coalesce("holding", "asset_id").alias("holding"))


def _names(adjustments: pl.DataFrame) -> pl.DataFrame:
    """From which moment on money of an asset belongs to which holding."""
    named = adjustments.with_columns(_twice(adjustments["timestamp"])).filter(
        pl.col("quantity_before") != 0.0, pl.col("asset_id") != pl.col("new_asset_id")
    )
    now: dict[str, str] = {}
    found: dict[tuple[str, int], str] = {}
    columns = ("asset_id", "new_asset_id", "moment", "fill_id")
    for old, new, moment, fill_id in named.select(columns).iter_rows():
        now[new], now[old] = now.get(old, old), _reused(old, fill_id)
        found[new, moment] = now[new]
        found.pop((new, moment + 1), None)  # a name that was free for no time at all
        found[old, moment + 1] = now[old]
    rows = [(asset_id, moment, holding) for (asset_id, moment), holding in found.items()]
    schema = {"asset_id": pl.String, "moment": pl.Int64, "holding": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("moment")


def _twice(times: pl.Series) -> pl.Series:
    """Times as numbers, with a moment between each and the next."""
    return (times.to_physical().cast(pl.Int64) * 2).alias("moment")


def _reused(asset_id: str, fill_id: int) -> str:
    """The holding of what is called by a name that became free."""
    return f"{asset_id}\n{fill_id}"
