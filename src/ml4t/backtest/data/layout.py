"""Which column of a table is what: times, assets, prices, signals, context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRICES = ("open", "high", "low", "close")
META = "_meta"
TIME_NAMES = ("timestamp", "datetime", "date", "time", "ts")
ASSET_NAMES = ("asset_id", "asset", "symbol", "ticker")
_SPELLINGS = {
    "timestamp": TIME_NAMES,
    "asset_id": ASSET_NAMES,
    **{name: (name,) for name in PRICES},
    "volume": ("volume",),
}
_LABELS = re.compile(r"target|label|y|(fwd|forward|future|next)_.*", re.IGNORECASE | re.DOTALL)
_SIGNAL_LABELS = re.compile(  # y_pred and y_hat are predictions
    r"y_(true|train|test|val|valid|actual)|.+_(target|label)|.+_fwd(_.*)?"
    r"|.+_(forward|future)(_?\d.*)?|(target|y)_\d.*|label_.+|target_(ret|return|up).*"
    r"|.+_ahead(_.*)?",
    re.IGNORECASE | re.DOTALL,
)


# Prices that know of splits and dividends to come: no signals, whatever else they are.
_ADJUSTED = re.compile(
    r"adj(usted)?(open|high|low|close|price)|(open|high|low|close|price)adj(usted)?"
)


class Naming(msgspec.Struct, frozen=True):
    """What the user said about the columns of a table.

    Args:
        columns: The table's name for a column, by ours ("timestamp", "asset_id", "open", ...).
        price_column: The one price column of close-only data.
        signal_columns: Exactly these are signals; None means every column that is left.
        wanted: As `signal_columns`, but those the table lacks are looked for elsewhere.
        context_pattern: Columns whose whole name matches are context, not signals.
        asset_id: The asset of every row, for a table without a column of assets.
    """

    columns: dict[str, str] = {}  # msgspec copies the empty default
    price_column: str | None = None
    signal_columns: tuple[str, ...] | None = None
    wanted: tuple[str, ...] | None = None
    context_pattern: str | None = None
    asset_id: str | None = None


class Layout(msgspec.Struct, frozen=True):
    """The columns of one table by their meaning; those in none of these are not read.

    Args:
        time: When.
        asset: Of what; None when all rows are of one asset.
        prices: The column of each price.
        volume: None when there is none.
        signals: In the order of the table.
        context: In the order of the table.
        meta: `_meta`, when there is one.
        doubles: What a column means, the column taken, and another one that could mean the same.
        left_out: Columns that might be signals and are none, and their types or why.
    """

    time: str
    asset: str | None
    prices: dict[str, str]
    volume: str | None
    signals: tuple[str, ...]
    context: tuple[str, ...]
    meta: str | None
    doubles: tuple[tuple[str, str, str], ...] = ()
    left_out: dict[str, str] = {}  # msgspec copies the empty default

    def needed(self) -> list[str]:
        """Every column that is read, each once."""
        keys = [self.time, self.asset, *self.prices.values(), self.volume]
        names = [*keys, *self.signals, *self.context, self.meta]
        return list(dict.fromkeys(name for name in names if name is not None))


def recognise(schema: Mapping[str, pl.DataType], naming: Naming, source: str) -> Layout:
    """Which column is what, by name and type.

    Raises:
        DataError: A needed column is missing, ambiguous or of a type it cannot have.
        ConfigError: `columns` names something that does not exist.
    """
    _refuse_availability(schema, source)
    roles = _roles(list(schema), naming, source)
    prices = _price_columns(roles, schema, naming, source)
    volume = roles.get("volume")
    _check_types(schema, roles, prices, volume, source)
    doubles = _doubles(roles, list(schema), naming)
    keys = {*roles.values(), *prices.values(), META, *(other for _, _, other in doubles)}
    context = _context_columns(schema, naming, keys, source)
    taken = {*keys, *context}
    return Layout(
        time=roles["timestamp"],
        asset=roles.get("asset_id"),
        prices=prices,
        volume=volume,
        signals=_signal_columns(schema, naming, taken, source),
        context=context,
        meta=META if META in schema else None,
        doubles=doubles,
        left_out=_left_out(schema, naming, taken),
    )


def _refuse_availability(names: Iterable[str], source: str) -> None:
    """A time of arrival beside prices would be ignored, and the predictions seen too early."""
    for name in names:
        if name.strip().lower() == "available_at":
            raise DataError(
                f"{source}: column {name!r} says when predictions became known, which counts in a "
                "table of predictions only. Pass them apart from the prices, with signals=..., or "
                "drop the column if they were known with the bar."
            )


def refuse_labels(
    names: Iterable[str],
    source: str,
    *,
    is_context: bool = False,
    option: str = "signal_columns",
) -> None:
    """Refuse columns that are named like what a model was trained to predict.

    Args:
        names: Names of columns.
        source: What the user calls the table.
        is_context: The columns were asked for as context, where `ES_future` is a market.
        option: With which option such a column is taken knowingly.

    Raises:
        DataError: At least one name is `target`, `label`, `y`, or starts with `fwd_`, `forward_`,
            `future_` or `next_`, in any case; of signals, also `y_true` and its like, names with
            `_fwd`, names that end with `_forward`, `_future` (and a number), `_target`, `_label` or
            `_ahead`, and those like `label_5d`, `target_5d`, `target_return` and `y_5`.
    """
    patterns = (_LABELS,) if is_context else (_LABELS, _SIGNAL_LABELS)
    labels = [name for name in names if any(p.fullmatch(name.strip()) for p in patterns)]
    if labels:
        shown = ", ".join(repr(name) for name in labels)
        raise DataError(
            f"{source}: {shown} would be taken as a signal, but the name is that of a label: what "
            f"happens later, not what was known. Drop it, or list the columns you mean in "
            f"{option}=[...] to take it knowingly."
        )


def has_asset_column(names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Whether one of the columns says which asset a row is about."""
    return "asset_id" in columns or any(_plain(name) in ASSET_NAMES for name in names)


