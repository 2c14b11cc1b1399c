"""Every fault of the server, at every call: in the end session and server agree to the cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import Order, Strategy
from tests.live.rehearsed import RehearsedWorld, rehearsed
from tests.live.test_session import Busy, Threshold, Weights, told
from tests.live.world import Killed, market

STEPS = 40
QUIET_FROM = 28
CALLS = ("submit", "cancel", "replace", "order", "activities", "account", "positions", "list")
REPLIES = ("429", "401", "504-before", "504-after", "hang-before", "hang-after")
UPDATES = (
    "drop-trades:every=5",
    "mute-trades:after=10",
    "lose-update:every=4",
    "lose-update:event=fill,every=2",
    "lose-update:event=replaced,times=all",
    "lose-update:event=canceled,times=all",
    "duplicate-update:times=all",
    "late-update:every=3",
    "late-update:event=fill,every=2,bars=2",
    "swap-updates:every=3",
    "partial-fill:every=2,share=0.4",
    "correct-fill:every=3",
    "correct-fill:every=3;lose-update:event=trade_correct,times=all",
    "correct-fill:every=2;swap-updates:event=fill,times=all",
    "fill-during-cancel:every=2",
    "refuse-cancel:every=3",
    "reject-order:every=4",
    "refuse-replace:every=2",
    "reject-replace:every=2",
    "restart:after=8,seconds=0.1",
)


class Everything(Strategy):
    """Every kind of order that Alpaca has, changed and canceled on the way; then it is quiet."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step >= QUIET_FROM:
            return
        for event in bars:
            self.act(event, int(event.signals["ml_pred"] * 12))

    def act(self, event: Any, turn: int) -> None:
        """One of twelve things."""
        asset, close = event.asset_id, event.close
        held, waiting = self.get_position(asset), self.get_open_orders(asset)
        if turn == 0:
            self.cancel_all(asset)
            self.order_target(asset, 15 if held <= 0 else -10)
        elif turn == 1:
            self.close_position(asset)
        elif turn in (2, 3):
            self.change(waiting, close)
        elif turn == 4:
            for order in waiting[:1]:
                self.cancel_order(order.order_id)
        elif held == 0 and not waiting:
            self.enter(asset, close, turn)
        elif held > 0 and len(waiting) == 0:
            self.protect(asset, close, held, turn)

    def change(self, waiting: Any, close: float) -> None:
        """Other prices."""
        for order in waiting:
            if order.type == "limit":
                self.replace_order(order.order_id, limit_price=round(close * 0.999, 2))
            elif order.type == "stop":
                self.replace_order(order.order_id, stop_price=round(close * 0.992, 2))

    def enter(self, asset: str, close: float, turn: int) -> None:
        """A way in."""
        if turn in (5, 6):
            stop, target = round(close * 0.994, 2), round(close * 1.006, 2)
            self.bracket(asset, 20, stop_loss=stop, take_profit=target)
        elif turn == 7:
            self.bracket(asset, 20, limit_price=round(close * 0.999, 2),
                         stop_loss=round(close * 0.99, 2))  # fmt: skip
        elif turn == 8:
            self.submit_order(Order(asset, "buy", 12, "stop", stop_price=round(close * 1.002, 2)))
        elif turn == 9:
            self.submit_order(
                Order(asset, "buy", 12, "stop_limit", stop_price=round(close * 1.001, 2),
                      limit_price=round(close * 1.004, 2))
            )  # fmt: skip
        else:
            self.buy(asset, 30, limit_price=round(close * 0.998, 2))

    def protect(self, asset: str, close: float, held: float, turn: int) -> None:
        """A way out."""
        if turn in (5, 6, 7):
            self.submit_order(
                Order(asset, "sell", held, "trailing_stop", trail_percent=0.004, reduce_only=True)
            )
        else:
            pair: dict[str, Any] = {"oco": f"{asset} {self.step}", "reduce_only": True}
            self.submit_order(
                Order(asset, "sell", held, "limit", limit_price=round(close * 1.005, 2), **pair)
            )
            self.submit_order(
                Order(asset, "sell", held, "stop", stop_price=round(close * 0.995, 2), **pair)
            )


def play(world: RehearsedWorld, *faults: str, before: int = 3, **options: Any) -> Any:
    """A session with faults from a bar on, and none in the last bars."""
    if any("hang" in fault for fault in faults):
        world.options["request_seconds"] = 0.25
    world.options |= options
    made: list[Any] = []
    world.before[before] = lambda: made.extend(world.server.add_fault(f) for f in faults)
    world.before[QUIET_FROM + 4] = lambda: heal(world)
    result = world.run(Everything())
    return result, made


