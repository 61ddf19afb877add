"""report.html in a real browser: nothing logged, nothing fetched, quick, found by its addresses.

Skipped where this machine has no browser, and for no other reason.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from big_report import big_report
from browser import Browser, missing

from mm_lora.report import html
from mm_lora.report.view import View

CHECKS = 2000
MOST_BYTES = 2_000_000
MOST_S = 2.0
"""Of the page's main thread, by the processor's clock, to be loaded: what else the machine does
does not count. Half a second is usual."""

FAILING = 30
REPORT = big_report(CHECKS, failing=FAILING)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with many checks."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(html.render(View(report=REPORT)), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=[(390, False), (1280, True)], ids=["narrow-light", "wide-dark"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    """A telephone by day, a screen by night."""
    if why := missing():
        pytest.skip(why)
    width, dark = request.param
    with Browser(tmp_path, width=width, dark=dark) as found:
        yield found


def test_a_page_of_many_checks_is_small(page: str) -> None:
    assert Path(page.removeprefix("file://")).stat().st_size < MOST_BYTES


def test_it_opens_quickly_logs_nothing_and_fetches_nothing(browser: Browser, page: str) -> None:
    browser.command("Performance.enable", timeDomain="threadTicks")
    browser.open(page)
    told = browser.command("Performance.getMetrics")["metrics"]
    took = {one["name"]: one["value"] for one in told}["TaskDuration"]
    print(f"{CHECKS} checks in {took:.2f} s")
    assert 0 < took < MOST_S
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.logged() == []
    own = ("chrome:", "chrome-untrusted:", "data:", "about:")  # of the browser's first, empty page
    assert {one for one in browser.asked() if not one.startswith(own)} == {page}


def test_addresses_lead_to_checks_and_filters(browser: Browser, page: str) -> None:
    hidden = REPORT.checks[7].id
    browser.open(f"{page}#{quote(hidden)}")
    shown = "return document.getElementById(arguments[0]).checkVisibility()"
    assert browser.run(shown, hidden)
    browser.open("about:blank")
    browser.open(f"{page}#?show=fail")
    count = "return [...document.querySelectorAll('details.k')].filter(e => !e.hidden).length"
    assert browser.run(count) == FAILING
    last = f"tower-{CHECKS - 1}"
    browser.run(
        "const q = document.querySelector('#q'); q.value = arguments[0];"
        "q.dispatchEvent(new Event('input'))",
        last,
    )
    assert browser.run(count) == 1
    assert f"q={last}" in browser.run("return location.hash")
    assert browser.logged() == []


def test_everything_is_there_without_scripts(browser: Browser, page: str) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return document.querySelector('form.tools').hidden")
    assert browser.run("return document.querySelectorAll('details.k').length") == CHECKS
    assert browser.run("return document.querySelector('.full pre, .full .line').checkVisibility()")
