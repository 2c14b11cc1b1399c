"""What goes wrong at a broker, and what a session makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, Order, Strategy, read_journal
from ml4t.backtest.errors import (
    ConfigError,
    ConnectionLost,
    JournalError,
    LiveError,
    ReconcileError,
)
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.words import Execution
from ml4t.backtest.research import replay
from tests.live.test_session import Busy, Threshold, Weights, final_state, told
from tests.live.world import Killed, World, market

FAULTS = [
    ("send", "before"),
    ("send", "after"),
    ("cancel", "before"),
    ("cancel", "after"),
    ("replace", "before"),
    ("replace", "after"),
    ("find", "before"),
    ("executions", "before"),
]


class Once(Strategy):
    """Buys at the first bar, and does what it is told later."""

    def __init__(self, later: Any = None, at: int = 5) -> None:
        self.later = later
        self.at = at

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 1:
            self.buy("A", 10)
        elif self.step == self.at and self.later is not None:
            self.later(self)


def notes(world: World) -> str:
    """Everything the operator was told."""
    journal = Journal(world.path, is_read_only=True)
    return "\n".join(entry.content.decode(errors="replace") for entry in journal.entries("note"))


@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
@pytest.mark.parametrize(("call", "fault"), FAULTS)
def test_an_answer_that_does_not_come_changes_nothing_for_good(
    tmp_path: Path, call: str, fault: str, strategy: type[Strategy]
) -> None:
    """Lost requests are looked up by name: nothing is sent twice, every fill is booked once."""
    world = World(tmp_path, market(25, seed=3), takes_brackets=True)
    world.before = {
        i: lambda venue: venue.faults.setdefault(call, []).append(fault) for i in range(2, 25, 4)
    }
    result = world.run(strategy())
    check_books(world, result)


def check_books(world: World, result: Any) -> None:
    """What the session knows is what the venue has."""
    assert world.broker is not None
    venue = world.venue
    assert world.broker.positions() == {k: v for k, v in sorted(venue.positions.items()) if v}
    assert world.broker.cash() == pytest.approx(venue.cash, abs=1e-6)
    assert len(world.broker.executions) == len(venue.fills)
    assert len({fill.execution_id for fill in venue.fills}) == len(venue.fills)
    assert world.session is not None
    assert world.session.audit.mismatch == ""
    del result


@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
@pytest.mark.parametrize("trouble", ["repeats", "mute", "dropped", "partial"])
def test_what_is_told_twice_late_or_never_is_booked_once(
    tmp_path: Path, trouble: str, strategy: type[Strategy]
) -> None:
    """By the name of the execution, whoever tells it."""
    world = World(tmp_path, market(25, seed=3), takes_brackets=True)
    if trouble == "repeats":
        world.venue.repeats = 3
    elif trouble == "partial":
        world.venue.share = 0.4
    elif trouble == "mute":
        world.before = {5: lambda v: setattr(v, "is_mute", True)}
        world.before[9] = lambda v: setattr(v, "is_mute", False)
    else:
        world.before = {5: lambda v: v.drop(), 9: lambda v: v.restore()}
    result = world.run(strategy())
    check_books(world, result)


def test_repeats_leave_the_result_as_it_is(tmp_path: Path) -> None:
    """And are counted."""
    calm = World(tmp_path / "calm", market(25, seed=3))
    wanted = calm.run(Busy())
    world = World(tmp_path / "twice", market(25, seed=3))
    world.venue.repeats = 2
    result = world.run(Busy())
    assert told(result).equals(told(wanted))
    assert final_state(world) == final_state(calm)
    assert result.record.counts["executions_told_twice"] == len(world.venue.fills)


def test_a_refusal_is_a_rejected_order(tmp_path: Path) -> None:
    """With the broker's words."""
    world = World(tmp_path, market(10))
    world.venue.faults["send"] = ["refuse"]
    result = world.run(Once())
    assert result.orders["status"].to_list() == ["rejected"]
    assert result.orders["reason"].to_list() == ["refused by the venue"]


