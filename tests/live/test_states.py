"""Strategies with a state of their own: a restart is as if there had been none."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, RiskLimits, SimulationBroker, Strategy
from ml4t.backtest.errors import BacktestError, ConfigError, StrategyError
from tests.live.test_session import final_state, told
from tests.live.test_trouble import Once
from tests.live.world import Killed, World, market

LIMITS: dict[str, Any] = {
    "calendar": "24/7",
    "limits": RiskLimits(max_orders_per_minute=3, max_position_value=3_000),
}
LOSSES: dict[str, Any] = {
    "calendar": "24/7",
    "limits": RiskLimits(max_daily_loss=0.0002, on_breach="flatten"),
}


class Everything(Strategy):
    """Sets in its hooks whatever a hook can set, and keeps what it has learned by itself."""

    def on_start(self) -> None:
        self.step = 0
        self.ran: list[int] = []
        self.set_take_profit(percent=0.02)
        self.every(dt.timedelta(minutes=7), self.rotate)
        self.every("14:40", self.rotate)

    def rotate(self, bars: Any) -> None:
        self.ran.append(self.step)
        if self.step % 2:
            self.rebalance_to_weights({"A": np.float64(0.01), "B": 0.02})
        else:
            self.rebalance_to_weights(np.array([0.02, 0.0, 0.01]))

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        self.record(step=np.float64(self.step))
        self.log(f"step {self.step}")
        for event in bars:
            asset, prediction = event.asset_id, event.signals["ml_pred"]
            held = self.get_position(asset)
            if self.step == 4:
                self.set_trailing_stop(asset, percent=0.003)
                self.set_time_exit("B", bars=5)
            elif self.step == 14:
                self.set_trailing_stop(asset)
                self.set_stop_loss(asset, percent=0.004)
            if prediction > 0.7 and not held:
                self.bracket(asset, 20, stop_loss=event.close * 0.99)
            elif prediction > 0.5:
                self.buy(asset, np.float64(40))
            elif prediction > 0.4:
                self.sell_percent(asset, 0.5)
            elif prediction > 0.3:
                self.order_target_value(asset, 500.0)
            elif prediction < 0.1:
                self.cancel_all(asset)

    def save_state(self) -> Any:
        return {"step": np.int64(self.step), "ran": self.ran}

    def load_state(self, state: Any) -> None:
        self.step, self.ran = state["step"], state["ran"]


def ended(result: BacktestResult, strategy: Everything) -> dict[str, Any]:
    """Everything that is to be the same."""
    orders = result.orders.drop("created_at", strict=False)
    return {
        "fills": told(result).rows(),
        "orders": [str(row) for row in orders.rows()],
        "records": result.records.rows(),
        "logs": result.logs.rows(),
        "ran": strategy.ran,
        "step": strategy.step,
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where two ends are not the same; the first of each kind."""
    told = []
    for name, value in wanted.items():
        if found[name] != value:
            pairs = zip(found[name], value, strict=False) if isinstance(value, list) else ()
            first = next((p for p in pairs if p[0] != p[1]), (found[name], value))
            told.append(f"{name}: {first[0]} and not {first[1]}")
    return told


WORDS = {
    "limits": ("max_orders_per_minute", "max_position_value", "trailing_stop", "time_exit"),
    "losses": ("halted for the rest of the session", "positions are being closed", "stop_loss"),
}


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize(("kind", "engine"), [("limits", LIMITS), ("losses", LOSSES)])
def test_a_restart_forgets_nothing_that_hooks_have_set(
    tmp_path: Path, kind: str, engine: dict[str, Any], takes_brackets: bool
) -> None:
    """Rules and their marks, schedules, counts of limits, refusals, numbers of orders, notes."""
    frame = market(30, seed=3)
    calm = World(tmp_path / "calm", frame, takes_brackets=takes_brackets)
    strategy = Everything()
    wanted = ended(calm.run(strategy, engine=engine), strategy)
    state = final_state(calm)
    assert calm.broker is not None
    book = calm.broker.blotter.singles
    said = " ".join(f"{working.order.role} {working.reason}" for working in book)
    assert [word for word in WORDS[kind] if word not in said] == []
    for dies_after in (False, True):
        for at in range(5, calm.writes + 1, 31):
            world = World(tmp_path / f"{at}{dies_after}", frame, takes_brackets=takes_brackets)
            with pytest.raises(Killed):
                world.run(Everything(), die_at=at, dies_after=dies_after, engine=engine)
            strategy = Everything()
            found = ended(world.run(strategy, engine=engine), strategy)
            assert not differences(found, wanted), (at, dies_after)
            assert final_state(world) == state, (at, dies_after)


