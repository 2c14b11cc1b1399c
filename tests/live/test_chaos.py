"""Everything at once: kills, lost answers, mute and dropped streams, in any order."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml4t.backtest import BacktestResult, Strategy
from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.killswitch import KillSwitch
from ml4t.backtest.live.words import Answer, Link, Request, VenueEvent
from ml4t.backtest.testing.venues import ScriptedVenue, VenueOrder
from ml4t.backtest.types.order import OrderStatus
from tests.examples import examples
from tests.live.test_session import Busy, Threshold, Weights
from tests.live.world import MINUTE, Killed, World, market

BARS = 22
CALM = 17  # from this bar on nothing goes wrong any more


class AllIn(Strategy):
    """All of its money in one protected position after the other."""

    def on_bars(self, bars: Any) -> None:
        (best,) = bars.top("ml_pred", 1)
        if bars[best].signals["ml_pred"] < 0.7 or self.get_position(best):
            return
        self.cancel_all()
        self.close_all()
        price = bars[best].close
        units = int(0.9 * self.get_equity() / price)
        self.bracket(best, units, stop_loss=0.97 * price, take_profit=1.03 * price)


STRATEGIES: tuple[type[Strategy], ...] = (Threshold, Weights, Busy, AllIn)


class Trouble(NamedTuple):
    """What happens just before a bar."""

    bar: int
    what: str
    value: Any = None


class Kill(NamedTuple):
    """At which write of its journal a session dies, and on which side of it."""

    at: int
    is_after: bool


class StrictVenue(ScriptedVenue):
    """Remembers what no session may do to it, and can be late: then the last news comes first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sins: list[str] = []
        self.is_late = False
        self.slots = self.left = 1_000
        self._late: list[VenueEvent] = []

    def wait_for_slot(self, *, is_cancel: bool = False) -> float:
        """So many requests for each bar; cancels have their own."""
        if not is_cancel and self.left <= 0:
            return 1.0
        self.left -= not is_cancel
        return 0.0

    def end_one(self, status: OrderStatus) -> None:
        """The broker ends an order by itself."""
        for order in self.orders.values():
            if order.status.is_open and not order.replaced_by and not order.parent:
                self._end(order, status, "the broker says so")
                return

    def trade(self, *bar: Any) -> None:
        self.left = self.slots
        late, self._late = self._late, []
        for event in reversed(late):
            super()._tell(event)
        super().trade(*bar)

    def _tell(self, event: VenueEvent) -> None:
        if self.is_late and not isinstance(event, Link):
            self._late.append(event)
        else:
            super()._tell(event)

    def close(self) -> None:
        self._late.clear()
        super().close()

    def _add(self, request: Request, parent: str) -> VenueOrder:
        if request.client_id in self.orders:
            self.sins.append(f"{request.client_id} was accepted twice")
        return super()._add(request, parent)

    def send(self, request: Request) -> Answer:
        if request.client_id in self.orders:
            self.sins.append(f"{request.client_id} was sent again, and is there")
        return super().send(request)


