"""Journals that are somebody else's, damaged, or cannot be written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ml4t.backtest.errors import JournalError
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.words import Request
from tests.live.test_session import Threshold, final_state
from tests.live.test_trouble import Once, check_books
from tests.live.world import MortalJournal, World, market


def test_a_journal_of_another_account_is_refused(tmp_path: Path) -> None:
    """Nothing is sent to the account that it is not of."""
    world = World(tmp_path, market(6))
    world.run(Once())
    mine, world.venue.account = world.venue.account, "another"
    world.venue.calls.clear()
    with pytest.raises(JournalError, match=f"of account '{mine}', not 'another'. Name another"):
        world.run(Once())
    assert "send" not in dict(world.venue.calls)


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    """It says which format, and what to do."""
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as database:
        database.execute("UPDATE about SET value = '1' WHERE name = 'format'")
    database.close()
    with pytest.raises(JournalError, match=r"is of format 1, this version reads 3\. Finish"):
        Journal(tmp_path / "j")


def cut(path: Path) -> None:
    """Half of it is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    """Pages are something else."""
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(bytes(data))


def flip(path: Path) -> None:
    """One bit in what was written."""
    with sqlite3.connect(path) as database:
        find = "SELECT content FROM entries WHERE kind = 'request'"
        (content,) = database.execute(find).fetchone()
        changed = content[:-1] + bytes([content[-1] ^ 1])
        change = "UPDATE entries SET content = ? WHERE kind = 'request'"
        database.execute(change, (changed,))
    database.close()


def lose(path: Path) -> None:
    """An entry is missing."""
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM entries WHERE number = 4")
    database.close()


@pytest.mark.parametrize("damage", [cut, scribble, flip, lose])
def test_a_damaged_journal_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """By its name, before anything is sent."""
    world = World(tmp_path, market(6))
    world.run(Once())
    damage(world.path)
    world.venue.calls.clear()
    with pytest.raises(JournalError, match=r"session\.journal.*Put a copy of before"):
        world.run(Once())
    assert "send" not in dict(world.venue.calls)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """With what the system says."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"cannot be opened: .*(exists|directory)"):
        Journal(tmp_path / "file" / "j")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    if os.geteuid() == 0:
        pytest.skip("the superuser may write anywhere")
    tmp_path.chmod(0o500)
    world = World(tmp_path, market(6))
    with pytest.raises(JournalError, match="cannot be"):
        world.run(Once())
    assert not world.venue.calls


class FullDisk(MortalJournal):
    """A journal on a disk with no room after so many pages."""

    pages = 0

    def _open(self, *, is_read_only: bool) -> None:
        super()._open(is_read_only=is_read_only)
        if self.pages:
            self._database.execute(f"PRAGMA max_page_count = {self.pages}")


@pytest.mark.parametrize("pages", range(6, 12))
def test_nothing_is_sent_that_could_not_be_written(
    tmp_path: Path, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends with what is wrong; with room again it goes on as if nothing had been."""
    calm = World(tmp_path / "calm", market(25, seed=3))
    calm.run(Threshold())
    world = World(tmp_path / "full", market(25, seed=3))
    monkeypatch.setattr("tests.live.world.MortalJournal", FullDisk)
    monkeypatch.setattr(FullDisk, "pages", pages)
    with pytest.raises(JournalError, match="cannot be written: database or disk is full"):
        world.run(Threshold())
    monkeypatch.setattr(FullDisk, "pages", 0)
    journal = Journal(world.path, is_read_only=True)
    written = [msgspec.msgpack.decode(entry.content, type=tuple[int, Request])[1].client_id
               for entry in journal.entries("request")]  # fmt: skip
    journal.close()
    assert list(world.venue.orders) == written[: len(world.venue.orders)]
    result = world.run(Threshold())
    assert final_state(world) == final_state(calm)
    check_books(world, result)


def test_a_write_that_fails_in_the_middle_of_several_leaves_nothing(tmp_path: Path) -> None:
    """Decisions and the state that goes with them stand there together, or not at all."""
    journal = Journal(tmp_path / "j")

    def fail() -> None:
        with journal.together():
            journal.write("decisions", 1, 0)
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(JournalError, match="disk I/O error"):
        fail()
    assert journal.count == 0
    assert journal.write("decisions", 2, 0) == 1
    assert [entry.number for entry in journal.entries()] == [1]
    journal.close()