@pytest.mark.parametrize("bars", [3, 10])
def test_an_order_that_never_arrives_is_given_up(tmp_path: Path, bars: int) -> None:
    """After it was looked up and sent again, and not before; the operator is told.

    Also when the session ends just then.
    """
    world = World(tmp_path, market(bars))
    world.venue.faults["send"] = ["before"] * 50
    alerts: list[str] = []
    result = world.run(Once(), alert=alerts.append)
    (alert,) = [text for text in alerts if text.startswith("given up: ")]
    assert alert.startswith("given up: order 1 (buy ")
    assert alert.endswith(result.orders["reason"][0])
    assert result.orders["status"].to_list() == ["canceled"]
    assert "never reached the broker" in result.orders["reason"][0]
    assert len([call for call, _ in world.venue.calls if call == "send"]) == 3
    assert not world.venue.fills


class Many(Strategy):
    """Five purchases at once."""

    def on_bars(self, bars: Any) -> None:
        if len(self.get_open_orders()) == 0:
            for _ in range(5):
                self.buy("A", 1)


def test_many_orders_that_are_given_up_are_told_in_one_line(tmp_path: Path) -> None:
    """An outage is no reason for hundreds of messages."""
    world = World(tmp_path, market(4))
    world.venue.faults["send"] = ["before"] * 500
    alerts: list[str] = []
    world.run(Many(), alert=alerts.append)
    told_of = [text for text in alerts if text.startswith("given up: ")]
    assert any("; and 4 more" in text for text in told_of)
    assert len(told_of) <= 3


def test_a_position_nobody_explains_halts(tmp_path: Path) -> None:
    """New orders are refused with the reason, until it is explained."""
    world = World(tmp_path, market(20))
    world.before = {
        3: lambda v: v.positions.update(B=7.0),
        8: lambda v: v.positions.update(B=0.0),
    }
    result = world.run(Threshold(), audit_every=60.0)
    refused = result.orders.filter(result.orders["status"] == "rejected")
    assert refused.height > 0
    assert all("B: 0 by the journal, 7 at the broker" in reason for reason in refused["reason"])
    later = result.orders.filter(result.orders["created_at"] > refused["created_at"].max())
    assert "filled" in later["status"].to_list()
    assert "halted" in notes(world)


def test_a_position_nobody_explains_can_be_adopted(tmp_path: Path) -> None:
    """It is booked at its price of now, with an entry that says so."""
    world = World(tmp_path, market(20))
    world.before = {3: lambda v: v.positions.update(B=7.0)}
    result = world.run(Once(), reconcile="adopt", audit_every=60.0)
    row = result.fills.filter(result.fills["reason"] == "adopted")
    assert row.select("asset_id", "quantity").rows() == [("B", 7.0)]
    assert result.cashflows.filter(result.cashflows["kind"] == "adopted").height == 1
    check_books_but_cash(world)


def check_books_but_cash(world: World) -> None:
    """Positions agree; cash was changed by hand."""
    assert world.broker is not None
    held = {k: v for k, v in sorted(world.venue.positions.items()) if v}
    assert world.broker.positions() == held


def test_an_account_that_is_not_flat_is_not_begun_with(tmp_path: Path) -> None:
    """Unless it is to be adopted: then equity begins with what it is worth."""
    world = World(tmp_path, market(10))
    world.venue.positions, world.venue.prices = {"A": 5.0, "Z": 3.0}, {"A": 90.0, "Z": 1.0}
    with pytest.raises(ReconcileError, match=r"holds 5 A already.*adopt"):
        world.run(Once())
    result = world.run(Once(), reconcile="adopt")
    assert result.initial_cash == 100_000.0 + 5 * 90.0
    assert result.fills["reason"].to_list()[0] == "adopted"
    again = world.run(Once(), reconcile="adopt")
    assert again.fills.equals(result.fills)


