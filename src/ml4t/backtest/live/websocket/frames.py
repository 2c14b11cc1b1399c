"""Messages as frames and back: JSON in text, MessagePack in binary."""

from __future__ import annotations

from typing import Any

import msgspec

from ml4t.backtest.errors import DataError

_SHOWN = 200  # characters of a reason


class Codec:
    """Reads and writes frames of both kinds.

    Args:
        kind: What messages may come: `FromServer` or `FromClient`.
    """

    def __init__(self, kind: Any) -> None:
        self._text = msgspec.json.Decoder(kind)
        self._binary = msgspec.msgpack.Decoder(kind)

    def read(self, frame: str | bytes) -> Any:
        """The message of a frame.

        Raises:
            DataError: It is none; says why.
        """
        try:
            if isinstance(frame, str):
                return self._text.decode(frame)
            return self._binary.decode(frame)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise DataError(f"{error}"[:_SHOWN]) from None


def write(message: Any, *, is_binary: bool) -> str | bytes:
    """A message as a frame."""
    if is_binary:
        return msgspec.msgpack.encode(message)
    return msgspec.json.encode(message).decode()


def pack(items: list[Any], *, is_binary: bool) -> list[msgspec.Raw]:
    """Items of a message, each written by itself."""
    encode = msgspec.msgpack.encode if is_binary else msgspec.json.encode
    return [msgspec.Raw(encode(item)) for item in items]


class ItemReader:
    """Reads the items of messages one by one, so that a bad one spoils no other.

    Args:
        kind: `BarItem` or `SignalItem`.
    """

    def __init__(self, kind: Any) -> None:
        self._text = msgspec.json.Decoder(kind)
        self._binary = msgspec.msgpack.Decoder(kind)

    def read(self, raw: msgspec.Raw, *, is_binary: bool) -> Any:
        """One item.

        Raises:
            DataError: It is none; says why.
        """
        try:
            return (self._binary if is_binary else self._text).decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise DataError(f"{error}"[:_SHOWN]) from None
