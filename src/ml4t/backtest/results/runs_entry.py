"""One run of a store: its folder, and what is told of it in a list.

Beside what `result.save` writes, the folder of a run holds `run.json` (name, family, figures and
what else the store adds) and, where it is known, `code.py`, the strategy's source.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results import store
from ml4t.backtest.results.result import BacktestResult

if TYPE_CHECKING:
    from pathlib import Path

NOTE = "run.json"
CODE = "code.py"
_MANIFEST = "manifest.json"
_FORMAT = "ml4t.backtest.run"
_FORMAT_VERSION = 1
_TRIES = 5

Figures = dict[str, float | str]


class Note(msgspec.Struct, kw_only=True):
    """What the store keeps beside a saved result. Figures without a JSON number are text."""

    fingerprint: str
    family: str
    configuration: str
    name: str | None = None
    description: dict[str, Any] | None = None
    code_fingerprint: str | None = None
    start: str | None = None
    end: str | None = None
    metrics: Figures = {}
    format: str = _FORMAT
    format_version: int = _FORMAT_VERSION


class Entry(msgspec.Struct, kw_only=True):
    """What is told of a run without loading it."""

    run_id: str
    status: str
    problem: str | None = None
    created_ns: int | None = None
    note: Note | None = None
    settings: dict[str, Any] = {}
    source: dict[str, Any] = {}
    versions: dict[str, str] = {}

    @property
    def name(self) -> str | None:
        """As given to `add`."""
        return None if self.note is None else self.note.name

    @property
    def strategy(self) -> str | None:
        """Name of the strategy's class."""
        return strategy_of(self.settings)[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The strategy's parameters."""
        return strategy_of(self.settings)[1]

    @property
    def data_fingerprint(self) -> str | None:
        """Digest of where the data came from and what it was."""
        return digest_of(self.source)[:16] if self.source else None

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the run."""
        return {} if self.note is None else {k: float(v) for k, v in self.note.metrics.items()}


def strategy_of(settings: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Class name and parameters of the strategy in a run's settings."""
    given = settings.get("strategy")
    if isinstance(given, dict):
        parameters = given.get("parameters")
        name = given.get("class")
        known = parameters if isinstance(parameters, dict) else {}
        return (None if name is None else str(name)), known
    return (None if given is None else str(given)), {}


def digest_of(*things: Any) -> str:
    """SHA-256 of JSON-able things, whatever the order of their keys."""
    raw = msgspec.json.encode(things, enc_hook=repr, order="deterministic")
    return hashlib.sha256(raw).hexdigest()


def note_of(
    result: BacktestResult,
    *,
    name: str | None = None,
    family: str | None = None,
    description: dict[str, Any] | None = None,
    code: str | None = None,
) -> Note:
    """Describes a result. The family is the strategy's class unless given.

    Two runs are of one configuration when their settings and all that happened are the same:
    settings do not tell everything (a list among the parameters, other predictions), and what
    they leave out shows in what happened.
    """
    sessions = result.returns["session"]
    return Note(
        fingerprint=result.fingerprint,
        family=family or strategy_of(result.settings)[0] or "strategy",
        configuration=digest_of(result.settings, result.fingerprint),
        name=name,
        description=description,
        code_fingerprint=None if code is None else hashlib.sha256(code.encode()).hexdigest(),
        start=str(sessions[0]) if len(sessions) else None,
        end=str(sessions[-1]) if len(sessions) else None,
        metrics={k: v if math.isfinite(v) else str(v) for k, v in result.metrics.items()},
    )


def write(folder: Path, note: Note, code: str | None) -> None:
    """Completes a saved result."""
    if code is not None:
        (folder / CODE).write_bytes(code.encode())
    plain = msgspec.to_builtins(note)
    signed = {**plain, "checksum": digest_of(plain)}
    (folder / NOTE).write_bytes(msgspec.json.format(msgspec.json.encode(signed), indent=2))


def stamp_of(folder: Path) -> str | None:
    """Changes when a file of the folder does; None when this is no folder of a run."""
    found = []
    try:
        with os.scandir(folder) as items:
            for item in items:
                stat = item.stat()
                found.append((item.name, stat.st_size, stat.st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"cannot be read: {error}"
    if not {NOTE, _MANIFEST} & {name for name, _, _ in found}:
        return None
    return digest_of(sorted(found))


def read(folder: Path, *, prove: bool = True) -> Entry:
    """What a folder tells of its run. Whatever is wrong with it becomes the entry's `problem`.

    Args:
        folder: Of one run.
        prove: Compare all files with their checksums, not only the two that are read.
    """
    entry = Entry(run_id=folder.name, status="complete")
    try:
        entry.created_ns = (folder / _MANIFEST).stat().st_mtime_ns
        entry.note = _read_note(folder)
        manifest = store.read_manifest(folder)
        run = manifest.run
        entry.settings, entry.source, entry.versions = run.settings, run.source, run.versions
        entry.status = "complete" if run.complete else "partial"
        if prove:
            store.check_files(folder, manifest)
            read_code(folder, entry.note)
        if entry.note is None:
            entry.note = note_of(BacktestResult.load(folder))  # saved here by hand
        if entry.note.fingerprint != manifest.fingerprint:
            entry.note = None
            raise damaged(folder, f"{NOTE} and {_MANIFEST} are not of one run")
    except store.OtherFormatError as error:
        entry.status, entry.problem = "other format", str(error)
    except (DataError, OSError) as error:
        entry.status = "damaged"
        entry.problem = str(error) if isinstance(error, DataError) else str(damaged(folder, error))
    return entry


def _read_note(folder: Path) -> Note | None:
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        plain = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        checksum, version = plain.pop("checksum"), plain["format_version"]
        if version != _FORMAT_VERSION or plain["format"] != _FORMAT:
            raise store.OtherFormatError(
                f"'{folder}' was kept in format {version} of a run store; this version reads "
                f"{_FORMAT_VERSION}. Install the version that wrote it, or run again."
            )
        note = msgspec.convert(plain, Note)
    except (msgspec.MsgspecError, KeyError) as error:
        raise damaged(folder, f"{NOTE} cannot be read ({error})") from error
    if digest_of(plain) != checksum:
        raise damaged(folder, f"{NOTE} is not what was saved")
    return note


def read_code(folder: Path, note: Note | None) -> str | None:
    """The strategy's source as it was kept.

    Raises:
        DataError: It is not what was saved.
    """
    if note is None or note.code_fingerprint is None:
        return None
    path = folder / CODE
    if not path.is_file():
        raise damaged(folder, f"{CODE} is missing")
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != note.code_fingerprint:
        raise damaged(folder, f"{CODE} is not the file that was saved")
    return raw.decode()


def damaged(folder: Path, why: object) -> DataError:
    """The error for a folder that is not what was saved."""
    return DataError(
        f"The run in '{folder}' is damaged: {why}. Run the backtest again or restore the folder "
        "from a copy."
    )


def stamped(folder: Path, known: tuple[str, Entry] | None) -> tuple[str, Entry] | None:
    """The stamp of a folder and its entry, read anew unless the known stamp is still right.

    A folder that is removed or replaced meanwhile is not damaged, so it is looked at twice. None
    when this is no folder of a run.
    """
    stamp = stamp_of(folder)
    for _ in range(_TRIES):
        if stamp is None:
            return None
        if known is not None and known[0] == stamp:
            return known
        entry = read(folder)
        before, stamp = stamp, stamp_of(folder)
        if before == stamp:
            return stamp, entry
    return None


def checked_text(option: str, value: Any) -> str | None:
    """A text for a note, or None."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{option} must be a text that is not empty, not {value!r}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{option} holds what is not a character: {value!r}.") from error
    return value


def checked_description(description: Any) -> dict[str, Any] | None:
    """A description as it will be after a file, or None."""
    if description is None:
        return None
    if not isinstance(description, dict):
        raise ConfigError(f"description must be a dict, not {type(description).__name__}.")
    try:
        return msgspec.json.decode(msgspec.json.encode(description), type=dict[str, Any])
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"description must be JSON-able: {error}.") from error
