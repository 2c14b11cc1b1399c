"""A run in plain values: from a file, from Python, and what becomes of each field."""

from __future__ import annotations

import datetime as dt
import inspect
import math
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

import ml4t.backtest as library
from ml4t.backtest import BacktestEngine, BacktestError, ConfigError, DataError, SimulationBroker
from ml4t.backtest.data.signals import SignalTable
from ml4t.backtest.description import RunDescription, parts, tables

HOLD = """\
import datetime as dt
from ml4t.backtest import Strategy


class Hold(Strategy):
    def __init__(self, units=10, since=None, **more):
        self.units, self.since, self.more = units, since, more

    def on_bars(self, bars):
        if self.since is None or bars.timestamp.date() >= self.since:
            self.order_target("AAA", self.units)
"""


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Any]:
    """The least that runs: ten days of one asset, a dollar more each day, from 100."""
    closes = [100.0 + i for i in range(10)]
    pl.DataFrame(
        {
            "timestamp": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(10)],
            "asset_id": "AAA",
            **dict.fromkeys(("open", "high", "low", "close"), closes),
            "volume": 100.0,
        }
    ).write_parquet(tmp_path / "prices.parquet")
    (tmp_path / "hold.py").write_text(HOLD, encoding="utf-8")
    return {
        "data": {"path": str(tmp_path / "prices.parquet")},
        "strategy": {"file": str(tmp_path / "hold.py")},
    }


def test_a_description_makes_an_engine(entries: dict[str, Any]) -> None:
    """Its result holds the description, but for what becomes of the output."""
    description = RunDescription({**entries, "output": {"name": "x"}})
    engine = description.engine(progress=False)
    assert isinstance(engine, BacktestEngine)
    result = engine.run()
    assert result.final_equity == 100_000 + 10 * (109.0 - 101.0)
    assert result.settings["description"] == entries
    assert description.output.name == "x"


def test_a_failed_run_holds_its_description_too(entries: dict[str, Any]) -> None:
    """What one needs most to repeat it."""
    file = Path(entries["strategy"]["file"])
    file.write_text(HOLD.replace("self.units)", "1 / 0)"), encoding="utf-8")
    with pytest.raises(BacktestError) as caught:
        RunDescription(entries).engine().run()
    assert caught.value.result.settings["description"] == entries


