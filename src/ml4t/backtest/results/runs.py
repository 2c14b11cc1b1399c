"""`RunStore`: every run you want to keep, in one folder, with a list of them."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.results import runs_entry
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.results.runs_index import Index
from ml4t.backtest.results.runs_scratch import Scratch
from ml4t.backtest.results.runs_tables import MAIN_FIGURES, comparison, table
from ml4t.backtest.results.runs_tally import Tally

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import polars as pl

    from ml4t.backtest.results.runs_entry import Entry

_INDEX = "runs.sqlite"
_SCRATCH = ".writing"
_TALLY = "trials.jsonl"
_LONGEST_STEM = 40
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


class RunStore:
    """Keeps runs in a folder, lists and compares them, and counts what was tried.

    Each run is a folder of its own, written by `BacktestResult.save` and whole from the moment it
    appears; `runs.sqlite` beside them only makes lists fast. Several processes may add, list and
    remove at the same time. The store's folder is made when the first run is added.

    Args:
        folder: Where the runs are.

    Raises:
        ConfigError: `folder` is a file.

    Example:
        >>> import tempfile
        >>> from ml4t.backtest import BacktestEngine, Strategy
        >>> from ml4t.backtest.testing.markets import ten_bars
        >>> class Hold(Strategy):
        ...     def __init__(self, units):
        ...         self.units = units
        ...     def on_bars(self, bars):
        ...         self.order_target("A", self.units)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = RunStore(folder)
        ...     for units in (1, 2, 2):
        ...         result = BacktestEngine(ten_bars(), strategy=Hold(units)).run()
        ...         run_id = store.add(result, name=f"{units} units", family="hold")
        ...     store.frame()["name"].sort().to_list(), store.trials("hold")
        (['1 units', '2 units', '2 units'], 2)
    """

    def __init__(self, folder: str | os.PathLike[str] = "ml4t-runs") -> None:
        self.folder = Path(folder).expanduser().absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"'{self.folder}' is a file, not the folder of a run store.")
        self._index = Index(self.folder / _INDEX)
        self._scratch = Scratch(self.folder / _SCRATCH)
        self._tally = Tally(self.folder / _TALLY)

    # -- keeping -------------------------------------------------------------------------------

    def add(
        self,
        result: BacktestResult,
        *,
        name: str | None = None,
        family: str | None = None,
        description: dict[str, Any] | None = None,
        code: str | None = None,
    ) -> str:
        """Keeps a result, a partial one too.

        Args:
            result: Of `BacktestEngine.run`, or `error.result` of one that failed.
            name: For people; several runs may have the same.
            family: What trials are counted by; the name of the strategy's class by default.
            description: Whatever else should be known of the run, JSON-able.
            code: Text of the strategy's source; the file of its class by default.

        Returns:
            The run's id: the strategy's name and a digest of settings, source and what happened.

        Raises:
            ConfigError: The store cannot be written, or an option is not what it must be.
        """
        if not isinstance(result, BacktestResult):
            raise ConfigError(f"add() takes a BacktestResult, not {type(result).__name__}.")
        code = runs_entry.checked_text("code", code)
        code = result.code if code is None else code
        note = runs_entry.note_of(
            result,
            name=runs_entry.checked_text("name", name),
            family=runs_entry.checked_text("family", family),
            description=runs_entry.checked_description(description),
            code=code,
        )
        with self._writing() as place:
            folder = place / "run"
            result.save(folder)
            runs_entry.write(folder, note, code)
            final = self._settle(folder, result)
            self._tally.add(note)
        result.tried = (note.family, self.trials(note.family))
        stamp = runs_entry.stamp_of(final)
        if stamp is not None:  # else it was removed already
            self._index.write([(stamp, runs_entry.read(final, prove=False))])
        return final.name

    def _settle(self, folder: Path, result: BacktestResult) -> Path:
        """Moves a whole folder to the first free id."""
        strategy = runs_entry.strategy_of(result.settings)[0] or "run"
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in strategy.split(".")[-1])
        stem = plain.strip("_")[:_LONGEST_STEM] or "run"
        counter = 0
        while True:
            digest = runs_entry.digest_of(
                result.fingerprint, result.settings, result.record.source, counter
            )
            final = self.folder / f"{stem}-{digest[:8]}"
            counter += 1
            if final.exists():
                continue
            try:
                return folder.rename(final)
            except OSError as error:  # another process was faster, or something is wrong
                if error.errno not in _TAKEN and not final.exists():
                    raise

    def remove(self, run_id: str) -> None:
        """Deletes a run. It still counts as a trial.

        Args:
            run_id: The whole id.

        Raises:
            ConfigError: No run has this id, or the store cannot be written.
        """
        found = self._entries()
        if run_id not in found:
            raise ConfigError(
                f"The run store '{self.folder}' has no run with the id {run_id!r}. "
                f"{did_you_mean(run_id, found)}"
            )
        note = found[run_id].note
        with self._writing() as place:
            if note is not None:
                self._tally.add(note)
            try:
                (self.folder / run_id).rename(place / "removed")
            except FileNotFoundError as error:
                raise ConfigError(f"Another process has removed the run {run_id!r}.") from error
            shutil.rmtree(place / "removed")
        self._index.write((), drop=[run_id])

    def rebuild(self) -> int:
        """Reads every folder anew, proves its files, and writes the index from that.

        Returns:
            The number of runs.
        """
        if not self.folder.is_dir():
            return 0
        with self._writing():
            found = self._walk({})
            self._index.replace(found)
        return len(found)

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """A place to work in; says so when the store cannot be written."""
        try:
            with self._scratch.claim() as place:
                self._scratch.sweep()
                yield place
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise ConfigError(
                f"The run store '{self.folder}' cannot be written: {error}. Name a folder of "
                "yours, or ask for the right to write there."
            ) from error

    # -- looking -------------------------------------------------------------------------------

    def frame(self) -> pl.DataFrame:
        """One row a run, in the order in which they were written.

        Returns:
            `run_id`, `name`, `family`; `status`: "complete", "partial" (the run ended in an
            error), "damaged" or "other format" (`show` says more); `created_at`, when the folder
            was written by the clock of the file system; `strategy`, `parameters` (JSON);
            `start`, `end`, first and last session; `data_fingerprint`, `code_fingerprint`,
            `versions` (JSON), `fingerprint`; then the main figures.
        """
        return table(self._entries().values())

    def find(self, text: str) -> str:
        """The id of the run that is meant.

        Args:
            text: An id, the beginning of one, or a name.

        Raises:
            ConfigError: No run is meant, or several.
        """
        found = self._entries()
        return self._find(text, found)

    def _find(self, text: Any, found: dict[str, Entry]) -> str:
        if not isinstance(text, str) or not text:
            raise ConfigError(f"Name a run by its id or name, not by {text!r}.")
        if text in found:
            return text
        meant = [run_id for run_id, entry in found.items() if entry.name == text]
        meant = meant or [run_id for run_id in found if run_id.startswith(text)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise ConfigError(
                f"{text!r} means {len(meant)} runs. Give more of the id: {', '.join(meant[:12])}"
                f"{', ...' if len(meant) > 12 else '.'}"  # noqa: PLR2004  as many as others show
            )
        known = dict.fromkeys([*found, *(e.name for e in found.values() if e.name)])
        raise ConfigError(
            f"The run store '{self.folder}' has no run {text!r}. {did_you_mean(text, known)}"
        )

    def load(self, run_id: str) -> BacktestResult:
        """The result of a run, proved to be what was saved.

        Args:
            run_id: What `find` takes.

        Raises:
            ConfigError: No run is meant, or several.
            DataError: The folder is damaged, or of another format.
        """
        folder = self.folder / self.find(run_id)
        entry = runs_entry.read(folder)
        if not folder.exists():
            raise ConfigError(f"Another process has removed the run {folder.name!r}.")
        if entry.problem is not None:
            raise DataError(entry.problem)
        result = BacktestResult.load(folder)
        if entry.note is not None:
            result.tried = (entry.note.family, self.trials(entry.note.family))
        return result

    def show(self, run_id: str) -> dict[str, Any]:
        """All that is known of a run without its frames.

        Args:
            run_id: What `find` takes.

        Returns:
            The columns of `frame`, with `parameters` and `versions` as dicts and all figures as
            `metrics`; `problem` (what is wrong with its folder, or None), `description`,
            `settings`, `source`, `code` (text) and `folder`.

        Raises:
            ConfigError: No run is meant, or several.
        """
        found = self._entries()
        entry = found[self._find(run_id, found)]
        folder = self.folder / entry.run_id
        note = entry.note
        row = table([entry]).row(0, named=True)
        known = {k: v for k, v in row.items() if k not in MAIN_FIGURES}
        try:
            code = runs_entry.read_code(folder, note)
        except (DataError, OSError):  # `problem` tells
            code = None
        return {
            **known,
            "parameters": entry.parameters,
            "versions": entry.versions,
            "metrics": entry.metrics,
            "problem": entry.problem,
            "description": None if note is None else note.description,
            "settings": entry.settings,
            "source": entry.source,
            "code": code,
            "folder": folder,
        }

    def compare(self, run_ids: Sequence[str]) -> pl.DataFrame:
        """Runs side by side: one row a run, its figures, and the settings in which they differ.

        Args:
            run_ids: What `find` takes, at least one.

        Returns:
            `run_id`, `name`; settings that are not the same in all runs, under dotted names such
            as `settings.strategy.parameters.top`; `data_fingerprint`, `code_fingerprint`, `start`,
            `end` and versions where they differ; then every figure.

        Raises:
            ConfigError: A run is not found.
        """
        if isinstance(run_ids, str) or not run_ids:
            raise ConfigError(f"compare() takes a list of runs, not {run_ids!r}.")
        found = self._entries()
        return comparison([found[self._find(run_id, found)] for run_id in run_ids])

    def trials(self, family: str) -> int:
        """How many configurations of a family were tried and kept here, removed runs included.

        Two runs with the same settings and the same outcome are one trial.

        Args:
            family: As given to `add`; by default the name of the strategy's class.
        """
        notes = [entry.note for entry in self._entries().values() if entry.note is not None]
        kept = {note.configuration for note in notes if note.family == family}
        return len(kept | self._tally.of(family))

    def _entries(self) -> dict[str, Entry]:
        """Every run by id, as its folder is now."""
        known = self._index.read()
        found = self._walk(known)
        here = {entry.run_id for _, entry in found}
        new = [(s, e) for s, e in found if e.run_id not in known or known[e.run_id][0] != s]
        gone = [r for r in known if r not in here and not (self.folder / r).exists()]
        self._index.write(new, drop=gone)
        entries = [entry for _, entry in found]
        return {e.run_id: e for e in sorted(entries, key=lambda e: (e.created_ns or 0, e.run_id))}

    def _walk(self, known: dict[str, tuple[str, Entry]]) -> list[tuple[str, Entry]]:
        """Stamp and entry of every folder; those whose stamp is known are not read again."""
        try:
            folders = sorted(p for p in self.folder.iterdir() if not p.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise ConfigError(f"The run store '{self.folder}' cannot be read: {error}.") from error
        pairs = (runs_entry.stamped(folder, known.get(folder.name)) for folder in folders)
        return [pair for pair in pairs if pair is not None]

    def __repr__(self) -> str:
        return f"RunStore({str(self.folder)!r})"
