"""Where the data of a run came from, and how to open it again.

`Files.describe` says which files a table is in, `FrameFeed.options` how they were to be read. With
both, what a result keeps is enough to open the same bars once more, as long as the files are what
they were. What was in memory, and what a class of the user's own brought, cannot be opened again.
"""

from __future__ import annotations

import datetime as dt
from glob import escape, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.data.files import is_path, list_files
from ml4t.backtest.data.frames import CSVDataFeed, FrameFeed, ParquetDataFeed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml4t.backtest.data.feed import DataFeed

_CLASSES = {kind.__name__: kind for kind in (FrameFeed, ParquetDataFeed, CSVDataFeed)}
_IN_MEMORY = {"frame": "a table in memory", "lazy frame": "a lazy frame"}
_MICROSECOND = dt.timedelta(microseconds=1)


def feed_source(feed: DataFeed) -> dict[str, Any]:
    """What opens a feed again once its files are known, ready for JSON.

    Returns:
        The class, and its options; None instead of options for a class of the user's own.
    """
    name = type(feed).__name__
    if isinstance(feed, FrameFeed) and _CLASSES.get(name) is type(feed):
        return {"feed": name, "options": feed.options()}
    return {"feed": name, "options": None}


def table_source(table: Any) -> dict[str, Any]:
    """Which files a table of signals or context is in, ready for JSON."""
    return list_files(table).describe() if is_path(table) else {"kind": "frame"}


def loss_of(source: Mapping[str, Any]) -> str | None:
    """Why a table cannot be opened again; None when it can.

    Args:
        source: As `Files.describe`, or of what is in no file.
    """
    kind = source.get("kind")
    if kind in _IN_MEMORY:
        return f"it was {_IN_MEMORY[kind]}"
    if "files" not in source:
        return f"it was a feed of your own, {source.get('feed', 'of an unknown class')}"
    if source.get("options", {}) is None:
        return f"it was read by a class of your own, {source['feed']}"
    return change_of(source)


def change_of(source: Mapping[str, Any]) -> str | None:
    """What is no longer as it was when the files were read; None when all is.

    Args:
        source: As `Files.describe`.
    """
    folder = Path(source["folder"])
    for file in source["files"]:
        path = folder / file["path"]
        if not path.is_file():
            return f"the file {str(path)!r} is missing"
        stat = path.stat()
        if stat.st_size != file["size"]:
            return (
                f"the file {str(path)!r} has changed: it has {stat.st_size:,} bytes, "
                f"the run read {file['size']:,}"
            )
        if stat.st_mtime_ns != file["modified_ns"]:
            times = [_moment(ns) for ns in (stat.st_mtime_ns, file["modified_ns"])]
            return (
                f"the file {str(path)!r} has changed: it was written at {times[0]}, the run read "
                f"what was written at {times[1]}"
            )
    return _change_of_many(source, folder)


def _change_of_many(source: Mapping[str, Any], folder: Path) -> str | None:
    """What is no longer as it was in a folder, or among the files that match a pattern."""
    where = path_of(source)
    if Path(where).is_file():
        return None
    found = list_files(where, source["kind"])
    if len(found.paths) != source["count"]:
        return (
            f"{where!r} stands for {len(found.paths):,} files now, the run read {source['count']:,}"
        )
    if source["digest"] not in (None, found.digest(folder)):
        return f"some of the {source['count']:,} files of {where!r} have changed"
    return None


def _moment(ns: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + ns // 1000 * _MICROSECOND
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"


def path_of(source: Mapping[str, Any]) -> str:
    """Where the files are: what the user named, seen from the folder of the run."""
    given, folder = source["path"], Path(source["folder"])
    if (folder / given).exists() or not has_magic(given):
        return str(folder / given)
    return str(Path(escape(str(folder))) / given)


def open_feed(source: Mapping[str, Any]) -> FrameFeed:
    """The feed of a source that is not lost.

    Args:
        source: As `Files.describe` and `feed_source` together.
    """
    options = dict(source["options"])
    length = options.pop("bar_duration_us")
    dialect = {name: options.pop(name) for name in ("separator", "decimal_comma")}
    kind = _CLASSES[source["feed"]]
    own = dialect if kind is CSVDataFeed else {}
    duration = None if length is None else length * _MICROSECOND
    return kind(path_of(source), bar_duration=duration, **options, **own)
