"""Parquet and CSV files, alone, by the folder or by a pattern, as one lazy table."""

from __future__ import annotations

import hashlib
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from ml4t.backtest.data.layout import has_asset_column, is_key
from ml4t.backtest.data.text import MISSING
from ml4t.backtest.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

_KINDS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv"}
_SMALL_TEXT = 64_000_000  # bytes; below it all rows decide on a column's type
_SAMPLE_LINES = 10_000
_SHOWN_FILES = 20
_PATH = "__path"
_SEPARATORS = (",", ";", "\t", "|")
_SHOWN_HEADER = 60


class Dialect(msgspec.Struct, frozen=True):
    """How a CSV file is written.

    Args:
        separator: Between fields; None means a comma, and a tab in `.tsv` files.
        decimal_comma: Numbers are written 100,25.
    """

    separator: str | None = None
    decimal_comma: bool = False

    def separator_of(self, path: Path) -> str:
        """What stands between the fields of a file."""
        return self.separator or ("\t" if _suffix(path) == ".tsv" else ",")


_PLAIN = Dialect()


class FileTable(msgspec.Struct, frozen=True):
    """Files as one lazy table.

    Args:
        lazy: The table.
        files: Of how many Parquet files it is a plain scan, so that any part of it can be read
            without what stands before it; 0 when it is anything else.
    """

    lazy: pl.LazyFrame
    files: int = 0


class Files(msgspec.Struct, frozen=True):
    """Files that together are one table.

    Args:
        name: What error texts call them.
        kind: "parquet" or "csv".
        paths: At least one, sorted.
        is_keyed: Names of folders hold keys and values: asset=AAPL.
        given: What the user named: a file, a folder or a pattern.
    """

    name: str
    kind: str
    paths: tuple[Path, ...]
    is_keyed: bool = False
    given: str = ""

    def fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        """Path, size and time of modification of each: equal means unchanged."""
        stats = [(path, path.stat()) for path in self.paths]
        return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)

    def describe(self) -> dict[str, Any]:
        """What a result says about where its bars came from; `origin.py` finds them again by it.

        Relative paths count from `folder`. Of many files all enter `digest`.
        """
        folder = Path.cwd()
        files = [
            {"path": path, "size": size, "modified_ns": modified}
            for path, size, modified in self.fingerprint()
        ]
        is_few = len(files) <= _SHOWN_FILES
        return {
            "kind": self.kind,
            "files": files if is_few else [files[0], files[-1]],
            "count": len(files),
            "path": self.given,
            "folder": str(folder),
            "digest": None if is_few else self.digest(folder),
        }

    def digest(self, folder: Path) -> str:
        """A hash of path, size and time of modification of all, as seen from a folder."""
        stats = "|".join(f"{folder / path} {size} {at}" for path, size, at in self.fingerprint())
        return hashlib.blake2b(stats.encode(), digest_size=8).hexdigest()

    def default_asset_id(self) -> str | None:
        """The asset of a lone file that has no column of assets: the file's stem."""
        return _stem(self.paths[0]) if len(self.paths) == 1 else None


def is_path(data: object) -> bool:
    """Whether this names files."""
    return isinstance(data, str | Path)


def list_files(path: str | os.PathLike[str], kind: str | None = None) -> Files:
    """The files a path stands for: one file, all of a folder, or those that match a pattern.

    Args:
        path: A file, a folder (searched to its depth), or a pattern with `*`.
        kind: Read them as "parquet" or "csv" whatever their endings; None goes by the endings.

    Raises:
        DataError: No such file, or Parquet and CSV mixed.
    """
    start = Path(path).expanduser()
    if start.is_file():
        return Files(start.name, kind or _kind(start), (start,), given=str(start))
    if start.is_dir():
        found = [p for p in start.rglob("*") if p.is_file() and _suffix(p) in _KINDS]
    elif has_magic(str(start)):
        matches = glob(str(start), recursive=True)  # noqa: PTH207  Path.glob wants a fixed root
        found = [Path(match) for match in matches if Path(match).is_file()]
    else:
        raise DataError(f"There is no file {str(path)!r}. {_nearest(start)}")
    if not found:
        raise DataError(f"There is no Parquet or CSV file in {str(path)!r}.")
    kinds = sorted({kind or _kind(p) for p in found})
    if len(kinds) > 1:
        raise DataError(
            f"{str(path)!r} holds Parquet and CSV files. Pass a pattern that matches one kind, "
            f"such as {str(start / '*.parquet')!r}."
        )
    fixed = sum(not has_magic(part) for part in start.parts)
    is_keyed = any("=" in part for p in found for part in p.parts[fixed:-1])
    return Files(str(path), kinds[0], tuple(sorted(found)), is_keyed, given=str(start))


