"""The token of a server: where it comes from, and how it stays out of everything else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.credentials import from_environment

TOKEN = "ML4T_WEBSOCKET_TOKEN"  # noqa: S105  the name of the variable
_HIDDEN = "[hidden]"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Token:
    """A text that gives access, or none; shown nowhere.

    Args:
        text: It; None when there is none.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"Token({'none' if self._text is None else _HIDDEN})"

    def __reduce__(self) -> Any:
        raise TypeError("A token is not written anywhere; read it anew where needed.")

    def __bool__(self) -> bool:
        return self._text is not None

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends with it."""
        return {} if self._text is None else {"Authorization": f"Bearer {self._text}"}

    @property
    def text(self) -> str | None:
        """For a server that compares."""
        return self._text

    def hide(self, text: str) -> str:
        """A text of others without it."""
        return text if self._text is None else text.replace(self._text, _HIDDEN)


def read_token(token: str | None = None, *, file: str | Path | None = None) -> Token:
    """The token from the first place that has it: argument, file, environment; or none.

    Args:
        token: The token itself.
        file: A file with it alone, which only its owner can read.

    Raises:
        ConfigError: It is no token, or others can read the file.
    """
    if token is None:
        token = from_environment(TOKEN) if file is None else _read(Path(file))
    if token is None:
        return Token(None)
    if not isinstance(token, str):
        raise ConfigError(f"token is a {type(token).__name__}, not text.")
    token = token.strip()
    if not token or not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise ConfigError("The token is empty, or has spaces or letters that a header cannot have.")
    return Token(token)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4_096)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The token file {str(path)!r} cannot be read: {error}.") from None
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigError(
            f"Others can read or change the token file {str(path)!r} (mode "
            f"{stat.S_IMODE(mode):o}). Run: chmod 600 {path}"
        )
    return text


def checked_url(url: Any, token: Token) -> str:
    """An address of a WebSocket that a token may be sent to.

    Raises:
        ConfigError: It is none, or anybody on the way could read the token.
    """
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(f"url={url!r} is no address such as 'wss://host:port/path'.")
    if token and parts.scheme == "ws" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"A token would travel to {parts.hostname} in the open: use wss:// instead of ws://."
        )
    return str(url)


def shown_url(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
