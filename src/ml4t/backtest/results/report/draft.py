"""A page in the making: what its sections hand in besides their words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.results.report import html

if TYPE_CHECKING:
    from ml4t.backtest.results.report.benchmark import Benchmark
    from ml4t.backtest.results.result import BacktestResult


class Section(msgspec.Struct, frozen=True):
    """A part of the page with a heading.

    Args:
        id: Where links lead.
        title: Its heading.
        short: A word for it, among the links at the top.
        body: HTML.
    """

    id: str
    title: str
    short: str
    body: str


class Draft:
    """The run, its benchmark, and the data that the script of the page will want.

    Args:
        result: The run.
        benchmark: What it is compared with, if anything.
    """

    def __init__(self, result: BacktestResult, benchmark: Benchmark | None) -> None:
        self.result = result
        self.benchmark = benchmark
        self.scripts: list[str] = []

    def figure(self, name: str, figure: Any, caption: str = "", *, is_wide: bool = False) -> str:
        """A place for a figure, with its words for those who do not see it.

        Args:
            name: Of its own on the page.
            figure: A Plotly figure from `charts`.
            caption: A sentence under it.
            is_wide: Whether it keeps its width and scrolls where there is no room for it.
        """
        self.keep(name, figure)
        meta = figure.layout.meta
        height = int(figure.layout.height)
        notes = html.paragraph(" ".join(filter(None, [caption, meta["note"]])))
        under = f"<figcaption>{notes}</figcaption>" if notes else ""
        place = (
            f'<div class="chart{" wide" if is_wide else ""}" role="img" '
            f'id="chart-{html.text(name)}" data-figure="figure-{html.text(name)}" '
            f'style="height:{height}px" aria-label="{html.text(meta["alt"])}"></div>'
        )
        if is_wide:
            place = html.scrolling(f"Chart: {name}", place)
        return f"<figure>{place}{under}</figure>"

    def keep(self, name: str, figure: Any) -> None:
        """Keeps a figure that has no place of its own yet."""
        self.scripts.append(html.raw_script(f"figure-{name}", figure.to_json(validate=False)))

    def data(self, name: str, value: Any) -> None:
        """Keeps data for the script."""
        self.scripts.append(html.data_script(name, value))
