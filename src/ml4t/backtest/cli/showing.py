"""Looking at runs: finding, listing, comparing, explaining, removing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.cli.screen import as_text, say, say_page, show_table
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results import summary
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.results.runs import RunStore
from ml4t.backtest.results.runs_tables import MAIN_FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

_MANIFEST = "manifest.json"
_SHARES = frozenset(
    {"total_return", "cagr", "volatility", "max_drawdown", "exposure", "hit_rate", "time_in_market"}
)
_JSON = ("parameters", "versions")
_LISTED = ("total_return", "sharpe", "max_drawdown", "trades")


def find(text: str, store: str) -> tuple[str, BacktestResult]:
    """A run and what to call it.

    Args:
        text: A folder written by `save`, or an id, the beginning of one, or a name in the store.
        store: The folder of the run store.

    Raises:
        ConfigError: No run is meant, or several.
        DataError: Its folder is damaged.
    """
    folder = Path(text).expanduser()
    if folder.is_dir() and folder.absolute().parent == RunStore(store).folder:
        text = folder.name  # the store knows more of it than the folder: its trials
    elif (folder / _MANIFEST).is_file():
        return folder.name or text, BacktestResult.load(folder)
    elif folder.is_dir():
        raise ConfigError(f"The folder {text} holds no saved result.")
    runs = _store(store)
    run_id = runs.find(text)
    return run_id, runs.load(run_id)


def _store(folder: str) -> RunStore:
    """A store that is there."""
    runs = RunStore(folder)
    if not runs.folder.is_dir():
        raise ConfigError(
            f"There is no run store at {runs.folder}. A run is kept there with "
            "ml4t-backtest run ... --save; another store is named with --store."
        )
    return runs


def explain(text: str, asset_id: str, at: str, *, store: str) -> None:
    """Print what was ordered and filled for an asset at a time, or why nothing was."""
    _, result = find(text, store)
    say(result.explain(asset_id, at))


def compare(texts: Sequence[str], *, store: str) -> dict[str, BacktestResult]:
    """Print runs side by side: what differs in their settings, and their figures.

    Returns:
        The results by name.
    """
    found = [find(text, store) for text in texts]
    names = [name for name, _ in found]
    settings = [
        {"period": summary.span(result), "assets": summary.some(sorted(result.record.asset_ids))}
        | _flat(_own_settings(result))
        for _, result in found
    ]
    places = dict.fromkeys(place for flat in settings for place in flat)
    different = [p for p in places if len({as_text(flat.get(p)) for flat in settings}) > 1]
    if different:
        show_table(
            ["setting", *names],
            [[place, *(flat.get(place) for flat in settings)] for place in different],
            title="What differs",
        )
    rows = [
        [name, *(figure(name, result.metrics[name]) for _, result in found)]
        for name in MAIN_FIGURES
    ]
    show_table(["figure", *names], rows, title="What came out")
    incomplete = [name for name, result in found if not result.complete]
    if incomplete:
        say(f"Not complete: {', '.join(incomplete)}.", "yellow")
    return dict(found)


def figure(name: str, value: float | None) -> str:
    """A figure as a person reads it."""
    if value is None or value != value:  # noqa: PLR0124  NaN
        return "-"
    if name in _SHARES:
        return f"{value:+.2%}" if name == "total_return" else f"{value:.2%}"
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004  whole in a float
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def _own_settings(result: BacktestResult) -> dict[str, Any]:
    """The settings without the description, which says most of it again."""
    return {name: value for name, value in result.settings.items() if name != "description"}


def _flat(settings: Any, place: str = "") -> dict[str, Any]:
    """Settings by dotted names."""
    if not isinstance(settings, dict):
        return {place: settings}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{place}.{name}" if place else str(name))
    return found


# -- the store ---------------------------------------------------------------------------------


def list_runs(*, store: str, family: str | None, as_json: bool) -> None:
    """Print the runs of a store, in the order in which they were kept."""
    frame = _store(store).frame()
    if family is not None:
        frame = frame.filter(frame["family"] == family)
    rows = frame.iter_rows(named=True)
    if as_json:
        plain = [row | {name: _decoded(row[name]) for name in _JSON} for row in rows]
        say(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())
        return
    if frame.is_empty():
        say("There are no runs." if family is None else f"There are no runs of family {family!r}.")
        return
    show_table(
        ["run", "name", "family", "status", "kept", "return", "Sharpe", "drawdown", "trades"],
        [
            [
                row["run_id"],
                row["name"],
                row["family"],
                row["status"],
                None if row["created_at"] is None else f"{row['created_at']:%Y-%m-%d}",
                *(figure(name, row[name]) for name in _LISTED),
            ]
            for row in rows
        ],
    )


def _decoded(text: str | None) -> Any:
    """What a column of JSON holds, so that a reader need not parse twice."""
    return None if text is None else msgspec.json.decode(text)


def show_run(text: str, *, store: str, as_json: bool) -> None:
    """Print all that is known of a run: its summary, or everything as JSON."""
    if as_json:
        known = _store(store).show(text)
        plain = msgspec.to_builtins(known, enc_hook=str)
        say(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())
        return
    name, result = find(text, store)
    say_page(result.summary())
    say(f"Run {name}, fingerprint {result.fingerprint[:16]}.")
    if not result.complete:
        say("The run is not complete: it failed, or was interrupted.", "yellow")


def remove(texts: Sequence[str], *, store: str) -> None:
    """Delete runs; all of them are found first, so that a wrong name deletes nothing."""
    runs = _store(store)
    found = [runs.find(text) for text in texts]
    for run_id in dict.fromkeys(found):
        runs.remove(run_id)
        say(f"Removed {run_id}. It still counts as a trial.")
