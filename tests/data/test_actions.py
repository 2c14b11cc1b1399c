"""Corporate actions at the door: what is refused, and what takes effect when."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ml4t.backtest.data.actions import Actions, Dated, in_order
from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.times import read_times, sessions_of
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.action import Action, ActionKind
from ml4t.backtest.types.bars import Chunk, Universe
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from pathlib import Path

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8)]
LABELS = TimeAxis(is_session=True, is_date=True)
WHEN = "2024-01-03"


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows with the usual asset and time; what is not given is missing."""
    usual = {"timestamp": DAYS[1], "asset_id": "AAPL", "kind": "split"}
    names = {name: None for row in rows for name in usual | row}
    full = [dict.fromkeys(names) | usual | row for row in rows]
    return pl.DataFrame(full, infer_schema_length=None)


def read(data: Any, axis: TimeAxis = LABELS, **options: Any) -> Actions:
    """A table that meets a run over AAPL, META and MSFT."""
    return Actions(data, axis=axis, universe=Universe(["AAPL", "META", "MSFT"]), **options)


def chunk(times: list[Any], present: str | list[str], universe: Universe) -> Chunk:
    """Bars of assets named by their first letter, timestamp by timestamp."""
    codes = {asset_id[0]: code for code, asset_id in enumerate(universe.ids)}
    words = [present] * len(times) if isinstance(present, str) else present
    micros, axis = read_times(pl.Series(times), source="bars")
    rows = [sorted(codes[letter] for letter in word) for word in words]
    n = sum(map(len, rows))
    return Chunk(
        universe,
        axis,
        times=micros,
        sessions=sessions_of(micros, axis),
        offsets=np.append(0, np.cumsum([len(row) for row in rows])),
        codes=np.array([code for row in rows for code in row], dtype=np.int32),
        prices={name: np.ones(n) for name in ("open", "high", "low", "close", "volume")},
    )


ABC = Universe(["A", "B", "C"])


def due(rows: pl.DataFrame, *chunks: Chunk, **options: Any) -> dict[Any, list[str]]:
    """What takes effect, by the time of the bars, as "<kind> <asset>"."""
    actions = Actions(rows, axis=chunks[0].axis, universe=ABC, **options)
    found = {}
    for one in chunks:
        for index, items in actions.due_in(one).items():
            found[one.stamps[index]] = [f"{item.kind.value} {item.asset_id}" for item in items]
    return found


def on(day: int, kind: str, asset_id: str = "A", **values: Any) -> dict[str, Any]:
    """One row."""
    usual = {"split": {"ratio": 2.0}, "dividend": {"amount": 1.0}, "spinoff": {"amount": 1.0}}
    return {
        "timestamp": DAYS[day],
        "asset_id": asset_id,
        "kind": kind,
        **usual.get(kind, {}),
        **values,
    }


def stamp(day: int) -> dt.datetime:
    """As a chunk writes it."""
    return dt.datetime.combine(DAYS[day], dt.time())


