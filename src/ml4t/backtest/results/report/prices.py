"""The section with the price of a chosen asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ml4t.backtest.errors import DataError
from ml4t.backtest.results import plots
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import missing, paragraph, text

if TYPE_CHECKING:
    from ml4t.backtest.results.report.draft import Draft

MOST = 12


def prices(draft: Draft) -> Section:
    """Bars, fills, limits and stops, and signals of the most traded assets."""
    result, title = draft.result, "Price, fills and signals"
    chosen = plots.most_traded(result, MOST)
    if not chosen:
        return Section("price", title, "Prices", missing("Not shown:", "nothing was traded."))
    try:
        market = result.market(chosen)
    except DataError as error:
        return Section("price", title, "Prices", missing("Not shown:", error))
    notes, options = [], []
    for i, asset_id in enumerate(chosen):
        bars = market.filter(pl.col("asset_id") == asset_id).drop("asset_id")
        figure = plots.price_figure(result, asset_id, bars)
        if i:
            draft.keep(f"price-{i}", figure)
        else:
            place = draft.figure("price-0", figure)
        notes.append(figure.layout.meta)
        options.append(f'<option value="figure-price-{i}">{text(asset_id)}</option>')
    draft.data("price-notes", notes)
    traded = result.fills["asset_id"].n_unique()
    words = f"The {MOST} most traded of {traded:,} assets." if traded > len(chosen) else ""
    selector = (
        '<div class="controls"><label for="price-asset">Asset</label><select id="price-asset">'
        f"{''.join(options)}</select></div>"
    )
    return Section("price", title, "Prices", paragraph(words) + selector + place)
