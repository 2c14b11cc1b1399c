"""Other engines and ours play the same, and the comparison notices when they do not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ml4t.backtest import Order, SimulationBroker
from ml4t.backtest.simulation.profiles import PROFILES
from ml4t.backtest.strategy.desk import Desk
from tests.conftest import ROOT
from tests.parity import harness, playing
from tests.parity.harness import absence, compare, differences, interpreter
from tests.parity.playing import ours
from tests.parity.scenario import ENGINES, Known, Scenario, Stage
from tests.parity.scenarios import QUICK, SCENARIOS
from tests.parity.staying import STAYING, Staying

MATRIX = [(engine, name) for name, s in SCENARIOS.items() for engine in s.engines]
NOWHERE = Path("nowhere")  # for markets that are made up


def _check(engine: str, stage: Stage, folder: Path) -> None:
    if interpreter(engine) is None:
        pytest.skip(absence(engine))
    verdict = compare(stage, engine, folder)
    assert not verdict.problem
    assert verdict.version == PROFILES[engine].version


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_and_its_profile_agree(engine: str, tmp_path: Path) -> None:
    """One scenario with each engine that is installed."""
    _check(engine, SCENARIOS[QUICK].staged(NOWHERE), tmp_path)


@pytest.mark.peers
@pytest.mark.parametrize(("engine", "name"), MATRIX)
def test_the_whole_matrix(
    engine: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every scenario with every engine that can do it: equal, or different as is known."""
    scenario = SCENARIOS[name]
    folder = request.getfixturevalue("shared_data") if scenario.is_recorded else NOWHERE
    _check(engine, scenario.staged(folder), tmp_path)


# -- what the comparison notices -------------------------------------------------------------


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """Brackets, played by our side."""
    return ours(SCENARIOS["one-brackets"].staged(NOWHERE), "backtrader")


def _price(answer: dict[str, Any]) -> None:
    answer["fills"][3]["price"] *= 1.0 + 1e-6


def _commission(answer: dict[str, Any]) -> None:
    answer["fills"][3]["commission"] += 0.01


def _quantity(answer: dict[str, Any]) -> None:
    answer["fills"][3]["quantity"] += 1e-9


def _time(answer: dict[str, Any]) -> None:
    answer["fills"][3]["time"] = answer["bars"][0]["time"]


def _side(answer: dict[str, Any]) -> None:
    fill = answer["fills"][3]
    fill["side"] = "buy" if fill["side"] == "sell" else "sell"


def _other_order(answer: dict[str, Any]) -> None:
    answer["fills"][3]["order"] = "another"


def _dropped_fill(answer: dict[str, Any]) -> None:
    del answer["fills"][3]


def _second_fill(answer: dict[str, Any]) -> None:
    answer["fills"].append(dict(answer["fills"][3]))


def _dropped_order(answer: dict[str, Any]) -> None:
    del answer["orders"][-1]


def _status(answer: dict[str, Any]) -> None:
    answer["orders"][0]["status"] = "rejected"


def _cash(answer: dict[str, Any]) -> None:
    answer["bars"][40]["cash"] += 0.01


def _equity(answer: dict[str, Any]) -> None:
    answer["bars"][40]["equity"] += 0.01


def _position(answer: dict[str, Any]) -> None:
    answer["bars"][40]["positions"]["Z"] = 1.0


def _dropped_bar(answer: dict[str, Any]) -> None:
    del answer["bars"][-1]


def _profit(answer: dict[str, Any]) -> None:
    answer["trades"][0]["pnl"] += 0.01


def _dropped_trade(answer: dict[str, Any]) -> None:
    del answer["trades"][0]


CHANGES = (
    *(_price, _commission, _quantity, _time, _side, _other_order, _dropped_fill, _second_fill),
    *(_dropped_order, _status, _cash, _equity, _position, _dropped_bar, _profit, _dropped_trade),
)


def test_an_answer_equals_itself(answer: dict[str, Any]) -> None:
    """Or the rest of this page would mean nothing."""
    assert answer["fills"]
    assert answer["trades"]
    assert differences(answer, copy.deepcopy(answer)) == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__[1:])
def test_a_change_is_noticed_on_either_side(change: Any, answer: dict[str, Any]) -> None:
    """A price by a millionth, a commission by a cent, an order that is missing, and the like."""
    changed = copy.deepcopy(answer)
    change(changed)
    assert differences(answer, changed)
    assert differences(changed, answer)


def test_nan_is_not_equal_to_anything(answer: dict[str, Any]) -> None:
    """An engine that says NaN has said nothing."""
    changed = copy.deepcopy(answer)
    changed["bars"][5]["equity"] = float("nan")
    assert differences(answer, changed)
    assert differences(changed, changed)


def test_a_price_off_by_less_than_the_tolerance_is_equal(answer: dict[str, Any]) -> None:
    """So is money that differs by the noise of a sum; quantities have no room."""
    changed = copy.deepcopy(answer)
    changed["fills"][3]["price"] *= 1.0 + 1e-10
    changed["bars"][40]["cash"] += 1e-8
    assert differences(answer, changed) == []


