"""The section about the model: what its signals were worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.results import plots
from ml4t.backtest.results.charts import signals as charts
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import missing, text

if TYPE_CHECKING:
    from ml4t.backtest.results.report.draft import Draft

_MOST = 4


def signals(draft: Draft) -> Section:
    """P&L and hit rate by signal."""
    names = plots.signal_names(draft.result)
    title = "What the signals were worth"
    if not names:
        return Section("signals", title, missing("Not shown:", "the run had no signals."))
    parts = []
    for i, name in enumerate(names[:_MOST]):
        frame = draft.result.by_signal(name)
        figure = draft.figure(f"signal-{i}", charts.by_signal(frame, name=name))
        parts.append(f"<h3>{text(name)}</h3>{figure}")
    return Section("signals", title, "".join(parts))