# -- what is refused ---------------------------------------------------------------------------


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such kind": ({"kind": "splitt"}, "row 0 .*kind 'splitt'. Did you mean 'split'"),
    "no ratio": ({"kind": "split"}, f"row 0 \\('AAPL', {WHEN}\\), a split, needs 'ratio'"),
    "ratio of zero": ({"ratio": 0.0}, "a split, has ratio 0.0. New shares per old"),
    "negative ratio": ({"ratio": -2.0}, "has ratio -2.0"),
    "infinite ratio": ({"ratio": float("inf")}, "has ratio inf"),
    "NaN ratio": ({"ratio": float("nan")}, "needs 'ratio', which is missing"),
    "no amount": ({"kind": "dividend"}, "a dividend, needs 'amount'"),
    "amount of zero": ({"kind": "dividend", "amount": 0.0}, "Money per share must be positive"),
    "negative amount": ({"kind": "spinoff", "amount": -1.0}, "has amount -1.0"),
    "negative rest": ({"kind": "delisting", "amount": -1.0}, "What is left of a share"),
    "no new name": ({"kind": "rename"}, "a rename, needs 'new_asset_id'"),
    "its own name": ({"kind": "rename", "new_asset_id": "AAPL"}, "the same name"),
    "unknown asset": (
        {"asset_id": "APPL", "ratio": 2.0},
        "row 0 has asset_id 'APPL', which the price data do not have. Did you mean 'AAPL'",
    ),
    "unknown new name": (
        {"kind": "rename", "new_asset_id": "MATA"},
        "new_asset_id 'MATA', which .* Did you mean 'META'",
    ),
    "no asset": ({"asset_id": None, "ratio": 2.0}, "names no asset in 1 rows"),
    "no time": ({"timestamp": None, "ratio": 2.0}, "1 missing times"),
    "text for a number": ({"ratio": "two"}, "holds text, not numbers; 'two' in row 0"),
    "a date for a number": ({"ratio": DAYS[0]}, "has type Date, not numbers"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_rows_that_cannot_be_meant(name: str) -> None:
    """Each is named with its row and what to do."""
    row, text = REFUSED[name]
    with pytest.raises(DataError, match=text):
        read(table(row))


def test_tables_that_cannot_be_meant() -> None:
    """No rows, no kinds, no times, no table."""
    good = table({"ratio": 2.0})
    with pytest.raises(DataError, match=r"there are no rows\. Leave actions= out"):
        read(good[:0])
    with pytest.raises(DataError, match="no column 'kind'"):
        read(good.drop("kind"))
    with pytest.raises(DataError, match="no column of times"):
        read(good.drop("timestamp"))
    with pytest.raises(DataError, match="actions is a int"):
        read(7)


def test_the_same_action_twice() -> None:
    """Refused, unless it is another dividend of the same day."""
    split = {"ratio": 2.0}
    with pytest.raises(DataError, match=r"'AAPL' has the same split twice on .*rows 0 and 2"):
        read(table(split, {"ratio": 2.0, "asset_id": "META"}, {"ratio": 3.0}))
    paid = {"kind": "dividend", "amount": 1.0}
    with pytest.raises(DataError, match="the same dividend twice"):
        read(table(paid, paid))
    read(table(paid, paid | {"amount": 2.0}, paid | {"timestamp": DAYS[2]}))


def test_naive_and_zoned_times_do_not_meet() -> None:
    """As everywhere; dates go with both."""
    zoned = TimeAxis(zone="America/New_York")
    naive = table({"ratio": 2.0, "timestamp": dt.datetime(2024, 1, 3, 9, 30)})
    with pytest.raises(DataError, match="Naive and zoned times cannot be compared"):
        read(naive, zoned)
    read(table({"ratio": 2.0}), zoned)


def test_a_growing_run_may_still_show_an_asset() -> None:
    """A feed of events names its assets as it goes."""
    read(table({"ratio": 2.0, "asset_id": "LATER"}), is_growing=True)


def test_what_a_kind_does_not_need_is_not_read() -> None:
    """A dividend with ratio 1, a split with amount 0, and a new name nobody asked for."""
    rows = [
        {"kind": "dividend", "amount": 1.0, "ratio": 1.0, "new_asset_id": ""},
        {"kind": "split", "amount": 0.0, "ratio": 2.0, "new_asset_id": ""},
    ]
    assert len(read(table(*rows)).due_in(chunk([DAYS[1]], "A", ABC))) == 1


@pytest.mark.parametrize("form", ["polars", "lazy", "pandas", "arrow", "parquet", "csv"])
def test_any_table(form: str, tmp_path: Path) -> None:
    """As prices and predictions come."""
    frame = table({"ratio": 2.0, "kind": " Split "}, {"kind": "delisting", "timestamp": DAYS[2]})
    forms: dict[str, Any] = {"polars": frame, "lazy": frame.lazy(), "arrow": frame.to_arrow()}
    if form == "pandas":
        forms["pandas"] = pd.DataFrame(frame.to_dict(as_series=False))
        forms["pandas"]["timestamp"] = pd.to_datetime(forms["pandas"]["timestamp"])
    elif form in ("parquet", "csv"):
        path = tmp_path / f"actions.{form}"
        frame.write_parquet(path) if form == "parquet" else frame.write_csv(path)
        forms[form] = path
    actions = read(forms[form])
    found = actions.due_in(chunk(DAYS, ["AB", "AB", "B", "B", "B"], ABC))
    assert {index: items[0].kind for index, items in found.items()} == {
        1: ActionKind.SPLIT,
        2: ActionKind.DELISTING,
    }


# -- what takes effect when --------------------------------------------------------------------


def test_an_action_takes_effect_with_its_bar() -> None:
    """Of its date, or the next one of its asset."""
    bars = chunk(DAYS, ["AB", "AB", "B", "AB", "AB"], ABC)
    rows = table(on(1, "split"), on(2, "dividend"), on(2, "dividend", "B"))
    assert due(rows, bars) == {
        stamp(1): ["split A"],
        stamp(2): ["dividend B"],
        stamp(3): ["dividend A"],
    }


def test_an_action_waits_from_chunk_to_chunk() -> None:
    """Until its asset has a bar."""
    chunks = [
        chunk(DAYS[:1], "AB", ABC),
        chunk(DAYS[1:2], "B", ABC),
        chunk(DAYS[2:3], "B", ABC),
        chunk(DAYS[3:], "AB", ABC),
    ]
    assert due(table(on(1, "split")), *chunks) == {stamp(3): ["split A"]}


def test_dates_between_sessions_mean_the_next() -> None:
    """The 6th was a Saturday."""
    row = on(3, "split") | {"timestamp": dt.date(2024, 1, 6)}
    assert due(table(row), chunk(DAYS, "A", ABC)) == {stamp(4): ["split A"]}


def test_outside_of_the_run() -> None:
    """Before its first bar and after its last one nothing takes effect; both are counted."""
    rows = table(on(0, "split"), on(2, "split"), on(4, "split"))
    actions = Actions(rows, axis=LABELS, universe=ABC)
    assert list(actions.due_in(chunk(DAYS[1:4], "A", ABC))) == [1]
    actions.applied += 1
    assert actions.counts() == {"actions_applied": 1, "actions_ignored": 2}


def test_a_label_on_instants_means_the_first_bar_of_its_session() -> None:
    """Not the close: an ex-date is known before the open."""
    minutes = [dt.datetime(2024, 1, d, h) for d, h in ((2, 16), (3, 10), (3, 16), (4, 10))]
    assert due(table(on(1, "split")), chunk(minutes, "A", ABC)) == {minutes[1]: ["split A"]}


def test_an_instant_on_instants_means_the_first_bar_at_or_after_it() -> None:
    """To the microsecond."""
    minutes = [dt.datetime(2024, 1, 3, h) for h in (10, 11, 12)]
    for moment, expected in ((minutes[1], 1), (minutes[1] + dt.timedelta(seconds=1), 2)):
        row = on(1, "split") | {"timestamp": moment}
        assert due(table(row), chunk(minutes, "A", ABC)) == {minutes[expected]: ["split A"]}


def test_an_instant_on_labels_means_its_session() -> None:
    """The opening bell of the 4th, by the calendar."""
    row = on(1, "split") | {"timestamp": dt.datetime(2024, 1, 4, 9, 30)}
    calendar = TradingCalendar("XNYS")
    found = due(table(row), chunk(DAYS, "A", ABC), calendar=calendar)
    assert found == {stamp(2): ["split A"]}


@pytest.mark.parametrize("day", [2, 3])
def test_a_delisting_dated_with_the_last_bar_or_after_it(day: int) -> None:
    """Takes effect at the first timestamp without a bar, in the same chunk or the next."""
    days = ["AB", "AB", "AB", "B", "B"]
    rows = table(on(day, "delisting"))
    assert due(rows, chunk(DAYS, days, ABC)) == {stamp(3): ["delisting A"]}
    parts = [chunk(DAYS[:3], days[:3], ABC), chunk(DAYS[3:], days[3:], ABC)]
    assert due(rows, *parts) == {stamp(3): ["delisting A"]}


def test_a_rename_takes_effect_with_the_new_name() -> None:
    """And what the old name is still due on that day comes before it."""
    days = ["A", "A", "B", "B", "B"]
    rows = table(on(2, "rename", new_asset_id="B"), on(2, "dividend"), on(2, "split", "B"))
    assert due(rows, chunk(DAYS, days, ABC)) == {stamp(2): ["dividend A", "rename A", "split B"]}


def at(day: int, kind: ActionKind, asset_id: str = "A", new: str = "", amount: Any = None) -> Dated:
    """An action of a day."""
    return Dated(day, Action(asset_id, kind, 1.0, amount, new or asset_id))


def test_the_order_of_one_moment() -> None:
    """Cash on old shares, then splits, then the end; the order of rows does not matter."""
    split, paid = at(1, ActionKind.SPLIT), at(1, ActionKind.DIVIDEND, amount=1.0)
    gone, rest = at(1, ActionKind.DELISTING), at(1, ActionKind.SPINOFF, amount=3.0)
    expected = [dated.action for dated in (paid, rest, split, gone)]
    assert in_order([gone, split, rest, paid]) == expected
    assert in_order([paid, rest, split, gone]) == expected


def test_what_has_waited_comes_by_its_date() -> None:
    """A dividend dated after a split is per new share, though both wait for one bar."""
    split, paid = at(1, ActionKind.SPLIT), at(2, ActionKind.DIVIDEND, amount=1.0)
    assert in_order([paid, split]) == [split.action, paid.action]


def test_a_chain_of_names_makes_room_first() -> None:
    """A to B before C to A; what A is due then is C's."""
    first = at(1, ActionKind.RENAME, new="B")
    second = at(1, ActionKind.RENAME, "C", new="A")
    paid = at(1, ActionKind.DIVIDEND, amount=1.0)
    assert in_order([paid, second, first]) == [d.action for d in (first, second, paid)]


def test_names_in_a_circle() -> None:
    """Nobody can make room first."""
    pair = [at(1, ActionKind.RENAME, new="B"), at(1, ActionKind.RENAME, "B", new="A")]
    with pytest.raises(DataError, match="renamed in a circle"):
        in_order(pair)
