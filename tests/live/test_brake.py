"""Whatever takes an order back for ever, it is not sent for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import Strategy
from ml4t.backtest.live.brake import FREE, Brake
from ml4t.backtest.live.sending import Sender
from ml4t.backtest.live.tickets import TicketState
from tests.live.world import World, market

SECOND = 1_000_000


def test_free_at_first_and_then_ever_more_slowly() -> None:
    """Twice as long each time, up to a minute; each order is told once."""
    brake, waits = Brake(), []
    for times in range(1, FREE + 10):
        brake.passed(7, times, 0)
        until = brake.holds_until(7, 0)
        waits.append(until // SECOND)
        assert brake.holds_until(7, until) == 0
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1 :] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert brake.take() == [7]
    assert brake.take() == []
    assert brake.holds_until(8, 0) == 0


class Resting(Strategy):
    """Bids below the market, once."""

    def on_start(self) -> None:
        self.is_done = False

    def on_market_data(self, event: Any) -> None:
        if not self.is_done:
            self.buy(event.asset_id, 10, limit_price=round(event.close * 0.5, 2))
            self.is_done = True


def test_a_circle_ends_in_a_halt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that takes back each order as soon as it works, and has it sent again."""
    send = Sender.send

    def circling(self: Sender) -> None:
        send(self)
        for ticket in self.broker.tickets:
            if ticket.state is TicketState.WORKING and not ticket.is_canceling:
                self.tender.cancel(ticket)

    monkeypatch.setattr(Sender, "send", circling)
    world = World(tmp_path, market(60))
    told: list[str] = []
    world.run(Resting(), alert=told.append)
    sent = sum(call == "send" for call, _ in world.venue.calls)
    assert sent == FREE  # and would go on, once a bar or faster
    (halt,) = [text for text in told if text.startswith("halted")]
    assert f"has been sent {FREE} times" in halt
