"""How cost grows: with the number of images, the latent size, K, and the side of the images.

    python -m benchmarks.cost --output docs/images/cost.png

Each of the four is varied alone, over a factor of 16 or more, the default network otherwise. What
takes the time is measured three times in turns, of which the least counts; images are noise, which
costs what any image does. Prints a row a point, and the exponent of the last doubling or two: 1 is
in proportion, 0 no growth.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pipeline import cli
from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.figures.style import BLUE, SLATE, new_figure, style
from vaelab.runtime.devices import choose_device
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer
from vaelab.training.trainer import Trainer

ROUNDS = 3
SIDE = 28


@dataclass(frozen=True)
class Curve:
    """What is varied, what it costs at each value, and how it is done."""

    title: str
    axis: str
    unit: str
    values: tuple[int, ...]
    work: Callable[[int], Callable[[], object]]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/cost.png"))
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments.output), resume_hint="the same command starts anew")


def run(output: Path) -> None:
    """Measure the four curves, print them, and draw them."""
    choose_device(parse_settings({}).machine)
    print("| varied | value | cost | exponent |\n|---|---|---|---|", flush=True)
    measured = {curve.title: measure(curve) for curve in curves()}
    output.parent.mkdir(parents=True, exist_ok=True)
    with style():
        draw(measured).savefig(output)
    print(f"\n{output}")


def curves() -> list[Curve]:
    """Say what is varied."""
    sides = tuple(2**power for power in range(4, 8))
    return [
        Curve("training images", "images", "an epoch", (1000, 2000, 4000, 8000, 16_000), of_images),
        Curve("latent size", "dimensions", "an epoch of 4,000", (2, 8, 32, 128, 512), of_latents),
        Curve("importance samples", "K", "for 100 images", (100, 400, 1600, 6400), of_samples),
        Curve("image side", "pixels", "an epoch of 1,000", sides, of_side),
    ]


def of_images(count: int) -> Callable[[], object]:
    """Train on so many images."""
    return epoch_of(trainer(count, SIDE, latents=20))


def of_latents(latents: int) -> Callable[[], object]:
    """Train with a latent of such a size."""
    return epoch_of(trainer(4000, SIDE, latents))


def of_side(side: int) -> Callable[[], object]:
    """Train on images of such a side."""
    return epoch_of(trainer(1000, side, latents=20))


def of_samples(samples: int) -> Callable[[], object]:
    """Score 100 images with so many importance samples."""
    model = trainer(100, SIDE, latents=20).model.eval()
    images = torch.rand(100, 1, SIDE, SIDE)

    def score() -> None:
        with torch.inference_mode():
            posterior, noise = model.encode(images), rng_stream(0, "noise")
            importance_weighted_log_likelihood(model, images, posterior, samples, noise)

    return score


def trainer(count: int, side: int, latents: int) -> Trainer:
    """Build the default network's loop over images of noise."""
    model = {"latent_dim": latents, "channels": (16, 32)}
    settings = parse_settings({"model": model, "train": {"epochs": 1}})
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, side, side), dtype=np.uint8)
    device = torch.device("cpu")
    few = ImageLoader(pixels[:100], device)
    return build_trainer(settings, ImageLoader(pixels, device), few, device)


def epoch_of(loop: Trainer) -> Callable[[], object]:
    """Train for another epoch at each call."""

    def epoch() -> None:
        loop.settings = loop.settings.model_copy(update={"epochs": loop.progress.epoch + 1})
        loop.fit(show_progress=False)

    return epoch


def measure(curve: Curve) -> Mapping[int, float]:
    """Return the least seconds at each value, and print them."""
    works = {value: curve.work(value) for value in curve.values}
    seconds = {value: math.inf for value in curve.values}
    for _ in range(ROUNDS):
        for value, work in works.items():
            started = time.perf_counter()
            work()
            seconds[value] = min(seconds[value], time.perf_counter() - started)
    for value, before in zip(curve.values, (None, *curve.values), strict=False):
        cell = f"{exponent(seconds, before, value):.2f}" if before else ""
        print(f"| {curve.title} | {value:,} | {seconds[value]:.3f} s | {cell} |", flush=True)
    return seconds


def exponent(seconds: Mapping[int, float], before: int, value: int) -> float:
    """Return the power of the value with which cost grew between two."""
    return math.log(seconds[value] / seconds[before]) / math.log(value / before)


def draw(measured: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw a panel a curve, with the line of what would be in proportion."""
    figure = new_figure("What more of it costs; dashed: in proportion", 2.9)
    panels = np.ravel(figure.subplots(1, len(measured)))
    for axes, curve in zip(panels, curves(), strict=True):
        seconds = measured[curve.title]
        values = np.array(curve.values, float)
        last = curve.values[-1]
        power = 2 if curve.title == "image side" else 1
        axes.loglog(values, seconds[last] * (values / last) ** power, "--", color=SLATE, lw=0.8)
        axes.loglog(values, list(seconds.values()), "o-", color=BLUE)
        axes.set(title=curve.title, xlabel=f"{curve.axis}\n{curve.unit}")
        axes.set_ylim(min(seconds.values()) / 2, max(seconds.values()) * 2)
        axes.set_xticks(values, [f"{value:,}" for value in curve.values], rotation=45)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("seconds")
    return figure


if __name__ == "__main__":
    main()
