"""Alpaca's streams: trade updates in JSON, market data in MessagePack or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.rehearsal.alpaca_data import bar_row, print_row, quote_row, rows_of
from ml4t.backtest.rehearsal.alpaca_words import time, update_json
from ml4t.backtest.rehearsal.backlog import Backlog
from ml4t.backtest.rehearsal.lines import Line, Lines
from ml4t.backtest.rehearsal.replies import is_known
from ml4t.backtest.rehearsal.teller import order_facts

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from starlette.websockets import WebSocket

    from ml4t.backtest.rehearsal.lines import Frame
    from ml4t.backtest.rehearsal.tickets import Update
    from ml4t.backtest.rehearsal.venue import Venue
    from ml4t.backtest.types.bars import Bars

_LOGIN = 10.0  # seconds to send credentials in
CHANNELS = ("bars", "updatedBars", "dailyBars", "trades", "quotes", "statuses", "lulds")
"""What can be subscribed to; nothing comes on the last two."""

Message = dict[str, Any]


class TradeStream:
    """`/stream`: what happens to orders. Text comes in, binary frames go out.

    Args:
        venue: Tells what happens.
        keys: The key and the secret that clients must have; None takes any.
    """

    def __init__(self, venue: Venue, keys: tuple[str, str] | None) -> None:
        self.venue = venue
        self.keys = keys
        self.lines = Lines()
        self._backlog = Backlog()
        venue.register.listeners.append(self.publish)
        venue.on_bars.append(self._on_bars)

    async def serve(self, socket: WebSocket) -> None:
        """One client, from its coming to its going."""
        await socket.accept()
        line = self.lines.add(socket)
        try:
            if await self._log_in(line):
                async for frame in line.frames():
                    self._take(line, frame)
            else:
                line.close()
                await line.finish()
        finally:
            await self.lines.remove(line)

    async def _log_in(self, line: Line) -> bool:
        asked = _message(await line.first(_LOGIN))
        data = asked.get("data", asked)
        data = data if isinstance(data, dict) else {}
        is_taken = is_known(self.keys, str(data.get("key_id", "")), str(data.get("secret_key", "")))
        if asked.get("action") != "authenticate" or self.venue.faults.take("refuse-trades"):
            is_taken = False
        status = "authorized" if is_taken else "unauthorized"
        _say(line, "authorization", {"action": "authenticate", "status": status})
        return is_taken

    def _take(self, line: Line, frame: Frame) -> None:
        asked = _message(frame)
        if asked.get("action") != "listen":
            _say(line, "error", {"error": "unknown action"})
            return
        data = asked.get("data", {})
        wanted = data.get("streams", []) if isinstance(data, dict) else []
        line.is_ready = "trade_updates" in wanted
        _say(line, "listening", {"streams": wanted})

    def publish(self, update: Update) -> None:
        """Tell everybody who listens, unless a fault is in the way."""
        if not self.lines.ready():
            return
        faults, facts = self.venue.faults, order_facts(update.ticket) | {"event": update.event}
        is_crypto = self.venue.accounts.is_crypto(update.ticket.asked.symbol)
        frame = msgspec.json.encode(update_json(update, self.venue.register, is_crypto=is_crypto))
        if faults.take("lose-update", **facts):
            return
        if faults.take("drop-trades", **facts):
            self.lines.drop()
            return
        if faults.take("mute-trades", **facts):
            self.lines.mute()
            return
        if late := faults.take("late-update", **facts):
            until = self.venue.step_number + int(late.options["bars"])
            self._backlog.delay(frame, until)
            return
        if faults.take("swap-updates", **facts):
            self._backlog.swap(frame)
            return
        frames = [frame, frame] if faults.take("duplicate-update", **facts) else [frame]
        self._send([*frames, *self._backlog.take_swapped()])

    def _on_bars(self, _bars: Bars) -> None:
        self._send(self._backlog.take_due(self.venue.step_number))

    def _send(self, frames: list[bytes]) -> None:
        for line in self.lines.ready():
            for frame in frames:
                line.put(frame)


class DataLine(Line):
    """A client of market data: what it wants, and how it reads it."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__(socket)
        self.is_packed = "msgpack" in socket.headers.get("content-type", "")
        self.wanted: dict[str, set[str]] = {channel: set() for channel in CHANNELS}

    def say(self, *messages: Message) -> None:
        """Send messages, which travel in lists."""
        if self.is_packed:
            self.put(msgspec.msgpack.encode(messages))
            return
        self.put(
            msgspec.json.encode([m | {"t": time(m["t"])} if "t" in m else m for m in messages])
        )

    def wants(self, channel: str, symbol: str) -> bool:
        """Whether it has asked for this."""
        wanted = self.wanted[channel]
        return symbol in wanted or "*" in wanted


