"""Folders that are whole or absent, and a fingerprint that means the content."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
import pytest

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results import store
from ml4t.backtest.results.record import FRAMES, normalised
from ml4t.backtest.results.result import BacktestResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml4t.backtest.results.record import RunRecord
    from tests.results.conftest import Simulate


@pytest.fixture
def saved(result: BacktestResult, tmp_path: Path) -> Path:
    """A folder with the result."""
    folder = tmp_path / "run"
    result.save(folder)
    return folder


def test_a_loaded_result_is_the_saved_one(result: BacktestResult, saved: Path) -> None:
    """Frames, figures, pages and fingerprint, to the bit."""
    loaded = BacktestResult.load(saved)
    for name in FRAMES:
        before, after = normalised(result.record, name), getattr(loaded.record, name)
        assert before.schema == after.schema
        assert before.equals(after, null_equal=True)
    assert loaded.trades.equals(result.trades)
    assert loaded.fingerprint == result.fingerprint
    assert loaded.summary() == result.summary()
    assert loaded.settings == result.settings
    assert loaded.record.versions == result.record.versions


def test_other_tools_can_read_the_folder(result: BacktestResult, saved: Path) -> None:
    """One Parquet file a frame, trades and positions among them, and readable JSON."""
    names = {path.stem for path in saved.glob("*.parquet")}
    assert names == {*FRAMES, "trades", "positions"}
    assert pl.read_parquet(saved / "trades.parquet").equals(result.trades)
    manifest = json.loads((saved / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["fingerprint"] == result.fingerprint
    assert manifest["run"]["settings"]["fill_at"] == "next_open"


def test_an_empty_run_can_be_kept(simulate: Simulate, tmp_path: Path) -> None:
    """Frames without rows or columns survive."""
    record = simulate(n_sessions=0, signal_coverage=pl.DataFrame())
    BacktestResult(record).save(tmp_path / "empty")
    loaded = BacktestResult.load(tmp_path / "empty")
    assert loaded.fingerprint == BacktestResult(record).fingerprint
    assert loaded.equity.is_empty()


def test_settings_of_any_kind_can_be_kept(record: RunRecord, tmp_path: Path) -> None:
    """What JSON has no word for is kept as text, and does not break the checksum."""
    odd = record.replace(
        settings={"a": float("inf"), "b": (1, 2.0), "c": complex(1, 2), "d": {"e": -0.0}}
    )
    BacktestResult(odd).save(tmp_path / "odd")
    assert BacktestResult.load(tmp_path / "odd").settings["c"] == "(1+2j)"


def test_saving_again_replaces(simulate: Simulate, saved: Path) -> None:
    """The newer result stands in the place of the older, and nothing is left beside it."""
    other = BacktestResult(simulate(seed=99))
    other.save(saved)
    assert BacktestResult.load(saved).fingerprint == other.fingerprint
    assert [path.name for path in saved.parent.iterdir()] == ["run"]


def test_parents_and_text_paths(result: BacktestResult, tmp_path: Path) -> None:
    """Folders above are made; a path may be a string; an empty folder may be used."""
    result.save(str(tmp_path / "a" / "b"))
    (tmp_path / "empty").mkdir()
    result.save(tmp_path / "empty")
    assert BacktestResult.load(str(tmp_path / "a" / "b")).fingerprint == result.fingerprint
    assert BacktestResult.load(tmp_path / "empty").fingerprint == result.fingerprint


def test_foreign_folders_are_not_touched(result: BacktestResult, tmp_path: Path) -> None:
    """A folder with anything else in it, a file, another program's manifest: all refused."""
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(ConfigError, match="not empty and holds no saved result"):
        result.save(tmp_path)
    with pytest.raises(ConfigError, match="it is a file"):
        result.save(tmp_path / "thesis.txt")
    (tmp_path / "manifest.json").write_text('{"format": "web app", "format_version": 1}')
    with pytest.raises(ConfigError, match="of another program"):
        result.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_save_that_fails_leaves_nothing(
    result: BacktestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk half way: no folder, no rest."""

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(OSError, match="no space"):
        result.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_swap_that_fails_puts_the_old_result_back(
    simulate: Simulate, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older result is still there when the newer one cannot take its place."""
    before = BacktestResult.load(saved).fingerprint
    path_type = type(saved)
    rename = path_type.rename

    def fails_for_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("busy")
        return rename(self, target)

    monkeypatch.setattr(path_type, "rename", fails_for_new)
    with pytest.raises(OSError, match="busy"):
        BacktestResult(simulate(seed=5)).save(saved)
    monkeypatch.undo()
    assert BacktestResult.load(saved).fingerprint == before
    assert [path.name for path in saved.parent.iterdir()] == ["run"]


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        change(manifest)
        path.write_text(json.dumps(manifest), encoding="utf-8")

    return act


def _cut(name: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: len(raw) // 2])

    return act


def _other_equity(folder: Path) -> None:
    frame = pl.read_parquet(folder / "equity.parquet").with_columns(pl.col("equity") * 2.0)
    frame.write_parquet(folder / "equity.parquet")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "fills.parquet").unlink(), r"damaged: fills\.parquet is missing"),
        (_cut("orders.parquet"), r"damaged: orders\.parquet is not the file that was saved"),
        (_other_equity, r"damaged: equity\.parquet is not the file that was saved"),
        (_cut("manifest.json"), r"damaged: manifest\.json cannot be read"),
        (_edit(lambda m: m["run"].update(initial_cash=1.0)), r"manifest\.json is not what was"),
        (_edit(lambda m: m.pop("files")), r"manifest\.json is not what was saved"),
        (_edit(lambda m: m.pop("format")), r"damaged: manifest\.json cannot be read"),
        (_edit(lambda m: m.update(format_version=2)), "saved in format 2; this version reads 1"),
        (_edit(lambda m: m.update(format="x")), "of another program"),
        (shutil.rmtree, r"holds no saved result: there is no manifest\.json"),
    ],
)
def test_damage_is_refused(saved: Path, damage: Callable[[Path], None], said: str) -> None:
    """Nothing half true is ever loaded, and the text says which part is wrong."""
    damage(saved)
    with pytest.raises(DataError, match=said):
        BacktestResult.load(saved)


