"""Half the distance between bid and ask: what a market order pays for being served at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.kernels import is_absent
from ml4t.backtest.simulation.checks import fraction as checked_fraction
from ml4t.backtest.simulation.checks import not_negative
from ml4t.backtest.simulation.slippage import BarSlippage, ColumnSlippage

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import ExecutionBar


class HalfSpreadSlippage(ColumnSlippage):
    """Half of a spread that is always the same, in money or as a fraction of the price.

    The reference price counts as the middle of bid and ask.

    Args:
        money: The whole spread in money per unit: 0.01 is one cent.
        fraction: The whole spread as a fraction of the price: 0.0004 is four basis points.

    Raises:
        ConfigError: Not exactly one of the two, or a negative one.

    Formula:
        reference + sign * money / 2, or reference * (1 + sign * fraction / 2)
        sign is 1 for buys, -1 for sells

    Source:
        Demsetz, "The Cost of Transacting", Quarterly Journal of Economics 82 (1968): one who wants
        to trade at once pays half the spread each way.

    Example:
        >>> HalfSpreadSlippage(money=0.02).price(1.0, 50.0)
        50.01
    """

    def __init__(self, *, money: float | None = None, fraction: float | None = None) -> None:
        _exactly_one("HalfSpreadSlippage", money=money, fraction=fraction)
        if money is not None:
            money = not_negative("HalfSpreadSlippage", "money", money)
        if fraction is not None:
            fraction = checked_fraction("HalfSpreadSlippage", "fraction", fraction)
        self.money, self.fraction = money, fraction

    def price(self, sign: Any, reference: Any) -> Any:
        """The reference price moved against the order by half the spread."""
        if self.money is not None:
            return reference + sign * (self.money / 2.0)
        assert self.fraction is not None
        return reference * (1.0 + sign * (self.fraction / 2.0))


class QuotedSpreadSlippage(BarSlippage):
    """Half of the spread that the data has for the bar an order fills in.

    The columns arrive as signals do: beside the prices, or in a table of their own. What is used is
    the width of the quote, not its level; the reference price counts as its middle. So a quote of
    the close serves for a fill at the open.

    Args:
        money: The column with the whole spread in money per unit.
        fraction: The column with the whole spread as a fraction of the price, such as an estimate.
        bid: The column with the best bid; together with `ask`.
        ask: The column with the best ask.
        fallback: What to lose, as a fraction of the price, on bars without a spread, with a bid
            above the ask, or with a negative spread. Without it, such a bar is an error.

    Raises:
        ConfigError: Not exactly one of `money`, `fraction` and the pair of `bid` and `ask`.
        DataError: A fill's bar has no spread, or one that cannot be, and there is no fallback.

    Formula:
        reference + sign * spread / 2    sign is 1 for buys, -1 for sells

    Source:
        As `HalfSpreadSlippage`. Estimates of the spread from daily bars: Corwin and Schultz, "A
        Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices", Journal of Finance
        67 (2012).

    Example:
        >>> QuotedSpreadSlippage(bid="bid", ask="ask", fallback=0.001)
        QuotedSpreadSlippage(fallback=0.001, bid='bid', ask='ask')
    """

    def __init__(
        self,
        *,
        money: str | None = None,
        fraction: str | None = None,
        bid: str | None = None,
        ask: str | None = None,
        fallback: float | None = None,
    ) -> None:
        super().__init__(fallback)
        if (bid is None) is not (ask is None):
            raise ConfigError("QuotedSpreadSlippage: bid and ask need each other; give both.")
        _exactly_one("QuotedSpreadSlippage", money=money, fraction=fraction, bid_and_ask=bid)
        for name, column in (("money", money), ("fraction", fraction), ("bid", bid), ("ask", ask)):
            if column is not None and not isinstance(column, str):
                raise ConfigError(
                    f"QuotedSpreadSlippage: {name} is the name of a column, not {column!r}; for a "
                    "spread that is always the same there is HalfSpreadSlippage."
                )
        self.money, self.fraction, self.bid, self.ask = money, fraction, bid, ask

    def lacks(self, bar: ExecutionBar) -> str:
        """Which column has no number, or why the numbers cannot be a spread."""
        for name in filter(None, (self.money, self.fraction, self.bid, self.ask)):
            if lacking := lacks_number(bar, name):
                return lacking
        if self._spread(bar) >= 0.0:
            return ""
        if self.bid is None or self.ask is None:
            return f"its {self.money or self.fraction} is negative"
        bid, ask = bar.signals[self.bid], bar.signals[self.ask]
        return f"its quote is crossed, {self.bid} {bid:g} is above {self.ask} {ask:g}"

    def distance(self, bar: ExecutionBar, quantity: float) -> float:
        """Half the spread, in money per unit."""
        del quantity
        return self._spread(bar) / 2.0

    def _spread(self, bar: ExecutionBar) -> float:
        signals = bar.signals
        if self.money is not None:
            return float(signals[self.money])
        if self.fraction is not None:
            return float(signals[self.fraction]) * bar.reference
        assert self.bid is not None
        assert self.ask is not None
        return float(signals[self.ask]) - float(signals[self.bid])


def lacks_number(bar: ExecutionBar, name: str) -> str:
    """What is wrong with a column of the bar, as a part of a sentence; empty for a number."""
    value = bar.signals.get(name)
    if is_absent(value):
        known = [known for known in bar.signals if known != "_meta"]
        return f"it has no {name!r} there. {did_you_mean(name, known)}".rstrip(".")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"its {name} is {value!r}, not a number"
    return ""


def _exactly_one(owner: str, **given: Any) -> None:
    if sum(value is not None for value in given.values()) != 1:
        names = ", ".join(name.replace("_", " ") for name in given)
        raise ConfigError(f"{owner}: give exactly one of {names}.")