def is_key(name: str, columns: Mapping[str, str]) -> bool:
    """Whether a column says when, or of which asset, by its name or as the user said."""
    named = (columns.get("timestamp"), columns.get("asset_id"))
    return name in named or _plain(name) in (*TIME_NAMES, *ASSET_NAMES)


def other_spellings(role: str, taken: str, names: Iterable[str]) -> list[str]:
    """Columns beside `taken` whose names mean the same.

    A ticker beside an asset does not: it is what the asset traded as then, and changes.
    """
    others = [name for name in names if _plain(name) in _SPELLINGS[role] and name != taken]
    if _plain(taken) in ("asset_id", "asset"):
        others = [name for name in others if _plain(name) != "ticker"]
    return others


def _plain(name: str) -> str:
    return name.strip().lower()


def _roles(names: list[str], naming: Naming, source: str) -> dict[str, str]:
    _check_columns_option(naming.columns)
    roles = dict(naming.columns)
    for role, column in roles.items():
        _require(column, names, f"columns={{{role!r}: {column!r}}}", source)
    for role, spellings in _SPELLINGS.items():
        if role not in roles:
            found = _find(names, spellings, role, source)
            if found is not None:
                roles[role] = found
    if "timestamp" not in roles:
        raise DataError(
            f"{source}: there is no column of times ({', '.join(repr(n) for n in TIME_NAMES)}, in "
            f"any case). {_near('timestamp', names)} Name it with columns={{'timestamp': '...'}}."
        )
    return roles


def _check_columns_option(columns: Mapping[str, str]) -> None:
    for role in columns:
        if role not in _SPELLINGS:
            raise ConfigError(
                f"columns={{{role!r}: ...}}: {role!r} is not a column we look for. "
                f"{did_you_mean(role, _SPELLINGS)}"
            )


def _find(names: list[str], spellings: tuple[str, ...], role: str, source: str) -> str | None:
    """The column with the first of the spellings; `date` and `time` side by side are refused."""
    for spelling in spellings:
        if spelling in names:
            matches = [spelling]
        else:
            matches = [name for name in names if _plain(name) == spelling]
        if spelling == "date":
            matches += [name for name in names if _plain(name) == "time"]
        if len(matches) > 1:
            shown = " and ".join(repr(name) for name in matches)
            raise DataError(
                f"{source}: {shown} could each be the {role}. Name the one you mean with "
                f"columns={{{role!r}: {matches[0]!r}}}, or join them into one column first."
            )
        if matches:
            return matches[0]
    return None


def _doubles(
    roles: dict[str, str], names: list[str], naming: Naming
) -> tuple[tuple[str, str, str], ...]:
    """Columns with another usual name of what was found, unless the user said which is which."""
    named = {*naming.columns.values(), *(naming.signal_columns or ()), *(naming.wanted or ())}
    named |= {naming.price_column or ""}
    return tuple(
        (role, roles[role], name)
        for role in _SPELLINGS
        if role in roles and role not in naming.columns
        if naming.price_column is None or role not in PRICES
        for name in other_spellings(role, roles[role], names)
        if name not in named
    )


def _left_out(schema: Mapping[str, pl.DataType], naming: Naming, taken: set[str]) -> dict[str, str]:
    """Columns that are no signals for their type, or because they are adjusted prices."""
    if naming.signal_columns is not None or naming.wanted is not None:
        return {}
    free = (name for name in schema if not _is_taken(name, taken))
    reasons = {name: _why_not(name, schema[name]) for name in free}
    return {name: reason for name, reason in reasons.items() if reason}


def _why_not(name: str, dtype: pl.DataType) -> str:
    """Why a column is no signal: an empty string when it is one."""
    if _is_adjusted(name):
        return "adjusted prices know the future"
    return "" if is_signal_type(dtype) and dtype != pl.Null else str(dtype)


def _is_adjusted(name: str) -> bool:
    return _ADJUSTED.fullmatch(re.sub(r"[^a-z]", "", name.lower())) is not None


