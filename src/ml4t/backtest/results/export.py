"""A result for other tools: pandas objects, folders of CSV and Parquet files."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import polars as pl
import polars.selectors as cs

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.results.places import write_parquet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import pandas as pd

FRAMES = (
    "equity",
    "returns",
    "trades",
    "fills",
    "orders",
    "positions",
    "holdings",
    "cashflows",
    "adjustments",
    "decisions",
    "records",
    "logs",
    "signal_coverage",
    "stale",
)
_EXTRA = "pip install 'ml4t-backtest[pandas]'"


class _Frames(Protocol):
    """A `BacktestResult`, which this module cannot import."""

    @property
    def returns(self) -> pl.DataFrame: ...


# -- pandas ------------------------------------------------------------------------------------


def returns_series(result: _Frames) -> pd.Series[float]:
    """See `BacktestResult.returns_series`."""
    pandas = _pandas("returns_series()")
    returns = result.returns
    days = returns["session"].to_numpy().astype("datetime64[ns]")
    index = pandas.DatetimeIndex(days, name="session")
    found: pd.Series[float] = pandas.Series(returns["return"].to_numpy(), index, name="return")
    return found


def to_pandas(result: _Frames, name: str) -> pd.DataFrame:
    """See `BacktestResult.to_pandas`."""
    if name not in FRAMES:
        raise ConfigError(f"A result has no frame {name!r}. {did_you_mean(name, FRAMES)}")
    _pandas("to_pandas()")
    frame: pl.DataFrame = getattr(result, name)
    return frame.to_pandas()


def _pandas(method: str) -> Any:
    try:
        import pandas as pd
        import pyarrow as pa  # noqa: F401  Polars needs it to hand over a frame
    except ImportError as error:
        raise ConfigError(f"{method} needs pandas and pyarrow. Install them: {_EXTRA}") from error
    return pd


# -- folders -----------------------------------------------------------------------------------


def csv(result: _Frames, folder: str | os.PathLike[str], *, overwrite: bool) -> list[Path]:
    """See `BacktestResult.export_csv`."""
    return _export(result, folder, ".csv", lambda f, path: _flat(f).write_csv(path), overwrite)


def parquet(result: _Frames, folder: str | os.PathLike[str], *, overwrite: bool) -> list[Path]:
    """See `BacktestResult.export_parquet`."""
    return _export(result, folder, ".parquet", write_parquet, overwrite)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """What a cell cannot hold becomes JSON text; durations become ISO text such as P1DT6H."""
    frame = frame.with_columns(cs.duration().dt.to_string("iso"))
    nested = [c for c in frame if c.dtype.is_nested() or c.dtype in (pl.Binary, pl.Object)]
    return frame.with_columns(
        pl.Series(c.name, [None if v is None else _json(v) for v in c.to_list()], dtype=pl.String)
        for c in nested
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _export(
    result: _Frames,
    folder: str | os.PathLike[str],
    ending: str,
    write: Callable[[pl.DataFrame, Path], None],
    overwrite: bool,  # noqa: FBT001  behind two options that are keywords
) -> list[Path]:
    """Writes all files beside their place, then moves them there, all or none."""
    place = Path(folder).expanduser().absolute()
    names = [f"{name}{ending}" for name in FRAMES]
    _check(place, names, overwrite=overwrite)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        new.mkdir()
        for name, file in zip(FRAMES, names, strict=True):
            write(getattr(result, name), new / file)
        if not place.exists():
            new.rename(place)
        else:
            old.mkdir()
            _check(place, names, overwrite=overwrite)
            _move(new, place, old, names)
    return [place / name for name in names]


def _check(folder: Path, names: list[str], *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"Cannot export to '{folder}': it is a file. Name a folder.")
    if (folder / "manifest.json").exists():
        raise ConfigError(
            f"Cannot export to '{folder}': it holds a saved result, which other files would "
            "damage. Name another folder."
        )
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise ConfigError(
            f"Cannot export to '{folder}': {', '.join(there[:3])}"
            f"{' and others' if len(there) > 3 else ''} exist there. "  # noqa: PLR2004  enough
            "Name another folder, or pass overwrite=True to replace them."
        )
    folders = [name for name in there if (folder / name).is_dir()]
    if folders:
        raise ConfigError(
            f"Cannot export to '{folder}': {folders[0]} is a folder there. Name another folder."
        )


def _move(new: Path, folder: Path, old: Path, names: list[str]) -> None:
    """Moves files into a folder; what it replaces comes back if one cannot be moved."""
    with ExitStack() as undo:
        for name in names:
            target = folder / name
            if target.exists():
                target.rename(old / name)
                undo.callback((old / name).rename, target)
            (new / name).rename(target)
            undo.callback(target.unlink)
        undo.pop_all()
