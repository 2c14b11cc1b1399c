"""`BacktestResult`: everything a run left behind, derived when it is first looked at."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import ml4t.backtest.results as parts
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results.columns import to_series
from ml4t.backtest.results.record import RunRecord, normalised
from ml4t.backtest.results.runs_code import files_of, text_of

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Sequence

    import pandas as pd

    from ml4t.backtest.clock import Clock
    from ml4t.backtest.results.market import Market


class BacktestResult:
    """What a run did, earned and cost, and how far it can be trusted.

    Frames are Polars frames whose times have the type of the input's; enumerations are
    lower-case strings; fractions are fractions (0.1 is ten percent); money is in the account's
    currency. Nothing is computed before it is asked for, and nothing twice.

    Start with `summary()`; ask `explain(asset_id, at)` about a trade, or about the absence of
    one; keep the result with `save(folder)`. Every figure of `metrics` is defined in the module
    of that name.

    Attributes:
        tried: The family of a run that a `RunStore` keeps, and how many configurations of it had
            been tried when the run was added or loaded; None outside a store. The summary and
            the report say it.
    """

    tried: tuple[str, int] | None = None

    def __init__(
        self, record: RunRecord, *, clock: Clock | None = None, strategy: type | None = None
    ) -> None:
        self.record = record
        self._clock = clock
        self._files = () if strategy is None else files_of(strategy)

    # -- frames --------------------------------------------------------------------------------

    @cached_property
    def equity(self) -> pl.DataFrame:
        """One row a timestamp: equity, cash, gross and net exposure (money), and drawdown.

        `drawdown` is the distance to the highest equity so far, the money at the start included,
        as a fraction of it: at most 0.
        """
        frame = normalised(self.record, "equity").drop("session")
        drawdown = parts.metrics.drawdowns(frame["equity"].to_numpy(), self.initial_cash)
        return frame.with_columns(to_series(drawdown).alias("drawdown"))

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row an execution, in order. `price` includes slippage; `quantity` is positive."""
        return normalised(self.record, "fills").drop("position", "multiplier")

    @cached_property
    def orders(self) -> pl.DataFrame:
        """One row an order, as it stood at the end, with `signal_<name>` of its decision."""
        return normalised(self.record, "orders")

    @cached_property
    def trades(self) -> pl.DataFrame:
        """One row a round trip, closed or open; `trades.trades_of` defines the columns.

        The columns `signal_<name>` are those of the order that opened the trade.
        """
        return parts.trades.trades_of(
            normalised(self.record, "fills"),
            self.orders,
            normalised(self.record, "excursions"),
            normalised(self.record, "marks"),
            normalised(self.record, "cashflows"),
            self.adjustments,
        )

    @cached_property
    def cashflows(self) -> pl.DataFrame:
        """Money that moved without a trade: timestamp, asset_id, kind, amount (negative: paid)."""
        return normalised(self.record, "cashflows")

    @cached_property
    def adjustments(self) -> pl.DataFrame:
        """Holdings and open orders that went on in other terms: splits and new names.

        timestamp, fill_id (the last fill before it), asset_id, kind, ratio (new units per old),
        new_asset_id, quantity_before and quantity (signed).
        """
        return normalised(self.record, "adjustments")

    @cached_property
    def positions(self) -> pl.DataFrame:
        """Every change of a holding: timestamp, asset, signed quantity after it, average cost.

        An asset keeps what its last row says until its next one. `holdings` are the positions at
        the end.
        """
        return parts.trades.positions_of(normalised(self.record, "fills"), self.adjustments)

    @cached_property
    def holdings(self) -> pl.DataFrame:
        """Positions at the end, at their last close: price, time of it, value and P&L (money)."""
        value = pl.col("quantity") * pl.col("price") * pl.col("multiplier")
        cost = pl.col("quantity") * pl.col("entry_price") * pl.col("multiplier")
        costs = self.positions.group_by("asset_id").agg(pl.col("entry_price").last())
        return (
            normalised(self.record, "marks")
            .join(costs, on="asset_id", how="left")
            .sort("asset_id")
            .select(
                "asset_id",
                "quantity",
                "entry_price",
                "price",
                "timestamp",
                value.alias("value"),
                (value - cost).alias("unrealized_pnl"),
            )
        )

    @cached_property
    def decisions(self) -> pl.DataFrame:
        """The context at every timestamp at which something was ordered: one column a name."""
        return normalised(self.record, "decisions")

    @cached_property
    def records(self) -> pl.DataFrame:
        """What the strategy recorded: timestamp, name, value."""
        return normalised(self.record, "records")

    @cached_property
    def logs(self) -> pl.DataFrame:
        """What the strategy logged: timestamp, message."""
        return normalised(self.record, "logs")

    @cached_property
    def signal_coverage(self) -> pl.DataFrame:
        """One row a signal: on how many bars it had a value, how old it was, what expired."""
        return normalised(self.record, "signal_coverage")

    @cached_property
    def stale(self) -> pl.DataFrame:
        """Holdings that had no bar for long, with their share of equity at the time."""
        return normalised(self.record, "stale")

    @cached_property
    def returns(self) -> pl.DataFrame:
        """One row a session: equity at its last bar, and the return since the session before.

        The first return is measured against the money at the start. Bars slower than a day are
        sessions of their own.
        """
        sessions = (
            normalised(self.record, "equity")
            .group_by("session", maintain_order=True)
            .agg(pl.col("equity").last())
        )
        returns = parts.metrics.returns_of(sessions["equity"].to_numpy(), self.initial_cash)
        return sessions.with_columns(to_series(returns).alias("return"))

    @cached_property
    def _market(self) -> Market:
        return parts.market.Market(self.record.source, self._clock)

    def market(
        self, asset_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The bars of the run and the signals known with each, read again from their source.

        After loading this works for files that are where they were and have not changed since.

        Args:
            asset_ids: Some assets; all by default.
            columns: Some of open, high, low, close, volume and the signals; all by default.

        Returns:
            timestamp, asset_id and the columns, in order of time and asset; null where absent.

        Raises:
            DataError: The source is gone, which says why, or has no such asset or column.
        """
        return self._market.frame(asset_ids, columns)

    # -- figures -------------------------------------------------------------------------------

    @cached_property
    def _periods(self) -> tuple[float, str]:
        known, settings = self.record.periods_per_year, self.record.settings
        calendar = settings.get("calendar")
        if known is not None and (calendar is None or settings.get("periods_per_year") is not None):
            return known, "given"
        per_year, origin = parts.metrics.periods_of(
            self.returns["session"].to_physical().to_numpy(), known
        )
        return per_year, f"{origin} {calendar}" if origin == "calendar" else origin

    @property
    def periods_per_year(self) -> float:
        """Sessions a year, as used for the figures that are a year's."""
        return self._periods[0]

    @property
    def periods_origin(self) -> str:
        """Where `periods_per_year` comes from, in words."""
        return self._periods[1]

    @property
    def initial_cash(self) -> float:
        """Money at the start."""
        return self.record.initial_cash

    @property
    def final_equity(self) -> float:
        """Equity at the last bar."""
        equity = self.record.equity["equity"]
        return float(equity[-1]) if len(equity) else self.initial_cash

    @property
    def total_return(self) -> float:
        """Gain over the whole run, as a fraction of the money at the start."""
        return self.final_equity / self.initial_cash - 1.0

    @cached_property
    def max_drawdown(self) -> float:
        """The deepest drawdown, of every bar; a fraction, at most 0."""
        return parts.metrics.max_drawdown(self.equity["drawdown"].to_numpy())

    @cached_property
    def _return_figures(self) -> dict[str, float]:
        return self._return_figures_at(self.periods_per_year)

    def _return_figures_at(self, periods_per_year: float) -> dict[str, float]:
        returns = self.returns["return"].to_numpy()
        return parts.metrics.return_figures(returns, self.max_drawdown, periods_per_year)

    @property
    def cagr(self) -> float:
        """Compound annual growth rate."""
        return self._return_figures["cagr"]

    @property
    def volatility(self) -> float:
        """Standard deviation of session returns, a year."""
        return self._return_figures["volatility"]

    @property
    def sharpe(self) -> float:
        """Sharpe ratio a year, riskless rate zero."""
        return self._return_figures["sharpe"]

    @property
    def sortino(self) -> float:
        """Sortino ratio a year, target return zero."""
        return self._return_figures["sortino"]

    @property
    def calmar(self) -> float:
        """`cagr` over the deepest drawdown."""
        return self._return_figures["calmar"]

    @property
    def commission(self) -> float:
        """Commission paid."""
        return float(self.record.fills["commission"].sum())

    @property
    def slippage(self) -> float:
        """Money lost against reference prices; it is in the prices already."""
        return float(self.record.fills["slippage"].sum())

    @property
    def costs(self) -> float:
        """Commission and slippage together."""
        return self.commission + self.slippage

    @property
    def turnover(self) -> float:
        """One-way turnover a year; `metrics.turnover` has the formula."""
        return self._turnover_at(self.periods_per_year)

    @cached_property
    def _traded(self) -> float:
        notional = pl.col("quantity") * pl.col("price") * pl.col("multiplier")
        return float(normalised(self.record, "fills").select(notional.abs().sum()).item())

    def _turnover_at(self, periods_per_year: float) -> float:
        equity = self.returns["equity"].to_numpy()
        return parts.metrics.turnover(self._traded, equity, periods_per_year)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All figures by name. Fractions and money; NaN where the run does not define one."""
        return self.metrics_with()

    def metrics_with(self, *, periods_per_year: float | None = None) -> dict[str, float]:
        """All figures by name, for another number of sessions a year.

        Args:
            periods_per_year: Positive; the run's own by default.

        Raises:
            ConfigError: It is not positive.
        """
        per_year = self.periods_per_year if periods_per_year is None else float(periods_per_year)
        if not 0.0 < per_year < np.inf:
            raise ConfigError(f"periods_per_year must be positive and finite, not {per_year}.")
        equity, gross = self.equity["equity"].to_numpy(), self.equity["gross_exposure"].to_numpy()
        by_session = parts.metrics.drawdowns(self.returns["equity"].to_numpy(), self.initial_cash)
        return {
            "initial_cash": self.initial_cash,
            "final_equity": self.final_equity,
            "total_return": self.total_return,
            **self._return_figures_at(per_year),
            "max_drawdown": self.max_drawdown,
            "drawdown_sessions": float(parts.metrics.drawdown_length(by_session)),
            "recovery_sessions": parts.metrics.recovery_length(by_session),
            "commission": self.commission,
            "slippage": self.slippage,
            "costs": self.costs,
            "financing": self.record.financing,
            "turnover": self._turnover_at(per_year),
            "exposure": parts.metrics.exposure(gross, equity),
            "time_in_market": parts.metrics.time_in_market(gross),
            **parts.metrics.trade_figures(self.trades),
            "sessions": float(len(self.returns)),
            "periods_per_year": per_year,
        }

    def by_signal(self, name: str, buckets: int = 5) -> pl.DataFrame:
        """What trades earned, by the value of a signal when they were opened.

        Numbers are divided into `buckets` of about equal size, the lowest values first; equal
        values stay together. Words and booleans have a bucket each. Trades without the signal
        come last, with null bounds. Open trades count at their last close.

        Args:
            name: A signal, such as "ml_pred".
            buckets: At least 1; for numbers.

        Returns:
            bucket, low, high (numbers) or value, trades, pnl, average_pnl, average_return,
            hit_rate.

        Raises:
            DataError: No signal has this name.
            ConfigError: `buckets` is less than 1.
        """
        return parts.attribution.by_signal(self.trades, name, buckets)

    def by_version(self) -> pl.DataFrame:
        """What trades earned, by the version of the model whose signals opened them.

        The version is what `_meta` of the signals says as `model_version` or `version`, or a
        signal of the name `model_version`. Trades without one come last, with a null. Open
        trades count at their last close, except in `hit_rate`.

        Returns:
            version, trades, open_trades, pnl, share (of the P&L of all trades, which may be
            negative or above 1), commission, slippage, financing, hit_rate, average_pnl,
            average_bars_held.

        Raises:
            DataError: There were trades, and no signal named a version.
        """
        return parts.attribution.by_version(self.trades)

    def by_asset(self) -> pl.DataFrame:
        """What each asset earned and cost; the sum of `pnl` is the gain of the run.

        A holding that changed its name counts under the one it was entered by. Money that
        belongs to no trade, such as interest on cash, is the last row, whose `asset_id` is null.
        Open trades count at their last close, except in `hit_rate`.

        Returns:
            asset_id, trades, open_trades, pnl, share (of the gain of the run, which may be
            negative or above 1; null where that is zero), commission, slippage (in the prices,
            and so in `pnl` already), financing, hit_rate, average_pnl, average_bars_held.
        """
        return parts.attribution.by_asset(self.trades, self.cashflows)

    def by_side(self) -> pl.DataFrame:
        """What long and short trades earned and cost; as `by_asset`, with `side` first."""
        return parts.attribution.by_side(self.trades, self.cashflows)

    # -- what the predictions were worth -------------------------------------------------------

    def information_coefficient(
        self, name: str, horizons: Sequence[int] = (1, 2, 5, 10, 20)
    ) -> pl.DataFrame:
        """Rank correlation of a signal with the return that followed, on all bars, by horizon.

        For each timestamp, the Spearman correlation across assets between the signal and the
        return from the asset's next open, where one could first trade on it, to its close
        `horizon` bars after the signal's bar. Nothing of that return lies in the signal's own
        bar. With close-only prices the next open is the next close, so horizon 1 has no figure.
        Splits among `actions=` are no returns; dividends are not counted.

        Timestamps with fewer than three assets, or where all signals or all returns are equal,
        are skipped. A market of which never more than two assets have the signal at one time is
        judged over time: the rank correlation of an asset's signals with its returns, of several
        assets their mean, weighted by their bars.

        Returns of longer horizons overlap, so neighbouring values depend on each other. The
        standard error allows for it (Newey and West, with the lag of `intervals.overlap_lag`),
        and the interval for the error's own uncertainty (`intervals.long_run_reach`). Both are
        null below 20 timestamps, or five horizons.

        Args:
            name: A signal of numbers or booleans, such as "ml_pred".
            horizons: In bars, each at least 1.

        Returns:
            horizon, kind ("across assets" or "over time"), timestamps, skipped, mean, std
            (of the values by timestamp; null over time), t_stat, low, high.

        Raises:
            DataError: No such signal, it is text, or the market is gone (see `market`).
            ConfigError: A horizon below 1.

        Source:
            W. Newey, K. West, 1987, A Simple, Positive Semi-definite, Heteroskedasticity and
            Autocorrelation Consistent Covariance Matrix
        """
        return parts.skill.information_coefficient(self._bars_with(name), name, horizons)

    def signal_buckets(self, name: str, buckets: int = 5, horizon: int = 1) -> pl.DataFrame:
        """The return that followed a signal, by its value, on all bars and not only in trades.

        Bars are divided by the signal into `buckets` of about equal size, the lowest values
        first; equal values stay together. The return is that of `information_coefficient`. The
        interval of the mean counts all bars of a timestamp as one observation, because assets
        move together, and allows for overlap; it is null below 20 timestamps, or five horizons.

        Args:
            name: A signal of numbers or booleans.
            buckets: At least 1.
            horizon: In bars, at least 1.

        Returns:
            bucket, low, high, count, average_signal, average_return, median_return, hit_rate
            (share of returns above zero), low_return, high_return (95% interval of the mean).

        Raises:
            DataError: No such signal, it is text, or the market is gone.
            ConfigError: `buckets` or `horizon` below 1, or a horizon of 1 with close-only prices.
        """
        return parts.skill.signal_buckets(self._bars_with(name), name, buckets, horizon)

    def calibration(
        self,
        name: str = "confidence",
        buckets: int = 10,
        horizon: int = 1,
        direction: str | None = None,
    ) -> pl.DataFrame:
        """How often a confidence was right: in a calibrated model, as often as it says.

        A hit is a return (that of `information_coefficient`) with the sign of `direction`. A
        return of zero is a miss; where the direction is zero or absent nothing was claimed, and
        the bar is left out. The interval is Wilson's for `count / horizon` observations, because
        returns overlap. It takes assets as independent: where they move together, it is too
        narrow.

        Args:
            name: A signal from 0 to 1.
            buckets: At least 1, of equal width from 0 to 1.
            horizon: In bars, at least 1.
            direction: A signal: its sign (true is up, false down). Without it, up.

        Returns:
            bucket, low, high, count, average_confidence, hit_rate, low_rate, high_rate (95%
            interval); one row a bucket, also of those without bars.

        Raises:
            DataError: No such signal, it is text or leaves 0 to 1, or the market is gone.
            ConfigError: `buckets` or `horizon` below 1, or a horizon of 1 with close-only prices.
        """
        bars = self._bars_with(name, direction)
        return parts.skill.calibration(bars, name, buckets, horizon, direction)

    def brier_score(
        self, name: str = "confidence", horizon: int = 1, direction: str | None = None
    ) -> float:
        """Mean squared distance of a confidence from what came: 0 is perfect, a coin's is 0.25.

        Arguments and errors are those of `calibration`. NaN without bars.

        Formula:
            mean((c - hit)**2)   c confidence, hit 1 or 0
        Source:
            G. Brier, 1950, Verification of Forecasts Expressed in Terms of Probability
        """
        bars = self._bars_with(name, direction)
        return parts.skill.brier_score(bars, name, horizon, direction)

    def _bars_with(self, *names: str | None) -> pl.DataFrame:
        wanted = ["open", "close", *(name for name in names if name is not None)]
        bars = parts.skill.plain(self.market(columns=list(dict.fromkeys(wanted))))
        return parts.skill.restated(bars, self.record.source.get("splits"))

    def intervals(
        self,
        level: float = 0.95,
        *,
        samples: int = 2_000,
        seed: int = 0,
        block: float | None = None,
    ) -> pl.DataFrame:
        """How much luck may be in the figures: each with its bootstrap interval.

        Histories of the same length are drawn from the sessions of the run, in blocks of random
        length so that neighbours stay together (stationary bootstrap), and every figure is
        computed again on each. Trades go with the session in which they were closed. `low` and
        `high` are percentiles of what comes out.

        The mean length of a block is by default that of the rule of Politis and White, for the
        returns or for their squares, whichever is longer: it adapts to the data, and the squares
        keep calm and wild times together, on which figures of risk depend.

        `max_drawdown` and `calmar` are of session closes here, so that the figure and its
        interval are about the same thing; with several bars a session `metrics` has them deeper.
        A run with fewer than 20 sessions has no intervals (NaN), nor has a figure of fewer than
        20 closed trades, nor one that most histories do not define. Intervals do not know how
        many other strategies were tried.

        Args:
            level: Share of the histories inside the interval, between 0 and 1.
            samples: Number of histories, at least 100.
            seed: The same seed gives the same intervals.
            block: Mean length of a block in sessions, at least 1.

        Returns:
            metric, value, low, high, observations (sessions or closed trades), block.

        Raises:
            ConfigError: An argument out of its range.

        Source:
            D. Politis, J. Romano, 1994, The Stationary Bootstrap
        """
        return parts.intervals.of_run(
            self.returns["return"].to_numpy(),
            self._trades_by_session().to_numpy(),
            self.periods_per_year,
            level=level,
            samples=samples,
            seed=seed,
            block=block,
        )

    def _trades_by_session(self) -> pl.DataFrame:
        """For each session: number, gains, P&L and returns of the trades closed in it."""
        pnl = pl.col("pnl")
        times = normalised(self.record, "equity").select("timestamp", "session")
        closed = (
            self.trades.filter(pl.col("status") == "closed")
            .join(times, left_on="exit_time", right_on="timestamp")
            .group_by("session")
            .agg(pl.len(), (pnl > 0.0).sum().alias("wins"), pnl.sum(), pl.col("return_pct").sum())
        )
        return (
            self.returns.select("session")
            .join(closed, on="session", how="left", maintain_order="left")
            .drop("session")
            .fill_null(0)
            .cast(pl.Float64)
        )

    # -- for people ----------------------------------------------------------------------------

    def summary(self) -> str:
        """One page: what limits trust first, then what the run earned and cost."""
        return parts.summary.text(self)

    def explain(self, asset_id: str, at: dt.datetime | dt.date | str) -> str:
        """What an asset showed at a time, what was ordered and filled, why, or why nothing was.

        The bar, signals and context are read again as by `market`; where that cannot be, a
        sentence says so, and signals and context are told for decisions with orders only.

        Args:
            asset_id: An asset of the run.
            at: A date means its session; a time means the last bar at or before it. As text in
                ISO form. Without a zone it is read on the data's own clock.

        Raises:
            DataError: The run does not know the asset, or the time lies outside it.
        """
        return parts.explain.text(self, self._market, asset_id, at)

    def plot(self, kind: str = "equity", **options: Any) -> Any:
        """A Plotly figure of the run; needs the extra `plot`.

        Long curves keep the first, last, lowest and highest point of every narrow strip of time;
        `figure.layout.meta` says how many points are drawn of how many.

        Args:
            kind: "equity" (with drawdown; options `benchmark`, `log`), "drawdown", "returns" (by
                month), "calendar" (by session; `years`), "rolling" (Sharpe and volatility;
                `window`), "exposure" (with leverage, turnover and costs), "trades"
                (distributions), "assets" (P&L of each; `most`), "signals" (P&L and hit rate by
                bucket; `signal`, `buckets`), or "price" (`asset`, `signal`, `bars`).
            **options: Those named above; `points`, how many a curve may have; `theme`, "light"
                or "dark".

        Returns:
            A `plotly.graph_objects.Figure`.

        Raises:
            ConfigError: There is no such kind or option, or Plotly is not installed.
            DataError: What is to be drawn is not there, such as the market of a loaded result.
        """
        from ml4t.backtest.results import plots

        return plots.plot(self, kind, options)

    def report(
        self, path: str | os.PathLike[str], *, benchmark: Any = None, title: str | None = None
    ) -> Path:
        """Writes the run as one HTML page that needs no network; needs the extra `plot`.

        The page says first how far the run can be trusted. The file appears whole or not at all;
        a file there before is replaced.

        Args:
            path: The file, such as "report.html".
            benchmark: What to compare with: an asset of the run, "equal_weight" (of all its
                assets), a pandas or Polars frame or series of prices or equity with times, or
                another result.
            title: The heading; the name of the strategy by default.

        Returns:
            The path of the page.

        Raises:
            ConfigError: Plotly is not installed, the folder does not exist, or `benchmark` is
                none of these.
            DataError: The benchmark does not reach into the run, or has several values at one time.
        """
        from ml4t.backtest.results.report import page

        return page.write(self, path, benchmark=benchmark, title=title)

    def __repr__(self) -> str:
        return parts.summary.line(self)

    def _repr_html_(self) -> str:
        return parts.card.html(self)

    # -- for other tools -----------------------------------------------------------------------

    def returns_series(self) -> pd.Series[float]:
        """Returns of the sessions as a pandas Series, as quantstats, pyfolio and empyrical ask.

        Indexed by the sessions, without a time zone. Needs the extra `pandas`.

        Raises:
            ConfigError: pandas is not installed.
        """
        return parts.export.returns_series(self)

    def to_pandas(self, name: str) -> pd.DataFrame:
        """One of the frames as a pandas frame. Needs the extra `pandas`.

        Args:
            name: Such as "trades", "fills" or "equity".

        Raises:
            ConfigError: There is no such frame, or pandas is not installed.
        """
        return parts.export.to_pandas(self, name)

    def export_csv(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Writes every frame to a CSV file of its name: trades.csv, fills.csv and so on.

        All files appear, each whole, or none. Lists and structs become JSON text, durations
        text such as P1DT6H, and absent values are empty.

        Args:
            folder: May exist; other files in it are left alone.
            overwrite: Replace files of these names.

        Returns:
            The files.

        Raises:
            ConfigError: `folder` is a file, or holds files of these names.
        """
        return parts.export.csv(self, folder, overwrite=overwrite)

    def export_parquet(
        self, folder: str | os.PathLike[str], *, overwrite: bool = False
    ) -> list[Path]:
        """Writes every frame to a Parquet file of its name; as `export_csv` otherwise.

        `save` writes what `load` reads; this writes what a reader sees.

        Raises:
            ConfigError: `folder` is a file, or holds files of these names.
        """
        return parts.export.parquet(self, folder, overwrite=overwrite)

    # -- keeping -------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of orders, fills, equity and all else that happened, to the bit.

        Equal inputs give equal fingerprints on one platform and set of library versions.
        """
        return parts.store.fingerprint_of(self.record)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the result to a folder: one Parquet file a frame and a manifest.

        The folder appears whole or not at all. A result saved there before is replaced; anything
        else is not.

        Raises:
            ConfigError: Something that is not a saved result stands there.
        """
        path = Path(folder).expanduser().absolute()
        parts.store.save(
            self.record, path, derived={"trades": self.trades, "positions": self.positions}
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> BacktestResult:
        """Reads a saved result and checks its fingerprint.

        Raises:
            DataError: The folder holds no result, or a damaged one.
        """
        return cls(parts.store.load(Path(folder).expanduser().absolute()))

    @cached_property
    def code(self) -> str | None:
        """The file in which the strategy's class stands, as it is when first asked for.

        None for a result that was loaded, and where there is no text (typed at a prompt).
        """
        return text_of(self._files)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was set to: strategy and its parameters, broker, engine."""
        return self.record.settings

    @property
    def complete(self) -> bool:
        """False when the run ended in an error and this is what had happened until then."""
        return self.record.complete