class Chaos(World):
    """A world with a plan of what goes wrong, each thing once."""

    def __init__(self, folder: Path, troubles: list[Trouble], *, takes_brackets: bool) -> None:
        super().__init__(folder, market(BARS, seed=3))
        account = self.venue.account
        self.venue = StrictVenue(takes_brackets=takes_brackets)
        self.venue.account = account
        self.left = sorted(troubles, key=lambda trouble: trouble.bar)
        self.shift = 0
        moment = self.time
        moment.now = lambda: moment.moment + self.shift  # type: ignore[method-assign]
        self.before = {bar: partial(self.happen, bar) for bar in range(BARS)}

    def happen(self, bar: int, _venue: ScriptedVenue) -> None:
        """What is planned until a bar, once; and then no more."""
        while self.left and self.left[0].bar <= bar:
            self.strike(self.left.pop(0))
        if bar == CALM:
            self.calm()

    def strike(self, trouble: Trouble) -> None:
        """Let it happen."""
        venue, what, value = self.venue, trouble.what, trouble.value
        assert isinstance(venue, StrictVenue)
        if what == "fault":
            call, fault = value
            venue.faults.setdefault(call, []).append(fault)
        elif what == "pay":
            venue.cash += value
        elif what == "drop":
            venue.drop()
        elif what == "restore":
            venue.restore()
        elif what == "end":
            venue.end_one(value)
        elif what == "word":
            KillSwitch.of(self.path).tell(value)
        elif what == "jump":
            self.shift = value
        elif what in {"mute", "late"}:
            setattr(venue, f"is_{what}", value)
        else:
            setattr(venue, what, value)

    def calm(self) -> None:
        """The end of all trouble; those who were cut off are told that they are back."""
        venue = self.venue
        assert isinstance(venue, StrictVenue)
        venue.faults.clear()
        venue.is_late, venue.slots = False, 1_000
        venue.share, venue.repeats = 1.0, 1
        self.shift = 0
        KillSwitch.of(self.path).tell("resume")
        if venue.is_mute:
            venue.restore()

    def live_through(self, strategy: type[Strategy], kills: list[Kill]) -> BacktestResult:
        """Sessions one after the other until one gets to the end."""
        waiting = list(kills)
        for _ in range(len(kills) + 60):
            kill = waiting.pop(0) if waiting else Kill(0, is_after=False)
            try:
                return self.run(
                    strategy(),
                    die_at=kill.at,
                    dies_after=kill.is_after,
                    audit_every=150.0,
                    max_rejections=1_000,
                )
            except (Killed, ConnectionLost):
                continue
        raise AssertionError("no session could begin")


FAULTS = [
    *((call, fault) for call in ("send", "cancel", "replace")
      for fault in ("before", "after", "refuse")),
    *((call, "before") for call in ("find", "executions", "standing", "connect")),
]  # fmt: skip
ENDS = [OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED]
WORDS = ["halt", "resume", "flatten", "reconcile"]
HOUR = 60 * MINUTE
BAR = st.integers(1, CALM - 1)
TROUBLE = st.one_of(
    st.builds(Trouble, BAR, st.just("fault"), st.sampled_from(FAULTS)),
    st.builds(Trouble, BAR, st.just("fault"), st.sampled_from(FAULTS)),
    st.builds(Trouble, BAR, st.sampled_from(["drop", "restore"]), st.none()),
    st.builds(Trouble, BAR, st.sampled_from(["mute", "late"]), st.booleans()),
    st.builds(Trouble, BAR, st.just("repeats"), st.integers(1, 3)),
    st.builds(Trouble, BAR, st.just("share"), st.sampled_from([0.2, 0.4, 0.7, 1.0])),
    st.builds(Trouble, BAR, st.just("pay"), st.sampled_from([-25.5, 0.37, 140.0])),
    st.builds(Trouble, BAR, st.just("end"), st.sampled_from(ENDS)),
    st.builds(Trouble, BAR, st.just("word"), st.sampled_from(WORDS)),
    st.builds(Trouble, BAR, st.just("slots"), st.integers(0, 3)),
    st.builds(Trouble, BAR, st.just("jump"), st.sampled_from([-HOUR, -MINUTE, MINUTE, HOUR])),
)
TROUBLES = st.lists(TROUBLE, max_size=14)
KILLS = st.lists(st.builds(Kill, st.integers(1, 160), st.booleans()), max_size=4)


def check_end(world: World, result: BacktestResult) -> None:
    """What the session knows is what the venue has, and nothing happened twice."""
    venue, broker, session = world.venue, world.broker, world.session
    assert isinstance(venue, StrictVenue)
    assert broker is not None
    assert session is not None
    assert venue.sins == []
    assert broker.positions() == {k: v for k, v in sorted(venue.positions.items()) if v}
    assert broker.cash() == pytest.approx(venue.cash, abs=1e-6)
    assert sorted(broker.executions) == sorted(fill.execution_id for fill in venue.fills)
    assert (session.audit.mismatch, session.watch.stopped, broker.halted) == ("", "", "")
    check_orders(world, result)