def test_money_that_no_fill_explains_is_booked_as_such(tmp_path: Path) -> None:
    """A fee or a dividend at the broker."""
    world = World(tmp_path, market(20))

    def pay(venue: Any) -> None:
        venue.cash += 12.34

    world.before = {6: pay}
    result = world.run(Once(), audit_every=60.0)
    flows = result.cashflows.filter(result.cashflows["kind"] == "broker")
    assert flows["amount"].to_list() == pytest.approx([12.34])
    check_books(world, result)


def test_a_corrected_execution_replaces_the_first(tmp_path: Path) -> None:
    """Price and size; cash and position follow."""
    world = World(tmp_path, market(20))

    def correct(venue: Any) -> None:
        first = venue.fills[0]
        now = Execution(
            first.client_id, "x1.2", "A", 9.0, first.price - 0.5, venue.now, corrects="x1"
        )
        venue.cash += first.quantity * first.price - now.quantity * now.price
        venue.positions["A"] = 9.0
        venue.fills[0] = now
        venue._tell(now)

    world.before = {4: correct}
    result = world.run(Once(), audit_every=60.0)
    check_books_but_cash(world)
    assert world.broker is not None
    assert world.broker.cash() == pytest.approx(world.venue.cash)
    assert result.record.counts["executions_corrected"] == 1


