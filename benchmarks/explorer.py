"""The explorer in headless Chromium: size, seconds until it is ready, images a second, agreement.

Models have their initial weights; `difference` is the largest from PyTorch over 100 latents (in
pixels, of [0, 1]) and over 100 images (in posterior means and standard deviations). `decode` is one
image, the median of 50; `drag` counts decoded images a second while the pointer moves over the map.

    python -m benchmarks.explorer
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from vaelab.config import ModelSettings
from vaelab.explorer import ExplorerContent, ShownImages, build_page
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model, build_model
from vaelab.models.networks import ACTIVATIONS, Shape

COUNT = 100
TIME_DECODE = """() => {
  const latent = new Float32Array(vaelab.latentDim);
  const times = Array.from({ length: 50 }, () => {
    const start = performance.now();
    vaelab.decode(latent);
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[25];
}"""
# Counts the images that are drawn while the pointer moves for two seconds.
COUNT_FRAMES = """() => new Promise((resolve) => {
  const canvas = document.querySelector("#map");
  const box = canvas.getBoundingClientRect();
  const shown = document.querySelector("#decoded");
  const put = CanvasRenderingContext2D.prototype.putImageData;
  let drawn = 0;
  CanvasRenderingContext2D.prototype.putImageData = function (...values) {
    if (this.canvas === shown) drawn += 1;
    return put.apply(this, values);
  };
  const event = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, clientX: box.left + x, clientY: box.top + 0.4 * box.height,
  }));
  canvas.setPointerCapture = () => {};
  event("pointerdown", 20);
  const start = performance.now();
  const move = () => {
    const seconds = (performance.now() - start) / 1000;
    event("pointermove", 20 + (box.width - 40) * (0.5 - 0.5 * Math.cos(3 * seconds)));
    if (seconds < 2) return setTimeout(move, 4);
    event("pointerup", 20);
    resolve(drawn / seconds);
  };
  move();
})"""


def cases() -> Iterator[tuple[str, Shape, dict[str, Any]]]:
    """Return names, shapes and settings of the models."""
    for network in ("conv", "mlp", "resnet"):
        for shape in ((1, 28, 28), (3, 33, 27)):
            yield network, shape, {"network": network}
    for likelihood in ("bernoulli", "continuous_bernoulli", "discretized_logistic"):
        yield likelihood, (3, 28, 28), {"likelihood": likelihood}
    for activation in ACTIVATIONS:
        yield activation, (1, 28, 28), {"activation": activation}
    for network in ("conv", "resnet"):
        wide = {"network": network, "channels": (32, 64, 128, 256), "latent_dim": 64}
        yield f"{network} [32, 64, 128, 256]", (3, 64, 64), wide


def main() -> None:
    """Print a row for each model."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    print("| model | image | page, MB | ready, s | decode, ms | drag, images/s | difference |")
    print("|---|---|---|---|---|---|---|")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        for name, shape, settings in cases():
            print(measure(browser, Path(folder) / "index.html", name, shape, settings), flush=True)
        browser.close()


def measure(browser: Browser, file: Path, name: str, shape: Shape, settings: dict[str, Any]) -> str:
    """Return a model's row."""
    model = build_model(ModelSettings(**{"prior": "standard_normal"} | settings), shape).eval()
    file.write_text(page_of(model), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    start = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    ready = time.perf_counter() - start
    pixels, latents = differences(page, model)
    milliseconds, rate = page.evaluate(TIME_DECODE), page.evaluate(COUNT_FRAMES)
    page.close()
    size = "x".join(map(str, shape))
    return (
        f"| {name} | {size} | {file.stat().st_size / 1e6:.2f} | {ready:.2f} | {milliseconds:.1f} "
        f"| {rate:.0f} | {pixels:.0e} in a pixel, {latents:.0e} in a latent |"
    )


def page_of(model: Model) -> str:
    """Build a page with 300 random test images."""
    images = np.random.default_rng(0).integers(0, 256, (300, *model.image_shape), np.uint8)
    means = np.random.default_rng(1).standard_normal((300, model.latent_dim)).astype(np.float32)
    dimensions = [{"mean": 0.0, "stddev": 1.0, "kl": 1.0, "active": True}] * model.latent_dim
    shown = ShownImages(images, means, np.full_like(means, 0.1))
    return build_page(model, ExplorerContent("VAE", "", dimensions, shown))


def differences(page: Page, model: Model) -> tuple[float, float]:
    """Return the largest differences from PyTorch, in a pixel and in a latent."""
    noise = torch.Generator().manual_seed(2)
    latents = torch.randn(COUNT, model.latent_dim, generator=noise)
    images = torch.randint(256, (COUNT, *model.image_shape), generator=noise) / 255
    with torch.no_grad():
        decoded, posterior = model.decode(latents).mean, model.encode(images)
    assert isinstance(posterior, DiagonalGaussian)
    found = page.evaluate("zs => zs.map(z => Array.from(vaelab.decode(z)))", latents.tolist())
    encode = "xs => xs.map(x => { const q = vaelab.encode(x); return [...q, ...q.stddev]; })"
    encoded = page.evaluate(encode, images.flatten(1).tolist())
    expected = torch.cat([posterior.mean, posterior.stddev], dim=1)
    return (
        (torch.tensor(found) - decoded.clamp(0, 1).flatten(1)).abs().max().item(),
        (torch.tensor(encoded) - expected).abs().max().item(),
    )


if __name__ == "__main__":
    main()
