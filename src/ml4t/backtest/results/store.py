"""Results as folders, and the fingerprint of a run.

A folder holds one Parquet file a frame and `manifest.json`: format version, settings, versions,
the fingerprint, and a checksum of every file. It is written beside its place and then renamed,
so a folder with a manifest is whole. `trades.parquet` and `positions.parquet` are there for
other tools; loading derives them anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results.places import write_parquet
from ml4t.backtest.results.record import FRAMES, RunRecord, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMAT = "ml4t.backtest.result"
_FORMAT_VERSION = 1
_MANIFEST = "manifest.json"

# What came out of a run. Coverage is left out: it describes the input, by the names of its
# sources and by averages whose last bits may depend on how the input was cut into pieces.
_OUTCOME = tuple(name for name in FRAMES if name != "signal_coverage")


class OtherFormatError(DataError):
    """A saved result that is whole, as far as this version can tell, but not for it to read."""


class _File(msgspec.Struct):
    rows: int
    sha256: str


class _Scalars(msgspec.Struct):
    """The fields of a `RunRecord` that are not frames."""

    initial_cash: float
    counts: dict[str, int]
    settings: dict[str, Any]
    source: dict[str, Any]
    versions: dict[str, str]
    periods_per_year: float | None
    complete: bool
    asset_ids: list[str]


class _Manifest(msgspec.Struct):
    format: str
    format_version: int
    fingerprint: str
    run: _Scalars
    files: dict[str, _File]
    checksum: str = ""


# -- the fingerprint ---------------------------------------------------------------------------


def fingerprint_of(record: RunRecord) -> str:
    """Hex digest of what happened in a run: orders, fills, equity and the rest, to the bit.

    The same after saving and loading, and for any way of holding the same values: chunking,
    categories for strings, the bit pattern of a NaN and the sign of zero do not matter. Settings,
    versions and the location of the data do not enter.
    """
    digest = hashlib.sha256(f"{_FORMAT} {_FORMAT_VERSION}".encode())
    for name in _OUTCOME:
        if name == "adjustments" and record.adjustments.is_empty():
            continue  # a run without corporate actions is what it was before there were any
        digest.update(name.encode())
        digest.update(frame_digest(normalised(record, name)))
    counts = dict(sorted(record.counts.items()))
    scalars = (record.initial_cash, record.periods_per_year, record.complete)
    digest.update(msgspec.json.encode((scalars, counts)))
    return digest.hexdigest()


def frame_digest(frame: pl.DataFrame) -> bytes:
    """SHA-256 of a frame's column names, types and values."""
    digest = hashlib.sha256(str(frame.height).encode())
    for column in frame:
        digest.update(f"|{column.name}:{column.dtype}:".encode())
        _update(digest, column)
    return digest.digest()


def _update(digest: hashlib._Hash, column: pl.Series) -> None:
    """Adds a column's values, whole columns at a time."""
    if column.null_count():
        digest.update(np.packbits(column.is_null().to_numpy()).data)
    kind = column.dtype
    if kind == pl.Null:
        return
    if kind == pl.String:
        text = column.fill_null("")
        digest.update(_buffer(text.str.len_bytes()))
        digest.update(text.str.join("").item().encode())
    elif kind.is_float():
        values = column.fill_null(0.0).to_numpy() + 0.0  # turns -0.0 into 0.0
        digest.update(np.where(np.isnan(values), np.nan, values).data)
    elif kind == pl.Boolean or kind.is_integer() or kind.is_temporal():
        digest.update(_buffer(column.to_physical()))
    elif isinstance(kind, pl.List):
        digest.update(_buffer(column.list.len()))
        _update(digest, column.drop_nulls().explode(empty_as_null=False))
    elif isinstance(kind, pl.Struct):
        for field in column.struct.fields:
            _update(digest, column.struct.field(field))
    else:
        _update(digest, column.cast(pl.String))


def _buffer(column: pl.Series) -> memoryview:
    whole = column.cast(pl.Int8) if column.dtype == pl.Boolean else column
    return np.ascontiguousarray(whole.fill_null(0).to_numpy()).data


# -- folders -----------------------------------------------------------------------------------


