"""What goes wrong in a rehearsal, and when: faults by name, with counts, chances and conditions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

CALLS = (
    "account",
    "activities",
    "asset",
    "assets",
    "bars",
    "calendar",
    "cancel",
    "cancel-all",
    "clock",
    "close",
    "close-all",
    "configurations",
    "latest",
    "list",
    "order",
    "position",
    "positions",
    "replace",
    "snapshots",
    "submit",
)
"""The calls of the REST dialect, as `call=` names them."""

_ORDER = ("symbol", "side", "client")
_UPDATE = (*_ORDER, "event")
FAULTS: dict[str, tuple[str, dict[str, float], tuple[str, ...]]] = {
    # name: what happens, options of its own with their defaults, conditions
    "429": (
        "a call is refused for its rate, with X-Ratelimit headers; `seconds` until it may come",
        {"seconds": 1.0},
        ("call",),
    ),
    "401": ("a call is refused for its credentials", {}, ("call",)),
    "504-before": ("a proxy answers 504, and the call never arrived", {}, ("call",)),
    "504-after": ("a proxy answers 504, and the call was carried out", {}, ("call",)),
    "hang-before": (
        "the reply does not come for `seconds`, and the call never arrived",
        {"seconds": 60.0},
        ("call",),
    ),
    "hang-after": (
        "the reply does not come for `seconds`, and the call was carried out",
        {"seconds": 60.0},
        ("call",),
    ),
    "drop-trades": ("the socket of trade updates breaks, and loses this one", {}, _UPDATE),
    "mute-trades": ("the socket stays open and brings no update any more", {}, _UPDATE),
    "refuse-trades": ("the socket of trade updates refuses the credentials", {}, ()),
    "lose-update": ("a trade update is never sent", {}, _UPDATE),
    "duplicate-update": ("a trade update is sent twice", {}, _UPDATE),
    "late-update": ("a trade update comes `bars` bars later", {"bars": 1.0}, _UPDATE),
    "swap-updates": ("a trade update comes after the one that follows it", {}, _UPDATE),
    "drop-data": ("the socket of market data breaks, and loses these bars", {}, ()),
    "mute-data": ("the socket stays open and brings no data any more", {}, ()),
    "refuse-data": ("the socket of market data refuses the credentials", {}, ()),
    "406": ("the socket of market data says that there is one connection already", {}, ()),
    "lose-bar": ("a bar is never sent", {}, ("symbol",)),
    "duplicate-bar": ("a bar is sent twice", {}, ("symbol",)),
    "late-bar": ("a bar comes `bars` bars later", {"bars": 1.0}, ("symbol",)),
    "correct-bar": (
        "a bar is wrong by the fraction `by`, and put right by an updated bar after it",
        {"by": 0.01},
        ("symbol",),
    ),
    "reject-order": ("an order is taken, and rejected by the exchange", {}, _ORDER),
    "partial-fill": (
        "a fill brings the fraction `share` of the order",
        {"share": 0.5},
        ("symbol", "side"),
    ),
    "correct-fill": (
        "an execution is corrected, to a price worse by the fraction `by`",
        {"by": 0.001},
        _ORDER,
    ),
    "fill-during-cancel": ("a cancel takes effect after the next bar alone", {}, _ORDER),
    "refuse-cancel": ("a cancel is refused: the order is not cancelable", {}, _ORDER),
    "refuse-replace": ("a replace is refused", {}, _ORDER),
    "reject-replace": ("a replace is taken, and rejected afterwards", {}, _ORDER),
    "notice": (
        "an order is taken, and a notice with the number `code` comes with it",
        {"code": 399.0},
        _ORDER,
    ),
    "link-lost": (
        "the link of TWS to the broker is lost for `bars` bars, subscriptions too with kept=0",
        {"bars": 1.0, "kept": 1.0},
        (),
    ),
    "farm-broken": (
        "the farm that sends bars cannot be reached for `bars` bars",
        {"bars": 1.0},
        (),
    ),
    "roll-back-ids": (
        "a client that connects is given numbers for orders that were used",
        {},
        (),
    ),
    "restart": (
        "the venue goes away for `seconds`, and comes back as it was",
        {"seconds": 0.5},
        (),
    ),
}
"""Every fault: what it does, its own options, and the conditions it knows."""

ALPACA, TWS = "alpaca", "ib"
ONLY = {
    **dict.fromkeys(("429", "401", "504-before", "504-after", "refuse-trades"), ALPACA),
    **dict.fromkeys(("refuse-data", "late-bar", "correct-bar", "reject-replace"), ALPACA),
    **dict.fromkeys(("notice", "link-lost", "farm-broken", "roll-back-ids"), TWS),
}
"""The protocol of those faults that only one has; the others are of both."""

_COUNTS = ("after", "every", "times", "probability", "seed")


class Fault:
    """One kind of mishap, and when it strikes.

    Of the occasions that meet its conditions the first `after` pass; then it strikes at each
    `every`-th, with `probability`, at most `times` times.

    Args:
        text: `name`, or `name:option=value,...`. Options: `after` (0), `every` (1), `times` (1;
            without a limit where `every` or `probability` is given; `times=all` says so),
            `probability` (1) with `seed` (0), conditions (`call=submit`, `symbol=AAPL`,
            `side=buy`, `event=fill`, `client=` the beginning of a client order id), and those
            of the fault itself.

    Attributes:
        name: Of the fault, in `FAULTS`.
        seen: Occasions that met its conditions.
        struck: How often it struck.

    Raises:
        ConfigError: An unknown name, option or condition, or a value out of range.

    Example:
        >>> fault = Fault("504-after:every=2,call=submit")
        >>> [fault.strikes(call="submit") for _ in range(4)]
        [False, True, False, True]
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        name, _, rest = self.text.partition(":")
        self.name = name.strip()
        if self.name not in FAULTS:
            raise ConfigError(f"There is no fault {self.name!r}. {did_you_mean(self.name, FAULTS)}")
        _, own, conditions = FAULTS[self.name]
        given = dict(self._pair(part) for part in rest.split(",") if part.strip())
        known = (*_COUNTS, *own, *conditions)
        for option in given:
            if option not in known:
                raise ConfigError(
                    f"Fault {self.name!r} has no option {option!r}. {did_you_mean(option, known)}"
                )
        is_repeated = "every" in given or "probability" in given
        self.after = int(self._number(given, "after", 0, whole=True))
        self.every = int(self._number(given, "every", 1, least=1, whole=True))
        self.times = math.inf if is_repeated else 1.0
        if given.get("times") == "all":
            self.times = math.inf
        elif "times" in given:
            self.times = self._number(given, "times", 1, least=1, whole=True)
        self.probability = self._number(given, "probability", 1.0, most=1.0)
        self._generator = np.random.default_rng(int(self._number(given, "seed", 0, whole=True)))
        self.options = {option: self._number(given, option, own[option]) for option in own}
        self.conditions = {c: given[c] for c in conditions if c in given}
        call = self.conditions.get("call")
        if call is not None and call not in CALLS:
            raise ConfigError(f"Fault {self.text!r}: no call={call!r}. {did_you_mean(call, CALLS)}")
        self.seen = 0
        self.struck = 0

    def __repr__(self) -> str:
        return f"Fault({self.text!r})"

    def strikes(self, **facts: str) -> bool:
        """Whether it strikes at this occasion.

        Args:
            facts: What the conditions are compared with.
        """
        if not all(self._meets(name, facts.get(name, "")) for name in self.conditions):
            return False
        self.seen += 1
        turn = self.seen - self.after
        if turn < 1 or turn % self.every or self.struck >= self.times:
            return False
        if self.probability < 1.0 and self._generator.random() >= self.probability:
            return False
        self.struck += 1
        return True

    def _meets(self, condition: str, fact: str) -> bool:
        wanted = self.conditions[condition]
        return fact.startswith(wanted) if condition == "client" else fact == wanted

    def _pair(self, part: str) -> tuple[str, str]:
        option, found, value = part.partition("=")
        if not found or not value.strip():
            raise ConfigError(
                f"Fault {self.text!r}: {part.strip()!r} is not an option; write option=value."
            )
        return option.strip(), value.strip()

    def _number(
        self,
        given: dict[str, str],
        option: str,
        default: float,
        *,
        least: float = 0.0,
        most: float = math.inf,
        whole: bool = False,
    ) -> float:
        text = given.get(option, str(default))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            limit = "" if most == math.inf else f" to {most:g}"
            raise ConfigError(
                f"Fault {self.text!r}: {option} must be {kind} from {least:g}{limit}, not {text!r}."
            )
        return value


