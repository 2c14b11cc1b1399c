"""What a session looks like now, in a file beside its journal, for whoever watches."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.errors import LiveError
from ml4t.backtest.live.records import as_plain

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.broker import LiveBroker

_LOG = logging.getLogger("ml4t.backtest.live")


class OpenOrder(msgspec.Struct, frozen=True):
    """An order in the book of a session."""

    order_id: int
    asset_id: str
    side: str
    quantity: float
    filled: float
    type: str
    limit_price: float | None
    stop_price: float | None
    at_broker: str


def open_order(working: Working, broker: LiveBroker | None) -> OpenOrder:
    """An order in the book, and what the broker knows of it."""
    order = working.order
    ticket = None if broker is None else broker.tickets.active(working.order_id)
    return OpenOrder(
        working.order_id,
        order.asset_id,
        str(order.side),
        order.quantity,
        working.filled,
        str(order.type),
        working.limit,
        working.stop,
        "not sent" if ticket is None else ticket.state.value,
    )


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a session stands. Times are microseconds since 1970, 0 when there is none.

    Args:
        process: Its number.
        mode: "shadow", "paper" or "live".
        strategy: Its class.
        account: The broker's name for the account.
        state: "running", "halted", "stopped", or "failed" when it ended with an error.
        reason: Why it is not running.
        updated_at: When this was written.
        last_bar: The time of the last bars.
        is_connected: Whether the broker's stream is there.
        equity: Cash and positions at the last closes.
        cash: Money.
        start_equity: When the journal began.
        positions: Signed units by `asset_id`.
        orders: Those that are open.
        counts: What happened so far, by name.
        signal_ages: Seconds since the last prediction, by `asset_id`.
        notices: The last lines an operator was told.
    """

    process: int
    mode: str
    strategy: str
    account: str
    state: str
    reason: str = ""
    updated_at: int = 0
    last_bar: int = 0
    is_connected: bool = False
    equity: float = 0.0
    cash: float = 0.0
    start_equity: float = 0.0
    positions: dict[str, float] = {}
    orders: list[OpenOrder] = []
    counts: dict[str, int] = {}
    signal_ages: dict[str, float] = {}
    notices: list[str] = []

    @property
    def has_ended(self) -> bool:
        """Whether the session said that it has ended, one way or the other."""
        return self.state in {"stopped", "failed"}

    def write(self, path: Path) -> None:
        """Put it in a file, as a whole or not at all.

        A file that cannot be written is no reason to stop trading; its age tells who looks.
        """
        part = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            part.write_bytes(msgspec.json.encode(self, enc_hook=as_plain))
            part.replace(path)
        except OSError as error:
            _LOG.warning("the status %r cannot be written: %s", str(path), error)

    @classmethod
    def read(cls, path: Path) -> Status:
        """From a file.

        Raises:
            LiveError: There is none, or it is something else.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise LiveError(
                f"There is no status {str(path)!r}: no session has written one."
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise LiveError(f"The status {str(path)!r} cannot be read: {error}.") from None


def status_path(journal: Path) -> Path:
    """Where the status of a session is, by its journal."""
    return journal.with_name(journal.name + ".status")
