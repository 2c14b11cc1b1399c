"""How far a run is: told to a function, or shown as a bar where somebody is looking."""

from __future__ import annotations

import sys
import warnings
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds a run takes before a bar is worth its line, and between two redraws.
_PATIENCE = 2.0
_REDRAW = 0.2
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class Progress:
    """What the engine tells how far it is; nobody is listening to this one."""

    def tell(self, share: float, bars: int) -> None:
        """The share of the run that is done, 0 to 1, and how many bars that were."""

    def close(self) -> None:
        """The run is over, be it by an error."""


def progress_for(wish: Callable[[float], None] | bool | None) -> Progress:  # noqa: FBT001
    """What the `progress` option of the engine asks for.

    Args:
        wish: None shows a bar when the run takes more than a few seconds and the error stream
            is a terminal or a notebook; True shows one in any case; False never does; a function
            receives the share done.

    Raises:
        ConfigError: Anything else.
    """
    if wish is None:
        return ProgressBar(_PATIENCE) if _is_watched() else Progress()
    if wish is True:
        return ProgressBar(0.0)
    if wish is False:
        return Progress()
    if callable(wish):
        return _Told(wish)
    raise ConfigError(f"progress must be True, False, None or a function, not {wish!r}.")


class _Told(Progress):
    """A function of the user's."""

    def __init__(self, function: Callable[[float], None]) -> None:
        self._function = function

    def tell(self, share: float, bars: int) -> None:
        del bars
        self._function(share)


class ProgressBar(Progress):
    """A bar with rate and time left, on the error stream or as a widget.

    Args:
        patience: Seconds before it appears; a run that is over by then shows nothing.
    """

    def __init__(self, patience: float) -> None:
        self._begun = perf_counter()
        self._next = self._begun + patience
        self._bar: Any = None

    def tell(self, share: float, bars: int) -> None:
        """Redraw, if it is time to."""
        now = perf_counter()
        if now < self._next and (self._bar is None or share < 1.0):
            return
        self._next = now + _REDRAW
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.start_t -= now - self._begun  # the time before it appeared counts
        bar = self._bar
        bar.set_postfix_str(f"{bars / max(now - self._begun, 1e-9):,.0f} bars/s", refresh=False)
        bar.n = round(100.0 * share, 1)
        bar.refresh()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _new_bar() -> Any:
    from tqdm import TqdmWarning
    from tqdm.auto import tqdm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # no widgets: it draws with characters
        return tqdm(total=100.0, desc="backtest", bar_format=_FORMAT, dynamic_ncols=True)


def _is_watched() -> bool:
    """Whether somebody sits at a terminal or a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
