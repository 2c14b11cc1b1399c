"""The page as a file: what stands in it, in which order, and what never does."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, ConfigError, DataError, Strategy
from ml4t.backtest.results.report import page as pages
from ml4t.backtest.results.report.trades import chosen
from ml4t.backtest.testing.markets import random_market, ten_bars
from tests.report.conftest import EVIL, evil_run, large_record

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

SECTIONS = (
    "trust figures equity returns rolling exposure trades assets signals price".split()  # noqa: SIM905
)
VOID = {"meta", "link", "br", "input", "img"}


class Reader(HTMLParser):
    """Notes elements, their attributes and their text, and that all of them are closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(len(self.found) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for i in self.open:
            self.found[i][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of every such element."""
        return [(attrs, "".join(texts)) for name, attrs, texts in self.found if name == tag]


def read(path: Path) -> Reader:
    """A page, without its two long scripts."""
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def data(reader: Reader) -> dict[str, Any]:
    """The data for the script, by id."""
    return {
        str(attrs["id"]): json.loads(text)
        for attrs, text in reader.all("script")
        if attrs.get("type") == "application/json"
    }


@pytest.fixture(scope="module")
def reader(evil_page: Path) -> Reader:
    """The page of the hostile run."""
    return read(evil_page)


# -- what stands in it -------------------------------------------------------------------------


def test_sections_stand_in_order_and_trust_comes_first(reader: Reader) -> None:
    """And each is linked from the top and has its heading."""
    assert [attrs["id"] for attrs, _ in reader.all("section")] == SECTIONS
    links = [str(attrs["href"]) for attrs, _ in reader.all("a")]
    assert links[1:] == [f"#{name}" for name in SECTIONS]
    headings = [tag for tag, *_ in reader.found if re.fullmatch("h[1-6]", tag)]
    assert headings[:2] == ["h1", "h2"]
    assert headings.count("h1") == 1
    levels = [int(tag[1]) for tag in headings]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_page_speaks_to_everyone(reader: Reader) -> None:
    """A language, scopes of table headers, captions, and words for every chart."""
    assert reader.all("html")[0][0]["lang"] == "en"
    assert all(attrs.get("scope") in ("row", "col") for attrs, _ in reader.all("th"))
    assert len(reader.all("caption")) == len(reader.all("table"))
    charts = [a for a, _ in reader.all("div") if "chart" in str(a.get("class")).split()]
    assert len(charts) >= 12
    assert all(len(str(a["aria-label"])) > 15 and a["role"] == "img" for a in charts)


def test_trust_has_the_rows_of_the_summary(evil: BacktestResult, reader: Reader) -> None:
    """Every row of the first section of the summary, with what it says."""
    (body,) = (text for attrs, text in reader.all("section") if attrs["id"] == "trust")
    shown = " ".join(body.split())
    summary = evil.summary().split("How far to trust it")[1].split("\n\n")[0]
    for line in summary.strip().splitlines():
        assert " ".join(line[20:].split()) in shown


def test_names_from_data_are_text_and_nothing_else(reader: Reader) -> None:
    """An asset, a tag, a parameter, a signal and a reason that are scripts are shown, not run."""
    kinds = [attrs.get("type") for attrs, _ in reader.all("script")]
    assert kinds.count(None) == 2  # Plotly and ours
    assert not reader.all("img")
    rows = [text for attrs, text in reader.all("tr") if "data-trade" in attrs]
    assert any(EVIL in row for row in rows)
    options = [text for _, text in reader.all("option")]
    assert EVIL in options
    explained = data(reader)["explanations"]["texts"]
    assert any(EVIL in " ".join(text.split()) for text in explained)


def test_nothing_is_loaded_from_anywhere(reader: Reader) -> None:
    """No address in any element, and a policy that allows none."""
    for tag, attrs, _ in reader.found:
        for name in ("src", "href", "action", "poster"):
            value = attrs.get(name)
            assert value is None or value[:1] == "#" or value.startswith("data:"), (tag, value)
    policy = next(str(a["content"]) for a, _ in reader.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    style = "".join(text for _, text in reader.all("style"))
    assert "http" not in style
    assert "@import" not in style


def test_every_trade_shown_is_explained(evil: BacktestResult, reader: Reader) -> None:
    """By what `explain` says of its entry and its exit."""
    known = data(reader)["explanations"]
    rows = [attrs for attrs, _ in reader.all("tr") if "data-trade" in attrs]
    assert len(rows) == len(evil.trades)
    for trade in evil.trades.iter_rows(named=True):
        texts = [known["texts"][i] for i in known["trades"][str(trade["trade_id"])]]
        times = [t for t in (trade["entry_time"], trade["exit_time"]) if t is not None]
        assert texts == [evil.explain(trade["asset_id"], t) for t in times]


def test_figures_carry_their_intervals(evil: BacktestResult, reader: Reader) -> None:
    """The Sharpe ratio stands beside what luck may have made of it."""
    row = evil.intervals().filter(metric="sharpe").row(0, named=True)
    (text,) = (t for a, t in reader.all("tr") if t.startswith("Sharpe ratio"))
    assert f"{row['low']:.2f} to {row['high']:.2f}" in text


def test_the_benchmark_is_in_the_figures(evil: BacktestResult, reader: Reader) -> None:
    """The mean of the assets' returns, bar by bar."""
    closes = evil.market(columns=["close"]).pivot("asset_id", index="timestamp", values="close")
    prices = closes.drop("timestamp").to_numpy()
    grown = (1.0 + (prices[1:] / prices[:-1] - 1.0).mean(axis=1)).prod()
    (text,) = (t for a, t in reader.all("tr") if t.startswith("Total return"))
    assert text.endswith(f"{100 * (grown - 1):+.2f}%")


# -- the file ----------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    """To the byte."""
    first = evil_run(40).report(tmp_path / "a.html").read_bytes()
    assert evil_run(40).report(tmp_path / "b.html").read_bytes() == first


def test_a_page_appears_whole_or_not_at_all(
    evil: BacktestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails half-way leaves the page of before, and no litter."""
    path = tmp_path / "report.html"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        pages.put(path, "half a page \ud800")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.chdir(tmp_path)
    assert evil.report("report.html", title="<b>Mine</b>") == path
    assert "<h1>&lt;b&gt;Mine&lt;/b&gt;</h1>" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_hold_a_page_is_refused(evil: BacktestResult, tmp_path: Path) -> None:
    """A folder, and a folder that does not exist."""
    with pytest.raises(ConfigError, match="is a folder"):
        evil.report(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        evil.report(tmp_path / "nowhere" / "report.html")


# -- runs that lack something ------------------------------------------------------------------


class Idle(Strategy):
    """Looks on."""

    def on_bars(self, bars: Bars) -> None:
        """At nothing."""


def test_a_loaded_result_says_what_is_missing_and_why(evil: BacktestResult, tmp_path: Path) -> None:
    """Its market is gone; everything else is there."""
    evil.save(tmp_path / "run")
    loaded = BacktestResult.load(tmp_path / "run")
    reader = read(loaded.report(tmp_path / "report.html"))
    known = {attrs["id"]: text for attrs, text in reader.all("section")}
    for name in ("signals", "price"):
        assert "not shown: The bars of this run are gone" in known[name].replace("N", "n")
    assert "figure-signal-0" in data(reader)
    assert "figure-price-0" not in data(reader)
    with pytest.raises(DataError, match="gone"):
        loaded.report(tmp_path / "report.html", benchmark="equal_weight")


def test_signals_that_nobody_traded_on_are_judged_all_the_same(tmp_path: Path) -> None:
    """By what followed them on all bars."""
    market = random_market(assets=4, sessions=60, seed=4, information=0.1)
    result = BacktestEngine(market, strategy=Idle()).run()
    reader = read(result.report(tmp_path / "report.html"))
    known = {attrs["id"]: text for attrs, text in reader.all("section")}
    assert "By trades: there were none." in known["signals"]
    assert {"figure-signal-0-buckets", "figure-signal-0-ic"} <= set(data(reader))


def test_a_run_without_a_trade_has_a_page(tmp_path: Path) -> None:
    """That says so."""
    result = BacktestEngine(ten_bars(), strategy=Idle()).run()
    assert '<div class="row loud"><dt>orders</dt><dd>0 placed</dd>' in (
        result.report(tmp_path / "idle.html").read_text(encoding="utf-8")
    )
    with pytest.raises(DataError, match="No trade was opened"):
        result.by_signal("ml_pred")
    reader = read(result.report(tmp_path / "report.html", benchmark="equal_weight"))
    known = {attrs["id"]: text for attrs, text in reader.all("section")}
    assert "the run had no trades" in known["trades"]
    assert "the run had no signals" in known["signals"]
    assert "nothing was traded" in known["price"]


class Borrowing(Strategy):
    """Fails after some bars."""

    def on_bars(self, bars: Bars) -> None:
        """Buys, then breaks."""
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen == 3:
            raise ValueError("enough")
        self.order_target_percent(bars.asset_ids[0], 0.5)


def test_a_run_that_failed_is_marked(tmp_path: Path) -> None:
    """At the top, in capitals."""
    from ml4t.backtest import StrategyError

    with pytest.raises(StrategyError) as caught:
        BacktestEngine(random_market(assets=1, sessions=9, seed=1), strategy=Borrowing()).run()
    failed = caught.value.result
    assert failed is not None
    reader = read(failed.report(tmp_path / "report.html"))
    assert "INCOMPLETE" in reader.all("header")[0][1]


# -- long runs ---------------------------------------------------------------------------------


def test_the_trades_listed_are_the_largest_and_the_latest() -> None:
    """The extremes on both sides, and the end."""
    pnl = [float((i * 7_919) % 5_003 - 2_500) for i in range(5_000)]
    frame = pl.DataFrame({"trade_id": range(1, 5_001), "pnl": pnl})
    shown = chosen(frame)
    assert len(shown) <= 300
    ranked = sorted(pnl)
    assert set(ranked[:100]) | set(ranked[-100:]) <= set(shown["pnl"])
    assert set(range(4_901, 5_001)) <= set(shown["trade_id"])
    assert shown["trade_id"].is_sorted()
    assert chosen(frame.head(200)) is not None
    assert len(chosen(frame.head(200))) == 200


@pytest.mark.slow
def test_a_large_run_has_a_page_that_opens(tmp_path: Path) -> None:
    """Below 15 MB; it says how much of the run it shows."""
    path = BacktestResult(large_record()).report(tmp_path / "report.html")
    assert path.stat().st_size < 15_000_000
    reader = read(path)
    known = {attrs["id"]: text for attrs, text in reader.all("section")}
    assert "of 200,000 points are drawn" in known["equity"]
    assert "of 100,000 trades: the 100 largest gains" in known["trades"]
    assert "of 400 rows" in known["assets"]
    for name, figure in data(reader).items():
        if name.startswith("figure-"):
            for trace in figure["data"]:
                assert len(trace.get("x", ())) <= 4_000, name