@pytest.mark.parametrize("name", ["save_state", "load_state"])
def test_half_a_state_is_a_mistake(tmp_path: Path, name: str) -> None:
    """One without the other keeps nothing."""
    half = type("Half", (Once,), {name: getattr(Everything, name)})
    with pytest.raises(ConfigError, match=f"Half has {name} and no"):
        World(tmp_path, market(5)).run(half())


def test_taking_a_state_back_is_no_time_to_act(tmp_path: Path) -> None:
    """What was ordered and watched is there already: to do it again would be once too often."""

    class Eager(Everything):
        def load_state(self, state: Any) -> None:
            super().load_state(state)
            self.set_stop_loss("A", percent=0.01)

    world = World(tmp_path, market(5))
    world.run(Eager(), engine=LIMITS)
    world.frame = market(8)
    with pytest.raises(BacktestError, match=r"orders and rules over positions are as .*load_state"):
        world.run(Eager(), engine=LIMITS)
    strategy = Everything()
    world.run(strategy, engine=LIMITS)
    assert strategy.step == 8


def test_shadow_sessions_keep_states_too(tmp_path: Path) -> None:
    """And make nothing again that was decided."""
    frame = market(30, seed=3)
    first = frame.filter(frame["timestamp"] < frame["timestamp"].unique().sort()[17])
    ends = []
    for name, parts in (("whole", [frame]), ("halves", [first, frame])):
        for part in parts:
            strategy = Everything()
            engine = BacktestEngine(part, strategy=strategy, broker=SimulationBroker(), **LIMITS)
            result = engine.run_live("shadow", journal=tmp_path / name)
        ends.append(ended(result, strategy))
    assert not differences(*ends)


class Plain(Strategy):
    """Sends nothing but market orders, and cannot tell from its bars when."""

    step, is_eager = 0, False

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step % 3 == 0:
            self.buy("A", 5)
        if self.step % 7 == 0:
            self.close_position("A")

    def save_state(self) -> dict[str, Any]:
        """All that stands on the object and is its own."""
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def load_state(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.is_eager:
            self.buy("A", 1)


def test_plain_orders_of_a_shadow_session_are_asked_again(tmp_path: Path) -> None:
    """They are kept with a state as all others are, and have no other way past it."""
    frame = market(30, seed=3)
    first = frame.filter(frame["timestamp"] < frame["timestamp"].unique().sort()[17])
    fills = []
    for name, parts in (("whole", [frame]), ("halves", [first, frame])):
        for part in parts:
            result = BacktestEngine(part, strategy=Plain()).run_live(
                "shadow", journal=tmp_path / name
            )
        fills.append(result.fills.rows())
    assert fills[0] == fills[1]
    assert len(fills[0]) > 8
    BacktestEngine(first, strategy=Plain()).run_live("shadow", journal=tmp_path / "eager")
    eager = Plain()
    eager.is_eager = True
    with pytest.raises(BacktestError, match="load_state takes back"):
        BacktestEngine(frame, strategy=eager).run_live("shadow", journal=tmp_path / "eager")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: {"model": object()}, "returned what a journal cannot keep (object cannot be kept"),
        (lambda: dict[str, int]()["model"], "raised KeyError: 'model'"),
    ],
)
def test_a_state_that_cannot_be_kept_is_the_strategys_error(
    tmp_path: Path, state: Any, words: str
) -> None:
    """And is said to be, with what to do."""

    class Stateful(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.buy("A", 1)

        def save_state(self) -> Any:
            return state()

        def load_state(self, state: Any) -> None:
            """Has none."""

    world = World(tmp_path, market(4))
    with pytest.raises(StrategyError) as caught:
        world.run(Stateful())
    assert f"Stateful.save_state {words}" in str(caught.value)
    assert not [call for call, _ in world.venue.calls if call == "send"]
