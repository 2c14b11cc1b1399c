"""The parts of a simulation by short names: `kind = "percent"` in a file, an object in a run.

Each table is a struct whose fields are the arguments of the part's constructor. What a value may
be is decided there, once; here is decided what its type is.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation import presets
from ml4t.backtest.simulation.account import UnleveragedAccount
from ml4t.backtest.simulation.admission import CashAtSubmission
from ml4t.backtest.simulation.cash_account import CashAccount
from ml4t.backtest.simulation.collateral_account import CollateralAccount
from ml4t.backtest.simulation.commission import (
    NoCommission,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
)
from ml4t.backtest.simulation.fees import SideFee
from ml4t.backtest.simulation.four_prices import FourPrices
from ml4t.backtest.simulation.impact import SquareRootImpact, VolumeShareSlippage
from ml4t.backtest.simulation.in_rounds import InRounds
from ml4t.backtest.simulation.legs import EachLeg
from ml4t.backtest.simulation.liquidity import UnlimitedLiquidity, VolumeParticipation
from ml4t.backtest.simulation.margin_account import MarginAccount
from ml4t.backtest.simulation.one_by_one import OneByOne
from ml4t.backtest.simulation.overdraft_account import OverdraftAccount
from ml4t.backtest.simulation.slippage import (
    BasisPointSlippage,
    FixedSlippage,
    MarketOnly,
    NoSlippage,
    OpeningOnly,
    WithinBar,
)
from ml4t.backtest.simulation.spread import HalfSpreadSlippage, QuotedSpreadSlippage
from ml4t.backtest.simulation.tiers import TieredCommission

Per = Literal["order", "session"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """A part of the simulation, by its kind and the arguments of its constructor."""

    def build(self) -> Any:
        """The part itself."""
        given = msgspec.structs.asdict(self)
        return _MAKERS[type(self)](
            **{name: one.build() if isinstance(one, Part) else one for name, one in given.items()}
        )


# -- commission --------------------------------------------------------------------------------


class Free(Part, frozen=True, tag="none"):
    """`NoCommission`."""


class Percent(Part, frozen=True, tag="percent"):
    """`PercentCommission`."""

    rate: float


class PerShare(Part, frozen=True, tag="per_share"):
    """`PerShareCommission`."""

    per_share: float
    minimum: float = 0.0
    maximum: float | None = None
    maximum_rate: float | None = None
    per: Per = "order"


class PerOrder(Part, frozen=True, tag="per_order"):
    """`PerOrderCommission`."""

    amount: float
    per: Per = "order"


class Tiered(Part, frozen=True, tag="tiered"):
    """`TieredCommission`; keys of a TOML table are text, so are the borders of the tiers."""

    tiers: dict[str, float]
    minimum: float = 0.0
    maximum_rate: float | None = None

    def build(self) -> Any:
        """The part, with numbers for the borders."""
        try:
            tiers = {float(units): rate for units, rate in self.tiers.items()}
        except ValueError:
            raise ConfigError(
                f"commission.tiers must go from units to money per unit, such as "
                f'{{ "0" = 0.0035, "300000" = 0.002 }}; not {self.tiers!r}.'
            ) from None
        return TieredCommission(tiers, minimum=self.minimum, maximum_rate=self.maximum_rate)


class Side(Part, frozen=True, tag="side"):
    """`SideFee`."""

    side: Literal["buy", "sell"]
    rate: float = 0.0
    per_share: float = 0.0
    maximum: float | None = None


class Alpaca(Part, frozen=True, tag="alpaca_equities"):
    """`alpaca_equities`."""

    as_of: str


class Fixed(Part, frozen=True, tag="interactive_brokers_fixed"):
    """`interactive_brokers_fixed`."""

    as_of: str


class TieredPreset(Part, frozen=True, tag="interactive_brokers_tiered"):
    """`interactive_brokers_tiered`."""

    as_of: str
    exchange_per_share: float = 0.003


class Regulatory(Part, frozen=True, tag="us_regulatory_fees"):
    """`us_regulatory_fees`."""

    as_of: str


class Legs(Part, frozen=True, tag="each_leg"):
    """`EachLeg`."""

    commission: Percent | PerShare | PerOrder | Side | Alpaca | Fixed | TieredPreset | Regulatory


# -- slippage ----------------------------------------------------------------------------------


class Exact(Part, frozen=True, tag="none"):
    """`NoSlippage`."""


class BasisPoints(Part, frozen=True, tag="basis_points"):
    """`BasisPointSlippage`."""

    bps: float


class Amount(Part, frozen=True, tag="fixed"):
    """`FixedSlippage`."""

    amount: float


class HalfSpread(Part, frozen=True, tag="half_spread"):
    """`HalfSpreadSlippage`."""

    money: float | None = None
    fraction: float | None = None


class QuotedSpread(Part, frozen=True, tag="quoted_spread"):
    """`QuotedSpreadSlippage`."""

    money: str | None = None
    fraction: str | None = None
    bid: str | None = None
    ask: str | None = None
    fallback: float | None = None


class SquareRoot(Part, frozen=True, tag="square_root"):
    """`SquareRootImpact`."""

    volatility: float | str
    coefficient: float = 1.0
    fallback: float | None = None


class VolumeShare(Part, frozen=True, tag="volume_share"):
    """`VolumeShareSlippage`."""

    price_impact: float = 0.1
    fallback: float | None = None


class Inside(Part, frozen=True, tag="within_bar"):
    """`WithinBar`."""

    slippage: BasisPoints | Amount | HalfSpread | QuotedSpread | SquareRoot | VolumeShare


class AtMarket(Part, frozen=True, tag="market_only"):
    """`MarketOnly`."""

    slippage: BasisPoints | Amount | HalfSpread | QuotedSpread | SquareRoot | VolumeShare | Inside


class Opening(Part, frozen=True, tag="opening_only"):
    """`OpeningOnly`."""

    slippage: BasisPoints | Amount | HalfSpread | QuotedSpread | SquareRoot | VolumeShare | Inside


# -- liquidity and accounts --------------------------------------------------------------------


class Unlimited(Part, frozen=True, tag="unlimited"):
    """`UnlimitedLiquidity`."""


class Participation(Part, frozen=True, tag="volume_participation"):
    """`VolumeParticipation`."""

    share: float


class Unleveraged(Part, frozen=True, tag="unleveraged"):
    """`UnleveragedAccount`."""


class Cash(Part, frozen=True, tag="cash"):
    """`CashAccount`."""

    settlement_days: int | None = None
    good_faith: bool = False


class Margin(Part, frozen=True, tag="margin"):
    """`MarginAccount`."""

    initial: float = 0.5
    maintenance: float = 0.25
    short_initial: float = 0.5
    short_maintenance: float = 0.3


class Overdraft(Part, frozen=True, tag="overdraft"):
    """`OverdraftAccount`."""

    limit: float = 0.0
    ends_at_zero: bool = False
    covers_are_paid: bool = False


class Collateral(Part, frozen=True, tag="collateral"):
    """`CollateralAccount`."""

    commission_counts: bool = True
    ends_at_zero: bool = True


# -- how orders take turns, and what is asked of them ------------------------------------------


class Queue(Part, frozen=True, tag="one_by_one"):
    """`OneByOne`."""

    first: Literal["submitted", "protective", "asset"] = "submitted"
    exits_begin: Literal["at_once", "after_market", "next_bar"] = "at_once"
    trail_by: Literal["range", "close"] = "range"
    judged_by: Literal["bar", "close"] = "bar"


class Ticks(Part, frozen=True, tag="four_prices"):
    """`FourPrices`."""

    path: Literal["ohlc", "olhc"] = "ohlc"
    gaps: Literal["price", "level"] = "price"


class Rounds(Part, frozen=True, tag="in_rounds"):
    """`InRounds`."""

    decimals: int | None = None


class CashFirst(Part, frozen=True, tag="cash_at_submission"):
    """`CashAtSubmission`."""

    refused_count: bool = False


_MAKERS: dict[type[Part], Any] = {
    Free: NoCommission,
    Percent: PercentCommission,
    PerShare: PerShareCommission,
    PerOrder: PerOrderCommission,
    Side: SideFee,
    Alpaca: presets.alpaca_equities,
    Fixed: presets.interactive_brokers_fixed,
    TieredPreset: presets.interactive_brokers_tiered,
    Regulatory: presets.us_regulatory_fees,
    Legs: EachLeg,
    Exact: NoSlippage,
    BasisPoints: BasisPointSlippage,
    Amount: FixedSlippage,
    HalfSpread: HalfSpreadSlippage,
    QuotedSpread: QuotedSpreadSlippage,
    SquareRoot: SquareRootImpact,
    VolumeShare: VolumeShareSlippage,
    Inside: WithinBar,
    AtMarket: MarketOnly,
    Opening: OpeningOnly,
    Unlimited: UnlimitedLiquidity,
    Participation: VolumeParticipation,
    Unleveraged: UnleveragedAccount,
    Cash: CashAccount,
    Margin: MarginAccount,
    Overdraft: OverdraftAccount,
    Collateral: CollateralAccount,
    Queue: OneByOne,
    Rounds: InRounds,
    Ticks: FourPrices,
    CashFirst: CashAtSubmission,
}

COMMISSIONS = (
    Free,
    Percent,
    PerShare,
    PerOrder,
    Tiered,
    Side,
    Alpaca,
    Fixed,
    TieredPreset,
    Regulatory,
    Legs,
)
SLIPPAGES = (
    Exact,
    BasisPoints,
    Amount,
    HalfSpread,
    QuotedSpread,
    SquareRoot,
    VolumeShare,
    Inside,
    AtMarket,
    Opening,
)
LIQUIDITIES = (Unlimited, Participation)
ACCOUNTS = (Unleveraged, Cash, Margin, Overdraft, Collateral)
MATCHINGS = (Queue, Rounds, Ticks)
ADMISSIONS = (CashFirst,)


def kind_of(part: type[Part]) -> str:
    """The word that names a part."""
    return str(part.__struct_config__.tag)
