"""Orders of every kind beside each other: none is sent and taken back without an end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml4t.backtest import Order, Strategy
from tests.live.world import World, market

_MOST = 2_000  # orders of a run, which has some fifty


class Wild(Strategy):
    """Does something else on each bar; by a seed, so that it can be had again."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_start(self) -> None:
        self.draw = np.random.default_rng(self.seed)

    def on_market_data(self, event: Any) -> None:
        asset, units = event.asset_id, float(self.draw.choice([3, 5, 10]))

        def at(factor: float) -> float:
            return round(event.close * factor, 2)

        def protect(**level: Any) -> Any:
            return self.submit_order(Order(asset, "sell", units, reduce_only=True, **level))

        wide: dict[str, Any] = {
            "stop_loss": at(0.99),
            "take_profit": at(1.004),
            "limit_price": at(0.999),
        }
        actions = (
            lambda: self.bracket(asset, units, stop_loss=at(0.995), take_profit=at(1.005)),
            lambda: self.bracket(asset, units, **wide),
            lambda: self.sell(asset, units, limit_price=at(1.002)),
            lambda: self.sell(asset, units, stop_price=at(0.998)),
            lambda: self.sell(asset, units, trail_percent=0.003),
            lambda: self.buy(asset, units, stop_price=at(1.002)),
            lambda: self.buy(asset, units),
            lambda: self.sell_percent(asset, 0.5),
            lambda: self.close_position(asset),
            lambda: self.order_target(asset, float(self.draw.choice([-5, 0, 7, 12]))),
            lambda: protect(limit_price=at(1.003)),
            lambda: protect(stop_price=at(0.997)),
        )
        kind = int(self.draw.integers(2 * len(actions)))
        if kind < len(actions):
            actions[kind]()


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("seed", range(14))
def test_no_order_is_sent_again_and_again(
    tmp_path: Path, seed: int, *, takes_brackets: bool
) -> None:
    """An order goes to the broker a few times at most, and the books agree."""
    world = World(tmp_path, market(60, seed=seed), takes_brackets=takes_brackets)
    world.venue.share = (1.0, 0.4)[seed % 2]
    send = world.venue.send

    def count(request: Any) -> Any:
        assert len(world.venue.orders) < _MOST, "orders are sent without an end"
        return send(request)

    world.venue.send = count  # type: ignore[method-assign]
    world.run(Wild(seed))
    times = Counter(name.rpartition("-")[0] for name in world.venue.orders)
    assert max(times.values()) < 30
    assert world.broker is not None
    held = {name: units for name, units in world.venue.positions.items() if units}
    assert world.broker.positions() == held