def _resign(folder: Path, change: Callable[[Any], None]) -> None:
    """A forger who knows how the manifest is summed."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=store._Manifest)
    change(manifest)
    manifest.checksum = store._checksum(manifest)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))


def test_the_fingerprint_is_the_last_word(saved: Path) -> None:
    """Files and checksums that agree with each other but not with the run are refused too."""
    _other_equity(saved)

    def sign(manifest: Any) -> None:
        manifest.files["equity"].sha256 = store._sha256(saved / "equity.parquet")

    _resign(saved, sign)
    with pytest.raises(DataError, match="does not have the fingerprint in its manifest"):
        BacktestResult.load(saved)
    _resign(saved, lambda manifest: manifest.files.pop("equity"))
    with pytest.raises(DataError, match="does not list equity"):
        BacktestResult.load(saved)


# The fingerprint


def test_the_same_run_has_the_same_fingerprint(simulate: Simulate) -> None:
    """Two runs of the same loop, and a third of another market."""
    one, two, other = (BacktestResult(simulate(seed=s)).fingerprint for s in (1, 1, 2))
    assert one == two != other
    assert len(one) == 64


def test_it_ignores_what_is_not_content(record: RunRecord, result: BacktestResult) -> None:
    """Versions, where the data lay, how settings were written, how columns are held."""
    half = len(record.fills) // 2
    same = record.replace(
        versions={"python": "3.99"},
        source={"path": "elsewhere"},
        settings={},
        counts=dict(reversed(record.counts.items())),
        fills=pl.concat([record.fills[:half], record.fills[half:]], rechunk=False).with_columns(
            pl.col("asset_id").cast(pl.Categorical)
        ),
    )
    assert same.fills.n_chunks() == 2
    assert store.fingerprint_of(same) == result.fingerprint


@pytest.mark.parametrize("name", sorted(set(FRAMES) - {"signal_coverage"}))
def test_it_sees_every_frame(record: RunRecord, result: BacktestResult, name: str) -> None:
    """A row less in any frame is another run."""
    frame = getattr(record, name)
    frame = frame.clear(1) if frame.is_empty() else frame.head(-1)
    changed = record.replace(**{name: frame})
    assert store.fingerprint_of(changed) != result.fingerprint


@pytest.mark.parametrize(
    "change",
    [{"initial_cash": 1.0}, {"complete": False}, {"counts": {"x": 1}}],
)
def test_it_sees_the_scalars(
    record: RunRecord, result: BacktestResult, change: dict[str, Any]
) -> None:
    """So do the figures that are no frames."""
    changed = record.replace(**change)
    assert store.fingerprint_of(changed) != result.fingerprint


def _digest(*values: Any, **options: Any) -> bytes:
    return store.frame_digest(pl.DataFrame({"a": pl.Series(values, **options)}))


def test_equal_values_have_equal_digests() -> None:
    """One NaN, one zero: their bit patterns are an accident of arithmetic."""
    payload = np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)[0]
    assert _digest(payload) == _digest(float("nan"))
    assert _digest(-0.0) == _digest(0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_digest(1.0), _digest(np.nextafter(1.0, 2.0))),
        (_digest(None, 0.0), _digest(0.0, None)),
        (_digest(None, dtype=pl.Float64), _digest(float("nan"))),
        (_digest(None, dtype=pl.Float64), _digest(0.0)),
        (_digest(None, dtype=pl.String), _digest("")),
        (_digest("ab", "c"), _digest("a", "bc")),
        (_digest(1), _digest(1.0)),
        (_digest(True), _digest(False)),
        (_digest([1], [2, 3]), _digest([1, 2], [3])),
        (_digest([1], None), _digest([1], [])),
        (_digest({"x": 1, "y": "a"}), _digest({"x": 1, "y": "b"})),
        (_digest(None), _digest(None, None)),
        (_digest(b"a"), _digest(b"b")),
    ],
)
def test_different_values_have_different_digests(one: bytes, other: bytes) -> None:
    """A bit, a null, a border between two words, a type."""
    assert one != other


def test_names_of_columns_count() -> None:
    """The same values under another name are other values."""
    assert store.frame_digest(pl.DataFrame({"a": [1]})) != store.frame_digest(
        pl.DataFrame({"b": [1]})
    )
