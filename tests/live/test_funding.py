"""Who pays for what: entries of one decision share the money, whatever the wire does."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, Strategy
from ml4t.backtest.live.words import Answer, Request, Standing
from ml4t.backtest.testing.venues import ScriptedVenue
from tests.live.test_chaos import AllIn
from tests.live.test_session import told
from tests.live.world import START, World, market


class Steps(Strategy):
    """Does something on some of its bars, which are counted from 1."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        self.act(self.step)

    def act(self, step: int) -> None:
        raise NotImplementedError


class SlowCancels(ScriptedVenue):
    """Takes cancels, and carries them out when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[str] = []

    def cancel(self, client_id: str) -> Answer:
        self.pending.append(client_id)
        return Answer(is_taken=True)

    def confirm(self) -> None:
        pending, self.pending = self.pending, []
        for name in pending:
            super().cancel(name)


def with_venue(world: World, venue: ScriptedVenue) -> None:
    """Another venue for a world."""
    venue.account = world.venue.account
    world.venue = venue


class FromOneToAnother(Steps):
    """All of its money in a protected position, then all of it in another asset."""

    def act(self, step: int) -> None:
        if step == 2:
            self.bracket("A", 900, stop_loss=50.0, take_profit=200.0)
        if step == 5:
            self.close_position("A")
            self.order_target_percent("B", 0.9)


@pytest.mark.parametrize("takes_brackets", [False, True])
def test_what_exits_bring_is_waited_for_while_protection_is_taken_back(
    tmp_path: Path, takes_brackets: bool
) -> None:
    """The exit is not at the broker yet: its units are still those of the stop."""
    frame = market(12)
    live = World(tmp_path, frame, takes_brackets=takes_brackets).run(FromOneToAnother())
    backtest = BacktestEngine(frame, strategy=FromOneToAnother()).run()
    assert told(backtest)["asset_id"].to_list() == ["A", "A", "B"]
    assert told(live).equals(told(backtest))


class TwoAtOnce(Steps):
    """A resting order gives way to a target, and another asset is wanted as well."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("B", 10, limit_price=50.0)
        if step == 5:
            self.order_target_percent("B", 0.8)
            self.order_target_percent("C", 0.8)


@pytest.mark.parametrize("is_slow", [False, True])
def test_entries_behind_a_cancel_share_the_money(tmp_path: Path, is_slow: bool) -> None:
    """The other asset's does not take it all because its way is free."""
    frame = market(12)
    world = World(tmp_path, frame)
    if is_slow:
        venue = SlowCancels()
        with_venue(world, venue)
        world.before = {5: lambda _: venue.confirm()}
    live = world.run(TwoAtOnce())
    bought = dict(
        live.fills.group_by("asset_id").agg(pl.col("quantity").sum()).sort("asset_id").iter_rows()
    )
    backtest = BacktestEngine(frame, strategy=TwoAtOnce()).run()
    wanted = dict(backtest.fills.select("asset_id", "quantity").iter_rows())
    assert bought == pytest.approx(wanted, rel=0.03)  # what is cut live leaves a cushion


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_rotation_through_brackets_is_its_backtest(
    tmp_path: Path, seed: int, takes_brackets: bool
) -> None:
    """Entry, protection, exit and the next entry with all of the money, fill for fill."""
    frame = market(40, seed=seed)
    live = World(tmp_path, frame, takes_brackets=takes_brackets).run(AllIn())
    backtest = BacktestEngine(frame, strategy=AllIn()).run()
    assert backtest.fills.height > 10
    assert told(live).equals(told(backtest))


class Turn(Steps):
    """Long in one asset, then short in it, and perhaps long in another."""

    def __init__(self, first: float, then: float, other: float) -> None:
        self.weights = first, then, other

    def act(self, step: int) -> None:
        first, then, other = self.weights
        if step == 2:
            self.order_target_percent("A", first)
        if step == 5:
            self.order_target_percent("A", then)
            if other:
                self.order_target_percent("B", other)


def traded(result: BacktestResult) -> dict[tuple[str, str], float]:
    """Units by asset and side; a turn live is two fills."""
    units = result.fills.group_by("asset_id", "side").agg(pl.col("quantity").sum())
    return {(asset_id, side): quantity for asset_id, side, quantity in units.iter_rows()}


@pytest.mark.parametrize(
    ("first", "then", "other"),
    [(0.1, -0.8, 0.8), (0.5, -0.8, 0.8), (0.9, -0.5, 0.9), (0.9, -1.5, 0.0), (0.5, -1.5, 0.0)],
)
def test_what_lies_beyond_zero_shares_the_money(
    tmp_path: Path, first: float, then: float, other: float
) -> None:
    """A turn is an exit and an entry: the entry is cut with the others, and never to less than 0.

    The broker is sent no quantity that is not positive.
    """
    frame = market(12)
    world = World(tmp_path, frame)
    live = world.run(Turn(first, then, other))
    backtest = BacktestEngine(frame, strategy=Turn(first, then, other)).run()
    sent = [content.quantity for call, content in world.venue.calls if call == "send"]
    assert min(sent) > 0.0
    assert traded(live) == pytest.approx(traded(backtest), rel=0.03)  # the cushion
    assert world.session is not None
    assert world.session.audit.mismatch == ""
    last = live.orders.filter(pl.col("asset_id") == "A").row(-1, named=True)
    assert (last["status"], last["reason"]) == ("canceled", "scaled: buying power")