def save(record: RunRecord, folder: Path, *, derived: Mapping[str, pl.DataFrame]) -> None:
    """Writes a record, and frames derived from it, as a folder.

    Raises:
        ConfigError: Something that is not a saved result stands at `folder`.
    """
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    frames = {name: normalised(record, name) for name in FRAMES}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        new = Path(beside) / "new"
        new.mkdir()
        files = {name: _write(frame, new, name) for name, frame in {**frames, **derived}.items()}
        manifest = _Manifest(
            format=_FORMAT,
            format_version=_FORMAT_VERSION,
            fingerprint=fingerprint_of(record),
            run=_scalars(record),
            files=files,
        )
        manifest.checksum = _checksum(manifest)
        (new / _MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=2))
        _swap(new, folder, Path(beside) / "old")


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Puts `new` in the place of `folder`, and `folder` back if that fails."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"Cannot save to '{folder}': it is a file. Name a folder.")
    if any(folder.iterdir()) and not (folder / _MANIFEST).is_file():
        raise ConfigError(
            f"Cannot save to '{folder}': the folder is not empty and holds no saved result, so it "
            "will not be replaced. Name a new folder."
        )
    if (folder / _MANIFEST).is_file():
        try:
            read_manifest(folder)
        except DataError as error:
            raise ConfigError(f"Cannot save to '{folder}': {error}") from error


def _write(frame: pl.DataFrame, folder: Path, name: str) -> _File:
    path = folder / f"{name}.parquet"
    write_parquet(frame, path)
    return _File(rows=frame.height, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _scalars(record: RunRecord) -> _Scalars:
    """The scalars as they will be after a file: what JSON has no word for becomes text."""
    fields = {name: getattr(record, name) for name in _Scalars.__struct_fields__}
    return msgspec.json.decode(msgspec.json.encode(fields, enc_hook=repr), type=_Scalars)


def _encode(manifest: _Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def _checksum(manifest: _Manifest) -> str:
    blank = msgspec.structs.replace(manifest, checksum="")
    return hashlib.sha256(msgspec.json.encode(blank, order="deterministic")).hexdigest()


def load(folder: Path) -> RunRecord:
    """Reads a folder written by `save`, and proves that it is what was written.

    Raises:
        DataError: The folder holds no result, one of a newer format, or a damaged one.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    fields = msgspec.structs.asdict(manifest.run)
    fields.update({name: pl.read_parquet(folder / f"{name}.parquet") for name in FRAMES})
    record = RunRecord(**fields)
    if fingerprint_of(record) != manifest.fingerprint:
        raise _damaged(folder, "the content does not have the fingerprint in its manifest")
    return record


def check_files(folder: Path, manifest: _Manifest) -> None:
    """Proves that the files beside a manifest are those it was written with.

    Raises:
        DataError: One is missing or another, or the manifest lacks one.
    """
    for name, file in manifest.files.items():
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise _damaged(folder, f"{path.name} is missing")
        if _sha256(path) != file.sha256:
            raise _damaged(folder, f"{path.name} is not the file that was saved")
    missing = sorted(set(FRAMES) - set(manifest.files))
    if missing:
        raise _damaged(folder, f"its manifest does not list {', '.join(missing)}")


def read_manifest(folder: Path) -> _Manifest:
    """What a saved result says about itself, without its frames.

    Raises:
        OtherFormatError: It was written by a version with another format.
        DataError: The folder holds no result, or its manifest is damaged.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise DataError(
            f"'{folder}' holds no saved result: there is no {_MANIFEST}. "
            "Name the folder that was given to result.save()."
        )
    raw = path.read_bytes()
    try:
        head = msgspec.json.decode(raw)
        kind, version = head["format"], head["format_version"]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{_MANIFEST} cannot be read ({error})") from error
    if kind != _FORMAT:
        raise DataError(f"'{folder}' holds no saved result: its {_MANIFEST} is of another program.")
    if version != _FORMAT_VERSION:
        raise OtherFormatError(
            f"'{folder}' was saved in format {version}; this version reads {_FORMAT_VERSION}. "
            "Install the version that wrote it (see `versions` in the manifest), or run again."
        )
    try:
        manifest = msgspec.json.decode(raw, type=_Manifest)
    except msgspec.MsgspecError as error:
        raise _damaged(folder, f"{_MANIFEST} is not what was saved ({error})") from error
    if _checksum(manifest) != manifest.checksum:
        raise _damaged(folder, f"{_MANIFEST} is not what was saved")
    return manifest


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(
        f"The result in '{folder}' is damaged: {why}. Nothing was loaded; run the backtest again "
        "or restore the folder from a copy."
    )