class FaultPlan:
    """The faults of a rehearsal.

    Args:
        faults: As `Fault`, or as texts.

    Example:
        >>> plan = FaultPlan(["429:times=2"])
        >>> [plan.take("429", call="account") is not None for _ in range(3)]
        [True, True, False]
    """

    def __init__(self, faults: Iterable[str | Fault] = ()) -> None:
        self.faults: list[Fault] = []
        self._protocol: str | None = None
        for fault in (faults,) if isinstance(faults, str | Fault) else faults:
            self.add(fault)

    def add(self, fault: str | Fault) -> Fault:
        """One more fault.

        Raises:
            ConfigError: There is no such fault, or not in this protocol.
        """
        made = fault if isinstance(fault, Fault) else Fault(fault)
        self._check(made)
        self.faults.append(made)
        return made

    def speak(self, protocol: str) -> None:
        """From now on only faults of this protocol: another would never strike.

        Raises:
            ConfigError: There is one already that it has not.
        """
        self._protocol = protocol
        for fault in self.faults:
            self._check(fault)

    def _check(self, fault: Fault) -> None:
        only = ONLY.get(fault.name)
        if None in (only, self._protocol) or only == self._protocol:
            return
        raise ConfigError(
            f"Fault {fault.name!r} is of --protocol {only} alone, and would never strike here. "
            f"`ml4t-backtest rehearse --fault list` says which are of which."
        )

    def clear(self) -> None:
        """No faults from now on."""
        self.faults.clear()

    def has(self, name: str) -> bool:
        """Whether there is a fault of this name."""
        return any(fault.name == name for fault in self.faults)

    def take(self, name: str, **facts: str) -> Fault | None:
        """The fault of this name that strikes at this occasion, if one does.

        Args:
            name: In `FAULTS`.
            facts: What conditions are compared with.
        """
        for fault in self.faults:
            if fault.name == name and fault.strikes(**facts):
                return fault
        return None

    def report(self) -> list[dict[str, Any]]:
        """Every fault as plain values: its text, how often it could have struck, and did."""
        return [
            {"fault": fault.text, "seen": fault.seen, "struck": fault.struck}
            for fault in self.faults
        ]
