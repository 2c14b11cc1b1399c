"""What a TWS answers to its clients, message by message."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ml4t.backtest.rehearsal import ib_orders
from ml4t.backtest.rehearsal.ib_account import (
    account_fields,
    multi_fields,
    position_fields,
    summary_fields,
)
from ml4t.backtest.rehearsal.ib_bars import TwsBars
from ml4t.backtest.rehearsal.ib_desk import TwsDesk
from ml4t.backtest.rehearsal.ib_line import TwsLines
from ml4t.backtest.rehearsal.ib_news import TwsNews
from ml4t.backtest.rehearsal.ib_orders import ACCOUNT
from ml4t.backtest.rehearsal.ib_terms import TwsRefusalError
from ml4t.backtest.rehearsal.ib_words import (
    ID_IN_USE,
    NO_CONTRACT,
    NOTICES,
    TIF_PRESET,
    VALIDATION,
    Asking,
    listings_of,
    read_order,
)
from ml4t.backtest.rehearsal.tickets import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from ml4t.backtest.rehearsal.ib_line import TwsLine
    from ml4t.backtest.rehearsal.ib_orders import Fields, TwsOrder
    from ml4t.backtest.rehearsal.ib_words import Listing
    from ml4t.backtest.rehearsal.venue import Venue

_CALLS = {
    3: "submit", 4: "cancel", 5: "list", 6: "account", 7: "activities", 9: "asset", 16: "list",
    20: "bars", 49: "clock", 50: "bars", 58: "cancel-all", 61: "positions", 62: "account",
    76: "account", 99: "list",
}  # fmt: skip
_PLACE = 3
_TICK = 0.01


class TwsOffice:
    """Answers clients of a venue.

    Args:
        venue: What they trade at.
        listings: What its assets are by the broker's words; shares when left out.
        account: Its name; those of play money begin with a D.

    Attributes:
        calls: Messages so far.
    """

    def __init__(
        self, venue: Venue, listings: Iterable[Listing] = (), *, account: str = ACCOUNT
    ) -> None:
        self.venue = venue
        self.account = account
        self.lines = TwsLines()
        self.calls = 0
        self.listings = listings_of(venue.accounts.symbols, listings, venue.crypto)
        self.news = TwsNews(venue, self.lines)
        self.desk = self.news.desk = TwsDesk(venue, self.listings, self.news.tell, account)
        self.bars = TwsBars(venue, self.lines, self.news, self.find)
        self._answers: dict[int, Callable[[TwsLine, Sequence[str]], None]] = {
            3: self._place,
            4: self._cancel,
            5: self._open_orders,
            6: self._account,
            7: self._executions,
            8: self._ids,
            9: self._contracts,
            15: self._nothing,
            16: self._all_open_orders,
            20: self.bars.history,
            25: self.bars.stop,
            49: self._time,
            50: self.bars.live,
            51: self.bars.stop,
            58: self._cancel_all,
            59: self._nothing,
            61: self._positions,
            62: self._summary,
            63: self._nothing,
            64: self._no_positions,
            76: self._multi,
            77: self._nothing,
            99: self._completed,
        }

    def find(self, asking: Asking) -> list[Listing]:
        """The contracts that fit a description."""
        return [one for one in self.listings if one.answers(asking)]

    # -- coming ---------------------------------------------------------------------------------

    def welcome(self, line: TwsLine, client_id: int) -> bool:
        """A client says its number; whether it may stay."""
        if self.lines.of(client_id) or self.venue.faults.take("406"):
            text = "Unable to connect as the client id is already in use. Retry with a unique "
            line.say(ib_orders.error(-1, ID_IN_USE, f"{text}client id."))
            return False
        line.client_id = client_id
        self.lines.add(line)
        if self.venue.faults.take("roll-back-ids"):
            self.desk.roll_back()
        line.say([15, 1, self.account], [9, 1, self.desk.ids.get(client_id, 1)], *self.news.greet())
        return True

    def answer(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Carry out one message of a client, unless a fault keeps it from arriving."""
        self.calls += 1
        number = int(fields[0])
        call = _CALLS.get(number, "")
        is_change = number == _PLACE and (line.client_id, int(fields[1])) in self.desk.orders
        call = "replace" if is_change else call
        faults = self.venue.faults
        if call and faults.take("hang-before", call=call):
            return
        line.is_deaf = bool(call) and faults.take("hang-after", call=call) is not None
        try:
            reply = self._answers.get(number, self._unknown)
            reply(line, fields)
        finally:
            line.is_deaf = False

    def _unknown(self, line: TwsLine, fields: Sequence[str]) -> None:
        text = f"Error validating request: the rehearsal has no message {fields[0]}"
        line.say(ib_orders.error(-1, VALIDATION, text))

    def _nothing(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Taken, and not answered."""

    def _ids(self, line: TwsLine, _fields: Sequence[str]) -> None:
        line.say([9, 1, self.desk.ids.get(line.client_id, 1)])

    def _time(self, line: TwsLine, _fields: Sequence[str]) -> None:
        line.say([49, 1, int((self.venue.now + self.venue.skew).timestamp())])

    # -- orders ---------------------------------------------------------------------------------

    def _place(self, line: TwsLine, fields: Sequence[str]) -> None:
        order_id = int(fields[1])
        try:
            order_id, asking, wanted = read_order(fields)
            found = self.find(asking)
            preset = not wanted.tif
            wanted.tif = wanted.tif or "DAY"
            listing = found[0] if len(found) == 1 else None
            order = self.desk.place(line.client_id, order_id, listing, wanted)
        except TwsRefusalError as error:
            line.say(ib_orders.error(order_id, error.code, str(error)))
            return
        except (RefusedError, ValueError, KeyError, IndexError) as error:
            text = f"Error validating request: {error}"
            line.say(ib_orders.error(order_id, VALIDATION, text))
            return
        if preset and order.is_open:
            line.say(ib_orders.error(order_id, TIF_PRESET, NOTICES[TIF_PRESET]))

    def _cancel(self, line: TwsLine, fields: Sequence[str]) -> None:
        order_id = int(fields[2])
        try:
            self.desk.cancel(line.client_id, order_id)
        except TwsRefusalError as error:
            line.say(ib_orders.error(order_id, error.code, str(error)))

    def _cancel_all(self, line: TwsLine, _fields: Sequence[str]) -> None:
        try:
            self.desk.cancel_all()
        except TwsRefusalError as error:
            line.say(ib_orders.error(-1, error.code, str(error)))

    def _open_orders(self, line: TwsLine, _fields: Sequence[str]) -> None:
        self._list(line, [o for o in self.desk.all if o.client_id == line.client_id])

    def _all_open_orders(self, line: TwsLine, _fields: Sequence[str]) -> None:
        self._list(line, self.desk.all)

    def _list(self, line: TwsLine, orders: Iterable[TwsOrder]) -> None:
        for order in orders:
            if order.is_open:
                line.say(ib_orders.open_order(order), ib_orders.order_status(order))
        line.say([53, 1])

    def _completed(self, line: TwsLine, _fields: Sequence[str]) -> None:
        for order in self.desk.all:
            if order.ticket is not None and not order.is_open and self._is_today(order.over_at):
                line.say(ib_orders.completed_order(order))
        line.say([102])

    def _executions(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Of today, as TWS has them; those that were corrected in their last form."""
        request, client = int(fields[2]), int(fields[3] or 0)
        latest = {exec_id.rpartition(".")[0]: one for exec_id, one in self.desk.executions.items()}
        found = [
            one
            for one in latest.values()
            if client in (0, one.order.client_id) and self._is_today(one.at)
        ]
        for one in found:
            line.say(ib_orders.execution(one, request), ib_orders.commission(one))
        line.say([55, 1, request])

    def _is_today(self, at: datetime | None) -> bool:
        """Since midnight, where the market is."""
        zone = ZoneInfo(self.venue.opening.zone)
        now = self.venue.now.astimezone(zone)
        return at is not None and at.astimezone(zone).date() == now.date()

    # -- the account ----------------------------------------------------------------------------

    def _positions(self, line: TwsLine, _fields: Sequence[str]) -> None:
        line.wants_positions = True
        line.say(*position_fields(self.venue, self.account, self.desk.listings), [62, 1])

    def _no_positions(self, line: TwsLine, _fields: Sequence[str]) -> None:
        line.wants_positions = False

    def _account(self, line: TwsLine, fields: Sequence[str]) -> None:
        line.wants_account = fields[2] == "1"
        if line.wants_account:
            line.say(
                *account_fields(self.venue, self.account, self.desk.listings), [54, 1, self.account]
            )

    def _summary(self, line: TwsLine, fields: Sequence[str]) -> None:
        line.say(*summary_fields(self.venue, self.account, int(fields[2]), fields[4]))

    def _multi(self, line: TwsLine, fields: Sequence[str]) -> None:
        line.say(*multi_fields(self.venue, self.account, int(fields[2]), fields[4]))

    # -- contracts ------------------------------------------------------------------------------

    def _contracts(self, line: TwsLine, fields: Sequence[str]) -> None:
        request, found = int(fields[2]), self.find(Asking.of(fields[3:15]))
        if not found:
            text = "No security definition has been found for the request"
            line.say(ib_orders.error(request, NO_CONTRACT, text))
            return
        for one in found:
            line.say(self._details(request, one))
        line.say([52, 1, request])

    def _details(self, request: int, one: Listing) -> Fields:
        tick = self.venue.accounts.instrument(one.asset_id).tick_size or _TICK
        zone = self.venue.opening.zone
        return [
            *(10, request, one.symbol, one.sec_type, one.expiry, 0.0, "", one.exchange),
            *(one.currency, one.local_symbol, one.symbol, one.symbol, one.con_id, tick),
            *(one.multiplier, ",".join(sorted(("LMT", "MKT", "STP", "TRAIL"))), one.exchange, 1, 0),
            *(one.asset_id, one.primary_exchange, one.expiry[:6], "", "", "", zone, "", "", "", 0),
            *(0, 1, "", "", "26", one.expiry, "COMMON", 1.0, 1.0, 100.0),
        ]
