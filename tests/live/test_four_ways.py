"""One strategy, four ways: the same decisions, the same fills, and known causes where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.live.four_ways import PLAYS, Play, compare, complaints, predicted, run
from tests.live.four_ways_page import PAGE, page, play_all, source
from tests.live.streamed import SIGNAL
from tests.live.world import market


def made_up(minutes: int) -> pl.DataFrame:
    """Three shares that wander, with minutes that are missing."""
    generator = np.random.default_rng(5)
    names = {"A": "BAC", "B": "IBM", "C": "SPY"}
    bars = market(minutes, seed=11).drop(SIGNAL)
    bars = bars.filter(pl.Series(generator.random(bars.height) > 0.05))
    return predicted(bars.with_columns(pl.col("asset_id").replace(names)))


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.name)
def test_four_ways_are_one(play: Play, tmp_path: Path) -> None:
    """Some made-up minutes over every wire: equal, or different for a cause that is known."""
    verdicts = compare(run(play, made_up(24), tmp_path))
    assert complaints(play, verdicts) == []
    assert verdicts[0].fills > 5


def test_the_page_shows_what_is_played() -> None:
    """docs/four-ways.md has every strategy, as it is, and every cause."""
    text = PAGE.read_text(encoding="utf-8")
    assert source() in text
    for play in PLAYS:
        assert f"| `{play.name}` | {play.about} | {play.minutes} |" in text
        for way, cause in play.causes.items():
            assert f"### `{play.name}` at {way}\n\n{cause}\n" in text


@pytest.mark.slow
def test_the_page_is_what_a_run_writes(shared_data: Path) -> None:
    """The recorded day, whole: run `make four-ways` when this fails."""
    assert shared_data.is_dir()
    results, wrong = play_all()
    assert wrong == []
    assert page(results) == PAGE.read_text(encoding="utf-8")