class Unseen(Steps):
    """Buys an asset before its first bar."""

    def act(self, step: int) -> None:
        if step == 3:
            self.buy("B", 10)
            self.buy("A", 10)


def test_an_asset_without_a_price_is_bought_with_its_first_bar(tmp_path: Path) -> None:
    """What it costs nobody knows: the session goes on, and the broker judges."""
    frame = market(12)
    late = START + dt.timedelta(minutes=6)
    frame = frame.filter((pl.col("asset_id") != "B") | (pl.col("timestamp") > late))
    live = World(tmp_path, frame).run(Unseen())
    backtest = BacktestEngine(frame, strategy=Unseen()).run()
    assert live.fills.height == 2
    assert told(live).equals(told(backtest))


class LongAfter(Steps):
    """A target that waits for a cancel, and much later one in another asset."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("B", 10, limit_price=50.0)
        if step == 4:
            self.order_target_percent("B", 0.8)
        if step == 10:
            self.order_target_percent("C", 0.8)


def test_an_entry_behind_a_cancel_that_is_never_confirmed_frees_its_share(tmp_path: Path) -> None:
    """It is given up when it is too old, and the others have all of the money."""
    world = World(tmp_path, market(16))
    with_venue(world, SlowCancels())
    alerts: list[str] = []
    live = world.run(LongAfter(), alert=alerts.append)
    status = live.orders.select("asset_id", "status").rows()
    assert status == [("B", "accepted"), ("B", "canceled"), ("C", "filled")]
    assert any(text.startswith("given up: order 2 (buy ") for text in alerts)


class Suspended(ScriptedVenue):
    """What is held does not trade any more."""

    def trade(self, now: int, bars: Any, settle: Any = lambda: None) -> None:
        super().trade(now, {k: bar for k, bar in bars.items() if not self.positions.get(k)}, settle)


@pytest.mark.parametrize("wait", [30.0, 120.0, 180.0])
def test_an_exit_that_does_not_fill_cuts_the_entry(tmp_path: Path, wait: float) -> None:
    """However long entries wait for money: then they are cut, and not too old to be sent."""
    world = World(tmp_path, market(16))
    with_venue(world, Suspended())
    world.options = {"basket_wait": wait}
    clock = itertools.count(1)
    moment = world.time
    moment.now = lambda: moment.moment + 1_000 * next(clock)  # type: ignore[method-assign]
    live = world.run(FromOneToAnother())
    bought = live.orders.filter(pl.col("asset_id") == "B").row(0, named=True)
    assert bought["reason"] == "scaled: buying power"
    assert 50 < bought["filled_quantity"] < 150  # a tenth of the money is left


class Rest(Steps):
    """All of the money, and then some more."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("A", 5.0)
        if step == 5:
            self.buy("B", 5.0)


def test_less_than_a_cent_buys_nothing(tmp_path: Path) -> None:
    """Where any fraction can be bought, the noise of sums is no money."""
    world = World(tmp_path, market(12), cash=600.0)
    world.options = {"fractional": True}
    world.before = {4: lambda venue: setattr(venue, "cash", 1e-9)}
    live = world.run(Rest())
    assert [content.terms.asset_id for call, content in world.venue.calls if call == "send"] == [
        "A"
    ]
    assert live.orders["reason"].to_list() == [None, "scaled: buying power"]


class Reserving(ScriptedVenue):
    """Open purchases reserve money, and requests are rationed."""

    slots = 1

    def standing(self) -> Standing:
        reserved = sum(
            (order.quantity - order.filled) * self.prices[order.asset_id]
            for order in self.orders.values()
            if order.status.is_open and order.sign > 0.0
        )
        now = super().standing()
        return msgspec.structs.replace(now, buying_power=now.buying_power - reserved)

    def send(self, request: Request) -> Answer:
        self.slots -= 1
        return super().send(request)

    def wait_for_slot(self, *, is_cancel: bool = False) -> float:
        return 0.0 if self.slots > 0 else 0.1


class Halves(Steps):
    """Nearly all of the money in two assets."""

    def act(self, step: int) -> None:
        if step == 2:
            self.order_target_percent("A", 0.45)
            self.order_target_percent("B", 0.45)


