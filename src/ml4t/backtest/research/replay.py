"""A live session once more: are its decisions those of a backtest, and what did its fills cost?"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ml4t.backtest.engine import BacktestEngine
from ml4t.backtest.errors import ConfigError, JournalError
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.recorded import RecordedGateway, bars_of
from ml4t.backtest.session.session import Session
from ml4t.backtest.simulation.broker import SimulationBroker

if TYPE_CHECKING:
    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.strategy.strategy import Strategy

_KEY = ("created_at", "asset_id", "side", "quantity", "nth")


class Replay(NamedTuple):
    """What a session did, what a backtest of its bars does, and the difference.

    Attributes:
        is_same: The strategy decides on the journal's bars and fills what it decided then, to the
            bit.
        difference: Where it does not.
        live: The session's result; None when its decisions are other ones now.
        simulated: The same bars and signals through the simulation.
        fills: One row an order that both had: its time, asset, side and quantity, the close it
            was decided at (`decision_price`), `live_quantity`, `live_price`, `simulated_quantity`,
            `simulated_price`; and `shortfall`, money that the live fills cost more than the
            decision price, `simulated_shortfall` likewise, and their `difference`.
        only_live, only_simulated: Orders that the other side did not have, as in `result.orders`.

    Formula:
        shortfall = sign * (fill price - decision price) * filled quantity, plus commission
        (Perold, "The implementation shortfall", Journal of Portfolio Management 14(3), 1988; of
        what was filled).
    """

    is_same: bool
    difference: str
    live: BacktestResult | None
    simulated: BacktestResult
    fills: pl.DataFrame
    only_live: pl.DataFrame
    only_simulated: pl.DataFrame

    @property
    def shortfall(self) -> float:
        """Money that the live fills cost beyond the prices they were decided at."""
        return float(self.fills["shortfall"].sum())

    @property
    def simulated_shortfall(self) -> float:
        """The same, of the simulated fills of the same orders."""
        return float(self.fills["simulated_shortfall"].sum())

    def __repr__(self) -> str:
        same = "the same decisions" if self.is_same else "other decisions"
        return (
            f"<Replay: {same}, {self.fills.height} orders compared, shortfall "
            f"{self.shortfall:,.2f} live and {self.simulated_shortfall:,.2f} simulated, "
            f"{self.only_live.height} only live, {self.only_simulated.height} only simulated>"
        )


def replay(
    journal: str | os.PathLike[str],
    strategy: Strategy,
    *,
    broker: SimulationBroker | None = None,
    **engine: Any,
) -> Replay:
    """Read a session's journal, and make its steps again, twice.

    Once with the fills that it had, to see that its decisions follow from what it knew; once with
    a simulation, to see what the difference between the two worlds was worth.

    Args:
        journal: The file of a session, of any mode; it may be running.
        strategy: An object of the session's class, made as it was then.
        broker: What to simulate with; by default one with the account's money of then, and no
            costs. A shadow session traded in a simulation, whose fills its decisions follow: it
            needs the same one here.
        engine: Options of the session's `BacktestEngine` beside its data (`signals`, `context`,
            `limits`, `calendar`, ...).

    Raises:
        JournalError: The file is no journal, or a damaged one.
        LiveError: It has no bars.
        ConfigError: `broker` is no simulation, or `journal` no path.
    """
    if broker is not None and not isinstance(broker, SimulationBroker):
        raise ConfigError(f"broker= takes a SimulationBroker, not {broker!r}.")
    if not isinstance(journal, str | os.PathLike):
        raise ConfigError(
            f"replay takes the file of a journal, not a {type(journal).__name__}: pass the path, "
            "as to read_journal."
        )
    opened = Journal(journal, is_read_only=True)
    try:
        bars = bars_of(opened)
        then = copy.deepcopy(strategy)
        is_shadow = opened.last("opening") is None
        source: Broker = broker or SimulationBroker()
        source = source if is_shadow else LiveBroker(RecordedGateway())
        live, difference = _as_it_was(
            opened, BacktestEngine(bars, strategy=then, broker=source, **engine)
        )
    finally:
        opened.close()
    money = None if live is None else live.initial_cash
    simulated = BacktestEngine(
        bars, strategy=strategy, broker=broker or _plain(money), **engine
    ).run()
    both = _with_commission(simulated)
    mine = both.head(0) if live is None else _with_commission(live)
    fills, only_live, only_simulated = _compared(mine, both, bars)
    return Replay(not difference, difference, live, simulated, fills, only_live, only_simulated)


def _as_it_was(journal: Journal, engine: BacktestEngine) -> tuple[BacktestResult | None, str]:
    """The session with the fills it had; its result, or where it decides otherwise."""
    try:
        return Session(engine, journal, is_replay=True).run(), ""
    except JournalError as error:
        return None, str(error)


def _plain(money: float | None) -> SimulationBroker:
    return SimulationBroker() if money is None else SimulationBroker(initial_cash=money)


def _compared(
    live: pl.DataFrame, simulated: pl.DataFrame, bars: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Orders that both have, side by side; and those that only one has."""
    one, other = _numbered(live), _numbered(simulated)
    pairs = one.join(other, on=_KEY, how="inner", suffix="_simulated")
    closes = bars.select("timestamp", "asset_id", decision_price="close")
    both = pairs.join(
        closes, left_on=("created_at", "asset_id"), right_on=("timestamp", "asset_id"), how="left"
    )
    both = both.filter((pl.col("filled_quantity") > 0) | (pl.col("filled_quantity_simulated") > 0))
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    fills = both.select(
        "created_at",
        "asset_id",
        "side",
        "quantity",
        "decision_price",
        live_quantity="filled_quantity",
        live_price="average_fill_price",
        simulated_quantity="filled_quantity_simulated",
        simulated_price="average_fill_price_simulated",
        shortfall=_shortfall(sign, ""),
        simulated_shortfall=_shortfall(sign, "_simulated"),
    ).with_columns(difference=pl.col("shortfall") - pl.col("simulated_shortfall"))
    return (
        fills,
        one.join(other, on=_KEY, how="anti").drop("nth"),
        other.join(one, on=_KEY, how="anti").drop("nth"),
    )


def _shortfall(sign: pl.Expr, suffix: str) -> pl.Expr:
    worse = sign * (pl.col(f"average_fill_price{suffix}") - pl.col("decision_price"))
    money = worse * pl.col(f"filled_quantity{suffix}") + pl.col(f"commission{suffix}")
    return money.fill_nan(0.0).fill_null(0.0)


def _with_commission(result: BacktestResult) -> pl.DataFrame:
    """The orders of a result, each with what its fills cost."""
    costs = result.fills.group_by("order_id").agg(pl.col("commission").sum())
    columns = ["order_id", *_KEY[:-1], "filled_quantity", "average_fill_price", "status", "reason"]
    orders = result.orders.select(columns)
    return orders.join(costs, on="order_id", how="left").with_columns(
        pl.col("commission").fill_null(0.0)
    )


def _numbered(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders with the place among those that look the same."""
    return orders.with_columns(nth=pl.int_range(pl.len()).over(_KEY[:-1]))
