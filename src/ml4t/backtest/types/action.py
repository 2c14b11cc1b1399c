"""Corporate actions: what happens to a holding without anybody trading it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ActionKind(StrEnum):
    """What kind of corporate action; in the order in which those of one moment take effect."""

    DIVIDEND = "dividend"
    SPINOFF = "spinoff"
    SPLIT = "split"
    RENAME = "rename"
    DELISTING = "delisting"


class Action(msgspec.Struct, frozen=True, gc=False):
    """One corporate action of one asset.

    Args:
        asset_id: Whose.
        kind: What happens.
        ratio: New units per old unit, of a split or a rename; 1 for the others.
        amount: Money per unit: paid by a dividend or spin-off, or what a delisting leaves of a
            unit; None for a delisting at the last price.
        new_asset_id: What a rename makes of the asset; else the asset itself.
    """

    asset_id: str
    kind: ActionKind
    ratio: float
    amount: float | None
    new_asset_id: str