def scan_files(
    files: Files,
    columns: Mapping[str, str],
    *,
    asset_id: str | None,
    dialect: Dialect = _PLAIN,
) -> FileTable:
    """All files as one lazy table, in order of their paths.

    Several files without a column of assets are one asset each, named by the file's stem, unless
    `asset_id` says they are all one. In a CSV column of numbers, NA and its like are nulls.

    Raises:
        DataError: A file cannot be read, or two files disagree on the type of a column.
    """
    scans = [_scan([path], files, dialect) for path in files.paths]
    schemas = [_schema(scan, path) for scan, path in zip(scans, files.paths, strict=True)]
    if files.kind == "csv":
        for path, schema in zip(files.paths, schemas, strict=True):
            _refuse_one_field(path, schema)
    numbers = [
        _numbers_with_gaps(scan, schema, path, files, dialect, columns)
        for scan, schema, path in zip(scans, schemas, files.paths, strict=True)
    ]
    is_alike = all(schema == schemas[0] for schema in schemas) and numbers[1:] == numbers[:-1]
    scans = [_with_gaps(scan, found, dialect) for scan, found in zip(scans, numbers, strict=True)]
    schemas = [pl.Schema(s | found) for s, found in zip(schemas, numbers, strict=True)]
    is_parquet = files.kind == "parquet"
    if len(scans) == 1:
        return FileTable(scans[0], int(is_parquet))
    if is_alike:  # much faster than one by one
        table = _scan(files.paths, files, dialect, path_column=_PATH)
        table = _with_gaps(table, numbers[0], dialect)
    else:
        table = _join(scans, schemas, files.paths)
    if asset_id is None and not any(has_asset_column(schema, columns) for schema in schemas):
        return FileTable(_with_stems(table, files.paths).drop(_PATH))
    return FileTable(table.drop(_PATH), len(scans) if is_parquet and is_alike else 0)


def _with_stems(table: pl.LazyFrame, paths: Sequence[Path]) -> pl.LazyFrame:
    """The same with the asset each file is named after; joined, which Polars does part by part."""
    stems = [_stem(path) for path in paths]
    assets = pl.Series(stems, dtype=pl.Enum(sorted(set(stems))))
    lookup = pl.LazyFrame({_PATH: [str(path) for path in paths], "asset_id": assets})
    return table.join(lookup, on=_PATH, how="left", maintain_order="left")


def _suffix(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".zst"):
        name = name.removesuffix(suffix)
    return Path(name).stem


def _kind(path: Path) -> str:
    kind = _KINDS.get(_suffix(path))
    if kind is None:
        raise DataError(
            f"{path.name!r} is neither Parquet nor CSV by its ending. Rename it, or say what it is "
            f"with ParquetDataFeed(...) or CSVDataFeed(...)."
        )
    return kind


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either."
    seen = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    data = [p for p in seen if _suffix(p) in _KINDS]
    folders = [p for p in seen if p.is_dir()]
    return did_you_mean(path.name, [p.name for p in [*data, *folders] or seen])


def _refuse_one_field(path: Path, schema: Mapping[str, pl.DataType]) -> None:
    """Refuse a file whose header is one field because its separator is another."""
    if len(schema) != 1:
        return
    header = next(iter(schema))
    counts = {mark: header.count(mark) for mark in _SEPARATORS}
    mark = max(counts, key=lambda m: counts[m])
    if counts[mark]:
        shown = header if len(header) <= _SHOWN_HEADER else f"{header[:_SHOWN_HEADER]}..."
        raise DataError(
            f"{path.name} has a single column, {shown!r}: its fields are separated by {mark!r}. "
            f"Say so with CSVDataFeed({str(path)!r}, separator={mark!r}), or read a table of "
            f"predictions first with pl.read_csv(..., separator={mark!r})."
        )


