"""The page in a real browser: it draws, sorts, explains, prints, and asks the network nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, compare
from ml4t.backtest.testing.markets import ten_bars
from tests.report.conftest import EVIL, evil_run, large_record
from tests.report.test_page import Idle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
DRIVER = ("WebGL", "GroupMarkerNotSet", "GL Driver")  # the machine's graphics, not the page
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a window of its own, and fails on what it asks or complains of."""
    complaints: list[str] = []
    contexts = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning", "trace") and not any(
            d in message.text for d in DRIVER
        ):
            complaints.append(f"console: {message.text}")

    def asked(request: Any) -> None:
        if not request.url.startswith(LOCAL):
            complaints.append(f"request: {request.url}")

    def opened(path: Path, **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", asked)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=all]", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def test_every_chart_is_drawn(show: Callable[..., Any], evil_page: Path) -> None:
    """With a size, without running anything that came with the data."""
    page = show(evil_page)
    sizes = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(c => {"
        " const svg = c.querySelector('svg.main-svg'); if (!svg) return [c.id, 0, 0];"
        " const box = svg.getBoundingClientRect(); return [c.id, box.width, box.height]; })"
    )
    assert len(sizes) >= 12
    assert [size for size in sizes if size[1] < 200 or size[2] < 80] == []
    assert page.evaluate("document.querySelectorAll('.chart path.point, .chart path').length") > 50
    assert page.evaluate("window.broken") is None
    assert page.locator("#price-asset option").filter(has_text=EVIL).count() == 1


def _column(page: Any, index: int) -> list[str]:
    return page.evaluate(
        f"[...document.querySelectorAll('#trade-table tbody tr[data-trade]')]"
        f".filter(r => !r.hidden).map(r => r.cells[{index}].dataset.value ?? "
        f"r.cells[{index}].textContent)"
    )


def test_the_table_sorts(show: Callable[..., Any], evil_page: Path, evil: BacktestResult) -> None:
    """By numbers as numbers: largest first, then smallest first; and it says so."""
    page = show(evil_page)
    head = page.locator("#trade-table").get_by_role("columnheader", name="P&L")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    pnl = evil.trades["pnl"].to_list()
    assert [float(v) for v in _column(page, 8)] == sorted(pnl, reverse=True)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(v) for v in _column(page, 8)] == sorted(pnl)
    page.locator("#trade-table thead button").nth(1).click()
    names = _column(page, 1)
    assert names == sorted(names, key=str.lower)


def test_the_table_filters(show: Callable[..., Any], evil_page: Path, evil: BacktestResult) -> None:
    """By words, by side and by outcome, and it counts what is left."""
    page = show(evil_page)
    page.get_by_label("Find").fill("a01")
    assert set(_column(page, 1)) == {"A01"}
    mine = evil.trades.filter(asset_id="A01")
    assert page.locator("#trade-count").text_content() == (
        f"{len(mine)} of {len(evil.trades)} shown"
    )
    page.get_by_label("Outcome").select_option("gain")
    gains = mine.filter(status="closed").filter(mine.filter(status="closed")["pnl"] > 0)
    assert len(_column(page, 1)) == len(gains)
    page.get_by_label("Find").fill("no such thing")
    assert _column(page, 1) == []


def test_a_trade_explains_itself(
    show: Callable[..., Any], evil_page: Path, evil: BacktestResult
) -> None:
    """By a click on its row, and by keyboard; once more closes it."""
    page = show(evil_page)
    trade = evil.trades.row(3, named=True)
    row = page.locator("tr[data-trade='4']")
    row.locator("td").nth(4).click()
    detail = page.locator("tr.detail")
    said = detail.text_content()
    assert evil.explain(trade["asset_id"], trade["entry_time"]) in said
    assert evil.explain(trade["asset_id"], trade["exit_time"]) in said
    button = row.get_by_role("button")
    assert button.get_attribute("aria-expanded") == "true"
    button.press("Enter")
    assert detail.count() == 0
    button.press("Space")
    assert detail.count() == 1
    assert page.evaluate("window.broken") is None


def test_another_asset_has_another_chart(show: Callable[..., Any], evil_page: Path) -> None:
    """The selector changes the curve and the words for it."""
    page = show(evil_page)
    read = "document.getElementById('chart-price-0').data.find(t => t.name === 'price').close"
    before = page.evaluate(read)
    label = page.locator("#chart-price-0").get_attribute("aria-label")
    page.get_by_label("Asset", exact=True).last.select_option(index=2)
    assert page.evaluate(read) != before
    assert page.locator("#chart-price-0").get_attribute("aria-label") != label


def _background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_light_and_dark(show: Callable[..., Any], evil_page: Path) -> None:
    """As the system says, until the switch says otherwise; charts follow."""
    page = show(evil_page, color_scheme="dark")
    ink = "document.getElementById('chart-equity')._fullLayout.font.color"
    assert _background(page) == "rgb(15, 19, 24)"
    assert page.evaluate(ink) == "#dfe5ec"
    page.get_by_role("button", name="Light").click()
    page.wait_for_selector("html[data-drawn=all]")
    assert _background(page) == "rgb(245, 246, 248)"
    assert page.evaluate(ink) == "#1d2733"
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    assert _background(page) == "rgb(15, 19, 24)"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_small_screen_never_scrolls_sideways(
    show: Callable[..., Any], evil_page: Path, width: int
) -> None:
    """Wide tables scroll in their own box."""
    page = show(evil_page, viewport={"width": width, "height": 800}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("tr[data-trade='1'] button").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper(show: Callable[..., Any], evil_page: Path, tmp_path: Path) -> None:
    """A dark page prints light, with its charts inside the sheet, and is dark again after."""
    page = show(evil_page, color_scheme="dark")
    page.evaluate(
        "addEventListener('beforeprint', () => setTimeout(() => 0));"
        "addEventListener('beforeprint', () => { window.onPaper = ["
        " document.documentElement.dataset.theme,"
        " Math.max(...[...document.querySelectorAll('.chart svg.main-svg')]"
        "  .map(s => s.getBoundingClientRect().width))]; })"
    )
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 100_000
    theme, widest = page.evaluate("window.onPaper")
    assert theme == "light"
    assert widest <= 700
    page.wait_for_function("document.documentElement.dataset.theme === undefined")
    assert _background(page) == "rgb(15, 19, 24)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser: Any, evil_page: Path, scheme: str) -> None:
    """No serious or critical finding of axe, with a trade open."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    # The checker is a script of its own, which the policy of the page would not let in.
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(evil_page.as_uri())
    page.wait_for_selector("html[data-drawn=all]", timeout=60_000)
    page.locator("tr[data-trade='1'] button").click()
    found = Axe().run(page).response["violations"]
    context.close()
    grave = [
        (v["id"], v["help"], [n["html"][:120] for n in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert grave == []


def test_the_keyboard_reaches_everything(show: Callable[..., Any], evil_page: Path) -> None:
    """The first stop skips to the content, and the theme is a stop."""
    page = show(evil_page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    stops = page.evaluate("[...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)")
    assert stops


def test_a_page_without_script_can_be_read(browser: Any, evil_page: Path) -> None:
    """Trust, figures and tables stand in the page itself."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(evil_page.as_uri())
    assert page.locator("#trust dt").count() > 5
    assert page.locator("#trade-table tbody tr").count() > 10
    assert page.locator("noscript").is_visible()
    context.close()


def test_the_page_of_a_large_run_opens(show: Callable[..., Any], tmp_path: Path) -> None:
    """A hundred thousand trades; every chart is drawn."""
    path = BacktestResult(large_record()).report(tmp_path / "report.html")
    assert path.stat().st_size < 15_000_000
    page = show(path)
    assert len(_column(page, 0)) == 300


def test_a_run_in_which_nothing_happened_is_drawn(show: Callable[..., Any], tmp_path: Path) -> None:
    """Empty panels complain of nothing."""
    result = BacktestEngine(ten_bars(), strategy=Idle()).run()
    page = show(result.report(tmp_path / "report.html"))
    assert page.locator(".chart").count() >= 3


def test_a_comparison_is_drawn(show: Callable[..., Any], tmp_path: Path) -> None:
    """Two curves on one page, without the parts that only a run has."""
    both = compare([evil_run(60), evil_run(40)], names=[EVIL, "b"])
    page = show(both.report(tmp_path / "compare.html"))
    assert page.evaluate("document.getElementById('chart-equity').data.length") == 4
    assert page.evaluate("window.broken") is None
