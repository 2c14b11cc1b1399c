"""Predictions that know only the past: features, labels, and a model refitted as time goes on."""

from __future__ import annotations

from importlib.resources import as_file, files

import polars as pl

HORIZON = 5  # sessions a prediction looks ahead
FIRST_FIT = 756  # sessions before the first model: about three years
REFIT_EVERY = 126  # sessions between two fits: about half a year
YEAR = 252

FEATURES = (
    "return_1d",
    "return_5d",
    "return_21d",
    "return_126d",
    "volatility_21d",
    "below_high",
    "volume_ratio",
)


def load_prices() -> pl.DataFrame:
    """The packaged daily prices, adjusted for splits and dividends; `NOTICE.md` has the source.

    Example:
        >>> load_prices().columns
        ['timestamp', 'asset_id', 'open', 'high', 'low', 'close', 'volume']
    """
    with as_file(files(__package__) / "prices.parquet") as path:
        return pl.read_parquet(path)


def market_context(prices: pl.DataFrame) -> pl.DataFrame:
    """Trend and volatility of the equal-weight index of all assets, by session.

    Each row is computed from closes up to its own session, so it is known at that close.
    """
    change = (pl.col("close") / pl.col("close").shift(1) - 1.0).over("asset_id", order_by=_TIME)
    index = (
        prices.with_columns(change.alias("change"))
        .group_by(_TIME)
        .agg(pl.col("change").mean())
        .sort(_TIME)
        .with_columns((1.0 + pl.col("change").fill_null(0.0)).cum_prod().alias("index"))
    )
    return index.select(
        _TIME,
        (pl.col("index") / pl.col("index").rolling_mean(200) - 1.0).alias("market_trend"),
        (pl.col("change").rolling_std(21) * YEAR**0.5).alias("market_volatility"),
    ).drop_nulls()


def training_table(prices: pl.DataFrame) -> pl.DataFrame:
    """Features known at each close, and what followed.

    The return to learn runs from the open after the close, where an order would fill, to the open
    `HORIZON` sessions later; it is null while that lies ahead. `session` counts the sessions of
    the table, and `known_in` is the session in which the return became known.
    """
    close, volume = pl.col("close"), pl.col("volume").cast(pl.Float64)
    change = close / close.shift(1) - 1.0
    columns = {
        "return_1d": change,
        "return_5d": close / close.shift(5) - 1.0,
        "return_21d": close / close.shift(21) - 1.0,
        "return_126d": close / close.shift(126) - 1.0,
        "volatility_21d": change.rolling_std(21),
        "below_high": close / close.rolling_max(126) - 1.0,
        "volume_ratio": volume.rolling_mean(5) / volume.rolling_mean(63) - 1.0,
        "followed": pl.col("open").shift(-1 - HORIZON) / pl.col("open").shift(-1) - 1.0,
        "known_in": pl.col("session").shift(-1 - HORIZON),
    }
    return (
        prices.with_columns((pl.col(_TIME).rank("dense") - 1).cast(pl.Int64).alias("session"))
        .with_columns(
            expression.over("asset_id", order_by=_TIME).alias(name)
            for name, expression in columns.items()
        )
        .drop_nulls(list(FEATURES))
        .sort(_TIME, "asset_id")
    )


def walk_forward(table: pl.DataFrame) -> pl.DataFrame:
    """Predictions of a random forest that is fitted anew twice a year, on the past alone.

    A fit after the close of session `now` sees a row only when the return of that row was known
    in session `now` or before. The last `HORIZON` sessions before a fit are so left out: their
    returns overlap with what the model is about to predict.

    Returns:
        `timestamp`, `asset_id`, `predicted_return`, and `followed` for judging it afterwards.
    """
    from sklearn.ensemble import RandomForestRegressor

    last = int(table["session"].max())  # type: ignore[arg-type]
    parts = []
    for now in range(FIRST_FIT, last + 1, REFIT_EVERY):
        past = table.filter(pl.col("known_in") <= now)
        ahead = table.filter(pl.col("session").is_between(now, now + REFIT_EVERY - 1))
        forest = RandomForestRegressor(
            50, max_depth=3, min_samples_leaf=100, max_features=3, max_samples=0.3, random_state=7
        )
        forest.fit(past.select(FEATURES).to_numpy(), past["followed"].to_numpy())
        guess = pl.Series("predicted_return", forest.predict(ahead.select(FEATURES).to_numpy()))
        parts.append(ahead.select(_TIME, "asset_id", guess, "followed"))
    return pl.concat(parts)


_TIME = "timestamp"
