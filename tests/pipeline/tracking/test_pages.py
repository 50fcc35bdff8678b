"""MLflow's pages in a real browser: Chromium, driven by Playwright."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from pipeline.tracking import Store
from pipeline.tracking.view import link
from tests.browser import chromium, needs_chromium
from tests.pipeline.tracking.conftest import MakeRun
from tests.pipeline.tracking.test_ui import served

pytestmark = [pytest.mark.slow, needs_chromium]

Open = Callable[..., Page]
# MLflow asks who is logged in, also where nobody can be.
WITHOUT_LOGIN = "users/current"


@pytest.fixture
def open_page() -> Iterator[Open]:
    """Open a page of MLflow; the test fails if it writes an error to the console."""
    problems: list[str] = []
    with chromium() as browser:

        def opened(address: str, width: int = 1280, height: int = 900) -> Page:
            page = browser.new_page(viewport=ViewportSize(width=width, height=height))
            page.set_default_timeout(60_000)
            expect.set_options(timeout=60_000)
            page.on(
                "console",
                lambda message: (
                    _add_error(problems, message.text)
                    if message.type == "error" and WITHOUT_LOGIN not in str(message.location["url"])
                    else None
                ),
            )
            page.on("pageerror", lambda error: _add_error(problems, str(error)))
            page.goto(address)
            return page

        yield opened
    assert problems == []


def _add_error(problems: list[str], error: str) -> None:
    """Note an error, but for a size that changes faster than Chromium draws, which is none."""
    if "ResizeObserver loop" not in error:
        problems.append(error)


def test_the_pages_that_a_person_looks_at(
    store: Store, make_run: MakeRun, open_page: Open, tmp_path: Path
) -> None:
    make_run(4.0, train__epochs=2)
    best = make_run(1.5, train__kl_weight=4)
    with served(tmp_path) as address:
        _look_at_table(open_page(f"{address}/{link(store.experiment_id)}", width=1600))
        run = f"{address}/#/experiments/{store.experiment_id}/runs/{best.run_id}"
        _look_at_run(open_page(run))
        _look_at_charts(open_page(f"{run}/model-metrics", height=4000))
        model = best.logged_model()
        assert model
        models = f"{address}/#/experiments/{store.experiment_id}/models/{model.model_id}"
        _look_at_model(open_page(models))
        _look_at_registry(open_page(f"{address}/#/models", width=390))


def _look_at_table(page: Page) -> None:
    """The runs are sorted by the bound, which is the first column, in the view for training."""
    expect(page.get_by_text("Sort: test/neg_elbo_nats")).to_be_visible()
    expect(page.get_by_role("columnheader", name="test/neg_elbo_nats").first).to_be_visible()
    names = page.get_by_role("gridcell").get_by_text("digits vae")
    expect(names).to_have_text(["digits vae, KL weight 4", "digits vae, 2 epochs"])
    expect(page.get_by_text("Variational autoencoders, trained by vaelab.")).to_be_visible()
    expect(page.get_by_text("Agent versions")).to_have_count(0)


def _look_at_run(page: Page) -> None:
    """The description has numbers, a picture that loads, and a link to the report."""
    expect(page.get_by_role("cell", name="negative ELBO (nats per image)")).to_be_visible()
    expect(page.get_by_role("link", name="Report")).to_be_visible()
    picture = page.locator("img[src*='get-artifact']")
    expect(picture).to_be_attached()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
    expect(page.get_by_text("digits-vae")).to_be_visible()


def _look_at_charts(page: Page) -> None:
    """The sections, in order, with their number of charts: the curves come first."""
    expect(page.get_by_role("heading", name="active_units")).to_be_visible()
    text = page.locator("body").inner_text()
    found = re.findall(r"^([a-z/]+)\s+\((\d+)\)$", text, re.MULTILINE)
    curves = [("curves/train", "1"), ("curves/validation", "1")]
    results = [("images", "1"), ("latent", "1"), ("samples", "1"), ("test", "2")]
    assert found == curves + results
    charts = page.get_by_role("heading", level=4)
    expect(charts).to_have_count(7)


def _look_at_model(page: Page) -> None:
    """The measurements are the model's, with the data set, and the model is registered."""
    row = page.get_by_role("row").filter(has_text="test/neg_elbo_nats")
    expect(row).to_contain_text("digits")
    expect(row).to_contain_text("1.5")
    expect(page.get_by_text("digits-vae").first).to_be_visible()


def _look_at_registry(page: Page) -> None:
    expect(page.get_by_text("digits-vae").first).to_be_visible()
