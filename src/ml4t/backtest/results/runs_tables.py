"""Runs as tables: the list of a store, and several of them side by side."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ml4t.backtest.results.runs_entry import Entry

MAIN_FIGURES = (
    "initial_cash",
    "final_equity",
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "costs",
    "turnover",
    "exposure",
    "trades",
    "hit_rate",
    "profit_factor",
    "sessions",
)
_SCHEMA: dict[str, Any] = {
    "run_id": pl.String,
    "name": pl.String,
    "family": pl.String,
    "status": pl.String,
    "created_at": pl.Datetime("us", "UTC"),
    "strategy": pl.String,
    "parameters": pl.String,
    "start": pl.Date,
    "end": pl.Date,
    "data_fingerprint": pl.String,
    "code_fingerprint": pl.String,
    "versions": pl.String,
    "fingerprint": pl.String,
    **dict.fromkeys(MAIN_FIGURES, pl.Float64),
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def table(entries: Iterable[Entry]) -> pl.DataFrame:
    """See `RunStore.frame`."""
    return pl.DataFrame([_row(entry) for entry in entries], schema=_SCHEMA)


def _row(entry: Entry) -> dict[str, Any]:
    note = entry.note
    return {
        "run_id": entry.run_id,
        "name": entry.name,
        "family": None if note is None else note.family,
        "status": entry.status,
        "created_at": _time(entry.created_ns),
        "strategy": entry.strategy,
        "parameters": _json(entry.parameters) if entry.settings else None,
        **_period(entry),
        "data_fingerprint": entry.data_fingerprint,
        "code_fingerprint": None if note is None else note.code_fingerprint,
        "versions": _json(entry.versions) if entry.versions else None,
        "fingerprint": None if note is None else note.fingerprint,
        **{name: entry.metrics.get(name) for name in MAIN_FIGURES},
    }


def _time(nanoseconds: int | None) -> dt.datetime | None:
    if nanoseconds is None:
        return None
    return _EPOCH + dt.timedelta(microseconds=nanoseconds // 1_000)


def _period(entry: Entry) -> dict[str, dt.date | None]:
    note = entry.note
    texts = (None, None) if note is None else (note.start, note.end)
    start, end = (None if text is None else dt.date.fromisoformat(text) for text in texts)
    return {"start": start, "end": end}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def comparison(entries: Sequence[Entry]) -> pl.DataFrame:
    """See `RunStore.compare`."""
    told = [_told(entry) for entry in entries]
    names = dict.fromkeys(name for one in told for name in one)
    differ = [n for n in names if any(one.get(n) != told[0].get(n) for one in told)]
    figures = dict.fromkeys(name for entry in entries for name in entry.metrics)
    columns = [
        pl.Series("run_id", [entry.run_id for entry in entries], dtype=pl.String),
        pl.Series("name", [entry.name for entry in entries], dtype=pl.String),
        *(_column(name, [one.get(name) for one in told]) for name in differ),
        *(
            pl.Series(name, [entry.metrics.get(name) for entry in entries], dtype=pl.Float64)
            for name in figures
        ),
    ]
    return pl.DataFrame(columns)


def _told(entry: Entry) -> dict[str, Any]:
    """Everything in which two runs can differ, by dotted name."""
    note = entry.note
    return {
        "status": entry.status,
        **_flat(entry.settings, "settings."),
        "data_fingerprint": entry.data_fingerprint,
        "code_fingerprint": None if note is None else note.code_fingerprint,
        **_period(entry),
        **_flat(entry.versions, "versions."),
    }


def _flat(value: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict) and item:
            found |= _flat(item, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = item
    return found


def _column(name: str, values: list[Any]) -> pl.Series:
    """Of their own type where they share one, else as JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str, dt.date}):
        return pl.Series(name, values, strict=False)
    return pl.Series(name, [None if v is None else _json(v) for v in values], dtype=pl.String)
