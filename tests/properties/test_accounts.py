"""Whatever is ordered: what an account must never do."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    Account,
    BacktestResult,
    CashAccount,
    Instrument,
    Interest,
    MarginAccount,
    SimulationBroker,
    UnleveragedAccount,
)
from tests.examples import examples
from tests.markets import Market
from tests.oracle.test_margin import geared
from tests.properties.test_basket import COMMISSIONS, SLIPPAGES, OrderWise, run, same_bits
from tests.replay import random_plan

SEEDS = st.integers(0, 2**32 - 1)


def by_time(result: BacktestResult) -> dict[Any, list[dict[str, Any]]]:
    """The fills of every timestamp, in order."""
    fills: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in result.fills.iter_rows(named=True):
        fills[row["timestamp"]].append(row)
    return fills


def paid(fill: dict[str, Any]) -> float:
    """Money that a fill took."""
    sign = 1.0 if fill["side"] == "buy" else -1.0
    return sign * float(fill["quantity"] * fill["price"]) + float(fill["commission"])


@examples(60)
@given(
    seed=SEEDS,
    assets=st.integers(1, 6),
    missing=st.sampled_from([0.0, 0.2]),
    days=st.integers(0, 3),
    commission=st.sampled_from(sorted(COMMISSIONS)),
    slippage=st.sampled_from(sorted(SLIPPAGES)),
    funding=st.sampled_from(["scale", "reject"]),
)
def test_a_cash_account_never_uses_unsettled_money(
    seed: int, assets: int, missing: float, days: int, commission: str, slippage: str, funding: str
) -> None:
    """Purchases come from money that was there, or whose sale was as many sessions ago."""
    market = Market(seed, assets=assets, steps=30, missing=missing, gap=0.02)
    plan = random_plan(market.rng, market, activity=0.8)
    result = run(
        market,
        plan,
        account=CashAccount(days),
        commission=COMMISSIONS[commission],
        slippage=SLIPPAGES[slippage],
        funding=funding,
    )
    settled, fills = 100_000.0, by_time(result)
    coming: dict[int, float] = defaultdict(float)
    for t, time in enumerate(result.equity["timestamp"]):
        settled += coming.pop(t, 0.0)
        bought = sum(paid(fill) for fill in fills[time] if fill["side"] == "buy")
        sold = -sum(paid(fill) for fill in fills[time] if fill["side"] == "sell")
        if days == 0:
            settled += sold
        else:
            coming[t + days] += sold
        settled -= bought
        assert settled >= -1e-6 or bought == 0.0, f"at timestamp {t}"
    assert (result.record.fills["position"] >= 0.0).all(), "no shorts"


@examples(60)
@given(
    seed=SEEDS,
    assets=st.integers(1, 6),
    missing=st.sampled_from([0.0, 0.2]),
    margins=st.sampled_from([(0.5, 0.25, 0.5, 0.3), (0.2, 0.1, 0.4, 0.3), (0.9, 0.8, 1.4, 1.3)]),
    commission=st.sampled_from(sorted(COMMISSIONS)),
    slippage=st.sampled_from(sorted(SLIPPAGES)),
    funding=st.sampled_from(["scale", "reject"]),
)
def test_entries_stay_within_initial_margin(
    seed: int,
    assets: int,
    missing: float,
    margins: tuple[float, float, float, float],
    commission: str,
    slippage: str,
    funding: str,
) -> None:
    """After every open with an entry, equity there is at least the initial margin of all."""
    initial, maintenance, short, short_maintenance = margins
    market = Market(seed, assets=assets, steps=30, missing=missing, gap=0.02)
    plan = geared(random_plan(market.rng, market, activity=0.8), 0.99 / max(initial, short))
    account = MarginAccount(
        initial, maintenance, short_initial=short, short_maintenance=short_maintenance
    )
    result = run(
        market,
        plan,
        account=account,
        commission=COMMISSIONS[commission],
        slippage=SLIPPAGES[slippage],
        funding=funding,
    )
    cash, held, last = 100_000.0, dict.fromkeys(market.assets, 0.0), dict[str, float]()
    fills = by_time(result)
    for bars, time in zip(market.bars(), result.equity["timestamp"], strict=False):
        is_entry = False
        for fill in fills[time]:
            if fill["reason"] == "bankrupt":
                return
            before = held[fill["asset_id"]]
            signed = fill["quantity"] if fill["side"] == "buy" else -fill["quantity"]
            held[fill["asset_id"]] = after = before + signed
            is_entry |= abs(after) > abs(before) or before * after < 0.0
            cash -= paid(fill)
        if is_entry:
            price = last | {asset: bar[0] for asset, bar in bars.items()}
            values = [units * price[asset] for asset, units in held.items() if units]
            bound = sum(abs(v) * (initial if v > 0 else short) for v in values)
            assert cash + sum(values) >= bound - 1e-6 * max(1.0, bound)
        last |= {asset: bar[1] for asset, bar in bars.items()}


ACCOUNTS: dict[str, Account] = {
    "cash": CashAccount(1),
    "good faith": CashAccount(2, good_faith=True),
    "margin": MarginAccount(0.3, 0.28, short_initial=0.4, short_maintenance=0.35),
    "default": UnleveragedAccount(),
}


@examples(60)
@given(
    seed=SEEDS,
    assets=st.integers(1, 10),
    missing=st.sampled_from([0.0, 0.15]),
    account=st.sampled_from(sorted(ACCOUNTS)),
    commission=st.sampled_from(sorted(COMMISSIONS)),
    funding=st.sampled_from(["scale", "reject"]),
    financed=st.booleans(),
)
def test_baskets_are_their_orders_in_every_account(
    seed: int,
    assets: int,
    missing: float,
    account: str,
    commission: str,
    funding: str,
    financed: bool,
) -> None:
    """As columns or order by order: the same run to the bit, with interest and fees too."""
    market = Market(seed, assets=assets, steps=25, missing=missing, gap=0.02)
    plan = random_plan(market.rng, market, kinds=("weights", "weights", "target"), activity=0.8)
    options: dict[str, Any] = {
        "account": ACCOUNTS[account],
        "commission": COMMISSIONS[commission],
        "funding": funding,
    }
    if account == "margin":
        plan = geared(plan, 2.4)
        options["instruments"] = [
            Instrument(asset_id=market.assets[0], initial_margin=0.6, maintenance_margin=0.5)
        ]
    if financed:
        options |= {"rates": Interest(0.03, debit_spread=0.02), "borrow": 0.05}
    whole = run(market, plan, **options)
    same_bits(whole, run(market, plan, kind=OrderWise, **options))


class Eager(SimulationBroker):
    """Looks at every bar."""

    def is_idle(self, bars: Any) -> bool:
        """Never."""
        return False


@examples(80)
@given(
    seed=SEEDS,
    assets=st.integers(1, 7),
    missing=st.sampled_from([0.0, 0.15]),
    account=st.sampled_from(sorted(ACCOUNTS)),
    financed=st.booleans(),
    fill_at=st.sampled_from(["next_open", "close"]),
)
def test_no_bar_is_skipped_that_matters(
    seed: int, assets: int, missing: float, account: str, financed: bool, fill_at: str
) -> None:
    """Few orders, large gaps: calls, bankruptcies and fees are the same when all bars are seen."""
    market = Market(seed, assets=assets, steps=40, missing=missing, gap=0.15)
    plan = geared(random_plan(market.rng, market, activity=0.1), 2.4 if account == "margin" else 1)
    options: dict[str, Any] = {"account": ACCOUNTS[account], "fill_at": fill_at}
    if financed:
        options |= {"rates": Interest(0.03, debit_spread=0.02), "borrow": 0.05}
    lazy = run(market, plan, **options)
    same_bits(lazy, run(market, plan, kind=Eager, **options))


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_a_run_with_much_in_it(account: str) -> None:
    """The runs above are clipped; this one shows it for each account."""
    market = Market(4, assets=8, steps=60, gap=0.02)
    plan = random_plan(market.rng, market, kinds=("weights",), activity=0.5)
    result = run(
        market, geared(plan, 3.3 if account == "margin" else 1.0), account=ACCOUNTS[account]
    )
    assert len(result.fills) > 20
    assert result.record.counts["clipped_orders"] > 0
    gross = (result.equity["gross_exposure"] / result.equity["equity"]).to_numpy()
    assert np.nanmax(gross) > (1.5 if account == "margin" else 0.5)