def test_what_is_not_acknowledged_is_not_paid_for_twice(tmp_path: Path) -> None:
    """The broker has it, and has reserved money for it, before anybody knows."""
    world = World(tmp_path, market(12))
    venue = Reserving()
    with_venue(world, venue)
    venue.faults["send"] = ["after"]

    def a_moment_later(_: ScriptedVenue) -> None:
        assert world.session is not None
        assert len(venue.orders) == 1
        bar = world.time.moment
        venue.slots = 10
        for seconds in (59.7, 58.0, 56.0):
            world.time.moment = bar - int(seconds * 1e6)
            world.session.settle()
        assert len(venue.orders) == 2
        world.time.moment = bar

    world.before = {2: a_moment_later}
    live = world.run(Halves())
    assert live.orders["status"].to_list() == ["filled", "filled"]
    assert "clipped_orders" not in live.record.counts


class Slow(Steps):
    """Two steps, each with an entry that its own exit pays for."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("A", 50)
            self.buy("D", 800)
        if step == 4:
            self.close_position("A")
            self.buy("B", 180)
        if step == 5:
            self.close_position("D")
            self.buy("C", 800)


class LateExits(ScriptedVenue):
    """One asset does not trade any more when it is held, another one pauses for a bar."""

    bars = 0

    def trade(self, now: int, bars: Any, settle: Any = lambda: None) -> None:
        self.bars += 1
        out = {"A"} if self.positions.get("A") else set()
        out |= {"D"} if self.bars == 6 else set()
        super().trade(now, {k: bar for k, bar in bars.items() if k not in out}, settle)


def test_an_entry_waits_for_its_own_exits_whatever_waits_for_longer(tmp_path: Path) -> None:
    """The one of the step before is cut when its time is over; this one is not."""
    world = World(tmp_path, market(12, assets=("A", "B", "C", "D")))
    with_venue(world, LateExits())
    world.options = {"basket_wait": 120.0}
    live = world.run(Slow())
    entries = live.orders.filter(pl.col("asset_id").is_in(["B", "C"]))
    assert entries["status"].to_list() == ["canceled", "filled"]
    assert 0.0 < entries["filled_quantity"][0] < 180.0


class OneByOne(Reserving):
    """Takes one request at a time, and does not confirm cancels."""

    def cancel(self, client_id: str) -> Answer:
        return Answer(is_taken=True)


class ThreeTargets(Steps):
    """Two entries beside one that waits for a cancel."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("B", 10, limit_price=50.0)
        if step == 5:
            for asset_id in "ABC":
                self.order_target_percent(asset_id, 0.7)


def test_what_was_cut_is_not_cut_again_while_it_waits_for_its_turn(tmp_path: Path) -> None:
    """The broker takes one request at a time: all have the same share."""
    world = World(tmp_path, market(12))
    venue = OneByOne()
    with_venue(world, venue)

    def one_after_the_other(_: ScriptedVenue) -> None:
        assert world.session is not None
        for _turn in range(3):
            venue.slots = 1
            world.session.settle()

    world.before = {2: lambda _: setattr(venue, "slots", 1), 6: one_after_the_other}
    live = world.run(ThreeTargets())
    bought = dict(live.fills.select("asset_id", "quantity").iter_rows())
    assert set(bought) == {"A", "C"}
    closes = world.frame.filter(pl.col("timestamp") == START + dt.timedelta(minutes=4))
    worth = [bought[name] * close for name, close in closes.select("asset_id", "close").iter_rows()
             if name in bought]  # fmt: skip
    assert worth[0] == pytest.approx(worth[1], rel=0.02)
    assert live.record.counts["clipped_orders"] == 2


class RestingBesideMarket(Steps):
    """A purchase that may never trade, and one that does at once."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("B", 900, limit_price=90.0)
            self.order_target_percent("A", 0.9)


def test_what_trades_at_once_is_paid_before_what_rests(tmp_path: Path) -> None:
    """As in a backtest, where an order that rests binds no money; here it gets the rest."""
    frame = market(12)
    live = World(tmp_path, frame).run(RestingBesideMarket())
    backtest = BacktestEngine(frame, strategy=RestingBesideMarket()).run()
    assert told(live).equals(told(backtest))
    resting = live.orders.filter(pl.col("asset_id") == "B")
    assert resting["status"].to_list() == ["accepted"]


class Reconsidering(Steps):
    """Goes from long to short, and thinks better of it while the long part is being sold."""

    def act(self, step: int) -> None:
        if step == 2:
            self.buy("A", 100)
        elif step == 6:
            self.sell("A", 300, limit_price=150.0)
        elif step == 7:
            self.cancel_all("A")


def test_a_flip_that_is_canceled_too_late_ends_where_it_has_come_to(tmp_path: Path) -> None:
    """Its exit fills whole before the cancel arrives; the rest was not sent and never will be."""
    world = World(tmp_path, market(14))
    venue = SlowCancels()
    with_venue(world, venue)

    def fill(_: ScriptedVenue) -> None:
        (name,) = [name for name, order in venue.orders.items() if order.status.is_open]
        venue.fill(name, 100, 150.0)

    world.before = {8: fill}
    live = world.run(Reconsidering())
    flip = live.orders.filter(pl.col("side") == "sell").row(0, named=True)
    assert (flip["status"], flip["filled_quantity"]) == ("canceled", 100.0)
    assert flip["reason"] == "canceled by the strategy"
    assert not any(venue.positions.values())
