"""What time it is at a rehearsal: recorded days have a time of their own."""

from __future__ import annotations

import datetime as dt
import http.client
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.timing import MICROSECONDS

_LOOK = 0.25  # real seconds between two looks
_TIMEOUT = 5.0
_LONGEST_WAIT = 1.0  # real seconds; the venue may have jumped over a night meanwhile
_STATE = "/rehearsal/state"


class RehearsalTime:
    """Follows the clock of a rehearsal; give it to `run_live` as `time=`.

    A thread looks at the rehearsal's clock four times a second, because it jumps over nights and
    may be given another speed; between two looks time goes on at the speed of the rehearsal. It
    never goes back, and goes on while the rehearsal is away, and when all bars have been played.
    Of a rehearsal that waits for steps it moves with the steps alone.

    Args:
        url: The rehearsal's address, as `ml4t-backtest rehearse` prints it.

    Raises:
        ConfigError: Nobody answers there, or it is no rehearsal.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._latest = 0
        try:
            self._base, self._is_over = self._look()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise ConfigError(
                f"RehearsalTime({url!r}): there is no rehearsal ({type(error).__name__}: {error}). "
                "Start one with `ml4t-backtest rehearse`, and give the url that it prints."
            ) from None
        self._ended = threading.Event()
        thread = threading.Thread(target=self._follow, name="rehearsal-time", daemon=True)
        thread.start()

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        with self._lock:
            moment, speed, seen = self._base
            passed = time.monotonic() - seen
            self._latest = max(self._latest, moment + int(passed * speed * MICROSECONDS))
            return self._latest

    def seconds_until(self, moment: int) -> float:
        """Real seconds until a moment, or until it is worth another look."""
        left = (moment - self.now()) / MICROSECONDS
        if left <= 0.0:
            return 0.0
        speed = self._base[1]
        return min(_LONGEST_WAIT, left / speed if speed else _LOOK)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _follow(self) -> None:
        while not self._is_over and not self._ended.wait(_LOOK):
            try:
                base, self._is_over = self._look()
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                continue  # it is away, and comes back, or not
            with self._lock:
                self._base = base

    def _look(self) -> tuple[tuple[int, float, float], bool]:
        """The venue's time, its speed, when that was; and whether all bars have been played."""
        address = urlsplit(self._url)
        if address.scheme != "http" or not address.hostname:
            raise ValueError("it is no address of the form http://127.0.0.1:38231")
        line = http.client.HTTPConnection(address.hostname, address.port, timeout=_TIMEOUT)
        try:
            line.request("GET", _STATE)
            state: dict[str, Any] = msgspec.json.decode(line.getresponse().read())
        finally:
            line.close()
        now = dt.datetime.fromisoformat(state["now"])
        base = int(now.timestamp() * MICROSECONDS), float(state["speed"] or 0.0), time.monotonic()
        return base, bool(state["is_over"])
