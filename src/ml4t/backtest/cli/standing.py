"""`live status`: how a session stands, on one screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ml4t.backtest.cli import failures, sessions
from ml4t.backtest.cli.screen import console, say
from ml4t.backtest.live.sentences import moment
from ml4t.backtest.live.status import Status, status_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import RenderableType

_COLOURS = {"running": "green", "stopped": "dim", "halted": "red", "failed": "red"}
_NOTICES = 6
_ROWS = 15  # of positions, orders and signals: one screen


def show(journal: Path | None, *, watch: bool, every: float, as_json: bool) -> int:
    """Print how a session stands.

    Args:
        journal: Of the session; None for the latest.
        watch: Refresh until the session has ended.
        every: Seconds between two looks.
        as_json: As an object on a line, for machines.

    Returns:
        The exit code: 1 when somebody should look.
    """
    path = sessions.find(journal)
    if as_json:
        status = Status.read(status_path(path))
        while True:
            say(msgspec.json.encode(as_plain(status, path)).decode())
            if not watch or status.has_ended:
                return _code(status, path)
            time.sleep(every)
            status = Status.read(status_path(path))
    screen = console()
    status = Status.read(status_path(path))
    if not watch or not screen.is_terminal:
        screen.print(page(status, path))
        return _code(status, path)
    with Live(page(status, path), console=screen, auto_refresh=False, screen=True) as live:
        while not status.has_ended:
            time.sleep(every)
            status = Status.read(status_path(path))
            live.update(page(status, path), refresh=True)
    screen.print(page(status, path))
    return _code(status, path)


def _code(status: Status, journal: Path) -> int:
    return failures.FAILED if sessions.trouble(status, journal) else failures.FINE


def as_plain(status: Status, journal: Path) -> dict[str, Any]:
    """A status as values, with what can be said from outside: whether its process is there."""
    return {
        "journal": str(journal),
        **msgspec.to_builtins(status),
        "gain": status.equity - status.start_equity,
        "age_seconds": round(sessions.age(journal), 3),
        "is_alive": sessions.is_alive(status),
        "trouble": sessions.trouble(status, journal),
    }


def page(status: Status, journal: Path) -> RenderableType:
    """The screen."""
    parts: list[RenderableType] = [_head(status, journal)]
    if found := sessions.trouble(status, journal):
        parts.append(Text(found, style="bold red"))
    elif status.state == "stopped" and status.reason:
        again = "A restart does not end that; `live resume` does, once it runs."
        parts.append(Text(f"It was halted: {status.reason.rstrip('.')}. {again}", style="yellow"))
    parts += [Text(), _figures(status)]
    if status.positions:
        rows = [[name, f"{units:,g}"] for name, units in status.positions.items()]
        parts += [Text(), _table("Positions", ["asset", "units"], rows)]
    if status.orders:
        parts += [Text(), _orders(status)]
    if status.signal_ages:
        oldest = sorted(status.signal_ages.items(), key=lambda one: -one[1])
        rows = [[name, sessions.ago(age)] for name, age in oldest]
        parts += [Text(), _table("Signals, oldest first", ["asset", "age"], rows)]
    if status.counts:
        counts = "  ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in status.counts.items())
        parts += [Text(), Text(f"Counted: {counts}", style="dim")]
    if status.notices:
        parts += [Text(), Text("Last notices", style="bold")]
        parts += [Text(f"  {text}") for text in status.notices[-_NOTICES:]]
    return Group(*parts)


def _head(status: Status, journal: Path) -> Text:
    is_there = status.has_ended or sessions.is_alive(status)
    state = status.state if is_there else "gone"
    head = Text(f"{status.strategy}  ", style="bold")
    head.append(state, style=f"bold {_COLOURS.get(state, 'red')}")
    account = f", account {status.account}" if status.account else ""
    head.append(f"  {status.mode}{account}, process {status.process}\n", style="")
    head.append(f"{journal}, written {sessions.ago(sessions.age(journal))} ago", style="dim")
    return head


def _figures(status: Status) -> Table:
    gain = status.equity - status.start_equity
    share = f" ({gain / status.start_equity:+.2%})" if status.start_equity else ""
    bars = "none yet"
    if status.last_bar:
        old = sessions.ago(max(0.0, (status.updated_at - status.last_bar) / 1e6))
        bars = f"{moment(status.last_bar)} UTC, {old} old when this was written"
    signals = "none"
    if status.signal_ages:
        signals = f"{len(status.signal_ages)} assets, oldest {sessions.ago(_oldest(status))}"
    grid = Table.grid(padding=(0, 3))
    for name, value in (
        ("Equity", f"{status.equity:,.2f}"),
        ("Since the journal began", f"{gain:+,.2f}{share}"),
        ("Cash", f"{status.cash:,.2f}"),
        ("Last bars", bars),
        ("Signals", signals),
        ("Broker", "connected" if status.is_connected else "not connected"),
        ("Orders", f"{len(status.orders)} open" + (", none are taken" if status.reason else "")),
    ):
        is_bad = value == "not connected" and not status.has_ended
        grid.add_row(Text(name, style="dim"), Text(value, style="bold red" if is_bad else ""))
    return grid


def _oldest(status: Status) -> float:
    return max(status.signal_ages.values())


def _orders(status: Status) -> Table:
    columns = ["order", "asset", "side", "type", "units", "filled", "limit", "stop", "at broker"]
    rows = [
        [
            str(order.order_id),
            order.asset_id,
            order.side,
            order.type,
            f"{order.quantity:,g}",
            f"{order.filled:,g}",
            _level(order.limit_price),
            _level(order.stop_price),
            order.at_broker,
        ]
        for order in status.orders
    ]
    return _table("Open orders", columns, rows)


def _level(price: float | None) -> str:
    return "-" if price is None else f"{price:,g}"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    found = list(rows)
    table = Table(
        title=f"{title} ({len(found)})",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    numbers = {"units", "filled", "limit", "stop", "age", "order"}
    for name in columns:
        table.add_column(Text(name), justify="right" if name in numbers else "left", no_wrap=True)
    for row in found[:_ROWS]:
        table.add_row(*(Text(value) for value in row))
    if len(found) > _ROWS:
        table.add_row(Text(f"and {len(found) - _ROWS} more", style="dim"))
    return table
