"""Warming up: the hooks run on bars of before, and no orders are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.feed import Request
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.live.blocks import block_of, record_of, rows_of
from ml4t.backtest.live.intake import codes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.session.session import Session

WARMUP = "warm-up: no orders are sent"
_SHOWN = 8  # assets that a line names


def warm_up(session: Session, reader: Reader) -> Iterator[Block]:
    """Bars of before, for the strategy to warm up on; no order is taken."""
    assert session.warmup is not None
    past = session.warmup.open_reader(Request())
    known, left_out = set(reader.ids), set[str]()
    is_empty = True
    for several in past.blocks(4_096):
        for i in range(len(several.times)):
            block, others = _only_known(several.part(i, i + 1), past.ids, known)
            if not others <= left_out:
                session.watch.notice(_not_of_the_feed(others - left_out))
                left_out |= others
            if not len(block.codes):
                continue
            is_empty = False
            record = record_of(block, past.ids, refusal=WARMUP, is_warmup=True)
            session.refuse(WARMUP)
            session.write("bars", record)
            yield block_of(record, codes_of(reader, record.asset_ids))
    if is_empty and left_out:
        first = min(left_out)
        raise ConfigError(
            f"None of the assets of warmup= is one of the feed's; the first is {first!r}. "
            f"{did_you_mean(first, reader.ids)}"
        )


def _only_known(block: Block, ids: list[str], known: set[str]) -> tuple[Block, set[str]]:
    """The rows of a timestamp whose assets are known, and the assets of the others."""
    names = [ids[code] for code in block.codes.tolist()]
    others = set(names) - known
    if not others:
        return block, others
    return rows_of(block, np.array([name in known for name in names])), others


def _not_of_the_feed(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    verb = "is" if len(names) == 1 else "are"
    return f"left out of the warm-up: {shown}, which {verb} not of the feed"
