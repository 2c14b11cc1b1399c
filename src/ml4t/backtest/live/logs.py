"""A session's log: one record of the standard library's logging for each line of its journal."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.sentences import Teller

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger("ml4t.backtest.live")


class SessionLog:
    """Logs what is written into a journal, to the logger "ml4t.backtest.live".

    Each record has the fields `time` (ISO 8601, by the session's clock), `journal` (its file),
    `kind` (of the entry), `order_id` (the number in the session's book), `client_id` (our name
    for the order at the broker) and `asset_id`; those that say nothing are None. INFO is the
    ordinary, WARNING what an operator should see; bars, decisions and states are DEBUG.

    Args:
        journal: The file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = str(journal)
        self._teller = Teller()

    def write(self, kind: str, content: Any, at: int) -> None:
        """An entry was written."""
        if not _LOG.isEnabledFor(logging.WARNING):
            return
        said = self._teller.tell(kind, content)
        if not _LOG.isEnabledFor(said.level):
            return
        _LOG.log(
            said.level,
            "%s",
            said.text if said.client_id is None else f"{said.client_id}: {said.text}",
            extra={
                "time": dt.datetime.fromtimestamp(at / 1e6, tz=dt.UTC).isoformat(),
                "journal": self._journal,
                "kind": kind,
                "order_id": said.order_id,
                "client_id": said.client_id,
                "asset_id": said.asset_id,
            },
        )
