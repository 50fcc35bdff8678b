"""The report, the comparison of two runs and DVC's plots in a browser without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import ROOT
from tests.browser import chromium, needs_chromium
from tests.report.factories import real
from tests.report.test_difference import bound, run
from vaelab.report import build_page
from vaelab.report.difference import build_difference
from vaelab.report.sections import SECTIONS

pytestmark = needs_chromium

Open = Callable[[str, int], Page]
WIDTHS = (1280, 390)
FOLDED_HEIGHT = 6000  # pixels at most of the report, at 1280 pixels, before anything is unfolded


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Open]:
    """Open a page from a file, offline; the test fails if it raises an error or is too wide."""
    errors: list[str] = []
    with chromium() as browser:

        def opened(html: str, width: int) -> Page:
            (tmp_path / "index.html").write_text(html, encoding="utf-8")
            context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text))
            page.goto((tmp_path / "index.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            return page

        yield opened
    # A library that DVC's own page asks the network for is missing, and nothing else.
    assert [text for text in errors if "ERR_INTERNET_DISCONNECTED" not in text] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_is_short_until_it_is_unfolded(open_page: Open, width: int) -> None:
    page = open_page(build_page(real("vae")), width)
    if width == max(WIDTHS):
        assert page.evaluate("document.documentElement.scrollHeight") <= FOLDED_HEIGHT
    expect(page.locator("figure img").first).to_be_visible()
    folded = page.locator("main > details, main section > details")
    assert folded.count() >= len(SECTIONS)
    assert page.locator("details[open]").count() == 0
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_two_runs_are_told_apart_at_every_width(open_page: Open, width: int) -> None:
    first = run("first", bound(1.0))
    second = run("second", bound(9.0), settings={"train.kl_weight": 4.0, "train.epochs": 3})
    page = open_page(build_difference(first, second), width)
    cells = page.locator("td[data-run]")
    assert cells.count() == 4
    shown = [cell.evaluate("c => getComputedStyle(c, '::before').content") for cell in cells.all()]
    named = [content != "none" for content in shown]
    assert named == [width < max(WIDTHS)] * 4, "beside the heads of columns, or alone"
    assert page.locator("iframe").count() == 2


def filled(template: str, scripts: str, charts: str) -> str:
    """Fill the template as DVC does."""
    parts = {"refresh_tag": "", "scripts": scripts, "plot_divs": charts}
    for name, text in parts.items():
        assert f"{{{name}}}" in template
        template = template.replace(f"{{{name}}}", text)
    return template


def test_dvcs_plots_say_what_they_lack_without_a_network(open_page: Open) -> None:
    template = (ROOT / ".dvc/plots_page.html").read_text()
    config = (ROOT / ".dvc/config").read_text()
    assert "html_template = plots_page.html" in config
    chart = "<div id='losses'></div><script>vegaEmbed('#losses', {});</script>"
    library = '<script src="https://cdn.jsdelivr.net/npm/vega-embed@6.18.2"></script>'
    page = open_page(filled(template, library, chart), 1280)
    expect(page.get_by_text("Interactive charts need a network")).to_be_visible()
    expect(page.locator("#losses")).to_be_hidden()
    # With DVC's library, here a stand-in, the charts are drawn and nothing is said.
    fake = "<script>window.vegaEmbed = (id) => {document.querySelector(id).id = 'drawn';};</script>"
    page = open_page(filled(template, fake, chart), 1280)
    expect(page.get_by_text("Interactive charts need a network")).to_be_hidden()
    assert page.locator("#drawn").count() == 1
