"""Orders of one asset around the time that an explanation is about, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.results.explain_words import (
    costs_text,
    order_signals,
    order_text,
    price_text,
    reason_text,
    units_text,
)
from ml4t.backtest.results.record import normalised
from ml4t.backtest.results.summary import OPEN_STATES, amounts, close_only, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.results.explain_market import Seen
    from ml4t.backtest.results.explain_window import Window
    from ml4t.backtest.results.result import BacktestResult

_DONE = {"buy": "bought", "sell": "sold"}
_SIGNED = pl.when(pl.col("side") == "buy").then("quantity").otherwise(-pl.col("quantity"))


class Book:
    """The orders and fills of one asset, seen from a window.

    Args:
        result: Of the run.
        asset_id: The asset.
        window: The bars that are asked about.

    Attributes:
        decided: The orders that were sent in the window.
    """

    def __init__(self, result: BacktestResult, asset_id: str, window: Window) -> None:
        mine = pl.col("asset_id") == asset_id
        self._result = result
        self._asset_id = asset_id
        self._window = window
        self._orders = result.orders.filter(mine)
        self._fills = _worded(result, asset_id)
        self._filled = self._fills.filter(window.holds("timestamp"))
        self._waiting = self._in_book()
        told = [*self._filled["order_id"], *self._waiting["order_id"]]
        new = ~pl.col("order_id").is_in(told)
        is_early = pl.col("created_at").is_null(), new, pl.lit(window.is_first)
        self._early = self._orders.filter(*is_early)
        self._told = [*told, *self._early["order_id"]]
        self.decided = self._orders.filter(window.holds("created_at"))

    @property
    def has_signals(self) -> bool:
        """Whether orders of the run carry signals."""
        return any(column.startswith("signal_") for column in self._orders.columns)

    def lines(self, seen: Seen) -> Iterator[str]:
        """What was filled, waited, and was sent; or that nothing was."""
        yield from self._fill_lines()
        yield from self._waiting_lines()
        yield from self._order_lines(self._early, seen)
        yield from self._order_lines(self.decided, seen)
        if self.decided.is_empty():
            yield from self._nothing_lines(seen)

    def _in_book(self) -> pl.DataFrame:
        """Older orders that were in the book for certain: filled later, or open at the very end."""
        later = self._fills.filter(pl.col("timestamp") > self._window.last)["order_id"]
        rests = pl.col("status").is_in(OPEN_STATES) | pl.col("order_id").is_in(later.implode())
        return self._orders.filter(self._window.is_before(), rests)

    def _fill_lines(self) -> Iterator[str]:
        window = self._window
        created = dict(self._orders.select("order_id", "created_at").iter_rows())
        for fill in self._filled.iter_rows(named=True):
            known = fill["order_id"] in created
            decided = f", decided {window.show(created[fill['order_id']])}," if known else ""
            when = f", {window.show(fill['timestamp'])}" if window.first != window.last else ""
            yield (
                f"Order {fill['order_id']}{decided} {_DONE[fill['side']]} "
                f"{units_text(fill['quantity'])} at {price_text(fill['price'])} "
                f"({reason_text(fill['reason'])}{when}); {costs_text(fill)}."
            )

    def _waiting_lines(self) -> Iterator[str]:
        for order in self._waiting.iter_rows(named=True):
            created = order["created_at"]
            since = f"{'from' if created is None else 'of'} {self._window.show(created)}"
            yield f"Order {order['order_id']} {since} was waiting: {order_text(order)}."
            yield f"  {self._outcome(order)}"

    def _order_lines(self, orders: pl.DataFrame, seen: Seen) -> Iterator[str]:
        before: Any = None
        for order in orders.iter_rows(named=True):
            moment = order["created_at"]
            if moment is not None and moment != before:
                yield self._account(moment)
            before = moment
            tag = f", tagged {order['tag']!r}" if order["tag"] else ""
            yield (
                f"The strategy ordered{self._window.when(moment)}: {order_text(order)} "
                f"(order {order['order_id']}{tag})."
            )
            yield f"  {self._outcome(order)}"
            yield from self._part_lines(order)
            if not seen.has_signals and (signals := order_signals(order)):
                yield f"  Signals at the decision: {signals}."

    def _account(self, moment: Any) -> str:
        """Position and cash when the strategy decided: before what it sent then was filled."""
        at = pl.col("timestamp") == moment
        sent = self._result.orders.filter(pl.col("created_at") == moment)
        fills = normalised(self._result.record, "fills").filter(at)
        own = fills.join(sent, on="order_id", how="semi").with_columns(_SIGNED.alias("signed"))
        money = pl.col("signed") * pl.col("price") * pl.col("multiplier") + pl.col("commission")
        cash = self._result.equity.filter(at)["cash"].item() + own.select(money.sum()).item()
        changes = self._result.positions.filter(
            pl.col("asset_id") == self._asset_id, pl.col("timestamp") <= moment
        )["quantity"]
        held = float(changes[-1]) if len(changes) else 0.0
        held -= float(own.filter(pl.col("asset_id") == self._asset_id)["signed"].sum())
        when = self._window.when(moment)
        return (
            f"When it decided{when}, the strategy held {units_text(held)} and had "
            f"{amounts(cash)[0]} in cash."
        )

    def _outcome(self, order: dict[str, Any]) -> str:
        done = self._fills.filter(pl.col("order_id") == order["order_id"])
        status, why = order["status"], order["reason"]
        said = ""
        if len(done):
            last = done.row(-1, named=True)
            parts = f", in {len(done)} parts until" if len(done) > 1 else ","
            average = "an average of " if len(done) > 1 else ""
            said = (
                f"It filled {units_text(order['filled_quantity'])} at {average}"
                f"{price_text(order['average_fill_price'])}"
                f"{parts} {self._window.show(last['timestamp'])} ({reason_text(last['reason'])})"
            )
            if status == "filled":
                return f"{said}."
        because = f": {why}" if why else ""
        if status in OPEN_STATES:
            return f"{said or 'It did not fill'} and was still open at the end of the run."
        rest = f"{said}; the rest was" if said else "It did not fill; it was"
        return f"{rest} {status}{because}."

    def _part_lines(self, order: dict[str, Any]) -> Iterator[str]:
        """What each part of an order cost, unless all of it was told as fills of the window."""
        mine = pl.col("order_id") == order["order_id"]
        done = self._fills.filter(mine)
        if len(done) == len(self._filled.filter(mine)):
            return
        if len(done) == 1:
            costs = costs_text(done.row(0, named=True))
            yield f"  {costs[0].upper()}{costs[1:]}."
            return
        for part in done.iter_rows(named=True):
            yield (
                f"    {units_text(part['quantity'])} at {price_text(part['price'])}, "
                f"{self._window.show(part['timestamp'])} ({reason_text(part['reason'])}); "
                f"{costs_text(part)}."
            )

    def _nothing_lines(self, seen: Seen) -> Iterator[str]:
        window, orders = self._window, self._orders
        row = self._result.equity.filter(pl.col("timestamp") == window.last).row(0, named=True)
        cash, equity = amounts(row["cash"], row["equity"])
        yield f"Cash was {cash}, of an equity of {equity}."
        yield f"The strategy ordered nothing for this asset {window.span}."
        earlier = orders.filter(window.is_before())
        later = orders.filter(pl.col("created_at") > window.last)
        if len(earlier) and earlier["order_id"][-1] not in self._told:
            yield f"Its last order before: {self._dated(earlier.row(-1, named=True))}"
        if len(later):
            yield f"Its next order: {self._dated(later.row(0, named=True))}"
        if orders.is_empty():
            yield "Nor did it in the whole run."
        others = self._result.orders.filter(window.holds("created_at"))
        if len(others):
            yield f"It placed {count(len(others), 'order')} for other assets then."
        signals = seen.signals().values()
        if seen.has_signals and signals:
            is_blind = all(value is None for value in signals)
            yield (
                "No signal was known for it."
                if is_blind
                else "What it made of the signals is not recorded: a result knows what a strategy "
                "saw and what it sent."
            )

    def _dated(self, order: dict[str, Any]) -> str:
        when = self._window.show(order["created_at"])
        return f"{when}, {order_text(order)}. {self._outcome(order)}"


def _worded(result: BacktestResult, asset_id: str) -> pl.DataFrame:
    """The fills, with words for reasons that mean something else where closes are all there is."""
    fills = normalised(result.record, "fills").filter(pl.col("asset_id") == asset_id)
    few, feeds = close_only(result, asset_id)
    if not few:
        return fills
    price = "close" if few == feeds else "open (the close, where prices are close-only)"
    return fills.with_columns(
        pl.when(pl.col("reason") == "open")
        .then(pl.lit(f"at the {price}"))
        .otherwise(pl.col("reason").str.replace(r" open$", f" {price}"))
        .alias("reason")
    )
