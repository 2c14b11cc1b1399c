"""What was said of each asset and signal, when, and about which bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 10_000  # bars to which one signal of one asset has values ahead, or that nobody asked for


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

    Of each bar the last value that came about it is kept, until a bar that is not before it has
    been given out; and of those that are about no bar, the last. That is all that can be asked
    for. A week of minutes ahead fits; beyond, the values about the earliest bars are dropped.

    Attributes:
        dropped: Values that had to be dropped.
        awaited: Assets whose last bar was given out without predictions that were waited for.
    """

    def __init__(self) -> None:
        self.awaited: set[str] = set()
        self.dropped = 0
        # By asset and name, then by the bar they are about; in the order in which they came.
        self._said: dict[str, dict[str, dict[int | None, Said]]] = {}
        self._given: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._said)

    def assets(self) -> list[str]:
        """Everything something was said of."""
        return list(self._said)

    def say(self, asset_id: str, name: str, said: Said) -> None:
        """Keep a value."""
        values = self._said.setdefault(asset_id, {}).setdefault(name, {})
        values.pop(said.about, None)
        values[said.about] = said
        if len(values) > KEPT:
            del values[min(about for about in values if about is not None)]
            self.dropped += 1

    def shift(self, by: int) -> None:
        """Move the times at which values came to another clock."""
        for values in self._said.values():
            for said in values.values():
                for about, one in said.items():
                    said[about] = one._replace(came=one.came + by)

    def latest(self, asset_id: str) -> list[tuple[str, Said]]:
        """The last value of each signal."""
        found = self._said.get(asset_id, {}).items()
        return [(name, values[next(reversed(values))]) for name, values in found]

    def choose(self, asset_id: str, end: int) -> list[tuple[str, Said]]:
        """The latest value of each signal that is not about a later bar; older ones are dropped."""
        chosen = []
        for name, values in self._said.get(asset_id, {}).items():
            fits = [said for said in values.values() if said.about is None or said.about <= end]
            if fits:
                latest = max(reversed(fits), key=_time_of)  # the last to come among equals
                for said in fits:
                    if said is not latest:
                        del values[said.about]
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
            any(_time_of(said) >= end for said in values.get(name, {}).values())
            for name in expected
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
