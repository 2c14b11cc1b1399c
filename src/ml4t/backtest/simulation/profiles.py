"""Other engines' rules, put together from the parts that everybody can use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.simulation.admission import CashAtSubmission
from ml4t.backtest.simulation.collateral_account import CollateralAccount
from ml4t.backtest.simulation.commission import PerShareCommission
from ml4t.backtest.simulation.four_prices import FourPrices
from ml4t.backtest.simulation.in_rounds import InRounds
from ml4t.backtest.simulation.liquidity import VolumeParticipation
from ml4t.backtest.simulation.one_by_one import OneByOne
from ml4t.backtest.simulation.overdraft_account import OverdraftAccount
from ml4t.backtest.simulation.slippage import BasisPointSlippage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What a user says of the account and its costs is no rule of an engine.
_TERMS = frozenset({"initial_cash", "commission", "slippage", "rates", "borrow"})
_TERMS |= {"instruments", "currency"}


@dataclass(frozen=True)
class Profile:
    """The rules of an engine.

    Attributes:
        name: Of the engine.
        version: Of the engine that the rules are proven against.
        options: Makes the options of a `SimulationBroker`.
    """

    name: str
    version: str
    options: Callable[[], dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def said_of(self, given: Iterable[str]) -> str:
        """The profile, and which of its rules were replaced by what was given.

        Args:
            given: Options that are not the profile's own choice.

        Example:
            >>> PROFILES["bt"].said_of(["initial_cash", "fill_at"])
            'bt 1.4.1, but for fill_at'
        """
        others = sorted(set(given) - _TERMS)
        return f"{self}, but for {', '.join(others)}" if others else str(self)


def backtrader() -> dict[str, Any]:
    """The rules of backtrader's `BackBroker` as it comes.

    Its queue of pending orders goes once through each bar, in order of submission
    (`BackBroker.next`): `OneByOne`. The children of a bracket are set to work at the start of the
    next bar (`_toactivate`): `exits_begin="next_bar"`. `Order.trailadjust` is called with the
    close: `trail_by="close"`.

    Money is asked for twice. `check_submitted` pays in thought for everything that is new, at
    the prices of its creation, and does not put back what it refuses: `CashAtSubmission` with
    `refused_count`. `_execute` tests again, at the fill, and drops what would open a position:
    `funding="reject"`. With `shortcash` a short sale brings cash and binds nothing, and nothing
    ends a run whose equity is gone: `OverdraftAccount()`.

    Sizes are never rounded. There are no costs until some are set; `WithinBar` around a slippage
    gives what `slip_match` and `slip_out` do.
    """
    return {
        "initial_cash": 10_000.0,
        "fill_at": "next_open",
        "funding": "reject",
        "fractional": True,
        "account": OverdraftAccount(),
        "matching": OneByOne(exits_begin="next_bar", trail_by="close"),
        "admission": CashAtSubmission(refused_count=True),
    }


def backtesting_py() -> dict[str, Any]:
    """The rules of the broker of backtesting.py as it comes.

    One list of orders goes through each bar (`_Broker._process_orders`), and `new_order` and
    `Trade.close` put stop-losses and closings at its front: `OneByOne(first="protective")`. After
    a market entry the list is gone through again, so that its stop-loss and target can be met in
    the bar of the entry; after a limit or a stop entry they wait:
    `exits_begin="after_market"`.

    Units are whole. An order whose opening part costs more than `margin_available` is canceled
    when it would fill: `funding="reject"` on the default account, in which a short binds as much
    as a long. The spread moves entries alone: give it as `OpeningOnly(BasisPointSlippage(...))`.
    """
    return {
        "initial_cash": 10_000.0,
        "fill_at": "next_open",
        "funding": "reject",
        "fractional": False,
        "matching": OneByOne(first="protective", exits_begin="after_market"),
    }


def bt() -> dict[str, Any]:
    """The rules of bt as it comes.

    A strategy deals at the prices of the row it decides on (`Strategy.run` after `update`):
    `fill_at="close"`. Nothing asks whether there is cash (`StrategyBase.adjust`), shorts bring
    cash, and what is worth less than nothing is flattened (`StrategyBase.update`):
    `OverdraftAccount(math.inf, ends_at_zero=True)`. Positions are whole (`integer_positions`).
    What a weight comes to is worked out at the same prices and rounded down
    (`SecurityBase.allocate`), as `rebalance_to_weights` does; but there the commission has to fit
    in too.
    """
    return {
        "initial_cash": 1_000_000.0,
        "fill_at": "close",
        "funding": "reject",
        "fractional": False,
        "account": OverdraftAccount(math.inf, ends_at_zero=True),
        "matching": OneByOne(),
    }


def vectorbt() -> dict[str, Any]:
    """The rules of vectorbt's `Portfolio.from_orders` and `from_signals` as they come.

    An order fills in the row it stands in, at the close (`execute_order_nb`, price `inf`):
    `fill_at="close"`. With shared cash the columns have their turns from left to right
    (`simulate_from_orders_nb`, `build_call_seq_nb`): `OneByOne(first="asset")`; `call_seq="auto"`
    is `first="value"`. What the cash does not pay for, fee included, is cut, and a purchase that
    closes a short likewise (`buy_nb`): `funding="scale"`. `sell_nb` asks for nothing without
    `lock_cash`, and nothing ends at zero: `OverdraftAccount(covers_are_paid=True)`.

    Stops and targets are looked for from the next row on, stop first, at the open when it is
    beyond (`get_stop_price_nb`), which is what `OneByOne` does. They get no slippage
    (`stop_exit_price="stoplimit"`): give one as `MarketOnly(BasisPointSlippage(...))`.
    """
    return {
        "initial_cash": 100.0,
        "fill_at": "close",
        "funding": "scale",
        "fractional": True,
        "account": OverdraftAccount(covers_are_paid=True),
        "matching": OneByOne(first="asset", exits_begin="next_bar"),
    }


def pybroker() -> dict[str, Any]:
    """The rules of pybroker as it comes.

    Orders fill in the next bar of their symbol, at (low + high) / 2, rounded to cents
    (`PriceScope.fetch`): `fill_at="next_middle"` and `decimals=2`. A limit is compared with that
    price (`Portfolio.buy`). Stops come first, then covers, sales, purchases, and limits that are
    tried again (`BacktestMixin.backtest_executions`); a stop fills at its level or, if that lies
    outside the bar, at the bar's end (`Portfolio._trigger_profit_or_loss_stop`): `InRounds`.

    What the cash does not pay for is cut, fees left out (`Portfolio._clamp_shares`), and shorts
    keep their price of entry as collateral (`_post_collateral`, `_release_collateral`):
    `funding="scale"` on a `CollateralAccount`.
    """
    return {
        "initial_cash": 100_000.0,
        "fill_at": "next_middle",
        "funding": "scale",
        "fractional": False,
        "account": CollateralAccount(commission_counts=False, ends_at_zero=False),
        "matching": InRounds(decimals=2),
    }


def nautilus() -> dict[str, Any]:
    """The rules of nautilus_trader on bars of last prices, with an account for margin.

    A strategy that is told of a bar deals at its close (`OrderMatchingEngine.process_order`):
    `fill_at="close"`. A bar is taken for trades at its open, high, low and close
    (`_process_trade_ticks_from_bar`), and what they reach fills at its own level, even where the
    open has jumped over it (`determine_market_price_and_volume`, `fill_limit_order`):
    `FourPrices(gaps="level")`.

    Orders are not asked for money there (`RiskEngine._check_orders_risk`), and nothing ends a run
    whose equity is gone: `OverdraftAccount(math.inf)`. Units are whole, as an `Equity` has them.
    There are no costs until some are set; `FillModel(prob_slippage=1.0)` is a `FixedSlippage` of
    one tick.
    """
    return {
        "initial_cash": 100_000.0,
        "fill_at": "close",
        "funding": "reject",
        "fractional": False,
        "account": OverdraftAccount(math.inf),
        "matching": FourPrices(gaps="level"),
    }


def zipline() -> dict[str, Any]:
    """The rules of zipline on daily bars as it comes.

    The close of a session is all that its orders see: it triggers them, and they fill at it, in
    the session after the decision (`SlippageModel.simulate`, `Order.check_order_triggers`):
    `fill_at="next_close"` and `judged_by="close"`. `FixedBasisPointsSlippage` moves every fill by
    five basis points and takes no more than a tenth of the bar's volume; what does not fit stays
    open. The commission is a tenth of a cent a share, of the order as a whole
    (`calculate_per_unit_commission`).

    Units are whole (`TradingAlgorithm.round_order`). Nothing asks whether there is cash
    (`Ledger.process_transaction`), a short sale brings it, and nothing ends a run whose equity is
    gone: `OverdraftAccount(math.inf)`.
    """
    return {
        "initial_cash": 100_000.0,
        "fill_at": "next_close",
        "funding": "reject",
        "fractional": False,
        "commission": PerShareCommission(0.001),
        "slippage": BasisPointSlippage(5.0),
        "liquidity": VolumeParticipation(0.1),
        "account": OverdraftAccount(math.inf),
        "matching": OneByOne(exits_begin="next_bar", judged_by="close"),
    }


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("backtesting.py", "0.6.6", backtesting_py),
        Profile("backtrader", "1.9.78.123", backtrader),
        Profile("bt", "1.4.1", bt),
        Profile("vectorbt", "1.2.0", vectorbt),
        Profile("pybroker", "2.0.2", pybroker),
        Profile("nautilus", "1.221.0", nautilus),
        Profile("zipline", "3.2.1", zipline),
    )
}
"""The profiles by the names of their engines."""


def profile_of(engine: str) -> Profile:
    """The profile of an engine.

    Raises:
        ConfigError: There is none of that name.
    """
    profile = PROFILES.get(str(engine))
    if profile is None:
        raise ConfigError(
            f"There is no profile of an engine {engine!r}. {did_you_mean(str(engine), PROFILES)}"
        )
    return profile
