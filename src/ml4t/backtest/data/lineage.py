"""Whose bars an asset's past is made of, and what corporate actions did to their terms."""

from __future__ import annotations

import msgspec
import numpy as np

_ALWAYS, _FOREVER = -(2**62), 2**62
_PRICES = ("open", "high", "low", "close")


class Stretch(msgspec.Struct, frozen=True):
    """The bars of one asset from the time `start` to before `stop`, in microseconds."""

    code: int
    start: int
    stop: int


class Lineage(msgspec.Struct, frozen=True):
    """The past of one asset.

    Args:
        stretches: Its bars, the newest first: under its name, and under those it had before.
        changes: (time, ratio) of what took effect, in order of time: a bar from before the time
            is told in new units, `ratio` for each old one.
    """

    stretches: tuple[Stretch, ...]
    changes: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, code: int, since: int = _ALWAYS) -> Lineage:
        """An asset whose bars, from a time on, are its own and as they were."""
        return cls((Stretch(code, since, _FOREVER),))

    def restated(self, values: np.ndarray, times: np.ndarray, field: str) -> np.ndarray:
        """Values of a field, from bars of these times, in the terms of now."""
        is_price = field in _PRICES
        if not self.changes or not (is_price or field == "volume"):
            return values
        units = np.ones(len(times))
        for when, ratio in self.changes:
            units[times < when] *= ratio
        told: np.ndarray = values / units if is_price else values * units
        return told


def lineage_after(before: Lineage, code: int, now: int, ratio: float) -> Lineage:
    """The past of an asset from `now` on, when a split or a new name takes effect.

    Args:
        before: Its past until now.
        code: The asset that goes on.
        now: Time of the first bars at the new terms, in microseconds.
        ratio: New units per old.
    """
    changes = before.changes if ratio == 1.0 else (*before.changes, (now, ratio))
    newest, *older = before.stretches
    if newest.code == code:
        return Lineage(before.stretches, changes)
    ended = Stretch(newest.code, newest.start, now)
    return Lineage((Stretch(code, now, _FOREVER), ended, *older), changes)