def check_orders(world: World, result: BacktestResult) -> None:
    """No order filled more than it asked for, and what is open is open on both sides."""
    venue, broker = world.venue, world.broker
    assert broker is not None
    filled: Counter[int] = Counter()
    for fill in venue.fills:
        filled[int(fill.client_id.rsplit("-", 2)[1])] += abs(fill.quantity)  # type: ignore[assignment]
    for order_id, asked, told, reason in result.orders.select(
        "order_id", "quantity", "filled_quantity", "reason"
    ).iter_rows():
        if "filled before it was canceled" not in (reason or ""):
            # An exit that was met by another one is made smaller in the book, be it too late.
            sent = max((order.quantity for name, order in venue.orders.items()
                        if f"-{order_id}-" in name), default=0.0)  # fmt: skip
            assert filled[order_id] <= max(asked, sent), (order_id, asked, filled[order_id])
        assert filled[order_id] == told, (order_id, filled[order_id], told)
    ours = {ticket.name for ticket in broker.tickets}
    theirs = {name for name, order in venue.orders.items()
              if order.status.is_open and not order.replaced_by}  # fmt: skip
    assert ours == theirs


def check_chaos(
    strategy: type[Strategy], troubles: list[Trouble], kills: list[Kill], *, takes_brackets: bool
) -> None:
    """Live through it, and look at the end."""
    with tempfile.TemporaryDirectory() as folder:
        world = Chaos(Path(folder), troubles, takes_brackets=takes_brackets)
        result = world.live_through(strategy, kills)
        check_end(world, result)


def quiet(n: int) -> settings:
    """So many examples, however slow they are to make."""
    return settings(examples(n), suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@quiet(12)
@given(troubles=TROUBLES, kills=KILLS)
def test_after_any_trouble_the_books_agree(
    strategy: type[Strategy], takes_brackets: bool, troubles: list[Trouble], kills: list[Kill]
) -> None:
    """Positions, cash, executions and open orders are the venue's; nothing is left halted."""
    check_chaos(strategy, troubles, kills, takes_brackets=takes_brackets)


FOUND: dict[str, tuple[type[Strategy], bool, list[Trouble], list[Kill]]] = {
    "an order that owed its executions was sent again": (
        Threshold, True, [Trouble(9, "mute", True)], [],
    ),
    "a refused cancel was looked up while the journal was read": (
        Busy, False,
        [Trouble(3, "fault", ("cancel", "before")), Trouble(4, "mute", True),
         Trouble(8, "fault", ("cancel", "refuse"))],
        [Kill(141, is_after=True)],
    ),
    "a stop that filled in parts was cut twice": (
        Busy, False, [Trouble(11, "mute", True), Trouble(12, "share", 0.4)], [],
    ),
    "legs at work were taken for held ones": (
        Busy, True, [Trouble(2, "mute", True)], [Kill(24, is_after=False)],
    ),
    "a refused change made a remainder the whole order": (
        Busy, True, [Trouble(1, "mute", True)], [],
    ),
    "what came under a new name was somebody else's": (
        Busy, True,
        [Trouble(3, "fault", ("replace", "after")), Trouble(4, "fault", ("send", "before"))], [],
    ),
    "an order was to become smaller than what it had filled": (
        Busy, True,
        [Trouble(4, "mute", True), Trouble(4, "fault", ("replace", "before")),
         Trouble(5, "share", 0.2)],
        [Kill(107, is_after=False)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_went_wrong_once_does_not_again(name: str) -> None:
    """The shortest schedules of bugs that were found here."""
    strategy, takes_brackets, troubles, kills = FOUND[name]
    check_chaos(strategy, troubles, kills, takes_brackets=takes_brackets)


@pytest.mark.slow
@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@quiet(250)
@given(troubles=TROUBLES, kills=KILLS)
def test_after_any_trouble_the_books_agree_deep(
    strategy: type[Strategy], takes_brackets: bool, troubles: list[Trouble], kills: list[Kill]
) -> None:
    """As above, for longer."""
    check_chaos(strategy, troubles, kills, takes_brackets=takes_brackets)
