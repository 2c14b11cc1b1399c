"""Runs that stay: whole entries only, whoever writes at the same time and however it ends."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import math
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, RunStore, Strategy
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results import runs_entry, runs_scratch
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.testing.markets import ten_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.results.conftest import Simulate

DAY = 86_400


class Hold(Strategy):
    def __init__(self, units: float) -> None:
        self.units = units

    def on_bars(self, bars):
        self.order_target("A", self.units)


def hold(units: float) -> BacktestResult:
    """A short run."""
    return BacktestEngine(ten_bars(), strategy=Hold(units)).run()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """A store that does not exist yet."""
    return RunStore(tmp_path / "runs")


def _leftovers(store: RunStore) -> list[str]:
    folder = store.folder / ".writing"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Adding and looking


def test_an_added_run_is_listed_with_what_it_was(store: RunStore) -> None:
    """One row: who, what, when, on what data, with what outcome."""
    result = hold(3)
    run_id = store.add(result, name="three", description={"cost": 2})
    (row,) = store.frame().iter_rows(named=True)
    assert row["run_id"] == run_id
    assert (row["name"], row["family"], row["strategy"]) == ("three", "Hold", "Hold")
    assert row["status"] == "complete"
    assert json.loads(row["parameters"]) == {"units": 3}
    assert json.loads(row["versions"]) == result.record.versions
    assert row["fingerprint"] == result.fingerprint
    sessions = result.returns["session"]
    assert (row["start"], row["end"]) == (sessions[0], sessions[-1])
    for name in ("final_equity", "total_return", "max_drawdown", "trades", "sessions"):
        assert row[name] == result.metrics[name], name
    written = (store.folder / run_id / "manifest.json").stat().st_mtime
    assert row["created_at"].timestamp() == pytest.approx(written, abs=1e-5)
    assert row["created_at"].tzinfo is not None


def test_a_loaded_run_is_the_added_one(store: RunStore) -> None:
    """Fingerprint and frames."""
    result = hold(3)
    loaded = store.load(store.add(result))
    assert loaded.fingerprint == result.fingerprint
    assert loaded.trades.equals(result.trades)


def test_ids_can_be_read_and_do_not_depend_on_chance(tmp_path: Path) -> None:
    """The same runs in the same order have the same ids in another store."""
    first, second = RunStore(tmp_path / "a"), RunStore(tmp_path / "b")
    ids = [store.add(hold(units)) for store in (first, second) for units in (1, 2, 2)]
    assert ids[:3] == ids[3:]
    assert len(set(ids[:3])) == 3
    assert all(run_id.startswith("Hold-") and len(run_id) == 13 for run_id in ids)


def test_a_store_is_made_by_its_first_run(store: RunStore) -> None:
    """A misspelt folder is not left behind by a look into it."""
    assert store.frame().is_empty()
    assert store.frame().schema["created_at"] == pl.Datetime("us", "UTC")
    assert store.trials("Hold") == 0
    assert store.rebuild() == 0
    with pytest.raises(ConfigError, match=r"has no run 'x'\. None are known"):
        store.load("x")
    assert not store.folder.exists()
    filled = RunStore(store.folder)
    filled.add(hold(1))
    assert filled.frame().schema == RunStore(store.folder.parent / "other").frame().schema


def test_the_default_folder_stands_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ml4t-runs`, and it stays the same folder when one goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    store = RunStore()
    assert store.folder == tmp_path / "ml4t-runs"
    assert repr(store) == f"RunStore({str(tmp_path / 'ml4t-runs')!r})"


def test_figures_without_a_number_survive(store: RunStore) -> None:
    """NaN is not null, and infinity stays infinite."""
    result = hold(1)
    run_id = store.add(result)
    metrics = store.show(run_id)["metrics"]
    assert list(metrics) == list(result.metrics)
    assert any(math.isnan(value) for value in result.metrics.values())
    for name, value in result.metrics.items():
        assert metrics[name] == pytest.approx(value, nan_ok=True, rel=0, abs=0), name


def test_a_partial_run_is_kept_as_one(store: RunStore) -> None:
    """What a failed run left behind is worth a look, and is not taken for a whole run."""

    class Fails(Strategy):
        def on_bars(self, bars):
            if bars.index == 5:
                raise ValueError("no")

    with pytest.raises(Exception, match="raised ValueError") as caught:
        BacktestEngine(ten_bars(), strategy=Fails()).run()
    run_id = store.add(caught.value.result)  # type: ignore[attr-defined]
    assert run_id.startswith("Fails-")
    assert store.frame()["status"].to_list() == ["partial"]
    assert not store.load(run_id).complete


def test_the_code_of_the_run_is_kept(store: RunStore) -> None:
    """By default the file of the class; the digest is that of the text."""
    text = Path(__file__).read_text(encoding="utf-8")
    shown = store.show(store.add(hold(1)))
    assert shown["code"] == text
    assert shown["code_fingerprint"] == hashlib.sha256(text.encode()).hexdigest()
    given = store.show(store.add(hold(2), code="class Hold: ...\r\n# ünï\n"))
    assert given["code"] == "class Hold: ...\r\n# ünï\n"
    assert (store.folder / given["run_id"] / "code.py").read_bytes() == given["code"].encode()
    loaded = store.show(store.add(store.load(given["run_id"])))
    assert loaded["code"] is loaded["code_fingerprint"] is None


def test_a_class_typed_at_a_prompt_has_no_code(store: RunStore) -> None:
    """Nothing is invented where there is no text."""
    space: dict[str, Any] = {"Strategy": Strategy, "__name__": "nowhere"}
    exec("class Typed(Strategy):\n    def on_bars(self, bars):\n        pass", space)  # noqa: S102
    result = BacktestEngine(ten_bars(), strategy=space["Typed"]()).run()
    assert store.show(store.add(result))["code"] is None


def test_the_code_is_that_of_the_class_that_ran(tmp_path: Path, store: RunStore) -> None:
    """Also when the class was defined anew meanwhile, or a decorator of others stands before it."""
    texts = ["", ""]
    results = []
    for n in (0, 1):
        texts[n] = (
            "from functools import cache\n\nfrom ml4t.backtest import Strategy\n\n\n"
            f"class Cell(Strategy):\n    @cache\n    def size(self):\n        return {n + 1}\n\n"
            "    def on_bars(self, bars):\n        self.order_target('A', self.size())\n"
        )
        path = tmp_path / f"cell{n}.py"
        path.write_text(texts[n], encoding="utf-8")
        space: dict[str, Any] = {"__name__": __name__}
        exec(compile(texts[n], path, "exec"), space)  # noqa: S102  as a notebook does
        results.append(BacktestEngine(ten_bars(), strategy=space["Cell"]()).run())
    ids = [store.add(pickle.loads(pickle.dumps(result))) for result in results]  # noqa: S301
    assert [store.show(run_id)["code"] for run_id in ids] == texts


def test_show_tells_everything(store: RunStore) -> None:
    """Settings, source, description and figures as they were."""
    result = hold(3)
    description = {"command": ["run", "hold.py"], "when": dt.date(2024, 1, 2), "deep": {"a": None}}
    shown = store.show(store.add(result, description=description))
    assert shown["description"] == {**description, "when": "2024-01-02"}
    assert shown["settings"] == json.loads(json.dumps(result.settings))
    assert shown["source"] == json.loads(json.dumps(result.record.source))
    assert shown["parameters"] == {"units": 3}
    assert shown["problem"] is None
    assert shown["folder"] == store.folder / shown["run_id"]
    assert "sharpe" not in shown


def test_the_result_may_come_from_elsewhere(store: RunStore, simulate: Simulate) -> None:
    """Records without an engine, without sessions, with settings JSON has no word for."""
    record = simulate(n_sessions=0, settings={"strategy": "a.b:Ünï <x>", "odd": {1, 2}, "i": 1j})
    run_id = store.add(BacktestResult(record))
    (row,) = store.frame().iter_rows(named=True)
    assert run_id.startswith("b__n___x-")
    assert (row["strategy"], row["family"], row["start"]) == ("a.b:Ünï <x>",) * 2 + (None,)
    bare = store.add(BacktestResult(simulate(settings={})))
    assert bare.startswith("run-")
    assert store.show(bare)["family"] == "strategy"


@pytest.mark.parametrize("name", ["a/b", "../up", "Größe 10 %", "two\nlines", "🎲", "'; --", "."])
def test_names_may_be_odd(store: RunStore, name: str) -> None:
    """A name is a text, never a path or a statement."""
    run_id = store.add(hold(1), name=name, family=name)
    assert store.find(name) == run_id
    assert store.frame()["name"].to_list() == [name]
    assert store.trials(name) == 1
    store.rebuild()
    assert store.show(name)["name"] == name
    assert sorted(path.name for path in store.folder.parent.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name must be a text that is not empty"),
        ({"name": "  "}, "name must be a text"),
        ({"family": 3}, "family must be a text"),
        ({"name": "\ud800"}, "name holds what is not a character"),
        ({"code": b"x"}, "code must be a text"),
        ({"description": [1]}, "description must be a dict, not list"),
        ({"description": {"a": object()}}, "description must be JSON-able"),
    ],
)
def test_options_that_cannot_be_kept_are_refused(
    store: RunStore, options: dict[str, Any], said: str
) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=said):
        store.add(hold(1), **options)
    with pytest.raises(ConfigError, match="takes a BacktestResult, not str"):
        store.add("result")  # type: ignore[arg-type]
    assert not store.folder.exists()


# Finding and comparing


def test_a_run_is_found_by_id_prefix_or_name(store: RunStore) -> None:
    """A whole id first, then a name, then the beginning of an id."""
    one = store.add(hold(1), name="plain")
    two = store.add(hold(2), name=one[:7])
    assert store.find(one) == one
    assert store.find("plain") == one
    assert store.find(one[:9]) == one
    assert store.find(one[:7]) == two
    assert store.load("plain").fingerprint == hold(1).fingerprint


def test_what_is_not_one_run_is_refused(store: RunStore) -> None:
    """With the candidates, or the nearest names."""
    one, two = store.add(hold(1), name="twin"), store.add(hold(2), name="twin")
    for text in ("twin", "Hold-"):
        with pytest.raises(ConfigError, match=f"{text!r} means 2 runs.*") as caught:
            store.find(text)
        assert one in str(caught.value)
        assert two in str(caught.value)
    with pytest.raises(ConfigError, match=r"has no run 'twn'. Did you mean 'twin'"):
        store.show("twn")
    for nothing in ("", None):
        with pytest.raises(ConfigError, match="by its id or name"):
            store.find(nothing)  # type: ignore[arg-type]


def test_runs_stand_side_by_side(store: RunStore) -> None:
    """A row a run, settings that differ, all figures; what is the same is left out."""
    results = [hold(1), BacktestEngine(ten_bars(), strategy=Hold(2), max_history=5).run()]
    ids = [store.add(result, name=f"r{n}") for n, result in enumerate(results)]
    frame = store.compare(["r1", ids[0]])
    assert frame["run_id"].to_list() == ids[::-1]
    assert frame["settings.strategy.parameters.units"].to_list() == [2, 1]
    assert frame["settings.max_history"].to_list() == [5, 1000]
    differing = [column for column in frame.columns if "." in column]
    assert differing == ["settings.strategy.parameters.units", "settings.max_history"]
    assert frame["final_equity"].to_list() == [r.final_equity for r in results[::-1]]
    assert set(results[0].metrics) <= set(frame.columns)
    with pytest.raises(ConfigError, match="takes a list of runs"):
        store.compare("r1")
    with pytest.raises(ConfigError, match="takes a list of runs"):
        store.compare([])


def test_settings_of_several_types_can_be_compared(store: RunStore, simulate: Simulate) -> None:
    """As JSON text where they share no type; a setting that one lacks is null."""
    for n, rate in enumerate([None, 1.5, "x", [1, {"a": 2}]]):
        settings: dict[str, Any] = {"strategy": "S", "rate": rate, **({"only": True} if n else {})}
        store.add(BacktestResult(simulate(settings=settings)), name=f"r{n}")
    frame = store.compare(["r0", "r1", "r2", "r3"])
    assert frame["settings.rate"].to_list() == [None, "1.5", '"x"', '[1,{"a":2}]']
    assert frame["settings.only"].to_list() == [None, True, True, True]
    assert store.compare(["r0", "r1"])["settings.rate"].to_list() == [None, 1.5]


# Trials


def test_trials_are_distinct_configurations(store: RunStore) -> None:
    """The same run twice is one trial; other settings or another outcome are another."""
    for units in (1, 1, 2, 3, 2):
        store.add(hold(units))
    assert store.trials("Hold") == 3
    store.add(BacktestEngine(ten_bars(), strategy=Hold(1), max_history=7).run())
    assert store.trials("Hold") == 4
    store.add(BacktestEngine(ten_bars().head(6), strategy=Hold(1)).run())
    assert store.trials("Hold") == 5
    store.add(hold(9), family="other")
    assert (store.trials("Hold"), store.trials("other"), store.trials("none")) == (5, 1, 0)


def test_removal_keeps_the_tally(store: RunStore) -> None:
    """Whoever deletes the bad runs still tried them; a rebuild or a lost index changes nothing."""
    ids = [store.add(hold(units)) for units in (1, 2, 3)]
    store.remove(ids[0])
    assert store.frame()["run_id"].to_list() == ids[1:]
    assert not (store.folder / ids[0]).exists()
    assert store.trials("Hold") == 3
    store.rebuild()
    assert store.trials("Hold") == 3
    (store.folder / "runs.sqlite").unlink()
    shutil.rmtree(store.folder / ids[1])  # by hand
    assert RunStore(store.folder).trials("Hold") == 3
    (store.folder / "trials.jsonl").unlink()
    store.remove(ids[2])
    assert store.trials("Hold") == 1
    assert _leftovers(store) == []


def test_a_line_cut_short_spoils_no_other(store: RunStore) -> None:
    """A full disk in the middle of a line costs that line."""
    ids = [store.add(hold(1))]
    path = store.folder / "trials.jsonl"
    path.write_bytes(path.read_bytes() + b'{"family": "Ho')
    ids += [store.add(hold(2)), store.add(hold(3))]
    for run_id in ids:
        store.remove(run_id)
    assert store.trials("Hold") == 3


def test_only_a_whole_id_is_removed(store: RunStore) -> None:
    """What deletes is not guessed; nothing outside the store can be meant."""
    run_id = store.add(hold(1), name="one")
    (store.folder.parent / "precious").mkdir()
    for text in ("one", run_id[:-1], "../precious", "", ".", ".writing"):
        with pytest.raises(ConfigError, match="no run with the id"):
            store.remove(text)
    with pytest.raises(ConfigError, match=f"Did you mean '{run_id}'"):
        store.remove(run_id[:-1])
    assert (store.folder.parent / "precious").exists()
    assert store.frame()["run_id"].to_list() == [run_id]


# The folders are the truth


def _break_index(folder: Path) -> None:
    (folder / "runs.sqlite").write_bytes(b"this is no database" * 1000)


def _empty_index(folder: Path) -> None:
    (folder / "runs.sqlite").write_bytes(b"")


def _wrong_rows(folder: Path) -> None:
    with sqlite3.connect(folder / "runs.sqlite") as base:
        base.execute("UPDATE runs_1 SET entry = 'nonsense'")
    base.close()


def _ghosts(folder: Path) -> None:
    with sqlite3.connect(folder / "runs.sqlite") as base:
        base.execute("INSERT INTO runs_1 SELECT 'ghost', stamp, family, name, entry FROM runs_1")
    base.close()


def _no_index(folder: Path) -> None:
    (folder / "runs.sqlite").unlink()


@pytest.mark.parametrize("harm", [_break_index, _empty_index, _wrong_rows, _ghosts, _no_index])
@pytest.mark.parametrize("rebuilt", [False, True])
def test_the_index_can_be_lost(
    store: RunStore, harm: Callable[[Path], None], rebuilt: bool
) -> None:
    """Whatever becomes of it, the list is the same, with and without a rebuild."""
    store.add(hold(1), name="one", family="f", description={"a": 1})
    before = store.frame()
    harm(store.folder)
    if rebuilt:
        assert store.rebuild() == 1
    assert store.frame().equals(before)
    store.add(hold(2))
    assert store.frame().head(1).equals(before)
    with sqlite3.connect(store.folder / "runs.sqlite") as base:
        assert base.execute("SELECT count(*) FROM runs_1").fetchall() == [(2,)]
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    base.close()


def test_an_index_that_is_locked_does_not_lock_out(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is kept and listed though somebody holds the index for longer than one waits."""
    monkeypatch.setattr("ml4t.backtest.results.runs_index._WAIT_SECONDS", 0.05)
    first = store.add(hold(1))
    base = sqlite3.connect(store.folder / "runs.sqlite", isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    second = store.add(hold(2))
    assert store.frame()["run_id"].to_list() == [first, second]
    base.execute("ROLLBACK")
    base.close()
    assert store.frame()["run_id"].to_list() == [first, second]


def test_a_listing_does_not_open_every_folder(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the index knows and is unchanged is not read again."""
    store.add(hold(1))
    store.add(hold(2))
    before = store.frame()

    def no(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("ml4t.backtest.results.runs_entry.read", no)
    assert RunStore(store.folder).frame().equals(before)


def test_a_store_can_be_copied(store: RunStore, tmp_path: Path) -> None:
    """Folders without the index, elsewhere: the same list."""
    store.add(hold(1), name="one")
    store.add(hold(2))
    shutil.copytree(store.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("runs.sqlite*"))
    copy = RunStore(tmp_path / "copy")
    assert copy.frame().drop("created_at").equals(store.frame().drop("created_at"))


def test_a_result_saved_into_the_store_by_hand_is_a_run(store: RunStore) -> None:
    """The folder is what counts; other folders and files are not runs."""
    run_id = store.add(hold(1))
    hold(2).save(store.folder / "mine")
    (store.folder / "notes").mkdir()
    (store.folder / "notes" / "a.txt").write_text("x")
    (store.folder / "readme.txt").write_text("x")
    assert set(store.frame()["run_id"]) == {run_id, "mine"}
    assert store.show("mine")["metrics"].keys() == hold(2).metrics.keys()
    assert store.trials("Hold") == 2
    store.remove("mine")
    assert store.trials("Hold") == 2
    assert store.frame()["run_id"].to_list() == [run_id]


# Old and damaged


def _edit(file: str, /, **changes: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        plain = json.loads((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_text(json.dumps({**plain, **changes}), encoding="utf-8")

    return act


def _cut(name: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: len(raw) // 2])

    return act


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _other_note(folder: Path) -> None:
    path = folder / "run.json"
    twin = RunStore(folder.parent.parent / "twin")
    path.write_bytes((twin.folder / twin.add(hold(77)) / "run.json").read_bytes())


@pytest.mark.parametrize(
    ("harm", "status", "said"),
    [
        (_edit("manifest.json", format_version=0), "other format", "saved in format 0; this"),
        (_edit("manifest.json", format_version=9), "other format", "saved in format 9; this"),
        (_edit("manifest.json", surprise=1, format_version=2), "other format", "in format 2"),
        (_edit("run.json", format_version=0), "other format", "kept in format 0 of a run store"),
        (_edit("run.json", format_version="next", note=[]), "other format", "in format next"),
        (_edit("run.json", name="forged"), "damaged", r"run\.json is not what was saved"),
        (_edit("run.json", metrics=[]), "damaged", r"run\.json cannot be read"),
        (_edit("run.json", checksum=None), "damaged", r"run\.json is not what was saved"),
        (_edit("manifest.json", fingerprint="x"), "damaged", r"manifest\.json is not what was"),
        (_cut("run.json"), "damaged", r"run\.json cannot be read"),
        (_cut("manifest.json"), "damaged", r"manifest\.json cannot be read"),
        (_cut("fills.parquet"), "damaged", r"fills\.parquet is not the file that was saved"),
        (_cut("code.py"), "damaged", r"code\.py is not the file that was saved"),
        (_without("equity.parquet"), "damaged", r"equity\.parquet is missing"),
        (_without("manifest.json"), "damaged", r"manifest\.json"),
        (_without("code.py"), "damaged", r"code\.py is missing"),
        (_other_note, "damaged", r"run\.json and manifest\.json are not of one run"),
    ],
)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_damage_is_listed_and_never_breaks_the_list(
    store: RunStore, harm: Callable[[Path], None], status: str, said: str, rebuilt: bool
) -> None:
    """The entry says what is wrong, loading refuses, the other run is untouched."""
    good = store.add(hold(1), name="good")
    bad = store.add(hold(2), name="bad")
    intact = store.frame().filter(run_id=good)
    harm(store.folder / bad)
    if rebuilt:
        store.rebuild()
    frame = store.frame()
    assert dict(frame.select("run_id", "status").iter_rows()) == {good: "complete", bad: status}
    assert frame.filter(run_id=good).equals(intact)
    assert store.show(bad)["problem"] is not None
    with pytest.raises(DataError, match=said):
        store.load(bad)
    assert store.compare([good, bad]).height == 2
    assert store.load(good).final_equity == hold(1).final_equity
    assert store.trials("Hold") == 2
    store.remove(bad)
    assert store.trials("Hold") == 2
    assert store.frame()["run_id"].to_list() == [good]


def test_unknown_fields_of_a_note_are_no_damage(store: RunStore) -> None:
    """A later version may add some; the sum over what is there still has to be right."""
    run_id = store.add(hold(1))
    path = store.folder / run_id / "run.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    del plain["checksum"]
    plain["mood"] = "good"
    raw = msgspec.json.encode((plain,), order="deterministic")
    path.write_text(json.dumps({**plain, "checksum": hashlib.sha256(raw).hexdigest()}))
    assert store.frame()["status"].to_list() == ["complete"]


def test_a_lost_note_is_written_off(store: RunStore) -> None:
    """Without `run.json` a run is what was saved, without its name."""
    run_id = store.add(hold(1), name="one", code="x = 1")
    (store.folder / run_id / "run.json").unlink()
    (row,) = store.frame().iter_rows(named=True)
    assert (row["status"], row["name"], row["family"]) == ("complete", None, "Hold")
    assert store.trials("Hold") == 1


# What was tried, where a reader looks


def test_a_kept_run_says_how_many_were_tried(store: RunStore, tmp_path: Path) -> None:
    """In its summary and, marked, on its page; a run outside a store knows of none."""
    first = hold(1)
    assert hold(1).tried is None
    assert "trials" not in first.summary()
    run_id = store.add(first)
    assert first.tried == ("Hold", 1)
    assert "1 configuration of Hold in its store\n" in first.summary()
    store.remove(store.add(hold(2)))
    again = store.load(run_id)
    assert again.tried == ("Hold", 2)
    words = "2 configurations of Hold in its store; the best of several flatters"
    assert words in again.summary()
    page = again.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert f'<div class="row loud"><dt>trials</dt><dd>{words}</dd></div>' in page


# Places that cannot be written


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """At once, and when it becomes one later."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file, not the folder of a run store"):
        RunStore(tmp_path / "file")
    store = RunStore(tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match="cannot be written"):
        store.add(hold(1))
    assert store.frame().is_empty()
    assert (tmp_path / "file").read_text() == "mine"


READ_ONLY = """
import os, sys, fcntl, sqlite3
from ml4t.backtest import RunStore, ConfigError
from ml4t.backtest.results.runs import RunStore
import polars as pl
store = RunStore(sys.argv[1])
pl.DataFrame({"a": [1]}).write_parquet("/dev/null")
if os.getuid() == 0:
    os.setuid(65534)
print(store.frame()["run_id"].to_list() == sys.argv[2:], store.trials("Hold"))
print(store.load(sys.argv[2]).complete, store.show(sys.argv[2])["status"])
for act in (lambda: store.remove(sys.argv[2]), store.rebuild, lambda: store.add(store.load(""
            + sys.argv[2]))):
    try:
        act()
    except ConfigError as error:
        print("cannot be written" in str(error))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such rights there")
def test_a_store_that_may_only_be_read(open_folder: Path) -> None:
    """Everything that looks works; what writes says that it cannot."""
    store = RunStore(open_folder / "runs")
    ids = [store.add(hold(1)), store.add(hold(2))]
    before = sorted(path.name for path in store.folder.iterdir())
    for path in [*store.folder.rglob("*"), store.folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(store.folder), *ids],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["True 2", "True complete", "True", "True", "True"], (
        done.stdout + done.stderr
    )
    assert sorted(path.name for path in store.folder.iterdir()) == before


def test_a_full_disk_leaves_nothing(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own error, no entry and no rest."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("ml4t.backtest.results.store._write", full)
    with pytest.raises(OSError, match="no space left"):
        store.add(hold(1))
    assert store.frame().is_empty()
    assert store.trials("Hold") == 0
    assert _leftovers(store) == []


def test_a_store_that_may_not_be_read_says_so(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty would be another answer. One folder of many that may not be read is damage."""
    bad, good = store.add(hold(1)), store.add(hold(2))
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == bad:
            raise PermissionError(errno.EACCES, "permission denied")
        return scandir(path)

    monkeypatch.setattr("ml4t.backtest.results.runs_entry.os.scandir", refused)
    assert set(store.frame()["run_id"]) == {good, bad}
    monkeypatch.undo()

    def closed(_: Path) -> Any:
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr(type(store.folder), "iterdir", closed)
    with pytest.raises(ConfigError, match=r"cannot be read: .*permission denied"):
        store.frame()


# Races, forced


def test_an_id_that_is_taken_meanwhile_leads_to_the_next(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes may find the same id free; the rename decides."""
    taken = store.add(hold(1))
    exists = type(store.folder).exists
    blind = [taken]

    def overlooks(self: Path) -> bool:
        return False if self.name in blind else exists(self)

    monkeypatch.setattr(type(store.folder), "exists", overlooks)
    other = store.add(hold(1))
    monkeypatch.undo()
    assert other != taken
    assert set(store.frame()["run_id"]) == {taken, other}


def test_a_run_removed_by_another_meanwhile_is_unknown(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither loading nor removing takes its absence for damage."""
    run_id = store.add(hold(1))
    listed = RunStore._entries(store)
    monkeypatch.setattr(RunStore, "_entries", lambda _: listed)
    shutil.rmtree(store.folder / run_id)
    with pytest.raises(ConfigError, match="Another process has removed the run"):
        store.load(run_id)
    with pytest.raises(ConfigError, match="Another process has removed the run"):
        store.remove(run_id)


def test_a_folder_that_goes_while_it_is_read_is_not_listed(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it was there, half was not: it is looked at again."""
    run_id = store.add(hold(1))
    (store.folder / "runs.sqlite").unlink()
    read = runs_entry.read

    def removes(folder: Path, **options: Any) -> Any:
        (folder / "fills.parquet").unlink()
        entry = read(folder, **options)
        assert entry.status == "damaged"
        shutil.rmtree(folder)
        return entry

    monkeypatch.setattr(runs_entry, "read", removes)
    assert store.frame().is_empty()
    assert not (store.folder / run_id).exists()


def test_a_lock_that_is_swept_before_it_is_held_is_made_again(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making and locking a file it belongs to nobody."""
    lock, calls = runs_scratch._lock, []

    def swept(handle: int, *, wait: bool) -> bool | None:
        calls.append(wait)
        if calls == [True]:
            for path in (store.folder / ".writing").iterdir():
                path.unlink()
        return lock(handle, wait=wait)

    monkeypatch.setattr(runs_scratch, "_lock", swept)
    run_id = store.add(hold(1))
    assert calls[:2] == [True, True]
    assert store.find(run_id) == run_id
    assert _leftovers(store) == []


def test_a_store_goes_to_another_process(store: RunStore) -> None:
    """It holds no connection, so it can be pickled for a pool of workers."""
    run_id = store.add(hold(1))
    there = pickle.loads(pickle.dumps(store))  # noqa: S301  our own
    assert there.find(run_id) == run_id


def test_threads_may_share_a_store(store: RunStore) -> None:
    """Each call has a connection of its own."""
    results = [hold(units) for units in range(6)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(store.add, results))
    assert sorted(store.frame()["run_id"]) == sorted(ids)
    assert _leftovers(store) == []


# Processes


WORKER = """
import os, signal, sys
from pathlib import Path
from ml4t.backtest import BacktestEngine, RunStore, Strategy
from ml4t.backtest.results import runs_entry, runs_index, runs_scratch, runs_tally, store as saver
from ml4t.backtest.results import runs
from ml4t.backtest.testing.markets import ten_bars

class Hold(Strategy):
    def __init__(self, units):
        self.units = units
    def on_bars(self, bars):
        self.order_target("A", self.units)

def hold(units):
    return BacktestEngine(ten_bars(), strategy=Hold(units)).run()

def at(owner, name, act, after=False, call=1):
    original, calls = getattr(owner, name), [0]
    def patched(*args, **options):
        calls[0] += 1
        if calls[0] == call and not after:
            act()
        found = original(*args, **options)
        if calls[0] == call and after:
            act()
        return found
    setattr(owner, name, patched)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def wait():
    print("ready", flush=True)
    sys.stdin.readline()

store = RunStore(sys.argv[1])
"""


def _start(store: RunStore, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER + script, str(store.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def _point(name: str) -> Any:
    """A process each: the most telling points always, the others when there is time."""
    often = name in {"in the files", "in its place", "moved away"}
    return pytest.param(name, marks=[] if often else pytest.mark.slow)


IN_ADD = {
    "lock made": ('at(runs_scratch, "_lock", die)', 0),
    "place made": ('at(runs_scratch.Scratch, "sweep", die)', 0),
    "first file": ('at(saver, "_write", die)', 0),
    "in the files": ('at(saver, "_write", die, call=5)', 0),
    "before the manifest": ('at(saver, "_checksum", die)', 0),
    "saved without note": ('at(runs_entry, "write", die)', 0),
    "note written": ('at(runs_entry, "write", die, after=True)', 0),
    "in its place": ('at(runs.RunStore, "_settle", die, after=True)', 1),
    "counted": ('at(runs_tally.Tally, "add", die, after=True)', 1),
    "before the index": ('at(runs_index.Index, "_write", die)', 1),
    "in the index": ('at(runs_index.Index, "_write", die, after=True)', 1),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize("point", [_point(name) for name in IN_ADD])
def test_a_killed_save_leaves_a_whole_entry_or_none(store: RunStore, point: str) -> None:
    """Killed at any point, nothing half is ever listed, and the next writer tidies up."""
    kill, kept = IN_ADD[point]
    process = _start(store, f"{kill}\nstore.add(hold(5))")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert store.frame()["status"].to_list() == ["complete"] * kept
    assert store.trials("Hold") == kept
    for run_id in store.frame()["run_id"]:
        assert store.load(run_id).fingerprint == hold(5).fingerprint
    store.add(hold(6))
    assert _leftovers(store) == []
    before = store.frame()
    assert before.height == kept + 1
    store.rebuild()
    assert store.frame().equals(before)


IN_REMOVE = {
    "counted": ('at(runs_tally.Tally, "add", die, after=True)', 1),
    "moved away": ('at(runs.shutil, "rmtree", die)', 0),
    "before the index": ('at(runs_index.Index, "_write", die)', 0),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize("point", [_point(name) for name in IN_REMOVE])
def test_a_killed_removal_leaves_a_whole_entry_or_none(store: RunStore, point: str) -> None:
    """The run is still there, whole, or it is gone; it counts either way."""
    kill, kept = IN_REMOVE[point]
    run_id = store.add(hold(5))
    process = _start(store, f"{kill}\nstore.remove({run_id!r})")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert store.frame()["status"].to_list() == ["complete"] * kept
    assert store.trials("Hold") == 1
    store.rebuild()
    assert _leftovers(store) == []
    assert store.frame().height == kept


@pytest.mark.skipif(sys.platform == "win32", reason="only age tells there")
def test_a_live_writer_is_never_swept(store: RunStore) -> None:
    """However old its place looks, and however often others tidy up."""
    process = _start(store, 'at(runs_entry, "write", wait)\nprint(store.add(hold(5)))')
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for path in (store.folder / ".writing").iterdir():
        os.utime(path, (0, 0))
    assert store.frame().is_empty()
    other = store.add(hold(6))
    store.rebuild()
    assert len(_leftovers(store)) == 2
    process.stdin.write("\n")  # type: ignore[union-attr]
    late = _end(process).strip()
    assert set(store.frame()["run_id"]) == {other, late}
    assert _leftovers(store) == []


@pytest.mark.skipif(sys.platform == "win32", reason="only age tells there")
def test_leftovers_without_a_lock_are_swept_when_old(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Age decides where nothing else can, by the clock of the file system."""
    store.add(hold(1))
    scratch = store.folder / ".writing"
    now = (store.folder / "runs.sqlite").stat().st_mtime
    for name, age in (("young", 10), ("old", 2 * DAY)):
        (scratch / name / "deep").mkdir(parents=True)
        os.utime(scratch / name, (now - age, now - age))
    store.add(hold(2))
    assert _leftovers(store) == ["young"]
    monkeypatch.setattr(runs_scratch, "_lock", lambda *_, **__: None)  # such a drive
    for name, age in (("fresh", 10), ("stale", 2 * DAY)):
        (scratch / name).mkdir()
        (scratch / f"{name}.lock").touch()
        os.utime(scratch / f"{name}.lock", (now - age, now - age))
    store.add(hold(3))
    assert _leftovers(store) == ["fresh", "fresh.lock", "young"]
    assert store.frame().height == 3


@pytest.mark.parametrize(("writers", "runs"), [(2, 2), pytest.param(4, 8, marks=pytest.mark.slow)])
def test_several_processes_write_at_once(store: RunStore, writers: int, runs: int) -> None:
    """Every run is there once, the same result under several ids; nothing is lost or half."""
    script = f"for units in range({runs}):\n    print(store.add(hold(units)), flush=True)"
    processes = [_start(store, script) for _ in range(writers)]
    seen = 0
    while any(process.poll() is None for process in processes):
        frame = store.frame()
        assert set(frame["status"]) <= {"complete"}
        assert frame.height >= seen
        seen = frame.height
        time.sleep(0.02)
    ids = [line for process in processes for line in _end(process).split()]
    frame = store.frame()
    assert len(set(ids)) == writers * runs
    assert sorted(frame["run_id"]) == sorted(ids)
    assert sorted(frame["fingerprint"].value_counts()["count"]) == [writers] * runs
    assert store.trials("Hold") == runs
    assert _leftovers(store) == []
    assert store.rebuild() == writers * runs
    assert store.frame().equals(frame)


@pytest.mark.parametrize("runs", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_one_may_list_while_others_add_and_remove(store: RunStore, runs: int) -> None:
    """A run that is being removed is whole or gone, never damaged; removed by one only."""
    shared = [store.add(hold(units)) for units in range(10, 10 + runs)]
    script = (
        f"from ml4t.backtest import ConfigError\ngone = 0\nfor run_id in {shared!r}:\n"
        "    own = store.add(hold(1))\n    store.remove(own)\n"
        "    try:\n        store.remove(run_id)\n        gone += 1\n"
        "    except ConfigError as error:\n        assert run_id in str(error), error\n"
        "print(gone)"
    )
    processes = [_start(store, script) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        assert set(store.frame()["status"]) <= {"complete"}
        store.trials("Hold")
        time.sleep(0.02)
    assert sum(int(_end(process)) for process in processes) == len(shared)
    assert store.frame().is_empty()
    assert _leftovers(store) == []
    assert store.trials("Hold") == runs + 1


def test_ordinary_results_need_no_database() -> None:
    """SQLite is loaded by the store alone."""
    code = (
        "import sys; from ml4t.backtest import BacktestEngine, BacktestResult\n"
        "print('sqlite3' in sys.modules)\n"
        "from ml4t.backtest import RunStore\nprint('sqlite3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