class DataStream:
    """`/v2/{feed}` and `/v1beta3/crypto/{place}`: bars, and what can be made of them.

    One client at a time, as at the real one.

    Args:
        venue: With the bars.
        keys: The key and the secret that clients must have; None takes any.
        is_crypto: Of which assets.
    """

    def __init__(self, venue: Venue, keys: tuple[str, str] | None, *, is_crypto: bool) -> None:
        self.venue = venue
        self.keys = keys
        self.is_crypto = is_crypto
        self.lines: list[DataLine] = []
        self._backlog = Backlog()
        venue.on_bars.append(self.publish)

    async def serve(self, socket: WebSocket) -> None:
        """One client, from its coming to its going."""
        await socket.accept()
        line = DataLine(socket)
        self.lines.append(line)
        try:
            line.say({"T": "success", "msg": "connected"})
            if await self._log_in(line):
                async for frame in line.frames():
                    self._take(line, frame)
            else:
                line.close()
                await line.finish()
        finally:
            self.lines.remove(line)
            await line.end()

    async def _log_in(self, line: DataLine) -> bool:
        frame = await line.first(_LOGIN)
        if frame is None:
            return _refuse(line, 404, "auth timeout")
        asked = _message(frame)
        key, secret = str(asked.get("key", "")), str(asked.get("secret", ""))
        if asked.get("action") != "auth":
            return _refuse(line, 401, "not authenticated")
        if not is_known(self.keys, key, secret) or self.venue.faults.take("refuse-data"):
            return _refuse(line, 402, "auth failed")
        if any(other.is_ready for other in self.lines) or self.venue.faults.take("406"):
            return _refuse(line, 406, "connection limit exceeded")
        line.say({"T": "success", "msg": "authenticated"})
        line.is_ready = True
        return True

    def _take(self, line: DataLine, frame: Frame) -> None:
        asked = _message(frame)
        action = asked.get("action")
        if action == "auth":
            line.say(_error(403, "already authenticated"))
            return
        if action not in ("subscribe", "unsubscribe"):
            line.say(_error(400, "invalid syntax"))
            return
        for channel, wanted in line.wanted.items():
            symbols = {str(symbol) for symbol in asked.get(channel, ())}
            wanted.update(symbols) if action == "subscribe" else wanted.difference_update(symbols)
        state = {channel: sorted(wanted) for channel, wanted in line.wanted.items()}
        line.say({"T": "subscription", **state})

    def publish(self, bars: Bars) -> None:
        """Send the bars of a step, unless a fault is in the way."""
        del bars
        faults = self.venue.faults
        if not any(line.is_ready for line in self.lines):
            self._backlog.take_due(self.venue.step_number)
            return
        wanted = {c for line in self.lines if line.is_ready for c, w in line.wanted.items() if w}
        messages = [
            message
            for row in rows_of(self.venue)
            if self.venue.accounts.is_crypto(row["symbol"]) is self.is_crypto
            for message in self._messages(row, wanted)
        ]
        messages += self._backlog.take_due(self.venue.step_number)
        if not messages:
            return
        if faults.take("drop-data"):
            for line in self.lines:
                line.drop()
        elif faults.take("mute-data"):
            for line in self.lines:
                line.is_mute = True
        else:
            self._send(messages)

    def _messages(self, row: Message, wanted: AbstractSet[str]) -> list[tuple[str, Message]]:
        """What a bar becomes, by channel; beside bars nothing that nobody wants."""
        faults, symbol = self.venue.faults, row["symbol"]
        beside: list[tuple[str, Message]] = []
        if "trades" in wanted:
            beside.append(("trades", {"T": "t", "S": symbol, **print_row(row)}))
        if "quotes" in wanted:
            beside.append(("quotes", {"T": "q", "S": symbol, **quote_row(row)}))
        if faults.take("lose-bar", symbol=symbol):
            return beside
        bar = {"T": "b", "S": symbol, **bar_row(row)}
        if late := faults.take("late-bar", symbol=symbol):
            until = self.venue.step_number + int(late.options["bars"])
            self._backlog.delay(("bars", bar), until)
            return beside
        if faults.take("duplicate-bar", symbol=symbol):
            return [*beside, ("bars", bar), ("bars", bar)]
        if wrong := faults.take("correct-bar", symbol=symbol):
            close = bar["c"] * (1.0 + wrong.options["by"])
            spoiled = bar | {"c": close, "h": max(bar["h"], close)}
            self._backlog.delay(("updatedBars", bar | {"T": "u"}), self.venue.step_number)
            return [*beside, ("bars", spoiled)]
        return [*beside, ("bars", bar)]

    def _send(self, messages: list[tuple[str, Message]]) -> None:
        for line in self.lines:
            wanted = [m for channel, m in messages if line.wants(channel, m["S"])]
            if line.is_ready and wanted:
                line.say(*wanted)


def _message(frame: Frame | None) -> Message:
    """What a client sends: JSON or MessagePack; an empty message for anything else."""
    found: Any = None
    if isinstance(frame, str):
        found = _decoded(msgspec.json.decode, frame)
    elif frame is not None:
        is_json = frame.lstrip()[:1] in (b"{", b"[")
        decode = msgspec.json.decode if is_json else msgspec.msgpack.decode
        found = _decoded(decode, frame)
    return found if isinstance(found, dict) else {}


def _decoded(decode: Any, frame: Frame) -> Any:
    try:
        return decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _say(line: Line, stream: str, data: Message) -> None:
    line.put(msgspec.json.encode({"stream": stream, "data": data}))


def _error(code: int, text: str) -> Message:
    return {"T": "error", "code": code, "msg": text}


def _refuse(line: DataLine, code: int, text: str) -> bool:
    line.say(_error(code, text))
    return False
