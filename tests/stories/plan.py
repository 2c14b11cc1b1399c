"""Order plans as text: bars, orders decided on them, and the fills that must follow.

A plan is small enough to be worked out by hand. Bars are numbered from 0 and, unless said
otherwise, are sessions; an asset that is not named is "A".

    bars      <bar> [ASSET] <open> <high> <low> <close>
    orders    @<bar> buy|sell <quantity> [ASSET] [limit <price>] [stop <price>]
              [trail <amount>|<percent>%] [offset <amount>] [until <bar>]
              [day|gtc|ioc|fok|opg|cls] [reduce_only]
    fills     <bar> buy|sell <quantity> [ASSET] at <price> [fee <money>] [slip <money>]
              [because <reason>]
    ends      <order> <status> [<reason>]

`fills` must be all fills, in order; `ends` names the orders one wants to know about.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    DataFeed,
    MarketEvent,
    Order,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import ten_bars, weekdays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml4t.backtest import BacktestResult
    from ml4t.backtest.types.bars import Bars

TEN = """
    0  100 101  99 100
    1  102 104 101 103
    2  103 105 102 104
    3  108 110 107 109
    4  100 101  95  96
    5   97  99  90  98
    6   98 103  97 102
    7  102 102 102 102
    8  103 108  96 105
    9  105 106 104 105
"""

PRICES = {"limit", "stop", "trail", "offset"}


def rows(text: str) -> list[list[str]]:
    """The words of every line that has any."""
    return [line.split() for line in text.splitlines() if line.strip()]


def parse_bars(text: str, times: Sequence[dt.date | dt.datetime] | None = None) -> pl.DataFrame:
    """A table of bars as prices."""
    lines = [[r[0], "A", *r[1:]] if len(r) == 5 else r for r in rows(text)]
    when = weekdays(max(int(r[0]) for r in lines) + 1) if times is None else times
    return pl.DataFrame(
        {
            "timestamp": [when[int(r[0])] for r in lines],
            "asset_id": [r[1] for r in lines],
            **{
                name: [float(r[i]) for r in lines]
                for i, name in enumerate(("open", "high", "low", "close"), start=2)
            },
            "volume": 1_000.0,
        }
    )


def parse_order(words: list[str]) -> tuple[int, Order]:
    """When, and what."""
    bar, side, quantity, *rest = words
    asset_id = rest.pop(0) if rest and rest[0].isupper() else "A"
    prices: dict[str, float] = {}
    options: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        if word in PRICES:
            price = rest.pop(0)
            prices[f"{word}%" if price.endswith("%") else word] = float(price.rstrip("%"))
        elif word == "until":
            options |= {"time_in_force": "gtd", "expires_at": weekdays(20)[int(rest.pop(0))]}
        elif word == "reduce_only":
            options["reduce_only"] = True
        else:
            options["time_in_force"] = word
    percent = prices.get("trail%")
    order = Order(
        asset_id,
        side,
        float(quantity),
        _kind(prices),
        prices.get("limit"),
        prices.get("stop"),
        prices.get("trail"),
        None if percent is None else percent / 100.0,
        limit_offset=prices.get("offset"),
        **options,
    )
    return int(bar.removeprefix("@")), order


def _kind(prices: dict[str, float]) -> str:
    """The type that goes with some prices."""
    if "trail" in prices or "trail%" in prices:
        return "trailing_stop_limit" if "offset" in prices else "trailing_stop"
    return "_".join(k for k in ("stop", "limit") if k in prices) or "market"


class Plan(Strategy):
    """Submits each order of a plan on its bar."""

    def __init__(self, text: str, acts: Callable[[Plan, int], Any] | None = None) -> None:
        self._orders = [parse_order(words) for words in rows(text)]
        self._acts = acts
        self._step = -1

    def on_start(self) -> None:
        """From the start."""
        self._step = -1

    def on_bars(self, bars: Bars) -> None:
        """What is due."""
        del bars
        self._step += 1
        for when, order in self._orders:
            if when == self._step:
                self.submit_order(order)
        if self._acts is not None:
            self._acts(self, self._step)


class EventFeed(DataFeed):
    """The bars of a table, one by one."""

    def __init__(self, data: pl.DataFrame) -> None:
        self._rows = data.sort("timestamp", "asset_id").rows()

    def get_next_event(self) -> MarketEvent | None:
        """The next one."""
        if not self._rows:
            return None
        when, *rest = self._rows.pop(0)
        is_moment = isinstance(when, dt.datetime)
        return MarketEvent(when if is_moment else dt.datetime.combine(when, dt.time()), *rest)

    def is_exhausted(self) -> bool:
        """Whether none is left."""
        return not self._rows


def tell(
    orders: str = "",
    fills: str = "",
    ends: str = "",
    *,
    bars: str = TEN,
    times: Sequence[dt.date | dt.datetime] | None = None,
    acts: Callable[[Plan, int], Any] | None = None,
    cash: float = 10_000.0,
    as_events: bool = False,
    **broker: Any,
) -> BacktestResult:
    """Run a plan, and compare what happened with what must have.

    Args:
        orders: The orders, as text.
        fills: All fills, as text.
        ends: What became of some orders, as text.
        bars: The bars, as text; ten reference bars unless given.
        times: When each bar is complete; weekdays unless given.
        acts: Called with the strategy and the number of the bar, for what is no plain order.
        cash: Money at the start.
        as_events: Bring the bars one by one, from a feed that names its assets as it goes.
        broker: Options of the broker.
    """
    data = ten_bars() if bars is TEN else parse_bars(bars, times)
    result = BacktestEngine(
        EventFeed(data) if as_events else data,
        strategy=Plan(orders, acts),
        broker=SimulationBroker(cash, **broker),
    ).run()
    stamps = result.equity["timestamp"].to_list()
    _compare_fills(result, rows(fills), stamps)
    for order_id, status, *reason in rows(ends):
        row = result.orders.filter(order_id=int(order_id)).row(0, named=True)
        assert (row["status"], row["reason"] or "") == (status, " ".join(reason)), row
    return result


def _compare_fills(result: BacktestResult, expected: list[list[str]], stamps: list[Any]) -> None:
    happened = [
        f"{stamps.index(row['timestamp'])} {row['side']} {row['quantity']:.10g} {row['asset_id']} "
        f"at {row['price']:.10g}"
        for row in result.fills.iter_rows(named=True)
    ]
    wanted = []
    for line in expected:
        words = [*line[:3], "A", *line[3:]] if line[3] == "at" else line
        wanted.append(" ".join(words[:6]))
    assert happened == wanted
    for line, row in zip(expected, result.fills.iter_rows(named=True), strict=True):
        for word, column in (("fee", "commission"), ("slip", "slippage")):
            if word in line:
                assert math.isclose(row[column], float(line[line.index(word) + 1])), row
        if "because" in line:
            assert row["reason"] == " ".join(line[line.index("because") + 1 :]), row
