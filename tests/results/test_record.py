"""One shape for frames, however they were recorded."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ml4t.backtest.results.record import FRAMES, RunRecord, empty_frame, normalised

if TYPE_CHECKING:
    from tests.results.conftest import Simulate

ZONED = pl.Datetime("us", "America/New_York")


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("times", [pl.Date(), pl.Datetime("us"), ZONED])
def test_empty_frames_carry_the_type_of_times(name: str, times: pl.DataType) -> None:
    """A frame without rows has the columns and types of one with rows."""
    frame = empty_frame(name, times)
    assert frame.columns == list(FRAMES[name])
    assert all(t == times for c, t in frame.schema.items() if c in ("timestamp", "created_at"))
    assert pl.Null not in frame.dtypes


@pytest.mark.parametrize("name", FRAMES)
def test_normalising_twice_changes_nothing(record: RunRecord, name: str) -> None:
    """A normalised frame is in its final shape."""
    once = normalised(record, name)
    again = normalised(record.replace(**{name: once}), name)
    assert once.equals(again)
    assert once.schema == again.schema


def test_cheap_types_become_plain_ones(simulate: Simulate) -> None:
    """Categories become strings, integers money, NaN of an absent price null."""
    plain = simulate()
    cheap = plain.replace(
        fills=plain.fills.with_columns(
            pl.col("asset_id", "side").cast(pl.Categorical), pl.col("quantity").cast(pl.Int64)
        ),
        orders=plain.orders.with_columns(
            pl.col("limit_price").fill_null(float("nan")),
            pl.col("signal_regime").cast(pl.Enum(["calm", "wild"])),
        ),
    )
    for name in ("fills", "orders"):
        assert normalised(cheap, name).equals(normalised(plain, name))
        assert normalised(cheap, name).schema == normalised(plain, name).schema


def test_objects_become_values(simulate: Simulate) -> None:
    """A column of Python objects, as the door keeps words and booleans, becomes a typed one."""
    plain = simulate()
    objects = pl.Series("signal_flag", [True, None] * 500, dtype=pl.Object)
    orders = plain.orders.with_columns(objects.head(len(plain.orders)))
    changed = plain.replace(orders=orders)
    assert normalised(changed, "orders")["signal_flag"].dtype == pl.Boolean


def test_a_missing_column_is_our_own_mistake(record: RunRecord) -> None:
    """The recorder is ours, so a hole in its frames is an assertion and not a user's error."""
    broken = record.replace(fills=record.fills.drop("price"))
    with pytest.raises(AssertionError, match="price"):
        normalised(broken, "fills")
    surplus = record.replace(marks=record.marks.with_columns(more=1))
    with pytest.raises(AssertionError, match="marks"):
        normalised(surplus, "marks")


def test_a_frame_is_made_once_when_it_is_looked_at(record: RunRecord) -> None:
    """Nobody pays for frames nobody looks at."""
    made = []

    def make() -> pl.DataFrame:
        made.append("fills")
        return record.fills

    later = record.replace(fills=make)
    assert later.equity is record.equity
    assert not made
    assert later.fills is later.fills is record.fills
    assert made == ["fills"]


def test_copies_hold_frames_and_not_the_way_to_them(record: RunRecord) -> None:
    """What makes a frame may be too much to send, or nothing that can be sent."""
    later = record.replace(fills=lambda: record.fills, orders=lambda: record.orders)
    sent = pickle.loads(pickle.dumps(later))  # noqa: S301  our own
    for twin in (sent, copy.copy(later), copy.deepcopy(later)):
        assert twin.fills.equals(record.fills)
        assert twin.orders.equals(record.orders)
        assert twin.counts == record.counts


def test_a_record_has_all_frames_and_no_other(record: RunRecord) -> None:
    """A frame that was forgotten or misspelled is refused by name."""
    with pytest.raises(TypeError, match="fils"):
        record.replace(fils=record.fills)
    with pytest.raises(TypeError, match="equity"):
        RunRecord(initial_cash=1.0)
    with pytest.raises(AttributeError, match="'fils'"):
        _ = record.fils


def test_a_frame_that_another_thread_has_just_made(record: RunRecord) -> None:
    """A look that found nothing may come to the maker when it is gone."""
    later = record.replace(fills=lambda: record.fills)
    assert later.fills is record.fills
    assert later.__getattr__("fills") is record.fills
