"""Where results are written: asked before a long run, and named when writing fails."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import polars as pl

from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, or made when it is not there yet.

    Args:
        folder: Absolute.

    Raises:
        ConfigError: It, or the nearest folder above it that exists, takes no file.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written to '{place}': {error.strerror}. Name a folder of yours, or "
            "ask for the right to write there."
        ) from error


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """A frame as a file.

    Raises:
        OSError: It cannot be written. Polars says on a full disk that the Parquet file is out of
            specification, which sends people looking at their data.
    """
    try:
        frame.write_parquet(path)
    except pl.exceptions.ComputeError as error:
        raise OSError(f"'{path}' cannot be written; is the disk full? ({error})") from error
