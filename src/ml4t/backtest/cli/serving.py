"""`serve`: recorded bars over a WebSocket, until all are played or somebody ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.cli.screen import say, tell

if TYPE_CHECKING:
    from ml4t.backtest.description import RunDescription

_LOOK = 0.25  # seconds between two looks
_LAST_WORDS = 1.0  # seconds for clients to hear of the last bars


def serve(
    description: RunDescription,
    *,
    speed: float,
    port: int,
    host: str,
    token_file: str | None,
    clients: int,
    exit_at_end: bool,
    as_json: bool,
) -> None:
    """Serve the data and the predictions of a description.

    Args:
        description: Of a run; its strategy and broker are left out.
        speed: How fast time goes.
        port: Where to listen; 0 takes a free one.
        host: Likewise.
        token_file: A file with the token that clients must send.
        clients: How many must have subscribed before time begins.
        exit_at_end: Stop when all bars have been played.
        as_json: Print the address and the end as JSON, each on a line.
    """
    server = BroadcastServer(
        description.feeds(),
        speed=speed,
        port=port,
        host=host,
        token_file=token_file,
        wait_for=clients,
        **description.clock_options(),
    )
    with server:
        try:
            _say_address(server, as_json=as_json)
            while not server.wait(_LOOK):
                if exit_at_end and server.run(lambda: server.is_over):
                    server.wait(_LAST_WORDS)
                    break
        except KeyboardInterrupt:
            tell("Stopping.")
    counts = {"played": server.playback.position, **server.hub.counts}
    if as_json:
        say(msgspec.json.encode(counts).decode())
        return
    say(", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items()) + ".")


def _say_address(server: BroadcastServer, *, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.encode({"url": server.url}).decode())
        return
    tape = server.playback.tape
    first, last = tape.time(0), tape.time(len(tape) - 1)
    say(
        f"{len(tape):,} timestamps of {len(server.playback.symbols):,} assets, "
        f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, {server.speed:g} times as fast.",
        "bold",
    )
    say(f'  feed = WebSocketFeed("{server.url}", symbols=[...])')
    say("  engine.run_live(..., time=feed.clock)")
    say("Time begins with the first subscriber. Ctrl-C ends it.")