# -- the same with real runs -----------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("engine", ENGINES)
def test_another_rule_on_our_side_is_noticed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commission that is a hundred-thousandth higher; an order that only they were given."""
    if interpreter(engine) is None:
        pytest.skip(absence(engine))
    name = "reversals" if engine in SCENARIOS["reversals"].engines else "reversals-in-one"
    stage = SCENARIOS[name].staged(NOWHERE)
    answer = harness.theirs(stage, engine, tmp_path)
    assert differences(answer, ours(stage, engine)) == []
    orders = {"kind": "orders", "orders": stage.plan["orders"][:-1]}
    assert differences(answer, ours(Stage(stage.scenario, stage.bars, orders), engine))
    plain = playing.broker_for
    with monkeypatch.context() as patch:
        patch.setattr(playing, "broker_for", lambda s, e: _patched(plain, s, e))
        assert differences(answer, ours(stage, engine))


def _patched(plain: Any, scenario: Scenario, engine: str) -> SimulationBroker:
    terms = {**vars(scenario), "commission": {"kind": "percent", "rate": 0.001 * (1.0 + 1e-5)}}
    broker: SimulationBroker = plain(Scenario(**terms), engine)
    return broker


@pytest.mark.peers
@pytest.mark.parametrize("engine", STAYING)
def test_an_interpreter_that_stays_answers_like_a_new_one(engine: str, tmp_path: Path) -> None:
    """After another scenario, and says what is wrong with one that cannot be played."""
    if interpreter(engine) is None:
        pytest.skip(absence(engine))
    stage = SCENARIOS["reversals-in-one"].staged(NOWHERE)
    with Staying() as staying:
        staying.theirs(SCENARIOS[QUICK].staged(NOWHERE), engine, tmp_path)
        assert staying.theirs(stage, engine, tmp_path) == harness.theirs(stage, engine, tmp_path)
        plan = {"kind": "orders", "orders": [{"bar": 1, "asset": "A0"}]}
        with pytest.raises(RuntimeError, match=f"{engine} failed at reversals-in-one"):
            staying.theirs(Stage(stage.scenario, stage.bars, plan), engine, tmp_path)


@pytest.mark.peers
def test_exits_that_only_reduce_are_all_that_differs_in_overlapping_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule of ours: without it backtrader and its profile agree there, too."""
    if interpreter("backtrader") is None:
        pytest.skip(absence("backtrader"))
    stage = SCENARIOS["overlapping-brackets"].staged(NOWHERE)
    answer = harness.theirs(stage, "backtrader", tmp_path)
    submit = Desk.submit

    def plain(self: Desk, order: Order) -> int:
        return submit(self, structs.replace(order, reduce_only=False))

    monkeypatch.setattr(Desk, "submit", plain)
    assert differences(answer, ours(stage, "backtrader")) == []


# -- known differences, and the page ---------------------------------------------------------


def _verdict(known: Known, found: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    scenario = Scenario(
        **{**vars(SCENARIOS["end-of-data"]), "known": {"bt": known}, "engines": ("bt",)}
    )
    stage = scenario.staged(NOWHERE)
    answer = ours(stage, "bt") | {"version": "1"}
    if found:
        answer["fills"][0]["price"] += 1.0
    monkeypatch.setattr(harness, "theirs", lambda *_: answer)
    return compare(stage, "bt", NOWHERE).problem


def test_a_part_that_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that has trades says what they were; nothing is left out unseen."""
    stage = SCENARIOS["end-of-data"].staged(NOWHERE)
    answer = ours(stage, "backtrader") | {"version": "1"}
    del answer["trades"]
    monkeypatch.setattr(harness, "theirs", lambda *_: answer)
    with pytest.raises(AssertionError, match=r"backtrader says nothing of \['trades'\]"):
        compare(stage, "backtrader", NOWHERE)


def test_a_known_difference_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no longer differs is not left in the list."""
    known = Known("theirs", "a rule")
    assert "does not" in _verdict(known, found=False, monkeypatch=monkeypatch)
    assert not _verdict(known, found=True, monkeypatch=monkeypatch)


def test_a_known_difference_excuses_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of trades does not excuse fills, nor rounding another price."""
    trades = Known("ours", "a rule", parts=("trades",))
    assert "more than is known" in _verdict(trades, found=True, monkeypatch=monkeypatch)
    rounding = Known("ours", "a rule", quantities=1e-9)
    assert "more than rounding" in _verdict(rounding, found=True, monkeypatch=monkeypatch)


def test_every_run_is_on_the_page() -> None:
    """docs/parity.md has all scenarios and the versions that the profiles carry."""
    text = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n## ")[1:]}
    for engine, name in MATRIX:
        assert f"| {name} |" in sections[engine], f"{name} is not on the page: run `make parity`"
    for engine in ENGINES:
        assert f"| {engine} | {PROFILES[engine].version} |" in text
    for scenario in SCENARIOS.values():
        for known in scenario.known.values():
            assert known.cause in text


def test_every_profile_is_proven() -> None:
    """No profile without an engine to compare it with."""
    assert sorted(PROFILES) == sorted(ENGINES)