def test_read_takes_paths_relative_to_the_file(
    entries: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one is; those of `with_set` are relative to where one is."""
    text = '[data]\npath = ["prices.parquet"]\nstart = 2024-01-03\n[strategy]\nfile = "hold.py"\n'
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    description = RunDescription.read(tmp_path / "run.toml")
    assert description.entries == {
        "data": {"path": [entries["data"]["path"]], "start": "2024-01-03"},
        "strategy": entries["strategy"],
    }
    assert description.engine().run().equity.height == 8
    moved = description.with_set("data.path=mine.csv")
    assert moved.data.paths == [str(tmp_path / "elsewhere" / "mine.csv")]


def test_the_original_stays_as_it_is(entries: dict[str, Any]) -> None:
    """Descriptions are made anew, and share nothing."""
    first = RunDescription({**entries, "broker": {"instruments": [{"asset_id": "AAA"}]}})
    before = msgspec.json.encode(first.entries)
    second = first.with_set("broker.initial_cash=5", "strategy.units=1", "limits.max_drawdown=0.1")
    assert msgspec.json.encode(first.entries) == before
    assert second.strategy.parameters == {"units": 1}
    assert second.limits == library.RiskLimits(max_drawdown=0.1)
    assert second.with_entries({"broker": {"initial_cash": 6}}).broker.initial_cash == 6
    assert "broker" not in second.without("broker").entries


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("two words", "two words"), ('"3"', "3"),
     ("[1, 2]", [1, 2]), ("2024-01-05", dt.date(2024, 1, 5)), ("a=b", "a=b"), ("", "")],
)  # fmt: skip
def test_values_are_those_of_toml_else_text(
    entries: dict[str, Any], text: str, value: object
) -> None:
    """Parameters keep their types, dates too."""
    description = RunDescription(entries).with_set(f"strategy.anything={text}")
    assert description.strategy.parameters == {"anything": value}


def test_a_date_is_a_date_for_the_strategy_and_text_in_the_settings(
    entries: dict[str, Any],
) -> None:
    """Settings are JSON."""
    result = RunDescription(entries).with_set("strategy.since=2024-01-05").engine().run()
    assert result.fills["timestamp"].to_list() == [dt.date(2024, 1, 6)]
    assert result.settings["description"]["strategy"]["parameters"] == {"since": "2024-01-05"}
    msgspec.json.encode(result.settings)


# -- every field -------------------------------------------------------------------------------

PARTS = [
    ("commission", {"kind": "none"}, library.NoCommission()),
    ("commission", {"kind": "percent", "rate": 0.001}, library.PercentCommission(0.001)),
    (
        "commission",
        {"kind": "per_share", "per_share": 0.01, "minimum": 1, "maximum_rate": 0.1},
        library.PerShareCommission(0.01, 1.0, maximum_rate=0.1),
    ),
    ("commission", {"kind": "per_order", "amount": 2}, library.PerOrderCommission(2.0)),
    (
        "commission",
        {"kind": "tiered", "tiers": {"0": 0.0035, "300000": 0.002}, "minimum": 0.35},
        library.TieredCommission({0: 0.0035, 300_000: 0.002}, minimum=0.35),
    ),
    ("commission", {"kind": "side", "side": "buy", "rate": 0.1}, library.SideFee("buy", rate=0.1)),
    (
        "commission",
        {"kind": "alpaca_equities", "as_of": dt.date(2025, 6, 2)},
        library.alpaca_equities(as_of="2025-06-02"),
    ),
    (
        "commission",
        {"kind": "interactive_brokers_fixed", "as_of": "2025-06-02"},
        library.interactive_brokers_fixed(as_of="2025-06-02"),
    ),
    (
        "commission",
        {"kind": "interactive_brokers_tiered", "as_of": "2025-06-02"},
        library.interactive_brokers_tiered(as_of="2025-06-02"),
    ),
    (
        "commission",
        {"kind": "us_regulatory_fees", "as_of": "2025-06-02"},
        library.us_regulatory_fees(as_of="2025-06-02"),
    ),
    (
        "commission",
        [{"kind": "percent", "rate": 0.001}, {"kind": "per_order", "amount": 1}],
        library.PercentCommission(0.001) + library.PerOrderCommission(1.0),
    ),
    (
        "commission",
        {"kind": "each_leg", "commission": {"kind": "per_share", "per_share": 0.01, "minimum": 1}},
        library.EachLeg(library.PerShareCommission(0.01, 1.0)),
    ),
    ("slippage", {"kind": "none"}, library.NoSlippage()),
    ("slippage", {"kind": "basis_points", "bps": 2}, library.BasisPointSlippage(2)),
    ("slippage", {"kind": "fixed", "amount": 0.01}, library.FixedSlippage(0.01)),
    ("slippage", {"kind": "half_spread", "money": 0.02}, library.HalfSpreadSlippage(money=0.02)),
    (
        "slippage",
        {"kind": "quoted_spread", "bid": "bid", "ask": "ask"},
        library.QuotedSpreadSlippage(bid="bid", ask="ask"),
    ),
    (
        "slippage",
        {"kind": "square_root", "volatility": 0.02, "coefficient": 0.5},
        library.SquareRootImpact(0.5, volatility=0.02),
    ),
    ("slippage", {"kind": "volume_share"}, library.VolumeShareSlippage()),
    (
        "slippage",
        {"kind": "within_bar", "slippage": {"kind": "basis_points", "bps": 2}},
        library.WithinBar(library.BasisPointSlippage(2)),
    ),
    (
        "slippage",
        {"kind": "opening_only", "slippage": {"kind": "fixed", "amount": 0.01}},
        library.OpeningOnly(library.FixedSlippage(0.01)),
    ),
    ("liquidity", {"kind": "unlimited"}, library.UnlimitedLiquidity()),
    ("liquidity", {"kind": "volume_participation", "share": 0.1}, library.VolumeParticipation(0.1)),
    ("account", {"kind": "unleveraged"}, library.UnleveragedAccount()),
    ("account", {"kind": "cash", "settlement_days": 2}, library.CashAccount(2)),
    ("account", {"kind": "margin", "initial": 0.6}, library.MarginAccount(0.6)),
    ("account", {"kind": "overdraft", "limit": math.inf}, library.OverdraftAccount(math.inf)),
    (
        "account",
        {"kind": "collateral", "commission_counts": False},
        library.CollateralAccount(commission_counts=False),
    ),
    ("matching", {"kind": "in_rounds", "decimals": 2}, library.InRounds(decimals=2)),
    (
        "slippage",
        {"kind": "market_only", "slippage": {"kind": "fixed", "amount": 0.01}},
        library.MarketOnly(library.FixedSlippage(0.01)),
    ),
    (
        "matching",
        {"kind": "one_by_one", "exits_begin": "next_bar"},
        library.OneByOne(exits_begin="next_bar"),
    ),
    ("matching", {"kind": "four_prices", "path": "olhc"}, library.FourPrices(path="olhc")),
    ("admission", {"kind": "cash_at_submission"}, library.CashAtSubmission()),
]  # fmt: skip


@pytest.mark.parametrize(("table", "given", "wanted"), PARTS)
def test_each_kind_makes_its_part(
    entries: dict[str, Any], table: str, given: Any, wanted: object
) -> None:
    """As its constructor would."""
    engine = RunDescription({**entries, table: given}).engine()
    assert repr(getattr(engine.broker, table)) == repr(wanted)


def test_every_kind_is_made_somewhere() -> None:
    """The list above is complete."""
    shown = {(table, given["kind"]) for table, given, _ in PARTS if isinstance(given, dict)}
    kinds = {
        "commission": parts.COMMISSIONS,
        "slippage": parts.SLIPPAGES,
        "liquidity": parts.LIQUIDITIES,
        "account": parts.ACCOUNTS,
        "matching": parts.MATCHINGS,
        "admission": parts.ADMISSIONS,
    }
    assert shown == {(t, parts.kind_of(kind)) for t, found in kinds.items() for kind in found}


def test_the_fields_of_a_kind_are_the_arguments_of_its_constructor() -> None:
    """A new argument of a part is a new field, with the same default."""
    makers: dict[Any, Any] = {**parts._MAKERS, parts.Tiered: library.TieredCommission}
    for kind, maker in makers.items():
        wanted = {p.name: p.default for p in inspect.signature(maker).parameters.values()}
        found = {
            f.name: inspect.Parameter.empty if f.required else f.default
            for f in msgspec.structs.fields(kind)
        }
        assert found == wanted, kind


def test_the_fields_of_the_broker_are_its_options() -> None:
    """But for the parts, which have tables of their own."""
    options = set(inspect.signature(SimulationBroker).parameters)
    own = {"commission", "slippage", "liquidity", "account", "matching", "admission"}
    found = {f.name for f in msgspec.structs.fields(tables.BrokerEntries)}
    assert found == options - own | {"like"}


def test_a_profile_is_where_the_options_begin(entries: dict[str, Any]) -> None:
    """What is given beside `like` replaces what the profile says."""
    given = {**entries, "broker": {"like": "backtrader", "fill_at": "close"}}
    broker = RunDescription(given).engine().broker
    assert isinstance(broker, SimulationBroker)
    wanted = SimulationBroker.like("backtrader", fill_at="close")
    assert broker.profile == wanted.profile
    assert (broker.fill_at, broker.fractional) == ("close", True)
    assert repr(broker.matching) == repr(wanted.matching)


def test_an_engine_without_a_profile_is_named(entries: dict[str, Any]) -> None:
    """With the nearest name that there is."""
    with pytest.raises(ConfigError, match="Did you mean 'backtrader'"):
        RunDescription({**entries, "broker": {"like": "backtrade"}}).engine()


def test_a_part_inside_a_part_is_explained(entries: dict[str, Any]) -> None:
    """The field is named, and what its own kind takes."""
    inner = {"kind": "per_share", "per_sahre": 0.01}
    with pytest.raises(ConfigError, match=r"no field 'per_sahre'.*Did you mean 'per_share'"):
        RunDescription({**entries, "commission": {"kind": "each_leg", "commission": inner}})


def test_options_reach_the_broker(entries: dict[str, Any]) -> None:
    """A description that says something of each."""
    broker: dict[str, Any] = {
        "initial_cash": 5_000,
        "fill_at": "close",
        "rates": 0.02,
        "borrow": {"AAA": 0.1},
        "instruments": [{"asset_id": "AAA", "multiplier": 50, "tick_size": 0.25}],
        "currency": "EUR",
        "funding": "reject",
        "fractional": True,
        "limit_fill": "through",
        "intrabar": "best",
        "close_at_end": True,
        "stale_after": 3,
        "on_vanish": "close",
        "intrabar_feed": entries["data"]["path"],
    }
    made = RunDescription({**entries, "broker": broker}).engine().broker
    instruments = [library.Instrument(asset_id="AAA", multiplier=50.0, tick_size=0.25)]
    wanted = SimulationBroker(**{**broker, "instruments": instruments})
    assert isinstance(made, SimulationBroker)
    assert made.settings() == wanted.settings()
    assert made.intrabar_feed is not None


def test_options_reach_engine_and_feed(entries: dict[str, Any], tmp_path: Path) -> None:
    """A CSV file of another country, labelled by the open, with a delay for its signals."""
    lines = [f"2024-01-02 09:3{i};{100 + i},5;{i / 10}".replace(".", ",") for i in range(6)]
    (tmp_path / "AAA.csv").write_text("\n".join(["Zeit;Last;score", *lines]), encoding="utf-8")
    described = {
        **entries,
        "data": {
            "path": str(tmp_path / "AAA.csv"),
            "columns": {"timestamp": "Zeit"},
            "price_column": "Last",
            "separator": ";",
            "decimal_comma": True,
            "bar_label": "open",
            "bar_duration": "1m",
            "asset_id": "XYZ",
            "end": "2024-01-02T09:34:00",
        },
        "engine": {"periods_per_year": 100, "max_history": 7},
        "strategy": {**entries["strategy"], "parameters": {"units": 0}},
    }
    engine = RunDescription(described).engine()
    result = engine.run()
    assert result.equity["timestamp"].to_list() == [
        dt.datetime(2024, 1, 2, 9, 31 + i) for i in range(4)
    ]
    assert result.record.asset_ids == ["XYZ"]
    assert result.signal_coverage["signal"].to_list() == ["score"]
    assert result.periods_per_year == 100
    assert result.settings["max_history"] == 7


# -- signals with options of their own ---------------------------------------------------------


def scores(name: str) -> pl.DataFrame:
    """A prediction a day that is the number of the day."""
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(10)]
    return pl.DataFrame({"timestamp": days, "asset_id": "AAA", name: [float(i) for i in range(10)]})


class Notes(library.Strategy):
    def on_market_data(self, event):
        self.record(**event.signals)


def noted(prices: str, signals: dict[str, Any], **options: Any) -> dict[str, list[float]]:
    """What a strategy saw on the last day and before, by signal."""
    result = BacktestEngine(prices, strategy=Notes(), signals=signals, **options).run()
    return {
        str(name): frame["value"].to_list()
        for (name,), frame in result.records.group_by("name", maintain_order=True)
    }


def test_signals_have_delays_and_ages_of_their_own(entries: dict[str, Any]) -> None:
    """What a table does not say, the run says."""
    seen = noted(
        entries["data"]["path"],
        {
            "a": SignalTable(scores("a"), delay="3d"),
            "b": SignalTable(scores("b")),
            "c": scores("c"),
        },
        signal_delay="1d",
    )
    assert {name: values[-1] for name, values in seen.items()} == {"a": 6.0, "b": 8.0, "c": 8.0}
    old = SignalTable(scores("old")[:2], max_age="4d")
    seen = noted(entries["data"]["path"], {"old": old, "new": scores("new")})
    assert seen["old"] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_signals_name_columns_of_their_own(entries: dict[str, Any]) -> None:
    """A label is taken knowingly from one table; a name that is not there is refused."""
    both = scores("a").with_columns(target=pl.lit(1.0))
    path = entries["data"]["path"]
    seen = noted(path, {"x": SignalTable(both, ["target"]), "y": scores("a")})
    assert sorted(seen) == ["a", "target"]
    with pytest.raises(
        DataError, match=r"signals\['x'\]: there is no signal 'targt'. Did you mean"
    ):
        noted(path, {"x": SignalTable(both, ["a", "targt"])})


# -- refused -----------------------------------------------------------------------------------


def test_what_only_makes_sense_alone_is_refused_twice(entries: dict[str, Any]) -> None:
    """Costs add up; accounts do not."""
    two = [{"kind": "cash"}, {"kind": "margin"}]
    with pytest.raises(ConfigError, match="account"):
        RunDescription({**entries, "account": two}).engine()
    with pytest.raises(ConfigError, match="empty list"):
        RunDescription({**entries, "commission": []})


def test_a_field_of_no_table_cannot_be_set(entries: dict[str, Any]) -> None:
    """The value in its way is shown."""
    description = RunDescription({**entries, "broker": {"initial_cash": 5}})
    with pytest.raises(ConfigError, match="initial_cash is not a table here but 5"):
        description.with_set("broker.initial_cash.much=1")
    tiers = {"commission": {"kind": "tiered", "tiers": {"none": 1.0}}}
    with pytest.raises(ConfigError, match=r"tiers must go from units"):
        description.with_entries(tiers).engine()


def test_tables_of_a_struct_keep_their_place_in_errors() -> None:
    """In a list of tables, by number."""
    with pytest.raises(
        ConfigError, match=r"\[broker.instruments\[1\]\] needs the field 'asset_id'"
    ):
        RunDescription({"broker": {"instruments": [{"asset_id": "A"}, {"lot_size": 1}]}})
    with pytest.raises(ConfigError, match=r"asset_class cannot be 'bond'"):
        RunDescription({"broker": {"instruments": [{"asset_id": "A", "asset_class": "bond"}]}})
