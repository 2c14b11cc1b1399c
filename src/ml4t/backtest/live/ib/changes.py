"""Orders that were changed: what was asked for, and whether it has come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.ib.vendor import Order

if TYPE_CHECKING:
    from ml4t.backtest.live.ib.book import Known
    from ml4t.backtest.live.words import Change


def is_as_changed(known: Known, change: Change) -> bool:
    """Whether an order is what it was asked to become."""
    order = known.order
    wanted = [(order.totalQuantity, change.quantity)]
    if order.orderType in ("LMT", "STP LMT", "LOC") and change.limit_price is not None:
        wanted.append((order.lmtPrice, change.limit_price))
    if order.orderType in ("STP", "STP LMT") and change.stop_price is not None:
        wanted.append((order.auxPrice, change.stop_price))
    return all(abs(found - asked) <= 1e-9 * abs(asked) for found, asked in wanted)


def name_now(known: Known, change: Change | None) -> str:
    """The name of an order after its changes; empty when it never had another one."""
    if change is None:
        return ""
    return change.new_client_id if is_as_changed(known, change) else change.client_id


def take_refusal(known: Known) -> tuple[int, str] | None:
    """What the broker refused of an order, once."""
    refusal, known.refusal, known.doubt = known.refusal, None, 0
    return refusal


_COPIED = (
    *("orderId", "clientId", "permId", "action", "totalQuantity", "orderType", "lmtPrice"),
    *("auxPrice", "tif", "ocaGroup", "ocaType", "account", "orderRef", "parentId", "outsideRth"),
    *("goodTillDate", "trailStopPrice", "trailingPercent", "lmtPriceOffset"),
)


def copy_of(order: Any) -> Any:
    """What we ask of an order ourselves, without what the broker has added to it."""
    return Order(**{name: getattr(order, name) for name in _COPIED})
