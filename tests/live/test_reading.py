"""A journal for people: sentences, frames, and the log that is written beside it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import read_journal
from ml4t.backtest.errors import JournalError
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.reading import lines
from ml4t.backtest.live.sentences import Teller, order_id_of
from ml4t.backtest.live.words import Answer, Execution, Link, Refusal, Report
from ml4t.backtest.types.order import OrderStatus
from tests.live.test_session import Busy, Threshold
from tests.live.test_trouble import Once
from tests.live.world import World, market


def busy(folder: Path) -> World:
    """A session in which much happened."""
    world = World(folder, market(25, seed=3), takes_brackets=True)
    world.before = {
        4: lambda v: v.faults.setdefault("send", []).append("after"),
        6: lambda v: v.drop(),
        7: lambda v: v.restore(),
        9: lambda v: setattr(v, "cash", v.cash + 5.0),
        12: lambda v: setattr(v, "repeats", 2),
    }
    world.run(Busy(), audit_every=60.0)
    return world


def test_executions_are_those_of_the_venue(tmp_path: Path) -> None:
    """Each once, with the order it is of."""
    world = busy(tmp_path)
    found = read_journal(world.path).executions
    columns = ["execution_id", "asset_id", "price", "client_id"]
    wanted = [(f.execution_id, f.asset_id, f.price, f.client_id) for f in world.venue.fills]
    assert sorted(found.select(columns).rows()) == sorted(wanted)
    signed = pl.col("quantity") * pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    sums = found.group_by("asset_id").agg(signed.sum().alias("units"))
    held = {name: units for name, units in sums.rows() if units}
    assert held == {name: units for name, units in world.venue.positions.items() if units}
    assert found["time"].dtype == pl.Datetime("us", "UTC")
    assert found["order_id"].to_list() == [order_id_of(n) for n in found["client_id"]]


def test_orders_are_those_of_the_venue(tmp_path: Path) -> None:
    """By the names they were sent with, exits of brackets, too."""
    world = busy(tmp_path)
    orders = read_journal(world.path).orders
    venue = {name: o for name, o in world.venue.orders.items()
             if not re.search(r"r\d+$", name)}  # fmt: skip
    assert set(orders["client_id"]) == set(venue)
    legs = orders.filter(pl.col("entry").is_not_null())
    assert legs.height > 0
    assert set(legs["entry"]) <= set(venue)
    for row in orders.iter_rows(named=True):
        order = venue[row["client_id"]]
        while order.replaced_by:
            order = world.venue.orders[order.replaced_by]
        assert row["filled"] == order.filled
        assert row["status"] == str(order.status), row


def test_decisions_and_notes_are_told(tmp_path: Path) -> None:
    """What the strategy asked for, when and on which bars; and what the operator was told."""
    world = World(tmp_path, market(6))
    world.run(Once(lambda s: s.cancel_all("A"), at=3))
    frames = read_journal(world.path)
    (row,) = frames.decisions.iter_rows(named=True)
    assert (row["kind"], row["asset_id"], row["text"]) == ("submit", "A", "buy 10 A, market")
    assert row["bars"] == world.frame["timestamp"][0]
    assert frames.notes["text"].to_list()[:-1] == ["connection up"]
    assert frames.notes["text"][-1].startswith("the session ends: the feed has ended; it leaves ")
    assert frames.entries["number"].to_list() == list(range(1, frames.entries.height + 1))


def test_every_entry_is_a_sentence(tmp_path: Path) -> None:
    """None shows how it is packed; the asset is named where there is one."""
    world = busy(tmp_path)
    journal = Journal(world.path, is_read_only=True)
    found = list(lines(journal))
    texts = [line.text for line in found]
    assert not [text for text in texts if "{" in text or "Struct" in text or "b'" in text]
    assert "a session begins, mode paper, version 0.1.0" in texts
    assert "+5.00 in cash that no fill explains" in texts
    assert any(text.startswith("nobody knows whether the broker took the order") for text in texts)
    assert any(text.startswith("bars of 2024-03-04 14:31:00 for 3 assets") for text in texts)
    about = [line for line in found if line.entry.kind in {"request", "answer", "cancel"}]
    assert all(line.asset_id in {"A", "B", "C"} for line in about)
    teller = Teller()
    again = list(lines(journal, teller))
    assert again == found
    assert list(lines(journal, teller, after=20)) == found[20:]
    journal.close()


SAID: list[tuple[str, Any, str, int]] = [
    ("event", Link(is_up=False, reason="reset"), "the connection is lost reset", 30),
    ("event", Refusal("r-1-1", "cancel", "too late"),
     "the broker refuses to cancel the order: too late", 30),
    ("event", Report("r-1-1", OrderStatus.REJECTED, reason="no margin"),
     "the order is rejected: no margin", 30),
    ("event", Report("r-1-1", OrderStatus.PARTIALLY_FILLED, filled=3.0),
     "the order is partially filled, 3 filled", 20),
    ("event", Execution("", "e", "A", -2.0, 5.5, 0),
     "sold 2 A at 5.5, by an order that is not ours", 30),
    ("event", Execution("r-1-1", "e2", "A", 2.0, 5.5, 0, corrects="e"),
     "correction: bought 2 A at 5.5", 20),
    ("answer", ("replace", "r-1-1", Answer(is_taken=False, reason="done")),
     "the broker refuses the change: done", 30),
    ("given_up", (1, "too old"), "gives up order 1: too old", 30),
    ("cut", (1, 4.0), "cuts order 1 to 4 units, which buying power pays for", 20),
    ("adoption", ("A", -3.0, 9.5), "adopts -3 A at 9.5, which no order of ours brought", 30),
    ("clearance", "positions", "cancels all orders and closes all positions", 30),
    ("lapse", "r-1-1", "the broker never heard of the cancel or change", 30),
    ("halt", "", "resumed: orders are taken again", 30),
    ("halt", "the operator", "halted: the operator", 30),
    ("decisions", [["replace", [4, {"limit_price": 9.5}]], ["cancel", [5, "x"]]],
     "the strategy decides: change order 4 to limit_price 9.5; cancel order 5", 10),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "text", "level"), SAID)
def test_what_each_kind_says(kind: str, content: Any, text: str, level: int) -> None:
    """And how loudly."""
    said = Teller().tell(kind, content)
    assert (said.text, said.level) == (text, level)


def test_a_journal_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """There is none, or it holds what this version does not know."""
    with pytest.raises(JournalError, match="There is no journal"):
        read_journal(tmp_path / "none")
    journal = Journal(tmp_path / "j")
    journal.write("event", {"type": "comet"}, 0)
    journal.close()
    with pytest.raises(JournalError, match=r"Entry 1 \(event\).*Was it written by another"):
        read_journal(tmp_path / "j")


def test_the_log_says_what_the_journal_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With fields for machines; what an operator should see is a warning."""
    with caplog.at_level(logging.INFO, "ml4t.backtest.live"):
        world = busy(tmp_path)
    records = [vars(record) for record in caplog.records if record.name == "ml4t.backtest.live"]
    frames = read_journal(world.path)
    wanted = frames.entries.filter(pl.col("level") != "debug")
    assert [r["kind"] for r in records] == wanted["kind"].to_list()
    assert [r["client_id"] for r in records] == wanted["client_id"].to_list()
    assert [r["order_id"] for r in records] == wanted["order_id"].to_list()
    assert [r["asset_id"] for r in records] == wanted["asset_id"].to_list()
    assert {r["journal"] for r in records} == {str(world.path)}
    assert [r["levelname"].lower() for r in records] == wanted["level"].to_list()
    assert all(r["time"].startswith("2024-03-04T14:") for r in records)
    lost = [r["levelname"] for r in records if "connection lost" in r["message"]]
    assert lost == ["WARNING"]
    json.dumps([r["message"] for r in records])


def test_the_log_of_a_quiet_logger_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bars and decisions are for DEBUG alone."""
    with caplog.at_level(logging.ERROR, "ml4t.backtest.live"):
        World(tmp_path / "one", market(5)).run(Threshold())
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "ml4t.backtest.live"):
        World(tmp_path / "two", market(5)).run(Threshold())
    kinds = {vars(record)["kind"] for record in caplog.records}
    assert {"bars", "decisions"} <= kinds
