"""Round trips: stories by hand, and a plain loop for everything else."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.results.record import FRAMES, empty_frame
from ml4t.backtest.results.trades import positions_of, trades_of
from tests.results.conftest import NAIVE, record_of

if TYPE_CHECKING:
    from ml4t.backtest.results.record import RunRecord
    from ml4t.backtest.results.result import BacktestResult

START = dt.datetime(2020, 1, 1)


def story(*steps: tuple[str, float, float], mark: float = 0.0, **more: Any) -> dict[str, Any]:
    """Fills as (asset, signed quantity, price), a day apart, each with a commission of 1.

    Between fills nothing is known of the bars unless `excursions` says so; `mark` is the last
    close of every asset.
    """
    held: dict[str, float] = defaultdict(float)
    fills, orders = [], []
    multiplier = more.get("multiplier", 1.0)
    for i, (asset, quantity, price) in enumerate(steps, start=1):
        held[asset] += quantity
        fills.append(
            {
                "fill_id": i,
                "order_id": i,
                "timestamp": START + dt.timedelta(days=i),
                "asset_id": asset,
                "side": "buy" if quantity > 0 else "sell",
                "quantity": abs(quantity),
                "price": price,
                "commission": more.get("commission", 1.0),
                "slippage": more.get("slippage", 0.5),
                "reason": f"why {i}",
                "position": held[asset],
                "multiplier": multiplier,
            }
        )
        orders.append(dict.fromkeys(FRAMES["orders"]) | {"order_id": i, "signal_x": 0.1 * i})
    marks = [
        {"asset_id": a, "quantity": q, "price": mark, "timestamp": START, "multiplier": multiplier}
        for a, q in held.items()
        if q
    ]
    excursions = [
        {"fill_id": i, "high": high, "low": low, "bars": bars}
        for i, (high, low, bars) in more.get("excursions", {}).items()
    ]
    cashflows = [
        {"timestamp": START + day, "asset_id": asset, "kind": "dividend", "amount": amount}
        for day, asset, amount in more.get("cashflows", ())
    ]
    return {
        "fills": fills,
        "orders": orders,
        "marks": marks,
        "excursions": excursions,
        "cashflows": cashflows,
    }


def trades(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The trades of a story, as mappings."""
    record = record_of(rows)
    frame = trades_of(
        record.fills,
        record.orders,
        record.excursions,
        record.marks,
        record.cashflows,
        record.adjustments,
    )
    return frame.to_dicts()


def test_a_long_round_trip() -> None:
    """Buy 100 at 10, sell them at 12: 200 before and 198 after two commissions of 1."""
    (trade,) = trades(
        story(
            ("A", 100, 10.0), ("A", -100, 12.0), excursions={1: (13.0, 9.0, 4), 2: (99.0, 1.0, 7)}
        )
    )
    assert trade == {
        "trade_id": 1,
        "asset_id": "A",
        "side": "long",
        "quantity": 100.0,
        "entry_time": dt.datetime(2020, 1, 2),
        "exit_time": dt.datetime(2020, 1, 3),
        "entry_price": 10.0,
        "exit_price": 12.0,
        "pnl": 198.0,
        "gross_pnl": 200.0,
        "return_pct": pytest.approx(0.198),
        "commission": 2.0,
        "slippage": 1.0,
        "financing": 0.0,
        "bars_held": 4,
        "mfe": pytest.approx(0.3),
        "mae": pytest.approx(-0.1),
        "entry_reason": "why 1",
        "exit_reason": "why 2",
        "status": "closed",
        "signal_x": pytest.approx(0.1),
    }


def test_a_short_round_trip() -> None:
    """Sell 100 at 10, buy them back at 8: a fall is favourable."""
    (trade,) = trades(story(("A", -100, 10.0), ("A", 100, 8.0), excursions={1: (11.0, 7.5, 2)}))
    assert (trade["side"], trade["gross_pnl"], trade["pnl"]) == ("short", 200.0, 198.0)
    assert (trade["mfe"], trade["mae"]) == (pytest.approx(0.25), pytest.approx(-0.1))


def test_partial_fills_are_averaged() -> None:
    """100 at 10 and 300 at 12 were entered at 11.50; 200 at 13 and 200 at 14 exited at 13.50."""
    (trade,) = trades(story(("A", 100, 10), ("A", 300, 12), ("A", -200, 13), ("A", -200, 14)))
    assert (trade["quantity"], trade["entry_price"], trade["exit_price"]) == (400.0, 11.5, 13.5)
    assert (trade["gross_pnl"], trade["commission"], trade["pnl"]) == (800.0, 4.0, 796.0)
    assert (trade["entry_reason"], trade["exit_reason"]) == ("why 1", "why 4")


