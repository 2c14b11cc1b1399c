"""Credentials: where they come from, and that they stay there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.credentials import KEY, SECRET, Credentials, read_credentials


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    for name in (KEY, SECRET):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file of credentials."""
    path = folder / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def pair(found: Credentials) -> tuple[str, str]:
    """The key and the secret."""
    return found.key, found.secret


def test_each_comes_from_the_first_place_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Argument, then file or environment."""
    monkeypatch.setenv(KEY, "k-env")
    monkeypatch.setenv(SECRET, "s-env")
    assert pair(read_credentials()) == ("k-env", "s-env")
    assert pair(read_credentials("k-arg")) == ("k-arg", "s-env")
    assert pair(read_credentials("k-arg", " s-arg\n")) == ("k-arg", "s-arg")
    file = written(tmp_path, f"# mine\n\nexport {KEY}='k-file'\n{SECRET} = s=file\n")
    assert pair(read_credentials(file=file)) == ("k-file", "s=file")
    assert pair(read_credentials(secret_key="s" + "-arg", file=file)) == ("k-file", "s-arg")


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    """With the ways to give it."""
    with pytest.raises(ConfigError, match=f"no api_key. Pass api_key=.*variable {KEY}"):
        read_credentials()
    with pytest.raises(ConfigError, match=f"no secret_key.*variable {SECRET}"):
        read_credentials("k", " ")
    file = written(tmp_path, f"{KEY}=k")
    with pytest.raises(ConfigError, match=f"no secret_key.*keys', {SECRET}"):
        read_credentials(file=file)
    with pytest.raises(ConfigError, match="api_key is a bytes, not text"):
        read_credentials(b"k")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """And how to close it."""
    file = written(tmp_path, f"{KEY}=k\n{SECRET}=s\n", mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:o}\). Run: chmod 600 "):
        read_credentials(file=file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hunter2", "Line 1 of .* is not NAME=value"),
        (f"{KEY}=k\nAPCA_API_SECRET=hunter2", "Line 2 .* Did you mean 'APCA_API_SECRET_KEY'"),
        ("hunter2=x", "Line 1 .* something else"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    """Are told by number; what stands in them may be the secret."""
    with pytest.raises(ConfigError, match=words) as caught:
        read_credentials(file=written(tmp_path, text))
    assert "hunter2" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing one, a folder, something else than text."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_credentials(file=tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_credentials(file=tmp_path)
    file = written(tmp_path, "")
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_credentials(file=file)


@pytest.mark.parametrize("show", [repr, str, lambda c: f"{[c]}", lambda c: str(dir(c))])
def test_nothing_shows_them(show: Any) -> None:
    """Nor can they be written to a file by accident."""
    found = Credentials("hunter1", "hunter2")
    assert "hunter" not in show(found)
    assert found.hide("a hunter2 b hunter1") == "a [hidden] b [hidden]"
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(found)
