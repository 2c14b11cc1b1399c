"""Drivers for the exams: a made-up venue that an exam of gateways can drive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ml4t.backtest.testing.venues import ScriptedVenue

if TYPE_CHECKING:
    from ml4t.backtest.live.gateway import Gateway

_BEGIN = 1_704_205_800_000_000  # 2024-01-02 14:30 UTC


class ScriptedDriver:
    """Drives a `ScriptedVenue`, for `GatewayContract`; an example of how to drive another.

    Args:
        venue: Which; a new one when left out.

    Attributes:
        venue: It.
        asset_ids: Two assets that trade at about 100.
    """

    def __init__(self, venue: ScriptedVenue | None = None) -> None:
        self.venue = ScriptedVenue() if venue is None else venue
        self.asset_ids = ("A", "B")
        self.venue.prices = dict.fromkeys(self.asset_ids, 100.0)
        self.venue.now = max(self.venue.now, _BEGIN)

    def make_gateway(self) -> Gateway:
        """The venue is its own gateway."""
        return self.venue

    def fill(self, client_id: str, quantity: float, price: float) -> None:
        """Fill some of an order."""
        self.venue.now += 1
        self.venue.fill(client_id, quantity, price)

    def drop(self) -> None:
        """Break the line."""
        self.venue.drop()

    def restore(self) -> None:
        """Mend it."""
        self.venue.restore()

    def lose_answer(
        self, call: Literal["send", "standing"], when: Literal["before", "after"]
    ) -> None:
        """The next call gets no answer."""
        self.venue.faults.setdefault(call, []).append(when)

    def close(self) -> None:
        """There is nothing to end."""