def _numbers_with_gaps(
    scan: pl.LazyFrame,
    schema: pl.Schema,
    path: Path,
    files: Files,
    dialect: Dialect,
    columns: Mapping[str, str],
) -> dict[str, pl.DataType]:
    """Columns that are text only for words such as NA, and their types without these.

    A column of assets is as it is: NA is the ticker of a bank.
    """
    texts = [n for n, dtype in schema.items() if dtype == pl.String and not is_key(n, columns)]
    if files.kind != "csv" or not texts:
        return {}
    without = _schema(_scan([path], files, dialect, null_values=MISSING), path)
    found = {name: without[name] for name in texts if without[name] != pl.String}
    rest = [name for name in texts if name not in found]
    if rest and path.stat().st_size <= _SMALL_TEXT:
        column = pl.col(rest)
        is_empty = column.is_in(MISSING).all() & column.is_not_null().any()
        row = scan.select(is_empty).collect().row(0, named=True)
        found |= {name: pl.Null() for name in rest if row[name]}
    return found


def _with_gaps(
    scan: pl.LazyFrame, numbers: Mapping[str, pl.DataType], dialect: Dialect
) -> pl.LazyFrame:
    """The same with nulls for words such as NA in these columns."""
    return scan.with_columns(_with_nulls(n, dtype, dialect) for n, dtype in numbers.items())


def _with_nulls(name: str, dtype: pl.DataType, dialect: Dialect) -> pl.Expr:
    if dtype == pl.Null:
        return pl.lit(None).alias(name)
    text = pl.col(name)
    value = text.str.replace(",", ".", literal=True) if dialect.decimal_comma else text
    value = value.str.to_lowercase() == "true" if dtype == pl.Boolean else value
    kept = pl.when(~text.is_in(MISSING)).then(value)
    return kept.cast(dtype).alias(name)


def _scan(
    paths: Sequence[Path],
    files: Files,
    dialect: Dialect,
    *,
    path_column: str | None = None,
    null_values: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Files of one schema as one lazy table."""
    first = paths[0]
    if files.kind == "parquet":
        return pl.scan_parquet(
            list(paths),
            glob=False,
            hive_partitioning=files.is_keyed,
            include_file_paths=path_column,
        )
    lines = None if first.stat().st_size <= _SMALL_TEXT else _SAMPLE_LINES
    return pl.scan_csv(
        list(paths),
        separator=dialect.separator_of(first),
        decimal_comma=dialect.decimal_comma,
        null_values=None if null_values is None else list(null_values),
        infer_schema_length=lines,
        glob=False,
        include_file_paths=path_column,
    )


def _join(
    scans: Sequence[pl.LazyFrame], schemas: Sequence[pl.Schema], paths: Sequence[Path]
) -> pl.LazyFrame:
    """Files whose columns differ in presence or type as one lazy table."""
    casts = _common_types(schemas, paths)
    alike = [
        scan.with_columns(
            *(pl.col(name).cast(dtype) for name, dtype in casts.items() if name in schema),
            pl.lit(str(path)).alias(_PATH),
        )
        for scan, schema, path in zip(scans, schemas, paths, strict=True)
    ]
    return pl.concat(alike, how="diagonal")


def _schema(scan: pl.LazyFrame, path: Path) -> pl.Schema:
    try:
        return scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error


def _common_types(
    schemas: Sequence[Mapping[str, pl.DataType]], paths: Sequence[Path]
) -> dict[str, pl.DataType]:
    """For every column whose type differs between files, the type that holds all."""
    first: dict[str, tuple[pl.DataType, Path]] = {}
    casts: dict[str, pl.DataType] = {}
    for schema, path in zip(schemas, paths, strict=True):
        for name, dtype in schema.items():
            known, where = first.setdefault(name, (dtype, path))
            if dtype != known or name in casts:
                casts[name] = _wider(casts.get(name, known), dtype, name, (where, path))
    return casts


def _wider(
    one: pl.DataType, other: pl.DataType, column: str, paths: tuple[Path, Path]
) -> pl.DataType:
    texts = (pl.String, pl.Categorical, pl.Enum)
    if other in (one, pl.Null):
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    if one in texts and other in texts:
        return pl.String()
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime):
        if one.time_zone == other.time_zone:
            return pl.Datetime("ns", one.time_zone)
        raise DataError(
            f"Column {column!r} is {_in_zone(one)} in {paths[0].name} and {_in_zone(other)} in "
            f"{paths[1].name}. Bring all files to one zone."
        )
    raise DataError(
        f"Column {column!r} has type {one} in {paths[0].name} and {other} in {paths[1].name}. "
        f"Write the same type into all files."
    )


def _in_zone(dtype: pl.Datetime) -> str:
    return "naive" if dtype.time_zone is None else f"in zone {dtype.time_zone}"
