"""The page in a real browser: Chromium, driven by Playwright, with the network cut off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import chromium, needs_chromium
from tests.explorer.factories import page_of, random_model
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model

pytestmark = needs_chromium

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open a page from a file; the test fails if it writes an error to the console."""
    problems: list[str] = []
    contexts = []

    def opened(html: str, width: int = 1280, *, bypass_csp: bool = False) -> Page:
        (tmp_path / "index.html").write_text(html, encoding="utf-8")
        viewport: ViewportSize = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, bypass_csp=bypass_csp)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: _refuse_network(request.url, problems))
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def _refuse_network(url: str, problems: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        problems.append(f"requested {url}")


def shown(page: Page, canvas: str = "#decoded") -> list[int]:
    """Return the pixels of a canvas."""
    page.wait_for_timeout(60)  # a change is drawn in the next frame
    # From a copy: reading the page's own canvases would slow them down.
    pixels: list[int] = page.evaluate(
        """id => { const shown = document.querySelector(id);
        const copy = new OffscreenCanvas(shown.width, shown.height);
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(shown, 0, 0);
        return Array.from(context.getImageData(0, 0, copy.width, copy.height).data); }""",
        canvas,
    )
    return pixels


@pytest.mark.parametrize("network", ["conv", "mlp", "resnet"])
def test_encode_and_decode_agree_with_pytorch(open_page: Open, network: str) -> None:
    model = random_model((3, 9, 7), network=network)
    page = open_page(page_of(model))
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        latent = torch.randn(5, generator=generator)
        pixels = torch.rand(3, 9, 7, generator=generator)
        with torch.no_grad():
            image, posterior = model.decode(latent[None]).mean[0], model.encode(pixels[None])
        assert isinstance(posterior, DiagonalGaussian)
        decoded = page.evaluate("z => Array.from(vaelab.decode(z))", latent.tolist())
        np.testing.assert_allclose(decoded, image.flatten().numpy(), atol=1 / 255 / 100)
        mean, stddev = page.evaluate(
            "x => { const q = vaelab.encode(x); return [Array.from(q), Array.from(q.stddev)]; }",
            pixels.tolist(),
        )
        np.testing.assert_allclose(mean, posterior.mean[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(stddev, posterior.stddev[0].numpy(), atol=1e-4)


def test_sliders_map_and_keyboard_move_the_decoded_image(open_page: Open) -> None:
    page = open_page(page_of(random_model()))
    first = shown(page)
    page.locator("#sliders input").first.press("ArrowRight")
    page.locator("#sliders input").first.press("PageUp")
    second = shown(page)
    assert second != first
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 160, steps=4)
    page.mouse.up()
    third = shown(page)
    assert third not in (first, second)
    page.locator("#map").press("ArrowUp")
    assert shown(page) != third
    page.locator("#map").press("Enter")
    assert "test image" in page.locator("#source").inner_text()
    page.get_by_role("button", name="Draw from the prior").click()
    shown(page)
    assert page.locator("#source").inner_text() == "a latent that belongs to no image"


def test_noise_moves_the_latent_around_its_mean(open_page: Open) -> None:
    page = open_page(page_of(random_model()))
    still = shown(page)
    assert shown(page) == still
    page.locator("#noise").check()
    assert shown(page) != still
    page.locator("#noise").uncheck()
    assert shown(page) == still


def test_a_drawing_and_a_dropped_file_are_encoded(open_page: Open, tmp_path: Path) -> None:
    model = random_model((1, 8, 8))
    page = open_page(page_of(model))
    page.locator("#own").scroll_into_view_if_needed()
    box = page.locator("#own").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 90, steps=5)
    page.mouse.up()
    assert max(shown(page, "#original")[::4]) > 200
    assert "your drawing" in page.locator("#source").inner_text()
    pixels = np.full((8, 8), 51, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    page.set_input_files("#own-file", tmp_path / "own.png")
    expect(page.locator("#source")).to_have_text("own.png")
    assert set(shown(page, "#original")[::4]) == {51}
    with torch.no_grad():
        mean = model.encode(torch.full((1, 1, 8, 8), 0.2)).mean
        expected = model.decode(mean).mean[0, 0].clamp(0, 1).mul(255).round().flatten()
    assert np.abs(np.array(shown(page)[::4]) - expected.numpy()).max() <= 1
    page.evaluate(
        """() => { const transfer = new DataTransfer();
        transfer.items.add(new File(["text"], "notes.txt"));
        const drop = { dataTransfer: transfer, bubbles: true, cancelable: true };
        document.querySelector("#own-area").dispatchEvent(new DragEvent("drop", drop)); }"""
    )
    message = "notes.txt: this file is not an image that the browser can read"
    expect(page.locator("#own-message")).to_have_text(message)


def test_walks_play_between_classes(open_page: Open) -> None:
    page = open_page(page_of(random_model()))
    assert page.locator("#walk-strip canvas").count() == 9
    options = page.locator("#walk-from option").all_inner_texts()
    assert options[2:] == ["the mean of <b>one</b>", "the mean of two & three"]
    page.locator("#walk-from").select_option(label="a random draw")
    page.locator("#walk-play").click()
    first = shown(page)
    page.wait_for_timeout(300)
    assert shown(page) != first
    page.locator("#walk-play").click()


def test_decoded_images_behind_the_map(open_page: Open) -> None:
    page = open_page(page_of(random_model()))
    picture = "document.querySelector('#map').toDataURL()"
    before = page.evaluate(picture)
    page.locator("#show-manifold").check()
    page.wait_for_timeout(300)
    assert page.evaluate(picture) != before
    page.locator("#plane").select_option("dimensions")
    assert page.locator("#axes").is_visible()
    assert not page.locator("#show-manifold").is_checked()


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_overflows_and_axe_finds_nothing(open_page: Open, width: int) -> None:
    page = open_page(page_of(random_model()), width, bypass_csp=True)
    for folded in page.locator("details").all():
        folded.evaluate("element => element.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


MODELS: dict[str, Callable[[], Model]] = {
    "without an encoder": lambda: random_model(networks=("decoder", "discriminator")),
    "with codes": lambda: random_model(posterior="point", prior="codebook", latent_dim=6),
    "without noise": lambda: random_model(posterior="point"),
    "with one latent": lambda: random_model(latent_dim=1),
    "with a learned prior": lambda: random_model(prior="flow"),
    "with labels": lambda: random_model(classes=2, conditional="labels"),
    "in color": lambda: random_model((3, 12, 9)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_has_the_parts_that_apply(open_page: Open, name: str) -> None:
    model = MODELS[name]()
    page = open_page(page_of(model), 360)
    assert page.locator("#decoded").is_visible()
    for part in ("#own-panel", "#story-panel"):
        assert page.locator(part).is_visible() == model.has("encoder")
    assert page.locator("#walks-panel").is_visible() == (
        name not in ("with codes", "with one latent")
    )
    assert page.locator("#noise-control").is_visible() == (
        model.has("encoder") and model.posterior == "gaussian"
    )
    page.locator("#sliders input").first.press("Home")
    before = shown(page)
    page.locator("#sliders input").first.press("End")
    assert shown(page) != before
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if model.classes:
        page.locator("#label").select_option("1")
        assert shown(page) != before


def test_a_model_that_the_page_cannot_run(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaelab.explorer.MAX_NUMBERS", 10)
    page = open_page(page_of(random_model()))
    assert "This page cannot run the model: the model has" in page.locator("#fallback").inner_text()
    assert page.locator("#traversals").is_visible()
