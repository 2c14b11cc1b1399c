"""What the probes of all engines share: tiny markets, orders in common words, a run's outcome.

A probe is a program for the interpreter of its engine and imports that engine only:

    <the engine's python> -m tests.parity.probes.backtrader

It prints one object of JSON: the engine, its version, and an answer to every question of
`questions.py`. The questions are asked in common words (`Order`, `Terms`); the engine's own file
says them in the engine's words and reports what happened (`Run`). Answers are worked out from
the numbers of the run, never written down.
"""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Bar(NamedTuple):
    """One bar; the volume is so large that no engine's limit meets it, unless given."""

    open: float
    high: float
    low: float
    close: float
    volume: float = 1_000_000.0

    @property
    def mid(self) -> float:
        """The middle of high and low, at which some engines deal."""
        return (self.high + self.low) / 2

    def prices(self) -> dict[str, float]:
        """The prices at which an engine may deal, by name."""
        return {"open": self.open, "close": self.close, "mid": self.mid}


FLAT = Bar(100, 100, 100, 100)
CALM = Bar(100, 100.5, 99.5, 100)
# Every price of neighbouring bars is different, so that a fill says where it was made.
TEN = [
    Bar(100, 101, 99, 100),
    Bar(102, 104, 101, 103),
    Bar(103, 105, 102, 104),
    Bar(108, 110, 107, 109),
    Bar(100, 101, 95, 96),
    Bar(97, 99, 90, 98),
    Bar(98, 103, 97, 102),
    Bar(102, 102, 102, 102),
    Bar(103, 108, 96, 105),
    Bar(105, 106, 104, 105),
]

Bars = list[Bar | None]  # None: the asset has no bar at that time
Markets = dict[str, Bars]


def mirrored(bars: Bars) -> Bars:
    """The bars with rises for falls, around 100."""
    return [
        bar and Bar(200 - bar.open, 200 - bar.low, 200 - bar.high, 200 - bar.close, bar.volume)
        for bar in bars
    ]


def calm(count: int, *bars: Bar) -> Bars:
    """So many calm bars around 100, then the others."""
    return [*([CALM] * count), *bars]


class Unsupported(Exception):  # noqa: N818  it is an answer, not an error
    """The engine has nothing of the kind; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order that the strategy sends while `bar` is its newest bar.

    `quantity` is signed; instead of it, `fraction` asks the engine's own helper for a share of
    the equity. `bracket` is a stop and a target that the entry brings with it.
    """

    bar: int
    quantity: float = 0.0
    asset: str = "A"
    limit: float | None = None
    stop: float | None = None
    trail: float | None = None
    bracket: tuple[float, float] | None = None
    fraction: float | None = None
    day: bool = False

    @property
    def is_plain(self) -> bool:
        """Is it a market order for a number of shares."""
        return not (self.limit or self.stop or self.trail or self.bracket or self.day) and (
            self.fraction is None
        )


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The account; no cash, or `as_shipped` costs and limits, are the engine's defaults."""

    cash: float | None = 10_000.0
    percent_fee: float = 0.0
    share_fee: float = 0.0
    least_fee: float = 0.0
    slippage: float = 0.0
    as_shipped: bool = False
    may_short: bool = False  # where the user must choose an account, one that can be short
    fractional: bool = False  # where the user must ask for fractions of shares


@dataclass(kw_only=True)
class Fill:
    """One execution; `quantity` is signed, `time` is the engine's own label of it."""

    asset: str
    bar: int
    quantity: float
    price: float
    fee: float = 0.0
    time: str = ""

    def brief(self) -> list[Any]:
        """Bar, asset, quantity, price and fee, for the evidence."""
        return [self.bar, self.asset, *map(clean, (self.quantity, self.price, self.fee))]