def test_a_flip_divides_its_costs_by_quantity() -> None:
    """Long 100, sell 400, buy 300: a quarter of the flip's costs ends the first trade."""
    long, short = trades(story(("A", 100, 10), ("A", -400, 11), ("A", 300, 9)))
    assert (long["side"], long["quantity"], long["gross_pnl"]) == ("long", 100.0, 100.0)
    assert (long["commission"], long["slippage"]) == (1.25, 0.625)
    assert (short["side"], short["quantity"], short["gross_pnl"]) == ("short", 300.0, 600.0)
    assert (short["commission"], short["slippage"]) == (1.75, 0.875)
    assert long["exit_time"] == short["entry_time"]
    assert (long["exit_reason"], short["entry_reason"]) == ("why 2", "why 2")
    assert short["signal_x"] == pytest.approx(0.2)


def test_an_open_trade_is_valued_at_the_last_close() -> None:
    """Half sold, half marked: nothing is said of an exit."""
    (trade,) = trades(story(("A", 100, 10), ("A", -50, 12), mark=13.0))
    assert (trade["status"], trade["gross_pnl"], trade["pnl"]) == ("open", 250.0, 248.0)
    assert [trade[c] for c in ("exit_time", "exit_price", "exit_reason")] == [None] * 3


def test_the_multiplier_scales_money_and_not_prices() -> None:
    """Two contracts of 50 a point that gain 3 points earn 300."""
    (trade,) = trades(story(("ES", 2, 4000), ("ES", -2, 4003), multiplier=50.0))
    assert (trade["gross_pnl"], trade["entry_price"]) == (300.0, 4000.0)
    assert trade["return_pct"] == pytest.approx(298.0 / 400_000.0)


def test_a_cashflow_belongs_to_the_trade_that_was_open_before_it() -> None:
    """Money moves before the fills of its time: to the old trade on the day of a flip."""
    days = [dt.timedelta(days=n) for n in range(5)]
    flows = (
        (days[1], "A", 100.0),  # the day it was opened: nobody held it before
        (days[2], "A", 5.0),
        (days[3], "A", 0.5),  # the day of the flip
        (days[4], "A", -0.25),
        (days[4], None, 7.0),  # of the account
    )
    steps = (("A", 10, 10.0), ("B", 1, 1.0), ("A", -20, 11.0))
    first, other, second = trades(story(*steps, mark=11.0, cashflows=flows))
    assert (first["financing"], other["financing"], second["financing"]) == (5.5, 0.0, -0.25)
    assert first["pnl"] == first["gross_pnl"] - first["commission"] + 5.5
    assert second["return_pct"] == pytest.approx(second["pnl"] / 110.0)


def test_fills_bound_the_excursions() -> None:
    """Without any bar in between the exit itself is the best or worst price of a trade."""
    win, loss = trades(story(("A", 10, 10), ("A", -10, 12), ("B", 10, 10), ("B", -10, 9)))
    assert (win["mfe"], win["mae"], win["bars_held"]) == (pytest.approx(0.2), 0.0, 0)
    assert (loss["mfe"], loss["mae"]) == (0.0, pytest.approx(-0.1))


def test_trades_are_in_order_of_entry_whatever_the_asset() -> None:
    """Ids follow the opening fill, not the name."""
    found = trades(story(("Z", 1, 1), ("A", 1, 1), ("Z", -1, 1), ("A", -1, 1), ("Z", -1, 1)))
    assert [(t["trade_id"], t["asset_id"]) for t in found] == [(1, "Z"), (2, "A"), (3, "Z")]


def test_no_fills_no_trades() -> None:
    """An empty run has empty frames with all columns and types."""
    frames = [
        empty_frame(n, NAIVE)
        for n in ("fills", "orders", "excursions", "marks", "cashflows", "adjustments")
    ]
    empty = trades_of(*frames)
    full = story(("A", 1, 1.0), ("A", -1, 1.0))
    assert empty.is_empty()
    assert (
        list(empty.schema.items())[:20]
        == list(
            pl.DataFrame(
                trades(full), schema=empty.schema | {"signal_x": pl.Float64()}
            ).schema.items()
        )[:20]
    )
    assert positions_of(frames[0], frames[-1]).is_empty()


def test_positions_say_what_is_held_and_what_it_cost() -> None:
    """Entries move the average cost, exits do not, a flip starts anew, flat has none."""
    steps = (("A", 100, 10), ("A", 100, 12), ("A", -50, 20), ("A", -250, 14), ("A", 100, 13))
    record = record_of(story(*steps))
    frame = positions_of(record.fills, record.adjustments)
    assert frame["quantity"].to_list() == [100.0, 200.0, 150.0, -100.0, 0.0]
    assert frame["entry_price"].to_list() == [10.0, 11.0, 11.0, 14.0, None]


