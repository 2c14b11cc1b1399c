"""`rehearse --protocol ib`: TWS in front of recorded bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.cli.screen import say, show_table, tell
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.ib_news import facts_of
from ml4t.backtest.rehearsal.loop import HOST

if TYPE_CHECKING:
    from ml4t.backtest.rehearsal.venue import Venue

_LOOK = 0.25  # seconds between two looks
_LAST_WORDS = 1.0  # seconds for clients to hear of the last bars


def rehearse_tws(
    venue: Venue, *, speed: float | None, port: int, exit_at_end: bool, as_json: bool
) -> None:
    """Serve a venue until all bars are played or somebody ends it.

    Args:
        venue: With its data, broker and faults.
        speed: How fast time goes.
        port: Where to listen; 0 takes a free one.
        exit_at_end: Stop when all bars have been played.
        as_json: Print the address and the end as JSON, each on a line.

    Raises:
        ConfigError: Steps are asked for, which this protocol has no call for.
    """
    if speed is None:
        raise ConfigError(
            "--step has no call in this protocol: give --speed, or step a TwsRehearsal in Python."
        )
    server = TwsRehearsal(venue, speed=speed, port=port)
    with server:
        try:
            _say_address(server, as_json=as_json)
            while not server.wait(_LOOK):
                if exit_at_end and venue.is_over:
                    server.wait(_LAST_WORDS)
                    break
        except KeyboardInterrupt:
            tell("Stopping.")
    facts = facts_of(venue) | {"calls": server.office.calls}
    if as_json:
        say(msgspec.json.encode(facts).decode())
        return
    names = ("now", "step", "steps", "orders", "open_orders", "fills", "calls", "cash", "equity")
    show_table(["what", "value"], [[name.replace("_", " "), facts[name]] for name in names])
    if facts["faults"]:
        rows = [[one["fault"], one["seen"], one["struck"]] for one in facts["faults"]]
        show_table(["fault", "occasions", "struck"], rows)


def _say_address(server: TwsRehearsal, *, as_json: bool) -> None:
    account, venue = server.office.account, server.venue
    if as_json:
        address = {"host": HOST, "port": server.port, "account": account}
        say(msgspec.json.encode(address).decode())
        return
    first, last = (venue.tape.time(step) for step in (0, len(venue.tape) - 1))
    say(
        f"{len(venue.tape):,} timestamps of {len(venue.accounts.symbols):,} assets, "
        f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, {server.speed:g} times as fast.",
        "bold",
    )
    say(f"Any client_id will do. The account is {account}. Give your client:")
    say(f'  ib.connect("{HOST}", {server.port}, clientId=1)')
    say(f"  IBBroker(port={server.port}), IBStreamFeed(symbols, port={server.port})")
    say("Ctrl-C ends it.")