def heal(world: RehearsedWorld) -> None:
    """Nothing goes wrong from now on."""
    world.server.run(world.venue.faults.clear)
    world.gateway._pace._blocked = 0.0
    if any(line.is_mute for line in world.server._trades.lines):
        world.gateway._updates.drop("mute")  # type: ignore[union-attr]
    world.wait_for_stream()


def test_a_calm_day_has_everything_in_it(tmp_path: Path) -> None:
    """Otherwise the faults below would meet nothing."""
    with rehearsed(tmp_path, market(STEPS, seed=3)) as world:
        result, _ = play(world)
        world.check()
        tickets = world.venue.register.tickets.values()
        assert {t.asked.type for t in tickets} == {
            "market", "limit", "stop", "stop_limit", "trailing_stop",
        }  # fmt: skip
        assert {str(t.asked.order_class) for t in tickets} == {"simple", "bracket", "oto", "oco"}
        assert {str(t.status) for t in tickets} >= {"filled", "canceled", "replaced"}
        assert result.fills.height > 30


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", REPLIES)
def test_an_answer_that_does_not_come(tmp_path: Path, fault: str, call: str) -> None:
    """Before or after it took effect, at every third call of its kind."""
    wait = ",seconds=30" if "hang" in fault else ""
    with rehearsed(tmp_path, market(STEPS, seed=3)) as world:
        _, (made,) = play(world, f"{fault}:call={call},every=3{wait}")
        world.check()
        assert made.struck or call == "list"


@pytest.mark.parametrize("faults", UPDATES)
def test_what_is_told_wrongly_or_not_at_all(tmp_path: Path, faults: str) -> None:
    """Twice, late, in another order, never; and what the exchange itself does."""
    with rehearsed(tmp_path, market(STEPS, seed=3)) as world:
        _, made = play(world, *faults.split(";"))
        world.check()
        assert all(fault.struck for fault in made)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_many_faults_at_once(tmp_path: Path, seed: int) -> None:
    """Each with a chance of its own."""
    faults = [
        f"{name}:probability=0.05,seed={seed}"
        for name in ("504-before", "504-after", "lose-update", "duplicate-update", "late-update",
                     "swap-updates", "partial-fill", "correct-fill", "fill-during-cancel",
                     "refuse-cancel", "reject-order", "refuse-replace", "reject-replace",
                     "drop-trades")
    ]  # fmt: skip
    with rehearsed(tmp_path, market(STEPS, seed=seed)) as world:
        play(world, *faults)
        world.check()


@pytest.mark.parametrize("at", range(4, QUIET_FROM, 5))
def test_a_session_that_dies_goes_on_where_it_was(tmp_path: Path, at: int) -> None:
    """Names of legs and of changed orders are found again; nothing is sent twice."""
    with rehearsed(tmp_path, market(STEPS, seed=3)) as world:
        world.before[at] = world.kill
        with pytest.raises(Killed):
            world.run(Everything())
        world.server.step()  # it trades on meanwhile, and nobody hears of it
        del world.before[at]
        world.run(Everything())
        world.check()


def check_deaths(folder: Path, strategy: type[Strategy], *, first: int, stride: int) -> None:
    """Kill a session at every `stride`-th write of its journal, go on, and compare the ends."""
    frame = market(25, seed=3)
    with rehearsed(folder / "calm", frame) as calm:
        fills = told(calm.run(strategy()))
        calm.check()
    assert fills.height > 5
    for dies_after in (False, True):
        for at in range(first, calm.writes + 1, stride):
            with rehearsed(folder / f"{at}{dies_after}", frame) as world:
                with pytest.raises(Killed):
                    world.run(strategy(), die_at=at, dies_after=dies_after)
                result = world.run(strategy())
                world.check()
                # What all of the money buys together depends on how soon a cancel frees some.
                assert strategy is Weights or told(result).equals(fills), (at, dies_after)


@pytest.mark.parametrize("strategy", [Threshold, Busy])
def test_a_death_at_a_write_changes_nothing(tmp_path: Path, strategy: type[Strategy]) -> None:
    """Between a request and its answer, a fill and its booking: no order twice, no fill lost."""
    check_deaths(tmp_path, strategy, first=13, stride=61)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
def test_every_fifth_death(tmp_path: Path, strategy: type[Strategy]) -> None:
    """As above, much denser."""
    check_deaths(tmp_path, strategy, first=2, stride=5)
