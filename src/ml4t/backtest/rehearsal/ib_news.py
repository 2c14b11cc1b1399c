"""What a TWS tells its clients by itself: orders, fills, the account, and the state of its link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.rehearsal import ib_orders
from ml4t.backtest.rehearsal.backlog import Backlog
from ml4t.backtest.rehearsal.ib_account import account_fields, position_fields
from ml4t.backtest.rehearsal.ib_words import CANCELED, HELD, NOTICES, REJECTED
from ml4t.backtest.rehearsal.teller import order_facts

if TYPE_CHECKING:
    from ml4t.backtest.rehearsal.ib_desk import TwsDesk
    from ml4t.backtest.rehearsal.ib_line import TwsLines
    from ml4t.backtest.rehearsal.ib_orders import Fields, TwsExecution, TwsOrder
    from ml4t.backtest.rehearsal.tickets import Update
    from ml4t.backtest.rehearsal.venue import Venue
    from ml4t.backtest.types.bars import Bars

_LINK_LOST = (1100, "Connectivity between IBKR and Trader Workstation has been lost.")
_LINK_NEW = (
    1101,
    "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
)
_LINK_KEPT = (
    1102,
    "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
)
_FARM_BROKEN = (2103, "Market data farm connection is broken:usfarm")
_FARM_OK = (2104, "Market data farm connection is OK:usfarm")


class TwsNews:
    """Tells, unless a fault is in the way.

    Args:
        venue: With the faults.
        lines: The clients.

    Attributes:
        desk: What knows the orders.
        is_cut: The link to the broker is lost: nothing of orders and no bars come through.
        has_farm: Whether the farm that sends bars can be reached.
    """

    def __init__(self, venue: Venue, lines: TwsLines) -> None:
        self.venue = venue
        self.lines = lines
        self.desk: TwsDesk
        self.is_cut = False
        self.has_farm = True
        self._backlog = Backlog()
        self._held: list[tuple[int, list[Fields]]] = []
        self._restored_at = self._farm_back_at = 0
        self._keeps_data = True
        self._has_news = False
        venue.on_bars.append(self._on_bars)

    def greet(self) -> list[Fields]:
        """What every client hears when it connects."""
        return [ib_orders.error(-1, *_FARM_OK)]

    # -- orders -------------------------------------------------------------------------------

    def tell(self, order: TwsOrder, update: Update, found: TwsExecution | None) -> None:
        """Something happened to an order."""
        self._has_news |= found is not None
        lines = self.lines.of(order.client_id)
        if not lines and not self.is_cut:
            return
        faults, facts = self.venue.faults, order_facts(update.ticket) | {"event": update.event}
        if faults.take("drop-trades", **facts):
            self.lines.drop()
            return
        if faults.take("mute-trades", **facts):
            for line in lines:
                line.is_mute = True
            return
        first, last = self._messages(order, update, found)
        if faults.take("lose-update", **facts):
            first, last = [], []
        elif late := faults.take("late-update", **facts):
            until = self.venue.step_number + int(late.options["bars"])
            self._backlog.delay((order.client_id, [*first, *last]), until)
            first, last = [], []
        elif faults.take("swap-updates", **facts):
            self._backlog.swap((order.client_id, [*first, *last]))
            first, last = [], []
        elif faults.take("duplicate-update", **facts):
            first, last = [*first, *first], [*last, *last]
        # Where an order stands is told, whatever becomes of the message about the fill.
        standing = [] if found is None else _standing(order)
        self._send(order.client_id, [*first, *standing, *last])
        for client_id, swapped in self._backlog.take_swapped() if first else ():
            self._send(client_id, swapped)

    def _messages(
        self, order: TwsOrder, update: Update, found: TwsExecution | None
    ) -> tuple[list[Fields], list[Fields]]:
        """What is told of it; of a fill what it cost comes after where the order stands."""
        if found is not None:
            return [ib_orders.execution(found)], [ib_orders.commission(found)]
        reason = update.ticket.reason
        if update.event == "rejected":
            text = f"Order rejected - reason:{reason}"
            return _standing(order), [ib_orders.error(order.order_id, REJECTED, text)]
        if update.event in ("canceled", "expired"):
            text = f"Order Canceled - reason:{reason}"
            status = ib_orders.order_status(order)
            return [status], [ib_orders.error(order.order_id, CANCELED, text)]
        if update.event == "accepted":
            return _standing(order), [self.notice(order, HELD)]
        fault = None
        if update.event == "new":
            fault = self.venue.faults.take("notice", **order_facts(update.ticket))
        if fault is not None:
            return _standing(order), [self.notice(order, int(fault.options["code"]))]
        return _standing(order), []

    def notice(self, order: TwsOrder, code: int) -> Fields:
        """A notice on an order that lives on."""
        text = NOTICES.get(code, f"Order Message {code}").format(
            side=order.wanted.action, qty=order.wanted.quantity, symbol=order.listing.symbol
        )
        return ib_orders.error(order.order_id, code, text)

    def _send(self, client_id: int, messages: list[Fields]) -> None:
        if self.is_cut:
            self._held.append((client_id, messages))
            return
        for line in self.lines.of(client_id):
            line.say(*messages)

    # -- with every step ----------------------------------------------------------------------

    def _on_bars(self, _bars: Bars) -> None:
        step, faults = self.venue.step_number, self.venue.faults
        for client_id, messages in self._backlog.take_due(step):
            self._send(client_id, messages)
        if self.is_cut and step >= self._restored_at:
            self._restore()
        if not self.has_farm and step >= self._farm_back_at:
            self.has_farm = True
            self._tell_all(_FARM_OK)
        if link := faults.take("link-lost"):
            self._tell_all(_LINK_LOST)
            self.is_cut, self._restored_at = True, step + int(link.options["bars"])
            self._keeps_data = link.options["kept"] > 0.0
        if farm := faults.take("farm-broken"):
            self._tell_all(_FARM_BROKEN)
            self.has_farm, self._farm_back_at = False, step + int(farm.options["bars"])
        if self._has_news and not self.is_cut:
            self._has_news = False
            self.tell_account()

    def _restore(self) -> None:
        """The link is back: what happened meanwhile is told, and subscriptions may be lost."""
        self.is_cut = False
        self._tell_all(_LINK_KEPT if self._keeps_data else _LINK_NEW)
        held, self._held = self._held, []
        for client_id, messages in held:
            self._send(client_id, messages)
        if not self._keeps_data:
            for line in self.lines:
                line.bars.clear()

    def _tell_all(self, words: tuple[int, str]) -> None:
        for line in self.lines:
            line.say(ib_orders.error(-1, *words))

    def tell_account(self) -> None:
        """Positions and the account, to those who follow them."""
        for line in self.lines:
            if line.wants_positions:
                line.say(
                    *position_fields(self.venue, self.desk.account, self.desk.listings, flat=True)
                )
            if line.wants_account:
                line.say(*account_fields(self.venue, self.desk.account, self.desk.listings))


def _standing(order: TwsOrder) -> list[Fields]:
    return [ib_orders.open_order(order), ib_orders.order_status(order)]


def facts_of(venue: Venue) -> dict[str, Any]:
    """Where a rehearsal stands."""
    register = venue.register
    return {
        "now": f"{venue.now:%Y-%m-%dT%H:%M:%SZ}",
        "step": venue.step_number,
        "steps": len(venue.tape),
        "is_over": venue.is_over,
        "orders": len(register.tickets),
        "open_orders": len(register.open),
        "fills": sum(activity.kind == "FILL" for activity in register.activities),
        "cash": f"{venue.market.portfolio.cash:.10g}",
        "equity": f"{venue.market.portfolio.equity:.10g}",
        "faults": venue.faults.report(),
    }