def test_positions_have_one_row_a_timestamp_and_asset() -> None:
    """Two fills of one asset in one bar leave one row: what was held afterwards."""
    rows = story(("B", 100, 10), ("A", 10, 5), ("B", 100, 12))
    for fill in rows["fills"]:
        fill["timestamp"] = START
    record = record_of(rows)
    frame = positions_of(record.fills, record.adjustments)
    assert frame.select("asset_id", "quantity", "entry_price").rows() == [
        ("A", 10.0, 5.0),
        ("B", 200.0, 11.0),
    ]


# The plain loop: one fill after the other, as a bookkeeper would.


class Book:
    """Open and closed trades of one asset."""

    def __init__(self) -> None:
        self.held = 0.0
        self.trades: list[dict[str, float]] = []

    def enter(self, sign: float, quantity: float, price: float, commission: float) -> None:
        """Adds to the trade, or begins one."""
        if self.held == 0.0:
            self.trades.append(dict.fromkeys(("in", "paid", "cash", "commission", "out"), 0.0))
        trade = self.trades[-1]
        trade["in"] += quantity
        trade["paid"] += quantity * price
        trade["cash"] -= sign * quantity * price
        trade["commission"] += commission
        self.held += sign * quantity

    def leave(self, sign: float, quantity: float, price: float, commission: float) -> None:
        """Takes from the trade."""
        trade = self.trades[-1]
        trade["out"] += quantity
        trade["cash"] -= sign * quantity * price
        trade["commission"] += commission
        self.held += sign * quantity

    def fill(self, signed: float, price: float, commission: float) -> None:
        """Divides a fill into what leaves and what enters."""
        sign, quantity = (1.0 if signed > 0 else -1.0), abs(signed)
        exits = min(quantity, abs(self.held)) if self.held * sign < 0 else 0.0
        if exits:
            self.leave(sign, exits, price, commission * exits / quantity)
        if quantity > exits:
            rest = quantity - exits
            self.enter(sign, rest, price, commission * rest / quantity)


# Quarters are exact in binary, so positions return to exactly zero.
quantities = st.integers(-40, 40).filter(bool).map(lambda q: q / 4.0)
steps = st.lists(
    st.tuples(st.sampled_from("ABC"), quantities, st.floats(0.5, 500.0)), min_size=1, max_size=60
)


@given(steps, st.floats(0.0, 5.0), st.sampled_from([1.0, 50.0]), st.floats(1.0, 200.0))
def test_trades_agree_with_a_bookkeeper(
    fills: list[tuple[str, float, float]], commission: float, multiplier: float, mark: float
) -> None:
    """Every trade, and their sum: what trades earned is the change of equity."""
    books: dict[str, Book] = defaultdict(Book)
    cash = 0.0
    for asset, quantity, price in fills:
        books[asset].fill(quantity, price, commission)
        cash -= quantity * price * multiplier + commission
    equity = cash + sum(b.held for b in books.values()) * mark * multiplier
    rows = story(*fills, mark=mark, commission=commission, multiplier=multiplier)
    found = trades(rows)
    scale = max(1.0, sum(abs(q) * p * multiplier for _, q, p in fills))
    assert sum(t["pnl"] for t in found) == pytest.approx(equity, rel=0.0, abs=1e-9 * scale)
    assert sum(t["commission"] for t in found) == pytest.approx(commission * len(fills))
    for asset, book in books.items():
        mine = [t for t in found if t["asset_id"] == asset]
        assert len(mine) == len(book.trades)
        for trade, answer in zip(mine, book.trades, strict=True):
            is_open = trade["status"] == "open"
            value = book.held * mark if is_open else 0.0
            pnl = (answer["cash"] + value) * multiplier - answer["commission"]
            assert trade["quantity"] == answer["in"]
            assert trade["entry_price"] == pytest.approx(answer["paid"] / answer["in"])
            assert is_open == (answer["out"] != answer["in"])
            assert trade["pnl"] == pytest.approx(pnl, rel=0.0, abs=1e-9 * scale)
            assert trade["mfe"] >= 0.0 >= trade["mae"]


def test_trades_add_up_in_a_run(record: RunRecord, result: BacktestResult) -> None:
    """Closed and open trades together earned what equity gained, costs included."""
    gained = result.final_equity - record.initial_cash
    assert result.trades["pnl"].sum() == pytest.approx(gained, rel=1e-9)
    assert result.trades["commission"].sum() == pytest.approx(result.commission)
    assert result.trades["slippage"].sum() == pytest.approx(result.slippage)
    assert {"long", "short"} == set(result.trades["side"])


def test_excursions_cover_the_bars_held(result: BacktestResult) -> None:
    """A closed trade that was never added to lies between its extremes."""
    trades = result.trades.filter(pl.col("status") == "closed")
    change = trades["exit_price"] / trades["entry_price"] - 1.0
    gain = pl.select(pl.when(trades["side"] == "long").then(change).otherwise(-change)).to_series()
    assert (trades["mae"] - 1e-12 <= gain).all()
    assert (gain <= trades["mfe"] + 1e-12).all()
