"""A new order in the place of an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from ml4t.backtest.errors import OrderError
from ml4t.backtest.rehearsal.handing import hand_in, order_of
from ml4t.backtest.rehearsal.teller import order_facts
from ml4t.backtest.rehearsal.tickets import RefusedError, TicketStatus
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.rehearsal.desk import OrderDesk
    from ml4t.backtest.rehearsal.tickets import Asked, Ticket


class Replacer:
    """Replaces orders for a desk, which says what that means.

    Args:
        desk: Whose market, orders and faults.
    """

    def __init__(self, desk: OrderDesk) -> None:
        self.market, self.register, self.intake = desk.market, desk.register, desk.intake
        self.teller, self.faults, self.now = desk.teller, desk.faults, desk.now

    def replace(
        self, old: Ticket, changes: dict[str, float], words: dict[str, str | None]
    ) -> Ticket:
        """Put a new order in the place of an open one.

        Args:
            old: The order as it is.
            changes: Numbers that are other ones now.
            words: The new `time_in_force` and `client_order_id`; None leaves them to the venue.

        Returns:
            The new order, as it was taken.

        Raises:
            RefusedError: The old one is over, or the new one cannot be taken.
        """
        facts = order_facts(old)
        if not old.is_open or old.status is TicketStatus.PENDING_CANCEL:
            raise RefusedError("unprocessable", f"cannot replace order in {old.status} status")
        if self.faults.take("refuse-replace", **facts):
            raise RefusedError("unprocessable", "order is not replaceable")
        self.intake.check_id(words["client_order_id"])
        asked = self._changed(old, changes, words)
        self.intake.check_instead(old, asked)
        if self.faults.take("reject-replace", **facts):
            return self._reject_replace(old, asked)
        number = self._put_in_place(old, asked)
        now = self.now()
        new = self.register.add(
            asked, now, number, parent=old.parent, replaces=old.id, legs=old.legs
        )
        new.status = old.status
        if new.status is TicketStatus.PARTIALLY_FILLED:
            new.status = TicketStatus.NEW
        self._move_family(old, new)
        old.status, old.replaced_by, old.replaced_at = TicketStatus.REPLACED, new.id, now
        taken = structs.replace(new)
        self.register.tell("replaced", old, now)
        self.market.take_changes()
        if new.status is TicketStatus.NEW:
            self.register.tell("new", new, now)
        return taken

    def _changed(
        self, old: Ticket, changes: dict[str, float], words: dict[str, str | None]
    ) -> Asked:
        """What a replaced order asks."""
        asked = structs.replace(old.asked, client_order_id=words["client_order_id"])
        time_in_force = words["time_in_force"]
        fields: dict[str, Any] = dict(changes)
        trail = fields.pop("trail", None)
        if trail is not None:
            name = "trail_percent" if asked.trail_percent is not None else "trail_price"
            fields[name] = trail / 100.0 if name == "trail_percent" else trail
        if old.parent is not None or old.legs:
            asked = self._changed_link(old, asked, fields, time_in_force)
        if time_in_force is not None and time_in_force != asked.time_in_force:
            fields["time_in_force"] = time_in_force
        for name in ("limit_price", "stop_price"):
            if name in fields and getattr(asked, name) is None:
                raise RefusedError("unprocessable", f"{asked.type} orders have no {name}")
            self.intake.check_price(asked.symbol, name, fields.get(name))
        if trail is not None and asked.type != "trailing_stop":
            raise RefusedError("unprocessable", f"{asked.type} orders have no trail")
        if asked.notional is not None and "qty" in fields:
            raise RefusedError("unprocessable", "notional orders have no qty")
        return structs.replace(asked, **fields)

    def _changed_link(
        self, old: Ticket, asked: Asked, fields: dict[str, Any], time_in_force: str | None
    ) -> Asked:
        """Of orders that belong together prices alone can change; each works what it has left."""
        names = [name for name in ("qty",) if fields.get(name, old.qty) != old.qty]
        names += ["time_in_force"] if time_in_force not in (None, asked.time_in_force) else []
        if names:
            text = f"{names[0]} of {asked.order_class} orders stays"
            raise RefusedError("unprocessable", text)
        fields.pop("qty", None)
        assert asked.qty is not None
        return structs.replace(asked, qty=asked.qty - old.filled_qty)

    def _put_in_place(self, old: Ticket, asked: Asked) -> int:
        """Change the order of the simulation.

        Returns:
            Its number: a new one where its time in force changes.
        """
        broker, before = self.market.broker, self.market.blotter.get(old.number)
        assert before is not None
        if asked.time_in_force != old.asked.time_in_force:
            order = order_of(asked, asked.qty or before.remaining)
            number = hand_in(self.market, asked, order).order_id
            broker.cancel(old.number, "replaced")
            return number
        names = {"limit_price": "limit_price", "stop_price": "stop_price"}
        names |= {"trail_price": "trail_amount", "trail_percent": "trail_percent"}
        changes = {
            ours: getattr(asked, name)
            for name, ours in names.items()
            if getattr(asked, name) != getattr(old.asked, name)
        }
        if asked.qty is not None and not (old.parent or old.legs):
            changes["quantity"] = before.filled + asked.qty
        try:
            broker.replace(old.number, **changes)
        except OrderError as error:
            raise RefusedError("unprocessable", str(error)) from error
        return old.number

    def _move_family(self, old: Ticket, new: Ticket) -> None:
        """Legs and siblings know an order by its new id."""
        for leg in self.register.legs_of(new):
            leg.parent = new.id
        if new.parent is not None:
            head = self.register.tickets[new.parent]
            head.legs = tuple(new.id if leg == old.id else leg for leg in head.legs)

    def _reject_replace(self, old: Ticket, asked: Asked) -> Ticket:
        """Take the new order, and let it fail: the old one goes on."""
        now = self.now()
        new = self.register.add(asked, now, -len(self.register.tickets) - 1, replaces=old.id)
        taken = structs.replace(new)
        self.register.tell("order_replace_rejected", old, now)
        self.teller.end(new, OrderStatus.REJECTED, "replace rejected by the exchange", now)
        return taken
