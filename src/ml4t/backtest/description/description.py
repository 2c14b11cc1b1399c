"""`RunDescription`: what a run is made of, read from a file and checked before anything runs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.data.context import Context
from ml4t.backtest.data.frames import CSVDataFeed, FrameFeed
from ml4t.backtest.data.signals import SignalTable
from ml4t.backtest.description import parts, tables
from ml4t.backtest.description.entries import copied, put, settled, value_of
from ml4t.backtest.description.faults import Origin, decode, decode_part, unknown_table
from ml4t.backtest.description.loading import load_strategy
from ml4t.backtest.engine import BacktestEngine
from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.limits.limits import RiskLimits
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.types.instrument import Instrument

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.results.result import BacktestResult

_ENTRIES: dict[str, type[msgspec.Struct]] = {
    "data": tables.DataEntries,
    "context": tables.ContextEntries,
    "actions": tables.ActionEntries,
    "strategy": tables.StrategyEntries,
    "broker": tables.BrokerEntries,
    "limits": tables.LimitEntries,
    "engine": tables.EngineEntries,
    "output": tables.OutputEntries,
}
_PARTS = {
    "commission": parts.COMMISSIONS,
    "slippage": parts.SLIPPAGES,
    "liquidity": parts.LIQUIDITIES,
    "account": parts.ACCOUNTS,
    "matching": parts.MATCHINGS,
    "admission": parts.ADMISSIONS,
}
_SUMS = frozenset({"commission", "slippage"})
TABLES = ("data", "signals", "context", "actions", "strategy", "broker", *_PARTS, "limits",
          "engine", "output")  # fmt: skip
_OWN_FIELDS = ("file", "class", "parameters")


class RunDescription:
    """A run in plain values: what a TOML file says, checked, and the engine that it makes.

    The tables are `data`, `signals` (or `signals.NAME` for several), `context`, `actions`,
    `strategy`, `broker`, `commission`, `slippage`, `liquidity`, `account`, `matching`,
    `admission`, `limits`, `engine` and `output`; the page about the command line shows each
    field. Paths are absolute once read.

    Args:
        entries: The tables.
        folder: What relative paths are relative to; the working directory by default.
        origin: Where the entries come from, for error texts.

    Raises:
        ConfigError: A table or field is unknown, missing, or of another type; the text names the
            place, and the nearest name that exists.

    Example:
        >>> description = RunDescription({"broker": {"initial_cash": 50_000}})
        >>> description.with_set("commission.kind=percent", "commission.rate=0.001").entries
        {'broker': {'initial_cash': 50000}, 'commission': {'kind': 'percent', 'rate': 0.001}}
        >>> description.with_set("broker.initial_csh=1")
        Traceback (most recent call last):
        ml4t.backtest.errors.ConfigError: --set broker.initial_csh=1: [broker] has no field \
