"""What is said when a description is wrong: the place, what stands there, and what could."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from ml4t.backtest.description.parts import Part, kind_of
from ml4t.backtest.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

_Table = TypeVar("_Table", bound=msgspec.Struct)
_INDEX = re.compile(r"\[\d+\]")
_HEADER = re.compile(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}")
_KEY = re.compile(r"\s*([\w.\-\"' ]+?)\s*=")
_PLACE = re.compile(r"(.*?)(?: - at `\$(.*)`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_TYPE = re.compile(r"Expected `(.*)`, got `(.*)`")
_NOT_IN = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_WORDS = {
    "str": "text",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


class Origin(msgspec.Struct, frozen=True):
    """Where the entries of a description come from, for error texts.

    Args:
        name: Of the file, or of what else holds them.
        text: The file.
        sets: Entries given one by one later, as "place=value".
    """

    name: str = "the description"
    text: str = ""
    sets: tuple[str, ...] = ()

    def at(self, place: str) -> str:
        """What holds the entry at a dotted place: a file with its line, or a setting."""
        place = _INDEX.sub("", place)
        for entry in reversed(self.sets):
            key = entry.partition("=")[0].strip()
            if key == place or place.startswith(f"{key}.") or key.startswith(f"{place}."):
                return f"--set {entry}"
        line = self.line_of(place)
        return self.name if line is None else f"{self.name}, line {line}"

    def line_of(self, place: str) -> int | None:
        """The line, from 1, of an entry or of the nearest table around it."""
        best, found = -1, None
        table = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            header = _HEADER.match(line)
            key = _KEY.match(line)
            if header:
                table = here = _bare(header[1])
            elif key:
                here = f"{table}.{_bare(key[1])}" if table else _bare(key[1])
            else:
                continue
            is_around = place == here or place.startswith(f"{here}.")
            if is_around and len(here) > best:
                best, found = len(here), number
        return found


def _bare(key: str) -> str:
    return re.sub(r"[\"'\s]", "", key)


def decode(kind: type[_Table], raw: Any, place: str, origin: Origin) -> _Table:
    """A table as its struct.

    Args:
        kind: The struct.
        raw: What was given.
        place: Of the table, dotted.
        origin: Where it comes from.

    Raises:
        ConfigError: An entry is unknown, missing or of another type; names place and remedy.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{origin.at(place)}: {place} is a table, not {raw!r}.")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), kind, raw, place, origin)) from None
    except ConfigError as error:
        raise ConfigError(f"{origin.at(place)}: [{place}] {error}") from None


def decode_part(kinds: Sequence[type[Part]], raw: Any, place: str, origin: Origin) -> Any:
    """One part of the simulation, or several that are added, built.

    Raises:
        ConfigError: As `decode`, or no such kind, or what the part itself refuses.
    """
    if isinstance(raw, list):
        parts = [
            decode_part(kinds, one, f"{place}[{number}]", origin) for number, one in enumerate(raw)
        ]
        if not parts:
            raise ConfigError(f"{origin.at(place)}: {place} is an empty list; leave it out.")
        return parts
    if not isinstance(raw, dict):
        raise ConfigError(
            f'{origin.at(place)}: {place} is a table such as {{ kind = "{kind_of(kinds[-1])}" }}, '
            f"not {raw!r}."
        )
    words = {kind_of(kind): kind for kind in kinds}
    given = raw.get("kind")
    if given is None:
        fitting = [w for w, k in words.items() if set(raw) <= set(k.__struct_encode_fields__)]
        shown = ", ".join(map(repr, fitting or words))
        raise ConfigError(
            f"{origin.at(place)}: [{place}] does not say which kind it is. Add kind = ..., one of "
            f"{shown}{' (these take what you gave)' if fitting and len(raw) else ''}."
        )
    if given not in words:
        raise ConfigError(
            f"{origin.at(f'{place}.kind')}: {given!r} is no kind of {place.partition('[')[0]}. "
            f"{did_you_mean(str(given), words)}"
        )
    return decode(words[given], raw, place, origin)


def unknown_table(name: str, known: Sequence[str], origin: Origin) -> ConfigError:
    """The error for a table that no description has."""
    return ConfigError(
        f"{origin.at(name)}: there is no table [{name}]. {did_you_mean(name, known)}"
    )


def _explain(
    text: str, kind: type[msgspec.Struct], raw: dict[str, Any], place: str, origin: Origin
) -> str:
    """What a failed conversion says, in the words of the file."""
    match = _PLACE.fullmatch(text)
    assert match is not None
    what, inner = match[1], (match[2] or "").lstrip(".")
    full = f"{place}.{inner}" if inner else place
    owner, value = _follow(kind, raw, inner)
    if unknown := _UNKNOWN.fullmatch(what):
        name = unknown[1]
        known = owner.__struct_encode_fields__ if owner is not None else ()
        more = ""
        if owner is kind and place == "strategy":
            more = " What your class takes goes into [strategy.parameters]."
        return (
            f"{origin.at(f'{full}.{name}')}: [{full}] has no field {name!r}. "
            f"{did_you_mean(name, known)}{more}"
        )
    if missing := _MISSING.fullmatch(what):
        return f"{origin.at(full)}: [{full}] needs the field {missing[1]!r}."
    if wrong := _TYPE.fullmatch(what):
        return f"{origin.at(full)}: {full} must be {_in_words(wrong[1])}, not {value!r}."
    if _NOT_IN.fullmatch(what):
        allowed = _choices(kind, inner)
        return f"{origin.at(full)}: {full} cannot be {value!r}. {did_you_mean(str(value), allowed)}"
    return f"{origin.at(full)}: {full}: {what}."


def _follow(
    kind: type[msgspec.Struct], raw: Any, inner: str
) -> tuple[type[msgspec.Struct] | None, Any]:
    """The struct and the value at a place inside a table."""
    owner: type[msgspec.Struct] | None = kind
    value: Any = raw
    for step in re.findall(r"[^.\[\]]+", inner):
        if step.isdigit() and isinstance(value, list):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
            owner = _struct_in(owner, step, value)
        else:  # the value of a mapping, which msgspec does not name
            owner = None
    return owner, value


def _struct_in(
    owner: type[msgspec.Struct] | None, field: str, value: Any = None
) -> type[msgspec.Struct] | None:
    """The struct of a field; of several kinds the one that its value names."""
    if owner is None:
        return None
    kind = value.get("kind") if isinstance(value, dict) else None
    names = dict(zip(owner.__struct_encode_fields__, owner.__struct_fields__, strict=True))
    for one in _flat(get_type_hints(owner).get(names.get(field, field))):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            tag = one.__struct_config__.tag
            if tag is None or kind is None or tag == kind:
                return one
    return None


def _choices(kind: type[msgspec.Struct], inner: str) -> list[str]:
    hints = get_type_hints(kind)
    found = hints.get(inner.rpartition(".")[2])
    if found is None:  # inside a list of tables
        owner = _struct_in(kind, inner.partition("[")[0])
        found = get_type_hints(owner).get(inner.rpartition(".")[2]) if owner else None
    return [
        str(word) for one in _flat(found) if get_origin(one) is Literal for word in get_args(one)
    ]


def _flat(hint: Any) -> list[Any]:
    """A type and all it is made of."""
    if get_origin(hint) is Literal:
        return [hint]
    return [hint, *(inner for argument in get_args(hint) for inner in _flat(argument))]


def _in_words(expected: str) -> str:
    words = [_WORDS.get(word, word) for word in expected.split(" | ") if word != "null"]
    return " or ".join(words) or "nothing"
