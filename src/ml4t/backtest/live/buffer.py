"""Predictions that come from elsewhere, at any time, from any thread."""

from __future__ import annotations

import datetime as dt
import logging
import math
import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.data.groups import SignalKinds
from ml4t.backtest.data.layout import META
from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.live.sayings import KEPT, Said, Sayings
from ml4t.backtest.live.timing import MICROSECONDS, WallTime
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ml4t.backtest.live.timing import TimeSource

_UTC = TimeAxis(zone="UTC")
_NAME = "SignalBuffer"
_COUNTS = ("signal_updates", "signals_stale", "signals_late", "signals_missing")
_LOG = logging.getLogger(__name__)


class SignalBuffer:
    """Takes predictions while a session runs; a live feed puts them beside its bars.

    Any thread may update it, and coroutines with `aupdate`. What is in it when a bar is given to
    the strategy is what the strategy sees, as if it were columns of the data. A value is current
    until the next of its name and asset, but no longer than `max_age_seconds`; None and NaN say
    that there is none.

    Args:
        max_age_seconds: From when on a value counts as absent; counted from its `timestamp`, or
            from its arrival without one. None is never.
        names: The signals there may be: names of numbers, or a mapping of names to `float`, `bool`
            or `str`. None takes what comes; a name, once seen, stays.

    Raises:
        ConfigError: An option makes no sense.
        DataError: A name of `names` is no text.

    Example:
        >>> buffer = SignalBuffer(max_age_seconds=60)
        >>> buffer.update("AAPL", {"ml_pred": 0.7})
        >>> buffer.get_latest("AAPL")
        {'ml_pred': 0.7}
        >>> buffer.get_latest("MSFT") is None
        True
    """

    def __init__(
        self,
        *,
        max_age_seconds: float | None = None,
        names: Sequence[str] | Mapping[str, type] | None = None,
    ) -> None:
        if max_age_seconds is not None and not 0 < max_age_seconds < math.inf:
            raise ConfigError(
                f"max_age_seconds={max_age_seconds!r}: give seconds above 0, or None so that "
                f"values do not age."
            )
        self.names = _declared(names)
        self._max_age = None if max_age_seconds is None else int(max_age_seconds * MICROSECONDS)
        self._kinds = SignalKinds(_NAME, option="names", declared=self.names)
        self._lock = threading.Lock()
        self._time: TimeSource = WallTime()
        self._assets: frozenset[str] | None = None
        self._wake: Callable[[], None] = _nothing
        self._sayings = Sayings()
        self._counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))

    def __repr__(self) -> str:
        return f"{_NAME}({len(self._sayings)} assets)"

    def update(
        self, asset_id: str, signals: Mapping[str, Any], timestamp: dt.datetime | None = None
    ) -> None:
        """Say what is known of one asset; names that are left out stay as they are.

        Args:
            asset_id: Of what.
            signals: Values by name: numbers, booleans or text; None and NaN are absent. `_meta`
                holds a dict.
            timestamp: The bar the predictions are for, by its end, with a zone; None stands for
                the last bar before now.

        Raises:
            DataError: The asset is not of the feed, a name is that of a label or not declared, a
                value is of no kind or of another than before, or the time is naive. Nothing of
                the update is taken then.
        """
        self.update_many({asset_id: signals}, timestamp)

    def update_many(
        self, signals: Mapping[str, Mapping[str, Any]], timestamp: dt.datetime | None = None
    ) -> None:
        """As `update`, for many assets at once: all of it is taken, or nothing.

        Args:
            signals: Values by name, by asset.
            timestamp: As of `update`.
        """
        about = _moment(timestamp)
        clean = {asset_id: _clean(asset_id, values) for asset_id, values in signals.items()}
        with self._lock:
            self._take(clean, about)
        self._wake()

    async def aupdate(
        self,
        asset_id: str | Mapping[str, Mapping[str, Any]],
        signals: Mapping[str, Any] | None = None,
        timestamp: dt.datetime | None = None,
    ) -> None:
        """As `update`, or `update_many` of a mapping by asset, without blocking an event loop.

        Args:
            asset_id: Of what; or values by name, by asset.
            signals: Values by name.
            timestamp: As of `update`.
        """
        many = asset_id if signals is None else {asset_id: signals}
        if isinstance(many, str):
            raise DataError(f"{_NAME}.aupdate({many!r}): give the signals of the asset.")
        about = _moment(timestamp)
        clean = {str(name): _clean(str(name), values) for name, values in many.items()}
        if self._lock.acquire(blocking=False):
            try:
                self._take(clean, about)
            finally:
                self._lock.release()
            self._wake()
        else:  # the feed is reading: wait for it elsewhere
            import asyncio

            await asyncio.to_thread(self.update_many, clean, timestamp)

    def get_latest(self, asset_id: str) -> dict[str, Any] | None:
        """The current values of an asset by name; None when there is none."""
        with self._lock:
            now = self._time.now()
            values = {
                name: said.value
                for name, said in self._sayings.latest(asset_id)
                if said.value is not None and not self._is_stale(said, now)
            }
        return values or None

    def age(self, asset_id: str) -> float | None:
        """Seconds since a value was said of an asset; None when none was."""
        ages = self.ages(asset_id)
        return min(ages.values()) if ages else None

    def ages(self, asset_id: str) -> dict[str, float]:
        """Seconds since each signal of an asset was said, by name; stale ones too.

        A signal that was said to be absent (None, NaN) has none.
        """
        with self._lock:
            now = self._time.now()
            latest = self._sayings.latest(asset_id)
            return {
                name: (now - said.since) / MICROSECONDS
                for name, said in latest
                if said.value is not None
            }

    def counts(self) -> dict[str, int]:
        """What happened so far.

        `signal_updates` counts assets updated; `signals_stale` and `signals_late` count values
        that were absent from a bar for their age, and updates that came after their bar;
        `signals_missing` counts bars that were given out without the predictions waited for;
        `signals_dropped` values about too many bars ahead, or of too many bars that never came.
        """
        with self._lock:
            return {**self._counts, "signals_dropped": self._sayings.dropped}

    # -- the feed's side ----------------------------------------------------------------------

    def bind(self, assets: Iterable[str], time: TimeSource, wake: Callable[[], None]) -> None:
        """Belong to a feed from now on.

        Args:
            assets: What there are bars of.
            time: The session's time; values that came before keep their age.
            wake: Called after every update, from the thread of the update.

        Raises:
            DataError: Predictions came for another asset.
        """
        with self._lock:
            assets = frozenset(assets)
            for asset_id in self._sayings.assets():
                _refuse_unknown(asset_id, assets)
            self._sayings.shift(time.now() - self._time.now())
            self._assets, self._time, self._wake = assets, time, wake

    def values_at(self, end: int, assets: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the bars that end at a time get, by asset; counts what is too old.

        Predictions for later bars are kept for those.
        """
        with self._lock:
            now = self._time.now()
            found = {}
            for asset_id in assets:
                chosen = self._sayings.choose(asset_id, end)
                fresh = [(name, said) for name, said in chosen if not self._is_stale(said, now)]
                self._counts["signals_stale"] += len(chosen) - len(fresh)
                found[asset_id] = {n: said.value for n, said in fresh if said.value is not None}
            self._sayings.note(end, found)
            return found

    def missing(self, end: int, assets: Iterable[str]) -> list[str]:
        """The assets whose predictions for the bar that ends at a time have not come."""
        with self._lock:
            return [a for a in assets if not self._sayings.is_said(a, end, self.names)]

    def give_up(self, assets: Iterable[str]) -> None:
        """Their bar is given out without the predictions that were waited for; counted."""
        with self._lock:
            assets = set(assets)
            self._counts["signals_missing"] += len(assets)
            self._sayings.awaited |= assets

    # -- under the lock -----------------------------------------------------------------------

    def _take(self, updates: Mapping[str, Mapping[str, Any]], about: int | None) -> None:
        kinds = self._kinds.copy()
        for asset_id, values in updates.items():
            if self._assets is not None:
                _refuse_unknown(asset_id, self._assets)
            for name, value in values.items():
                self._refuse_undeclared(name)
                if value is not None and name != META:
                    kinds.learn(name, value)
        self._kinds = kinds
        now, dropped = self._time.now(), self._sayings.dropped
        for asset_id, values in updates.items():
            self._counts["signal_updates"] += 1
            self._counts["signals_late"] += self._sayings.is_late(asset_id, about)
            for name, value in values.items():
                self._sayings.say(asset_id, name, Said(value, now, about))
        if self._sayings.dropped and not dropped:
            _LOG.warning(
                "%s: the earliest of more than %s values of one signal and asset are dropped: "
                "predictions are ahead of the bars, or there are no bars",
                _NAME,
                f"{KEPT:,}",
            )

    def _refuse_undeclared(self, name: str) -> None:
        if self.names is not None and name not in self.names and name != META:
            raise DataError(
                f"{_NAME}: signal {name!r} is not in names=. {did_you_mean(name, self.names)}"
            )

    def _is_stale(self, said: Said, now: int) -> bool:
        return self._max_age is not None and now - said.since > self._max_age


def _nothing() -> None:
    """Nobody waits."""


def _refuse_unknown(asset_id: str, assets: Iterable[str]) -> None:
    if asset_id not in assets:
        raise DataError(
            f"{_NAME}: the feed has no asset {asset_id!r}. {did_you_mean(asset_id, sorted(assets))}"
        )


def _declared(names: Sequence[str] | Mapping[str, type] | None) -> dict[str, bool] | None:
    """Each name, and whether it is a number."""
    if names is None:
        return None
    if isinstance(names, str):
        raise ConfigError(f"names={names!r} is one text; give a list: names=[{names!r}].")
    kinds: dict[Any, Any] = (
        dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, float)
    )
    for name, kind in kinds.items():
        if not isinstance(name, str) or kind not in (float, int, bool, str):
            raise ConfigError(
                f"names: {name!r}: {kind!r}. Names are text, and what they name is float, bool or "
                f"str."
            )
    return {name: kind in (float, int) for name, kind in kinds.items()}


def _moment(timestamp: Any) -> int | None:
    if timestamp is None:
        return None
    if not isinstance(timestamp, dt.datetime) or timestamp.tzinfo is None:
        raise DataError(
            f"{_NAME}: timestamp={timestamp!r} is not a datetime with a zone. Live bars are "
            f"stamped in UTC: pass the end of the bar, such as event.timestamp, or None."
        )
    return _UTC.to_microseconds(timestamp)


def _clean(asset_id: str, signals: Any) -> dict[str, Any]:
    """Plain Python values, None where absent."""
    if not isinstance(signals, Mapping):
        raise DataError(
            f"{_NAME}: the signals of {asset_id!r} are a {type(signals).__name__}. Give a dict of "
            f"values by name."
        )
    clean = {}
    for name, value in signals.items():
        plain = value.item() if isinstance(value, np.generic) else value
        is_nan = isinstance(plain, float) and plain != plain  # noqa: PLR0124  NaN alone does this
        clean[name] = None if is_nan else plain
        if name == META and not (plain is None or isinstance(plain, dict)):
            raise DataError(f"{_NAME}: {META!r} of {asset_id!r} is {plain!r}; it holds a dict.")
    return clean