'initial_csh'. Did you mean 'initial_cash'?
    """

    def __init__(
        self,
        entries: Mapping[str, Any],
        *,
        folder: str | os.PathLike[str] | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.origin = origin or Origin()
        base = Path.cwd() if folder is None else Path(folder).expanduser().absolute()
        for name in entries:
            if name not in TABLES:
                raise unknown_table(name, TABLES, self.origin)
        self.entries = settled(entries, base)
        found = {name: self._decoded(name) for name in _ENTRIES}
        self.data: tables.DataEntries = found["data"] or tables.DataEntries()
        self.context: tables.ContextEntries | None = found["context"]
        self.actions: tables.ActionEntries | None = found["actions"]
        self.strategy: tables.StrategyEntries = found["strategy"] or tables.StrategyEntries()
        self.broker: tables.BrokerEntries = found["broker"] or tables.BrokerEntries()
        limits = found["limits"]
        self.limits = None if limits is None else RiskLimits(**msgspec.structs.asdict(limits))
        self.options: tables.EngineEntries = found["engine"] or tables.EngineEntries()
        self.output: tables.OutputEntries = found["output"] or tables.OutputEntries()
        self.signals = self._signals()
        self.parts = {
            name: decode_part(kinds, self.entries[name], name, self.origin)
            for name, kinds in _PARTS.items()
            if name in self.entries
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> RunDescription:
        """The description that a TOML file holds.

        Raises:
            ConfigError: No such file, no TOML, or what `RunDescription` refuses.
        """
        file = Path(path).expanduser().absolute()
        try:
            text = file.read_text(encoding="utf-8")
            entries = tomllib.loads(text)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is no text in UTF-8.") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is no valid TOML: {error}.") from error
        return cls(entries, folder=file.parent, origin=Origin(file.name, text))

    def with_set(self, *items: str) -> RunDescription:
        """The description with some fields set, each as "table.field=value".

        Values are written as in TOML; what is no TOML value is taken as text, so that quotes are
        rarely needed. A field of `strategy` that is none of its own is a parameter of the class.
        Relative paths are relative to the working directory.

        Raises:
            ConfigError: Not of this form, or what `RunDescription` refuses.
        """
        entries = copied(self.entries)
        for item in items:
            place, equals, text = item.partition("=")
            steps = [step.strip() for step in place.split(".")]
            if not equals or len(steps) < 2 or not all(steps):  # noqa: PLR2004  table and field
                raise ConfigError(
                    f"--set {item}: write table.field=value, such as broker.initial_cash=50000. "
                    f"Tables: {', '.join(TABLES)}."
                )
            if steps[0] == "strategy" and steps[1] not in _OWN_FIELDS:
                steps.insert(1, "parameters")
            put(entries, steps, value_of(text.strip()), item)
        origin = msgspec.structs.replace(self.origin, sets=(*self.origin.sets, *items))
        return RunDescription(entries, origin=origin)

    def with_entries(self, entries: Mapping[str, Mapping[str, Any]]) -> RunDescription:
        """The description with some fields replaced, by table.

        Raises:
            ConfigError: What `RunDescription` refuses.
        """
        merged = copied(self.entries)
        for name, table in entries.items():
            merged[name] = {**merged.get(name, {}), **table}
        return RunDescription(merged, origin=self.origin)

    def without(self, table: str) -> RunDescription:
        """The description with a table left out."""
        entries = {name: kept for name, kept in self.entries.items() if name != table}
        return RunDescription(entries, origin=self.origin)

    def engine(self, *, progress: Callable[[float], None] | bool | None = None) -> BacktestEngine:
        """An engine, ready to run.

        The description, but for its `output`, is among the settings of the result.

        Args:
            progress: As of `BacktestEngine`.

        Raises:
            ConfigError: Data or strategy are not named, or an option is refused.
            DataError: A file is not there.
            StrategyError: The file of the strategy raised.
        """
        if self.strategy.file is None:
            raise ConfigError(
                "There is no strategy: give its Python file, or name it with [strategy] file."
            )
        strategy = load_strategy(
            self.strategy.file, self.strategy.class_name, self.strategy.parameters
        )
        feeds = self.feeds()
        engine = _DescribedEngine(
            feed=feeds[0],
            strategy=strategy,
            broker=self._broker(),
            actions=None if self.actions is None else self.actions.path,
            limits=self.limits,
            progress=progress,
            **self.clock_options(),
            **_given(self.options, "max_history", "periods_per_year"),
        )
        for feed in feeds[1:]:
            engine.clock.add_data_feed(feed)
        kept = {name: table for name, table in self.entries.items() if name != "output"}
        engine.description = msgspec.to_builtins(kept)
        return engine

    def feeds(self) -> list[DataFeed]:
        """The feeds of the prices, one a path.

        Raises:
            ConfigError: No path is given.
            DataError: A file is not there.
        """
        if not self.data.paths:
            raise ConfigError(
                "There is no data: name its file (behind --data for a run), or [data] path."
            )
        return [self._feed(path) for path in self.data.paths]

    def clock_options(self) -> dict[str, Any]:
        """What a `Clock` is told about these feeds: signals, context, calendar, start and end.

        Raises:
            DataError: The context is refused.
        """
        data, context = self.data, self.context
        return {
            "signals": self.signals,
            "signal_columns": data.signal_columns,
            "context": None if context is None else Context(context.path, delay=context.delay),
            "context_pattern": data.context_pattern,
            "calendar": data.calendar,
            "start": data.start,
            "end": data.end,
            **_given(self.options, "signal_delay", "signal_max_age"),
        }

    def new_broker(self) -> SimulationBroker:
        """A new broker with the costs, liquidity and account of the description.

        Raises:
            ConfigError: An option is refused.
        """
        return self._broker()

    # -- inside --------------------------------------------------------------------------------

    def _decoded(self, name: str) -> Any:
        raw = self.entries.get(name)
        return None if raw is None else decode(_ENTRIES[name], raw, name, self.origin)

    def _signals(self) -> Any:
        """What the engine takes as `signals=`."""
        raw = self.entries.get("signals")
        if raw is None:
            return None
        is_named = isinstance(raw, dict) and raw and all(isinstance(v, dict) for v in raw.values())
        given = raw if is_named else {None: raw}
        found = {}
        for name, table in given.items():
            place = "signals" if name is None else f"signals.{name}"
            one = decode(tables.SignalEntries, table, place, self.origin)
            found[name] = SignalTable(one.path, one.columns, one.delay, one.max_age)
        return found if is_named else found[None]

    def _feed(self, path: str) -> DataFeed:
        data = self.data
        options: dict[str, Any] = {
            "asset_id": data.asset_id,
            "columns": data.columns,
            "price_column": data.price_column,
            "bar_label": data.bar_label,
            "bar_duration": data.bar_duration,
        }
        if data.separator is None and not data.decimal_comma:
            return FrameFeed(path, **options)
        return CSVDataFeed(
            path, separator=data.separator, decimal_comma=data.decimal_comma, **options
        )

    def _broker(self) -> SimulationBroker:
        options = _given(self.broker)
        if self.broker.instruments is not None:
            options["instruments"] = [
                Instrument(**msgspec.structs.asdict(one)) for one in self.broker.instruments
            ]
        options |= {name: self._built(name, part) for name, part in self.parts.items()}
        engine = options.pop("like", None)
        if engine is None:
            return SimulationBroker(**options)
        return SimulationBroker.like(engine, **options)

    def _built(self, name: str, part: Any) -> Any:
        """A part, or the sum of several."""
        if isinstance(part, list) and name not in _SUMS:
            raise ConfigError(
                f"{self.origin.at(name)}: [{name}] is one table; several are added up for "
                f"{' and '.join(sorted(_SUMS))} only."
            )
        try:
            first, *others = [one.build() for one in (part if isinstance(part, list) else [part])]
        except ConfigError as error:
            raise ConfigError(f"{self.origin.at(name)}: [{name}] {error}") from None
        for other in others:
            first += other
        return first


class _DescribedEngine(BacktestEngine):
    """An engine that knows what it was described by, and says so in the result."""

    description: dict[str, Any]

    def run(self) -> BacktestResult:
        """As any engine's."""
        try:
            result = super().run()
        except (BacktestError, KeyboardInterrupt) as error:
            partial: BacktestResult | None = getattr(error, "result", None)
            if partial is not None:
                partial.settings["description"] = self.description
            raise
        result.settings["description"] = self.description
        return result


def _given(entries: msgspec.Struct, *names: str) -> dict[str, Any]:
    """The fields that say something, or those of them that are named."""
    fields = msgspec.structs.asdict(entries)
    return {n: v for n, v in fields.items() if v is not None and (not names or n in names)}
