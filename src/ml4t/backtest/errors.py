"""Every error the library raises on purpose, under one root.

    BacktestError
    ├── DataError        prices, signals or context that cannot be what they claim
    ├── ConfigError      an option, or a combination of options, that makes no sense
    ├── OrderError       an order or a set of weights that cannot be meant
    ├── StrategyError    a strategy hook raised; the original is its `__cause__`
    └── LiveError        a live session cannot begin, or cannot go on
        ├── ConnectionLost   the broker or the feed does not answer, or refuses the account
        ├── JournalError     the journal of a session cannot be read, written or continued
        └── ReconcileError   the broker's positions or orders cannot be explained

Bad input is refused at the door, before a run starts where that is possible. An error raised
while a run is under way carries what had happened until then as `error.result`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


_SHOWN = 12


class BacktestError(Exception):
    """Root of every error of this library.

    Attributes:
        result: The partial `BacktestResult` when a run had begun, else None.
        asset_id, timestamp, hook: Where in the run it happened, when known.
    """

    result: Any = None
    asset_id: str | None = None
    timestamp: Any = None
    hook: str | None = None


class DataError(BacktestError):
    """Prices, signals or context are refused; the text names column, row and remedy."""


class ConfigError(BacktestError):
    """An option is unknown, out of range, or contradicts another one."""


class OrderError(BacktestError):
    """An order, percentage or set of weights that cannot be meant as written."""


class StrategyError(BacktestError):
    """A hook of the user's strategy raised; `__cause__` is the original exception."""


class LiveError(BacktestError):
    """A live session cannot begin, or cannot go on; the text says what to do first."""


class ConnectionLost(LiveError):  # noqa: N818  what happened, not a kind of error
    """A broker or feed does not answer in time, or refuses the account or its key."""


class JournalError(LiveError):
    """A session's journal cannot be read, written or continued."""


class ReconcileError(LiveError):
    """What the broker says it holds or works on cannot be explained by the journal."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that offers the nearest known names, or lists them.

    Example:
        >>> did_you_mean("ml_prd", ["ml_pred", "confidence"])
        "Did you mean 'ml_pred'?"
        >>> did_you_mean("zzz", ["ml_pred"])
        "Known: 'ml_pred'."
    """
    from difflib import get_close_matches  # only a mistake needs it

    names = [str(k) for k in known]
    near = get_close_matches(str(name), names, n=3, cutoff=0.6)
    if not near:
        lowered = {n.lower(): n for n in names}
        near = [lowered[m] for m in get_close_matches(str(name).lower(), lowered, n=3)]
    if near:
        return f"Did you mean {', '.join(repr(n) for n in near)}?"
    if not names:
        return "None are known."
    shown = ", ".join(repr(n) for n in names[:_SHOWN])
    return f"Known: {shown}{', ...' if len(names) > _SHOWN else '.'}"
