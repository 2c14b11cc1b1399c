"""`check`: is data fit for a run, and what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.cli import failures
from ml4t.backtest.cli.screen import as_text, say, show_table
from ml4t.backtest.errors import BacktestError
from ml4t.backtest.research.profile import DataProfile, profile

if TYPE_CHECKING:
    import polars as pl

    from ml4t.backtest.description import RunDescription

_SHOWN = 10
_FRAMES = ("gaps", "pauses", "jumps", "outliers", "wide_bars")
_TITLES = {
    "gaps": "Gaps of single assets",
    "pauses": "Pauses of the whole market",
    "jumps": "Jumps that look like splits",
    "outliers": "Returns far outside what is usual",
    "wide_bars": "Bars with a high or low off by a factor of two",
}


def check(description: RunDescription, *, strict: bool, as_json: bool) -> int:
    """Look at the data of a description.

    Args:
        description: Its data and signals are read.
        strict: Warnings give exit code 1.
        as_json: Print JSON instead of text.

    Returns:
        The exit code: 0 fit for a run, 1 with warnings and `strict`, 2 refused.
    """
    try:
        found = profile(*description.feeds(), **description.clock_options())
    except BacktestError as error:
        if as_json:
            say(_json({"fit": False, "refused": str(error)}))
        else:
            failures.show(error)
        return failures.REFUSED
    warnings = found.warnings
    if as_json:
        say(_json({"fit": True, "warnings": warnings, **_plain(found)}))
    else:
        _say(found, warnings)
    return failures.FAILED if strict and warnings else failures.FINE


def _say(found: DataProfile, warnings: list[str]) -> None:
    first, last = found.coverage["first"].min(), found.coverage["last"].max()
    kind = "labels of sessions" if found.is_session else "moments"
    show_table(
        ["what", "value"],
        [
            ["bars", found.rows],
            ["assets", found.coverage.height],
            ["timestamps", found.timestamps],
            ["span", f"{as_text(first)} to {as_text(last)}"],
            ["times", f"{kind}, {found.zone or 'without a zone'}"],
            ["frequency", found.frequency],
        ],
        title="Data",
    )
    show_table(["file", "column", "taken as"], _columns(found), title="Columns")
    if not found.signals.is_empty():
        _show_frame("Signals", found.signals)
    _show_frame("Coverage", found.coverage.sort("share", "asset_id"))
    for name in _FRAMES:
        frame = getattr(found, name)
        if not frame.is_empty():
            _show_frame(_TITLES[name], frame)
    if not warnings:
        say("Fit for a run; nothing looks odd.", "green")
        return
    say("Fit for a run; look at this first:", "yellow")
    for text in warnings:
        say(f"  {text}", "yellow")


def _columns(found: DataProfile) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for feed in found.feeds:
        columns = feed.get("columns", {})
        taken = {role: columns.get(role) for role in ("timestamp", "asset_id")}
        taken |= columns.get("prices", {}) | {"volume": columns.get("volume")}
        rows += [[feed["name"], name, role] for role, name in taken.items() if name is not None]
        for role in ("signal", "context"):
            rows += [[feed["name"], name, role] for name in columns.get(f"{role}s", ())]
        left_out = feed.get("columns_left_out", {})
        rows += [[feed["name"], name, f"nothing ({kind})"] for name, kind in left_out.items()]
    return rows


def _show_frame(title: str, frame: pl.DataFrame) -> None:
    shown = frame.head(_SHOWN)
    more = f" (the first {_SHOWN} of {frame.height:,})" if frame.height > _SHOWN else ""
    show_table(frame.columns, shown.iter_rows(), title=f"{title}{more}")


def _plain(found: DataProfile) -> dict[str, Any]:
    """Everything a profile holds, ready for JSON; frames are lists of rows."""
    values = msgspec.structs.asdict(found)
    return {
        name: value.to_dicts() if hasattr(value, "to_dicts") else value
        for name, value in values.items()
    }


def _json(content: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