@dataclass(kw_only=True)
class Run:
    """What happened: fills in their order, and what the engine said after each bar."""

    fills: list[Fill] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # of the orders, as sent
    profits: list[float] = field(default_factory=list)  # of the closed trades
    calls: list[int] = field(default_factory=list)  # bars in which the strategy was asked
    notes: list[str] = field(default_factory=list)
    stopped: str = ""  # the error that ended the run early
    worth: list[float] = field(default_factory=list)  # where it is not the engine's equity

    def first(self, *, after: int = -1, asset: str | None = None) -> Fill | None:
        """The first fill in a bar after `after`."""
        for fill in self.fills:
            if fill.bar > after and asset in {None, fill.asset}:
                return fill
        return None

    def held(self, asset: str = "A", bar: int = 10_000) -> float:
        """The position at the end of a bar, added up from the fills."""
        return sum(f.quantity for f in self.fills if f.asset == asset and f.bar <= bar)

    def briefs(self) -> list[list[Any]]:
        """All fills, for the evidence."""
        return [fill.brief() for fill in self.fills]


class Engine(Protocol):
    """What the file of an engine gives: how it is called, and how to run it."""

    name: str
    package: str
    module: str
    sources: dict[str, str]  # question -> file:function, the file below the site-packages
    unsupported: dict[str, str]  # question -> reason
    needs_cash: bool  # must the user say how much

    def run(self, markets: Markets, orders: list[Order], terms: Terms) -> Run:
        """Run a strategy that sends these orders."""
        ...


def clean(value: float) -> float | int | None:
    """A number for JSON: no noise in its last digits, whole numbers as such."""
    if not math.isfinite(value):
        return None
    rounded = round(float(value), 8)
    return int(rounded) if rounded.is_integer() else rounded


def cleaned(values: list[float]) -> list[float | int | None]:
    """The same for many numbers."""
    return [clean(value) for value in values]


def same(a: float, b: float) -> bool:
    """Are two prices or sums equal, up to the noise of floats."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def which(value: float, **candidates: float) -> str:
    """The names of the candidates that a value is equal to."""
    found = [name.replace("_", " ") for name, one in candidates.items() if same(value, one)]
    return " = ".join(found) or f"none of these: {clean(value)}"


def distance(sent: int, filled: int) -> str:
    """How many bars after the decision."""
    names = {0: "same bar", 1: "next bar"}
    return names.get(filled - sent, f"{filled - sent} bars later")


def fill_or_state(run: Run, number: int) -> str:
    """What became of an order, where that is all one can say."""
    return run.states[number] if number < len(run.states) else "unknown"


def states_from_fills(orders: list[Order], fills: list[Fill]) -> list[str]:
    """For an engine that does not tell: was a like order executed after the decision."""
    states = []
    left = list(fills)
    for order in orders:
        found = next(
            (
                fill
                for fill in left
                if fill.asset == order.asset
                and fill.bar > order.bar
                and fill.quantity * order.quantity > 0
            ),
            None,
        )
        if found is None:
            states.append("not filled")
        else:
            left.remove(found)
            is_whole = abs(found.quantity) >= abs(order.quantity) - 1e-9
            states.append("filled" if is_whole else "filled in part")
    return states


def by_question(places: dict[str, str]) -> dict[str, str]:
    """From places with their questions to questions with their place."""
    return {question: place for place, asked in places.items() for question in asked.split()}


def shown_in(engine: Engine, source: str) -> None:
    """Make sure that a place in the engine's source exists."""
    path, _, place = source.partition(":")
    home = Path(str(import_module(engine.module).__file__)).parent.parent
    text = (home / path).read_text(encoding="utf-8")
    for name in place.split("."):
        if not re.search(rf"(?m)^\s*(def|class|cdef|cpdef)\b.*\b{name}\b", text):
            raise LookupError(f"{engine.name}: {path} has no {name}; correct `PLACES`")


def fact(engine: Engine, question: str, ask: Any) -> dict[str, Any]:
    """One answer, with the place that shows it."""
    if question in engine.unsupported:
        return {"unsupported": engine.unsupported[question]}
    try:
        found: dict[str, Any] = ask(engine)
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    source = engine.sources.get(question)
    if source is None:
        raise LookupError(f"{engine.name}: `PLACES` says not where {question} is shown")
    shown_in(engine, source)
    return {**found, "source": source}


def main(engine: Engine) -> None:
    """Answer all questions, and print the answers."""
    from tests.parity.probes.questions import ASKED

    facts = {question: fact(engine, question, ask) for question, ask in ASKED.items()}
    found = {"engine": engine.name, "version": version(engine.package), "facts": facts}
    sys.stdout.write(f"{json.dumps(found)}\n")
