"""Whether the account has lost too much, and until when that stops a strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.limits.exposure import is_more
from ml4t.backtest.limits.limits import LOSSES

if TYPE_CHECKING:
    from ml4t.backtest.limits.limits import RiskLimits


class LossWatch:
    """Whether the account has lost too much, and for how long that stops entries.

    Attributes:
        reason: Why entries are stopped now; empty when they are not.
        breached: The name of the limit that stopped them.
        count: How often entries were stopped.
        is_needed: Whether there is a limit to watch.
    """

    def __init__(self, limits: RiskLimits, equity: float) -> None:
        self.max_daily_loss = limits.max_daily_loss
        self.max_drawdown = limits.max_drawdown
        self.is_needed = any(getattr(limits, name) is not None for name in LOSSES)
        self.reason = self.breached = ""
        self.count = 0
        self._equity = self._opening = self._peak = equity
        self._session: int | None = None

    @property
    def halt(self) -> str:
        """Until when entries are stopped, and why."""
        until = "the session" if self.breached == "max_daily_loss" else "the run"
        return f"halted for the rest of {until}: {self.reason}"

    def look(self, equity: float, session: int) -> bool:
        """Compare the equity of a timestamp; whether entries are stopped anew."""
        if session != self._session:
            self._session, self._opening = session, self._equity
            if self.breached == "max_daily_loss":
                self.reason = self.breached = ""
        self._equity, self._peak = equity, max(self._peak, equity)
        if self.breached == "max_drawdown":
            return False
        return self._stops("max_drawdown", "drawdown", self.max_drawdown, self._peak) or (
            not self.reason
            and self._stops("max_daily_loss", "daily loss", self.max_daily_loss, self._opening)
        )

    def _stops(self, name: str, words: str, most: float | None, base: float) -> bool:
        if most is None:
            return False
        loss = 1.0 - self._equity / base if base > 0.0 else math.inf
        if not is_more(loss, most):
            return False
        self.reason = f"{words} {loss:.2%} is above {name} {most:.2%}"
        self.breached = name
        self.count += 1
        return True
