"""Columns of text that should be numbers: what stands in them, and how to convert it."""

from __future__ import annotations

import polars as pl

from ml4t.backtest.errors import DataError

# Words for "no value", as pandas reads them.
MISSING = (
    *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan"),
    *("NULL", "null", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
_DECIMAL = r"^\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*$"  # 100,25
_DOTTED = r"^\s*[-+]?\d{1,3}(\.\d{3})+,\d+\s*$"  # 1.234,56
_GROUPED = r"^\s*[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?\s*$"  # 1,234 and 1,234.56
_MARK = r"\d[.,]\d"
_MOSTLY = 0.5
_SAMPLE = 10_000


def refuse_text(series: pl.Series, source: str, base: int = 0) -> None:
    """Raise for a column of text where numbers are needed, with the first value that is none.

    Raises:
        DataError: Always.
    """
    unread = _unread(series)
    row = int(unread.arg_max() or 0) if unread.any() else 0
    kind = "is not a number" if unread.any() else "is text"
    raise DataError(
        f"{source}: column {series.name!r} holds text, not numbers; {series[row]!r} in row "
        f"{base + row} {kind}. {_remedy(series, unread)}"
    )


def refuse_numbers_as_text(series: pl.Series, source: str, base: int = 0) -> None:
    """Refuse a signal of text that mostly holds numbers; words and codes of digits may pass.

    Args:
        series: A column of any type; only text is looked at.
        source: What the user calls the table.
        base: The input row of its first row.

    Raises:
        DataError: With the first value that is no number, or the first with a decimal mark.
    """
    if series.dtype != pl.String:
        return
    if _count_numbers(series.drop_nulls().head(_SAMPLE)) <= _MOSTLY * _SAMPLE < len(series):
        return  # words, surely
    unread = _unread(series)
    count = len(series) - series.null_count()
    numbers = _count_numbers(series)
    odd = unread if unread.any() else series.str.contains(_MARK).fill_null(value=False)
    if numbers <= _MOSTLY * count or not odd.any():
        return
    row = int(odd.arg_max() or 0)
    raise DataError(
        f"{source}: column {series.name!r} would be a signal of text, but {numbers} of {count} "
        f"values are numbers; {series[row]!r} in row {base + row} makes it text. "
        f"{_remedy(series, unread)}"
    )


def _count_numbers(series: pl.Series) -> int:
    """How many values are numbers, in whatever way of writing."""
    alike = ~_unread(series) | _like_number(series)
    return int((alike & series.is_not_null()).sum())


def _unread(series: pl.Series) -> pl.Series:
    """Where there is text that is not a number as Python writes it."""
    return series.cast(pl.Float64, strict=False).is_null() & series.is_not_null()


def _like_number(series: pl.Series) -> pl.Series:
    """Where there is a number in another way of writing, bool without nulls."""
    ways = [series.str.contains(way) for way in (_DECIMAL, _DOTTED, _GROUPED)]
    return (ways[0] | ways[1] | ways[2]).fill_null(value=False)


def _remedy(series: pl.Series, unread: pl.Series) -> str:
    """How to make numbers of a column, by what stands in it."""
    column = f"pl.col({series.name!r})"
    texts = series.filter(unread)
    words = texts.filter(~_like_number(texts))
    if len(words):
        shown = ", ".join(repr(word) for word in words.unique(maintain_order=True)[:3])
        return (
            f"Set what is not a number to null first, for example with {column}"
            f".cast(pl.Float64, strict=False), which does so with {shown}."
        )
    point = f"{column}.str.replace(',', '.').cast(pl.Float64)"
    groups = f"{column}.str.replace_all(',', '').cast(pl.Float64)"
    if len(texts) == 0:
        return f"Convert the column first, for example with {column}.cast(pl.Float64)."
    if texts.str.contains(_DOTTED).any():
        return (
            f"The comma is the decimal mark: convert the column first, for example with {column}"
            f".str.replace_all('.', '', literal=True).str.replace(',', '.').cast(pl.Float64)."
        )
    if not texts.str.contains(_GROUPED).all():
        return (
            f"The comma is the decimal mark: read the file with CSVDataFeed(path, "
            f"decimal_comma=True), or convert the column first with {point}."
        )
    if texts.str.contains(".", literal=True).any() or texts.str.count_matches(",").max() != 1:
        return f"Commas group the digits: convert the column first, for example with {groups}."
    return (
        f"If the comma groups digits, convert the column first with {groups}; if it is the decimal "
        f"mark, read the file with CSVDataFeed(path, decimal_comma=True) or convert with {point}."
    )
