"""`rehearse`: a venue in front of recorded bars, until all are played or somebody ends it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
from rich.live import Live
from rich.text import Text

from ml4t.backtest.cli.screen import console, say, show_table, tell
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.rehearsal.control import Control
from ml4t.backtest.rehearsal.faults import FAULTS, ONLY
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.description import RunDescription

_PROTOCOLS = ("alpaca", "ib")
_LOOK = 0.25  # seconds between two looks
_LAST_WORDS = 1.0  # seconds for clients to hear of the last bars


def rehearse(
    description: RunDescription,
    *,
    crypto: Sequence[str],
    faults: Sequence[str],
    speed: float | None,
    port: int,
    exit_at_end: bool,
    as_json: bool,
    protocol: str = "alpaca",
) -> None:
    """Serve the data of a description, with its broker.

    Args:
        description: Of a run; its strategy and signals are left out.
        crypto: Assets that are coins.
        faults: What goes wrong.
        speed: How fast time goes; None waits for steps.
        port: Where to listen; 0 takes a free one.
        exit_at_end: Stop when all bars have been played.
        as_json: Print addresses and the end as JSON, each on a line.
        protocol: Whose: "alpaca" or "ib".
    """
    if protocol not in _PROTOCOLS:
        raise ConfigError(
            f"There is no protocol {protocol!r}. {did_you_mean(protocol, _PROTOCOLS)}"
        )
    data = description.data
    venue = Venue(
        description.feeds(),
        broker=description.new_broker(),
        calendar=data.calendar,
        start=data.start,
        end=data.end,
        crypto=crypto,
        faults=faults,
    )
    if protocol == "ib":
        from ml4t.backtest.cli.rehearsing_ib import rehearse_tws

        rehearse_tws(venue, speed=speed, port=port, exit_at_end=exit_at_end, as_json=as_json)
        return
    server = RehearsalServer(venue, speed=speed, port=port)
    control = Control(server)
    with server:
        try:
            _say_addresses(server, as_json=as_json)
            _watch(server, control, exit_at_end=exit_at_end)
        except KeyboardInterrupt:
            tell("Stopping.")
    _say_end(control.state({}), as_json=as_json)


def list_faults() -> None:
    """Print every fault, its options with what they are when left out, and its conditions."""
    rows = [
        [
            *(name, ONLY.get(name, "both"), ", ".join(f"{o}={v:g}" for o, v in own.items())),
            *(", ".join(conditions), text),
        ]
        for name, (text, own, conditions) in FAULTS.items()
    ]
    show_table(["fault", "protocol", "options", "conditions", "what happens"], rows)
    say("All take after=, every=, times= and probability= with seed=.")


def _watch(server: RehearsalServer, control: Control, *, exit_at_end: bool) -> None:
    """Show how far it is until it ends."""
    screen = console(stderr=True)
    live = Live(console=screen, refresh_per_second=4, transient=True)
    with live if screen.is_terminal else nullcontext():
        while not server.wait(_LOOK):
            state = server.run(lambda: control.state({})) if server.is_up else None
            if state is not None and screen.is_terminal:
                live.update(Text(_line(state)))
            if state is not None and exit_at_end and state["is_over"]:
                server.wait(_LAST_WORDS)
                return


def _line(state: dict[str, Any]) -> str:
    struck = sum(fault["struck"] for fault in state["faults"])
    sockets = sum(state["sockets"].values())
    return (
        f"{state['now'][:19]}  bar {state['step'] + 1:,} of {state['steps']:,}  "
        f"orders {state['orders']:,}, {state['open_orders']:,} open  fills {state['fills']:,}  "
        f"calls {state['calls']:,}  sockets {sockets}  faults {struck}  "
        f"equity {float(state['equity']):,.2f}"
    )


def _say_addresses(server: RehearsalServer, *, as_json: bool) -> None:
    venue = server.venue
    addresses = {
        "url": server.url,
        "stream_url": server.stream_url,
        "stock_data_stream_url": server.data_stream_url(),
        "crypto_data_stream_url": server.data_stream_url("crypto"),
    }
    if as_json:
        say(msgspec.json.encode(addresses).decode())
        return
    first, last = (venue.tape.time(step) for step in (0, len(venue.tape) - 1))
    pace = "stepped by hand" if server.speed is None else f"{server.speed:g} times as fast"
    say(
        f"{len(venue.tape):,} timestamps of {len(venue.accounts.symbols):,} assets, "
        f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, {pace}.",
        "bold",
    )
    say("Any key and secret will do. Give your client:")
    clients = (
        ("TradingClient, *HistoricalDataClient", "url"),
        ("TradingStream", "stream_url"),
        ("StockDataStream", "stock_data_stream_url"),
        ("CryptoDataStream", "crypto_data_stream_url"),
    )
    for name, address in clients:
        say(f'  {name:37} url_override="{addresses[address]}"')
    say("A session of this package takes its addresses, and its time:")
    url = server.url
    say(f'  AlpacaStreamFeed(url="{url}", stream_url="{addresses["stock_data_stream_url"]}", ...)')
    say(f'  AlpacaBroker(url="{url}", requests_per_minute=None)')
    say(f'  engine.run_live("paper", time=RehearsalTime("{url}"), max_clock_skew=None)')
    say("Or, for clients that read the environment:")
    for name in ("APCA_API_BASE_URL", "APCA_API_DATA_URL"):
        say(f"  export {name}={server.url}")
    say(f"State, steps and faults: {server.url}/rehearsal/state. Ctrl-C ends it.")


def _say_end(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.encode(state).decode())
        return
    names = ("now", "step", "steps", "orders", "open_orders", "fills", "calls", "cash", "equity")
    show_table(["what", "value"], [[name.replace("_", " "), state[name]] for name in names])
    if state["faults"]:
        rows = [[fault["fault"], fault["seen"], fault["struck"]] for fault in state["faults"]]
        show_table(["fault", "occasions", "struck"], rows)
