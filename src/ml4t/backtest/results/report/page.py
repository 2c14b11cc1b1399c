"""The page as a whole: sections in order, style, script, Plotly, and the file."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results import summary
from ml4t.backtest.results.charts import style
from ml4t.backtest.results.places import check_writable
from ml4t.backtest.results.report import benchmark as benchmarks
from ml4t.backtest.results.report import money, opening, prices, signals, trades
from ml4t.backtest.results.report.draft import Draft
from ml4t.backtest.results.report.html import data_script, text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from ml4t.backtest.results.report.draft import Section
    from ml4t.backtest.results.result import BacktestResult

_SECTIONS = (
    opening.trust,
    opening.figures,
    money.equity,
    money.returns,
    money.rolling,
    money.exposure,
    trades.trades,
    trades.assets,
    signals.signals,
    prices.prices,
)


def write(
    result: BacktestResult, path: str | os.PathLike[str], *, benchmark: Any, title: str | None
) -> Path:
    """See `BacktestResult.report`."""
    target = checked(path)
    style.plotly()
    found = None if benchmark is None else benchmarks.resolve(result, benchmark)
    draft = Draft(result, found)
    sections = [section(draft) for section in _SECTIONS]
    name = title or f"{summary.strategy(result)}: {summary.span(result)}"
    return put(target, document(name, opening.heading(result, title), sections, draft.scripts))


def checked(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a page that can be written there.

    Raises:
        ConfigError: It is a folder, or lies in none, or in one that cannot be written.
    """
    target = Path(path).expanduser().absolute()
    if target.is_dir():
        raise ConfigError(f"{target} is a folder. Name a file, such as {target / 'report.html'}.")
    if not target.parent.is_dir():
        raise ConfigError(f"The folder {target.parent} does not exist. Create it first.")
    check_writable(target.parent)
    return target


def put(target: Path, page: str) -> Path:
    """Writes a page beside its place and moves it there, so that no half of it is ever seen."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as beside:
        new = Path(beside) / "page"
        new.write_text(page, encoding="utf-8", newline="\n")
        new.replace(target)
    return target


def document(title: str, heading: str, sections: Iterable[Section], scripts: Iterable[str]) -> str:
    """The text of a page.

    Its policy lets run the two scripts of ours and nothing else, and reaches no network.

    Args:
        title: Of the window.
        heading: HTML of the top.
        sections: In order.
        scripts: Elements with data.
    """
    from plotly.offline import get_plotlyjs

    assets = files(__package__) / "assets"
    code = [get_plotlyjs(), (assets / "page.js").read_text(encoding="utf-8")]
    code = [c.replace("\r\n", "\n").replace("</script", "<\\/script") for c in code]
    listed = list(sections)
    links = "".join(f'<li><a href="#{s.id}">{text(s.short)}</a></li>' for s in listed)
    body = "".join(
        f'<section id="{s.id}" aria-labelledby="{s.id}-title"><h2 id="{s.id}-title">'
        f"{text(s.title)}</h2>{s.body}</section>"
        for s in listed
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        f"script-src {' '.join(map(_digest, code))}"
    )
    data = [*scripts, data_script("themes", style.THEMES)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title>"
        f"<style>{(assets / 'style.css').read_text(encoding='utf-8')}</style></head>\n"
        '<body><a class="skip" href="#main">Skip to content</a>'
        f'<header><div class="top"><div>{heading}</div>'
        '<button type="button" id="theme" hidden>Dark</button></div></header>'
        f'<nav aria-label="Sections"><ol>{links}</ol></nav>'
        "<noscript><p>Charts, sorting and explanations need JavaScript; everything else does "
        "not.</p></noscript>"
        f'<main id="main" tabindex="-1">{body}</main>\n'
        "<footer><p>With a mouse, drag over a chart to look closer; a double click shows all of it "
        "again.</p></footer>\n"
        + "\n".join(data)
        + "".join(f"\n<script>{c}</script>" for c in code)
        + "\n</body></html>\n"
    )


def _digest(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
