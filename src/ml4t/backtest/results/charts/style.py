"""How every figure looks: colours, a light and a dark template, and the frame around a figure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Each stands out at least 3 to 1 from the light and from the dark background.
BLUE, ORANGE, GREEN, RED = "#2f7de1", "#d0700f", "#1a9850", "#e0484d"
PURPLE, GREY = "#9065d6", "#858c96"
GAIN, LOSS = BLUE, ORANGE  # told apart by everyone, unlike green and red
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_HOUSE: dict[str, dict[str, str]] = {
    "light": {"text": "#1d2733", "grid": "#e3e7ec", "line": "#c3cad2", "card": "#ffffff"},
    "dark": {"text": "#dfe5ec", "grid": "#2b333d", "line": "#46505c", "card": "#161b21"},
}


def _theme(colours: dict[str, str]) -> dict[str, Any]:
    axis = {
        "gridcolor": colours["grid"],
        "linecolor": colours["line"],
        "zerolinecolor": colours["line"],
        "zerolinewidth": 1,
        "automargin": True,
        "title": {"standoff": 6},
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": colours["text"], "family": _FONT, "size": 12},
            "colorway": list(COLOURS),
            "colorscale": {"diverging": [[0.0, LOSS], [0.5, colours["grid"]], [1.0, GAIN]]},
            "hoverlabel": {
                "bgcolor": colours["card"],
                "bordercolor": colours["line"],
                "font": {"color": colours["text"]},
            },
            "xaxis": axis,
            "yaxis": axis,
        }
    }


THEMES = {name: _theme(colours) for name, colours in _HOUSE.items()}


def plotly() -> Any:
    """The module `plotly.graph_objects`.

    Raises:
        ConfigError: Plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
        import plotly.subplots  # noqa: F401  loaded once, used by `frame`
    except ModuleNotFoundError as missing:
        raise ConfigError(
            "Figures and reports are drawn with Plotly, which is not installed. "
            "Install it with: pip install 'ml4t-backtest[plot]'"
        ) from missing
    return go


def frame(
    rows: int = 1,
    *,
    height: int = 320,
    heights: Sequence[float] | None = None,
    titles: Sequence[str] = (),
    columns: int = 1,
    shared: bool = True,
    gap: int | None = None,
) -> Any:
    """An empty figure of one or several panels.

    Args:
        rows: Panels one below the other.
        height: In pixels, of all of them.
        heights: Their shares of it.
        titles: One a panel.
        columns: Panels side by side.
        shared: Whether panels one below the other have the same x axis.
        gap: Between them, in pixels.
    """
    plotly()
    from plotly.subplots import make_subplots

    if gap is None:
        gap = 36 if titles else 14
    top = 30 if titles else 24
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=shared,
        row_heights=heights,
        subplot_titles=titles or None,
        vertical_spacing=0.0 if rows == 1 else gap / (height - top - 8),
        horizontal_spacing=0.08,
    )
    figure.update_layout(
        template={},
        height=height,
        margin={"l": 8, "r": 8, "t": top, "b": 8},
        legend=legend(1.0, is_right=bool(titles)),
        hovermode="x unified" if shared else "closest",
        bargap=0.06,
    )
    figure.update_annotations(font={"size": 13})
    if columns == 1:
        figure.update_annotations(x=0, xanchor="left")
    return figure


def legend(y: float, *, is_right: bool) -> dict[str, Any]:
    """A legend in one line above a panel.

    Args:
        y: The top of the panel, as a share of the figure.
        is_right: Whether it keeps clear of a title on the left.
    """
    side: dict[str, Any] = {"x": 1, "xanchor": "right"} if is_right else {"x": 0, "xanchor": "left"}
    return {"orientation": "h", "y": y, "yanchor": "bottom", **side}


def finish(figure: Any, *, alt: str, notes: Iterable[str] = ()) -> Any:
    """The figure with what it shows in words, and how much of the data it shows.

    Args:
        figure: A Plotly figure.
        alt: One or two sentences for those who do not see it.
        notes: Sentences; empty ones and repetitions are left out.
    """
    figure.update_layout(meta={"alt": alt, "note": " ".join(dict.fromkeys(filter(None, notes)))})
    return figure


def themed(figure: Any, theme: str) -> Any:
    """The figure in its colours for a light or a dark background.

    Raises:
        ConfigError: There is no such theme.
    """
    if theme not in THEMES:
        raise ConfigError(f"There is no theme {theme!r}. {did_you_mean(theme, THEMES)}")
    card = _HOUSE[theme]["card"]
    return figure.update_layout(template=THEMES[theme], paper_bgcolor=card, plot_bgcolor=card)


def label(text: Any) -> str:
    """A name from the data, for a figure: shown as it is, whatever tags it holds."""
    return escape(str(text), quote=False)
