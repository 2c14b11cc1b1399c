"""What was said of each asset and signal, when, and about which bar."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEPT = 64  # values of one signal and asset that no bar has asked for yet


class Said(NamedTuple):
    """One value.

    Attributes:
        value: None when the value is that there is none.
        came: When it came, microseconds.
        about: The end of the bar it is for, when that was said.
    """

    value: Any
    came: int
    about: int | None

    @property
    def since(self) -> int:
        """From when its age counts."""
        return self.came if self.about is None else min(self.came, self.about)


class Sayings:
    """Values by asset and name; whoever uses it holds a lock.

    Attributes:
        awaited: Assets whose last bar was given out without predictions that were waited for.
    """

    def __init__(self) -> None:
        self.awaited: set[str] = set()
        self._said: dict[str, dict[str, deque[Said]]] = {}
        self._given: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._said)

    def assets(self) -> list[str]:
        """Everything something was said of."""
        return list(self._said)

    def say(self, asset_id: str, name: str, said: Said) -> None:
        """Keep a value."""
        values = self._said.setdefault(asset_id, {})
        values.setdefault(name, deque(maxlen=_KEPT)).append(said)

    def shift(self, by: int) -> None:
        """Move the times at which values came to another clock."""
        for values in self._said.values():
            for name, said in values.items():
                moved = (s._replace(came=s.came + by) for s in said)
                values[name] = deque(moved, maxlen=_KEPT)

    def latest(self, asset_id: str) -> list[tuple[str, Said]]:
        """The last value of each signal."""
        return [(name, said[-1]) for name, said in self._said.get(asset_id, {}).items()]

    def choose(self, asset_id: str, end: int) -> list[tuple[str, Said]]:
        """The latest value of each signal that is not about a later bar; older ones are dropped."""
        chosen = []
        for name, values in self._said.get(asset_id, {}).items():
            fits = [said for said in values if said.about is None or said.about <= end]
            if fits:
                latest = max(reversed(fits), key=_time_of)  # the last to come among equals
                later = (s for s in values if s.about is not None and s.about > end)
                values_left = [latest, *later]
                values.clear()
                values.extend(values_left)
                chosen.append((name, latest))
        return chosen

    def note(self, end: int, assets: Iterable[str]) -> None:
        """The bars of these assets that end at a time have been given out."""
        for asset_id in assets:
            self._given[asset_id] = end
            self.awaited.discard(asset_id)

    def is_said(self, asset_id: str, end: int, names: Iterable[str] | None) -> bool:
        """Whether everything expected for the bar that ends at a time has come.

        Expected is each name of `names`, or each that the asset ever had.
        """
        values = self._said.get(asset_id, {})
        expected = list(values if names is None else names)
        return bool(expected) and all(
            any(_time_of(said) >= end for said in values.get(name, ())) for name in expected
        )

    def is_late(self, asset_id: str, about: int | None) -> bool:
        """Whether an update comes after the bar it is for was given out."""
        if about is not None:
            return about <= self._given.get(asset_id, about - 1)
        is_late = asset_id in self.awaited
        self.awaited.discard(asset_id)
        return is_late


def _time_of(said: Said) -> int:
    return said.came if said.about is None else said.about