def test_a_target_counts_what_fills_while_it_is_canceled(tmp_path: Path) -> None:
    """The order that comes in its place is for what is left."""
    world = World(tmp_path, market(20))

    def limit(strategy: Any) -> None:
        strategy.buy("B", 40, limit_price=50.0)

    class Changing(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 7:
                self.order_target("B", 30)

    def fill_first(venue: Any) -> None:
        name = next(n for n, o in venue.orders.items() if o.asset_id == "B")
        cancel = venue.cancel

        def late(client_id: str) -> Any:
            if client_id == name and venue.orders[name].status.is_open:
                venue.fill(name, 25, 50.0)
            return cancel(client_id)

        venue.cancel = late

    world.before = {6: fill_first}
    result = world.run(Changing(limit))
    assert world.venue.positions["B"] == 30.0
    check_books(world, result)


def test_a_dead_broker_at_the_start_is_an_error(tmp_path: Path) -> None:
    """Nothing begins, and nothing is written."""
    world = World(tmp_path, market(5))
    world.venue.faults["connect"] = ["before"]
    with pytest.raises(ConnectionLost):
        world.run(Once())
    assert world.run(Once()).fills.height == 1


def test_two_exits_at_the_market_do_not_take_each_other_back(tmp_path: Path) -> None:
    """The second one waits for the units that the first one leaves."""
    world = World(tmp_path, market(10))

    def leave_twice(strategy: Any) -> None:
        strategy.sell_percent("A", 0.5)
        strategy.submit_order(Order("A", "sell", 10, reduce_only=True))

    result = world.run(Once(leave_twice))
    assert [fill.quantity for fill in world.venue.fills] == [10.0, -5.0, -5.0]
    assert [call for call, _ in world.venue.calls if call in ("send", "cancel")] == ["send"] * 3
    check_books(world, result)


@pytest.mark.parametrize("call", ["executions", "standing"])
def test_the_first_comparison_is_tried_several_times(tmp_path: Path, call: str) -> None:
    """With pauses that grow, by the session's time; then the session goes on as ever."""
    frame = market(12)
    calm = World(tmp_path / "calm", frame)
    calm.run(Threshold())
    world = World(tmp_path / "lost", frame)
    with pytest.raises(Killed):
        world.run(Threshold(), die_at=calm.writes // 2)
    waits: list[float] = []

    def seconds_until(moment: int) -> float:
        waits.append((moment - world.time.moment) / 1e6)
        return 0.0

    def connect(inbox: Any) -> Any:
        found = type(world.venue).connect(world.venue, inbox)
        world.venue.faults[call] = ["before"] * 3
        return found

    world.time.seconds_until = seconds_until  # type: ignore[method-assign]
    world.venue.connect = connect  # type: ignore[method-assign]
    world.run(Threshold())
    assert waits == [1.0, 2.0, 4.0]
    assert final_state(world) == final_state(calm)


def test_a_broker_that_never_answers_ends_the_start(tmp_path: Path) -> None:
    """With an error that says so; nothing was sent, and the next start goes on."""
    world = World(tmp_path, market(12))
    world.run(Once())
    world.frame = market(20)
    world.venue.calls.clear()
    world.venue.faults["executions"] = ["before"] * 5
    with pytest.raises(ConnectionLost, match=r"did not answer 5 times .* Start again when it does"):
        world.run(Once())
    assert {call for call, _ in world.venue.calls}.isdisjoint({"send", "cancel", "replace"})
    world.run(Once())
    assert [fill.quantity for fill in world.venue.fills] == [10.0]


def test_an_entry_that_stays_filled_in_part_is_told(tmp_path: Path) -> None:
    """Its exits wait at the broker; with the rest canceled they guard what has filled."""
    world = World(tmp_path, market(12), takes_brackets=True)
    world.venue.share = 0.2

    class Bracketed(Strategy):
        def on_start(self) -> None:
            self.step = 0

        def on_bars(self, bars: Any) -> None:
            self.step += 1
            if self.step == 1:
                self.entry = self.bracket(
                    "A", 20, stop_loss=50.0, take_profit=200.0, limit_price=150.0
                ).entry
            elif self.step == 4:
                held = self.get_position("A")
                assert 0 < held < 20
                assert [o.status for o in world.venue.orders.values()][1:] == ["pending"] * 2
                self.cancel_order(self.entry)

    result = world.run(Bracketed())
    filled = world.venue.positions["A"]
    told = [text for text in read_journal(world.path).notes["text"] if "have filled" in text]
    assert len(told) == 1
    assert "of 20 A have filled, and their exits wait at the broker until all have" in told[0]
    working = [o for o in world.venue.orders.values() if o.status.is_open]
    assert [(o.quantity, o.stop, o.limit) for o in working] == [
        (filled, None, 200.0),
        (filled, 50.0, None),
    ]
    check_books(world, result)


@pytest.mark.parametrize("first", ["set_stop_loss", "set_take_profit"])
@pytest.mark.parametrize("late", [False, True])
def test_a_stop_and_a_target_share_their_units(tmp_path: Path, first: str, late: bool) -> None:
    """Whichever was set first, and when: a broker that takes them together has both."""
    names = sorted(["set_stop_loss", "set_take_profit"], key=lambda name: name != first)

    def second(strategy: Any) -> None:
        if late:
            getattr(strategy, names[1])("A", percent=0.05)

    class Guarded(Once):
        def on_start(self) -> None:
            super().on_start()
            for name in names[: 1 if late else 2]:
                getattr(self, name)(percent=0.05)

    world = World(tmp_path, market(10), takes_brackets=True)
    result = world.run(Guarded(second))
    working = [o for o in world.venue.orders.values() if o.status.is_open]
    assert [(o.type, o.quantity) for o in working] == [("limit", 10.0), ("stop", 10.0)]
    assert working[0].siblings == (working[1].name,)
    check_books(world, result)


def keep_coins(world: World, fee: float) -> None:
    """The venue keeps so much of what is bought, and tells nobody."""
    fill = world.venue.fill

    def kept(name: str, quantity: float, price: float) -> Execution:
        execution = fill(name, quantity, price)
        if execution.quantity > 0.0:
            world.venue.positions["A"] -= fee * quantity
        return execution

    world.venue.fill = kept  # type: ignore[method-assign]
    world.venue.coin_fee = lambda asset_id: 0.0025 * (asset_id == "A")  # type: ignore[method-assign]


def test_a_fee_in_coins_is_a_cost_and_no_riddle(tmp_path: Path) -> None:
    """The position is less by it, what it is worth is a commission, and all can be sold."""
    frame = market(20)
    world = World(tmp_path, frame)
    keep_coins(world, 0.0025)
    world.options = {"fractional": True}
    strategy = Once(lambda s: s.close_position("A"), at=12)
    with pytest.raises(Killed):
        world.run(strategy, die_at=35)
    result = world.run(Once(lambda s: s.close_position("A"), at=12))
    assert result.orders.filter(result.orders["status"] == "rejected").height == 0
    kept = result.fills.filter(result.fills["reason"] == "fee").row(0, named=True)
    assert (kept["side"], kept["quantity"]) == ("sell", pytest.approx(0.025))
    assert kept["commission"] == pytest.approx(0.025 * kept["price"])
    assert [fill.quantity for fill in world.venue.fills] == [10.0, pytest.approx(-9.975)]
    assert result.final_equity == pytest.approx(world.venue.cash)
    check_books_but_cash(world)
    told = read_journal(world.path).entries["text"].to_list()
    assert len([text for text in told if "a fee of 0.025 A, worth 2." in text]) == 1
    assert replay(world.path, Once(lambda s: s.close_position("A"), at=12)).is_same


def test_more_than_a_fee_is_a_riddle(tmp_path: Path) -> None:
    """A broker that lacks more than it may keep is not believed."""
    world = World(tmp_path, market(20))
    keep_coins(world, 0.004)
    world.options = {"fractional": True}
    world.run(Once())
    assert "halted: A: 10 by the journal, 9.96 at the broker" in notes(world)


def test_a_changed_strategy_is_refused(tmp_path: Path) -> None:
    """The journal says what it decided before."""
    world = World(tmp_path, market(5))
    world.run(Once())
    world.frame = market(10)
    with pytest.raises(JournalError, match="decides something else"):
        world.run(Once(at=2, later=lambda s: s.buy("B", 1)))


class Learning(Once):
    """Depends on more than its bars, and says so."""

    luck = 0

    def on_start(self) -> None:
        super().on_start()
        self.bought = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if Learning.luck and self.step % 2 == 0:
            self.buy("A", Learning.luck)
            self.bought += Learning.luck

    def save_state(self) -> Any:
        return {"step": self.step, "bought": self.bought}

    def load_state(self, state: Any) -> None:
        self.step, self.bought = state["step"], state["bought"]


def test_a_strategy_with_a_state_of_its_own_gets_it_back(tmp_path: Path) -> None:
    """Its past is not decided again."""
    world = World(tmp_path, market(10))
    Learning.luck = 3
    world.run(Learning())
    world.frame = market(20)
    Learning.luck = 5
    strategy = Learning()
    result = world.run(strategy)
    assert strategy.step == 20
    assert strategy.bought == 5 * 3 + 5 * 5
    assert world.venue.positions["A"] == result.positions.filter(
        result.positions["asset_id"] == "A"
    )["quantity"][-1]  # fmt: skip


def test_a_journal_is_of_one_account(tmp_path: Path) -> None:
    """And of one strategy."""
    Journal(tmp_path / "j", {"account": "one"}).close()
    with pytest.raises(JournalError, match="of account 'one', not 'two'"):
        Journal(tmp_path / "j", {"account": "two"})
    (tmp_path / "text").write_text("hello, this is no database at all " * 100)
    with pytest.raises(JournalError, match="text"):
        Journal(tmp_path / "text")
    with pytest.raises(JournalError, match="There is no journal"):
        Journal(tmp_path / "missing", is_read_only=True)


def test_warm_up_sends_nothing(tmp_path: Path) -> None:
    """Hooks run on history, and orders are refused; then the session goes live."""
    frame = market(30)
    times = frame["timestamp"].unique().sort()
    world = World(tmp_path, frame.filter(frame["timestamp"] >= times[20]))
    from ml4t.backtest.data.frames import FrameFeed

    past = frame.filter(frame["timestamp"] < times[20])
    strategy = Once(at=21, later=lambda s: s.buy("B", 5))
    result = world.run(strategy, warmup=FrameFeed(past))
    assert strategy.step == 30
    assert result.orders["reason"].to_list() == ["warm-up: no orders are sent", None]
    assert [fill.asset_id for fill in world.venue.fills] == ["B"]


def test_a_warm_up_may_have_other_assets(tmp_path: Path) -> None:
    """Their rows are left out, which the operator is told, and of timestamps with no others too."""
    from ml4t.backtest.data.frames import FrameFeed

    frame = market(30)
    times = frame["timestamp"].unique().sort()
    only = frame["asset_id"].is_in(["A", "B"])
    world = World(tmp_path, frame.filter(only & (frame["timestamp"] >= times[20])))
    past = frame.filter(
        (frame["timestamp"] < times[20]) & ((frame["timestamp"] > times[4]) | ~only)
    )
    seen: list[list[str]] = []

    class Looking(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            seen.append(list(bars.asset_ids))

    world.run(Looking(), warmup=FrameFeed(past))
    assert seen == [["A", "B"]] * 25
    told = [text for text in read_journal(world.path).notes["text"] if "warm-up" in text]
    assert told == ["left out of the warm-up: C, which is not of the feed"]


def test_a_warm_up_of_other_assets_alone_is_a_mistake(tmp_path: Path) -> None:
    """It would warm up nothing."""
    from ml4t.backtest.data.frames import FrameFeed

    frame = market(30)
    world = World(tmp_path, frame.filter(frame["asset_id"] == "A"))
    past = frame.filter(frame["asset_id"] != "A")
    with pytest.raises(ConfigError, match=r"None of the assets of warmup= .* the first is 'B'"):
        world.run(Once(), warmup=FrameFeed(past))


def test_old_bars_are_not_traded_on(tmp_path: Path) -> None:
    """The strategy sees them, its orders are refused with their age."""
    world = World(tmp_path, market(5))
    world.time.moment += 3_600_000_000
    result = world.run(Once(), max_data_age=90.0)
    assert "stale data: the bars are" in result.orders["reason"][0]
    assert isinstance(LiveError("x"), Exception)


def test_orders_outside_a_session_are_refused(tmp_path: Path) -> None:
    """There is nobody to send them."""
    world = World(tmp_path, market(5))
    world.run(Once())
    assert world.broker is not None
    with pytest.raises(ConfigError, match="in a session only"):
        world.broker.submit_order(Order("A", "buy", 1))
    with pytest.raises(ConfigError, match="basket_wait"):
        type(world.broker)(world.venue, basket_wait=-1)
    assert BacktestEngine is not None


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize(
    "kind", [{"limit_price": 200.0}, {"stop_price": 60.0}, {"trail_percent": 0.9}]
)
def test_a_resting_exit_waits_for_units_and_takes_no_protection_back(
    tmp_path: Path, kind: dict[str, float], *, takes_brackets: bool
) -> None:
    """Or protection would be sent and taken back as fast as the broker takes messages."""
    world = World(tmp_path, market(16), takes_brackets=takes_brackets)
    result = world.run(Guarded(lambda strategy: strategy.sell("A", 3, **kind)))
    calls = [call for call, _ in world.venue.calls]
    assert calls.count("send") <= 3
    assert calls.count("cancel") <= 1
    last = result.orders.row(-1, named=True)
    assert last["status"] == "canceled"
    assert last["reason"].startswith("other exits at the broker did not free the units")
    assert ("sell", "stop", 10.0) in working(world)


def test_both_exits_work_again_after_a_part_was_sold(tmp_path: Path) -> None:
    """Stop and target, each for what is left, and either ends the other."""
    world = World(tmp_path, market(16), takes_brackets=True)
    world.run(Guarded(lambda strategy: strategy.sell("A", 3)))
    assert sorted(working(world)) == [("sell", "limit", 7.0), ("sell", "stop", 7.0)]


class Guarded(Strategy):
    """A position with a stop and a target; something else on the sixth bar."""

    def __init__(self, then: Any) -> None:
        self.then = then

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 2:
            self.bracket("A", 10, stop_loss=50.0, take_profit=200.0)
        if self.step == 6:
            self.then(self)


def working(world: World) -> list[tuple[str, str, float]]:
    """Side, kind and open units of what works at the venue."""
    return [
        ("buy" if one.sign > 0 else "sell", one.type.value, one.quantity - one.filled)
        for one in world.venue.orders.values()
        if one.status.is_open
    ]