def _near(role: str, names: list[str]) -> str:
    return f"{did_you_mean(role, names)}".replace("Known:", "The columns are")


def _require(column: str, names: Iterable[str], asked: str, source: str) -> None:
    names = list(names)
    if column not in names:
        raise DataError(f"{source}: {asked}: there is no such column. {_near(column, names)}")


def _price_columns(
    roles: dict[str, str], schema: Mapping[str, pl.DataType], naming: Naming, source: str
) -> dict[str, str]:
    if naming.price_column is not None:
        _require(naming.price_column, schema, f"price_column={naming.price_column!r}", source)
        return dict.fromkeys(PRICES, naming.price_column)
    missing = [name for name in PRICES if name not in roles]
    if not missing:
        return {name: roles[name] for name in PRICES}
    if missing == ["open", "high", "low"]:
        raise DataError(
            f"{source}: there are no columns 'open', 'high', 'low'. If {roles['close']!r} is the "
            f"only price you have, say so with price_column={roles['close']!r} on the feed: every "
            f"bar then opens, trades and closes at that price."
        )
    raise DataError(
        f"{source}: there is no column for {', '.join(repr(name) for name in missing)}, in any "
        f"case. {_near(missing[0], list(schema))} Name it with columns={{{missing[0]!r}: '...'}}."
    )


def _check_types(
    schema: Mapping[str, pl.DataType],
    roles: dict[str, str],
    prices: dict[str, str],
    volume: str | None,
    source: str,
) -> None:
    for column in dict.fromkeys([*prices.values(), *([volume] if volume else [])]):
        if not (schema[column].is_numeric() or schema[column] in (pl.String, pl.Null)):
            raise DataError(
                f"{source}: column {column!r} has type {schema[column]}, not numbers. Convert it "
                f"with pl.col({column!r}).cast(pl.Float64), or name another column."
            )
    asset = roles.get("asset_id")
    if asset is not None and not _is_key(schema[asset]):
        raise DataError(
            f"{source}: column {asset!r} has type {schema[asset]}; assets are named by text or "
            f"whole numbers. Convert it with pl.col({asset!r}).cast(pl.String)."
        )


def _is_key(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) or dtype.is_integer()


def is_signal_type(dtype: pl.DataType) -> bool:
    """Numbers, booleans and text can be signals."""
    kinds = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)
    return dtype.is_numeric() or dtype in kinds


def is_number_type(dtype: pl.DataType) -> bool:
    """Signals of this type travel as float64, others as objects."""
    return dtype.is_numeric() or dtype == pl.Null


def _context_columns(
    schema: Mapping[str, pl.DataType], naming: Naming, keys: set[str], source: str
) -> tuple[str, ...]:
    if naming.context_pattern is None:
        return ()
    try:
        pattern = re.compile(naming.context_pattern)
    except re.error as error:
        raise ConfigError(
            f"context_pattern={naming.context_pattern!r} is not a regular expression: {error}."
        ) from None
    names = tuple(n for n in schema if pattern.fullmatch(n) and not _is_taken(n, keys))
    _refuse_types(names, schema, source, "context")
    refuse_labels(names, source, is_context=True)
    return names


def _is_taken(name: str, keys: set[str]) -> bool:
    """A column with a meaning of its own, or another spelling of a key."""
    return name in keys or _plain(name) in (*TIME_NAMES, *ASSET_NAMES)


def _signal_columns(
    schema: Mapping[str, pl.DataType], naming: Naming, taken: set[str], source: str
) -> tuple[str, ...]:
    if naming.signal_columns is not None:
        for name in naming.signal_columns:
            _require(name, schema, f"signal_columns={name!r}", source)
        names = [n for n in dict.fromkeys(naming.signal_columns) if n != META]
    elif naming.wanted is not None:
        names = [n for n in dict.fromkeys(naming.wanted) if n in schema and n != META]
    else:
        return _all_signals(schema, naming, taken, source)
    _refuse_types(names, schema, source, "a signal")
    return tuple(names)


def _all_signals(
    schema: Mapping[str, pl.DataType], naming: Naming, taken: set[str], source: str
) -> tuple[str, ...]:
    """Every column that is left: not another spelling of a key, and of a type that can be one."""
    names = [n for n in schema if not _is_taken(n, taken)]
    if naming.price_column is not None:
        names = [n for n in names if _plain(n) not in PRICES]
    names = [n for n in names if is_signal_type(schema[n]) and schema[n] != pl.Null]
    names = [n for n in names if not _is_adjusted(n)]
    refuse_labels(names, source)
    return tuple(names)


def _refuse_types(
    names: Iterable[str], schema: Mapping[str, pl.DataType], source: str, meant: str
) -> None:
    for name in names:
        if not is_signal_type(schema[name]):
            raise DataError(
                f"{source}: column {name!r} has type {schema[name]} and cannot be {meant}: "
                f"numbers, booleans and text can. Convert it, or leave it out."
            )
