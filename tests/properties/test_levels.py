"""Orders that need not be looked at: leaving them alone changes nothing at all."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Instrument,
    MarginAccount,
    Order,
    OrderError,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)
from ml4t.backtest.simulation.levels import Levels
from tests.examples import examples
from tests.markets import Market
from tests.replay import action_table, random_actions

KINDS = ("limit", "stop", "stop_limit", "trailing_stop", "trailing_stop_limit", "market")
FORCES = ("gtc", "gtc", "gtc", "day", "gtd", "ioc", "opg", "cls")
HALF_AN_HOUR = dt.timedelta(minutes=150)  # so many that a session has four


class Silent(Strategy):
    """Orders of all kinds, near enough to be met and far enough to rest; and rules."""

    def __init__(self, seed: int, activity: float) -> None:
        self.seed = seed
        self.activity = activity

    def on_start(self) -> None:
        self.dice = np.random.default_rng(self.seed)
        self.heard: list[Any] = []

    def on_bars(self, bars: Any) -> None:
        for asset_id in bars.asset_ids:
            if self.dice.random() < self.activity:
                try:
                    self.act(asset_id, bars)
                except OrderError:
                    continue
        self.record(power=self.get_buying_power())

    def act(self, asset_id: str, bars: Any) -> None:
        dice, price = self.dice, self.get_last_price(asset_id)
        move = price * (1.0 + dice.choice([-0.06, -0.02, -0.01, 0.01, 0.02, 0.06]))
        units = float(dice.integers(1, 60))
        deed = int(dice.integers(0, 12))
        if deed < 6:
            self.submit_order(self.order(asset_id, bars, price, move, units))
        elif deed == 6:
            self.bracket(asset_id, units, take_profit=price * 1.03, stop_loss=price * 0.98)
        elif deed == 7:
            self.close_position(asset_id)
        elif deed == 8:
            self.rebalance_to_weights({asset_id: float(dice.uniform(-0.2, 0.5))})
        elif deed == 9:
            self.rule(asset_id)
        elif deed == 10:
            for event in self.get_open_orders(asset_id)[:1]:
                changes = {"quantity": units}
                if event.order.limit_price is not None:
                    changes["limit_price"] = move
                self.replace_order(event.order_id, **changes)
        else:
            for event in self.get_open_orders()[::3]:
                self.cancel_order(event.order_id)

    def rule(self, asset_id: str) -> None:
        what = int(self.dice.integers(0, 4))
        whom = asset_id if self.dice.random() < 0.7 else None
        if what == 0:
            self.set_stop_loss(whom, percent=0.02)
        elif what == 1:
            self.set_take_profit(whom, percent=0.03)
        elif what == 2:
            self.set_trailing_stop(whom, percent=0.025)
        else:
            self.set_time_exit(whom, bars=3)

    def order(self, asset_id: str, bars: Any, price: float, move: float, units: float) -> Order:
        dice = self.dice
        kind, force = str(dice.choice(KINDS)), str(dice.choice(FORCES))
        expires: Any = None
        if force == "gtd":
            expires = bars.timestamp + dt.timedelta(days=int(dice.integers(0, 4)))
            if isinstance(expires, dt.datetime) and dice.random() < 0.5:
                expires = expires.date()
        trail: dict[str, Any] = {}
        if kind.startswith("trailing"):
            name = str(dice.choice(["trail_percent", "trail_amount"]))
            trail[name] = 0.02 if name == "trail_percent" else price * 0.02
        if kind == "trailing_stop_limit":
            trail["limit_offset"] = price * 0.01
        rests = [event.order_id for event in self.get_open_orders()]
        return Order(
            asset_id,
            str(dice.choice(["buy", "sell"])),
            units,
            kind,
            move * 1.001 if kind in ("limit", "stop_limit") else None,
            move if kind in ("stop", "stop_limit") else None,
            time_in_force=force,
            expires_at=expires,
            reduce_only=bool(dice.random() < 0.3),
            after=int(dice.choice(rests)) if rests and dice.random() < 0.15 else 0,
            oco=str(dice.choice(["", "", "", "x", "y"])),
            **trail,
        )


class Listening(Silent):
    """Hears of its orders, none of which are matched together then."""

    def on_order_event(self, event: Any) -> None:
        self.heard.append((event.order_id, event.status, event.timestamp, event.reason))


def run(market: Market, seed: int, activity: float, actions: Any, **options: Any) -> Any:
    """The result of a run, and what the strategy heard of its orders, if it listens."""
    strategy = (Listening if seed % 2 else Silent)(seed, activity)
    broker = SimulationBroker(100_000, **options)
    frame = market.frame()
    result = BacktestEngine(frame, strategy=strategy, broker=broker, actions=actions).run()
    return result, strategy.heard


def looking_at_all(patch: pytest.MonkeyPatch) -> None:
    """Every open order is looked at with all bars, as if there were no levels."""

    def due(self: Levels, bars: Any) -> set[int]:
        self._blotter.changed.clear()
        return set(range(len(bars.chunk.universe)))

    patch.setattr(Levels, "are_quiet", lambda self, bars: not self._blotter.open)
    patch.setattr(Levels, "due", due)


@examples(100)
@given(
    seed=st.integers(0, 2**32 - 1),
    every=st.sampled_from([None, HALF_AN_HOUR]),
    missing=st.sampled_from([0.0, 0.3]),
    activity=st.sampled_from([0.05, 0.3]),
    has_actions=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "fill_at": st.sampled_from(["next_open", "next_open", "next_close", "close"]),
            "intrabar": st.sampled_from(["worst", "best", "ohlc", "olhc"]),
            "limit_fill": st.sampled_from(["touch", "through"]),
            "funding": st.sampled_from(["scale", "reject"]),
            "fractional": st.booleans(),
            "on_vanish": st.sampled_from(["mark", "close"]),
            "liquidity": st.sampled_from([None, VolumeParticipation(0.00002)]),
            "account": st.sampled_from([None, MarginAccount()]),
        }
    ),
    tick=st.sampled_from([0.0, 0.05]),
)
def test_orders_out_of_reach_need_not_be_looked_at(
    seed: int,
    every: Any,
    missing: float,
    activity: float,
    has_actions: bool,
    options: dict[str, Any],
    tick: float,
) -> None:
    """All numbers, all ends and their reasons, and when they came, as if all were looked at."""
    market = Market(seed, assets=5, steps=60, missing=missing, gone=missing, every=every)
    actions = None
    if has_actions:
        actions = action_table(random_actions(np.random.default_rng(seed), market), market)
        options["liquidity"] = None  # the laws know no order that filled before a split alone
    if tick:
        options["instruments"] = [Instrument(asset_id=a, tick_size=tick) for a in market.assets]
    found, heard = run(market, seed, activity, actions, **options)
    with pytest.MonkeyPatch.context() as patch:
        looking_at_all(patch)
        expected, all_heard = run(market, seed, activity, actions, **options)
    assert heard == all_heard
    same(found, expected)


def same(found: BacktestResult, expected: BacktestResult) -> None:
    """Equal to the bit; the frames first, so that a difference is seen."""
    for name in ("fills", "orders", "equity", "cashflows"):
        assert getattr(found, name).equals(getattr(expected, name)), name
    assert found.record.counts == expected.record.counts
    assert found.fingerprint == expected.fingerprint
