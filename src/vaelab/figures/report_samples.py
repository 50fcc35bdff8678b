"""Figures of the report: samples compared with real images, and interpolations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import Images, arrange, arrange_pairs
from vaelab.figures.report import HALF
from vaelab.figures.style import (
    BLUE,
    INK,
    STONE,
    escape_mathtext,
    evenly_spaced,
    new_figure,
    style,
)
from vaelab.runtime.formatting import format_number

Shares = Float[NDArray[np.floating], "classes"]
Bytes = UInt8[np.ndarray, "count channel height width"]
StepDistances = UInt8[np.ndarray, "pairs steps channel height width"]

_COLUMNS = 12
PAIRS_SHOWN = 3 * _COLUMNS
"""Samples that are drawn with their nearest training images."""
_PAIRS = 4  # of interpolated images
_LONGEST_NAME = 14
_LETTERS = 90  # of class names side by side


@dataclass(frozen=True)
class ValueAndFloor:
    """A metric of the samples, and its value for training images."""

    value: float
    floor: float


def distances_figure(distances: Mapping[str, ValueAndFloor]) -> Figure:
    """Draw each space's Fréchet distance as a multiple of its floor, on a logarithmic axis."""
    names = list(distances)
    ratios = np.array([distance.value / distance.floor for distance in distances.values()])
    with style():
        figure = new_figure("Fréchet distance over its floor", 0.42 * len(names) + 1.2, HALF)
        axes = figure.add_subplot(xscale="log", xlabel="multiple of the training images' distance")
        positions = np.arange(len(names))
        axes.hlines(positions, 1, ratios, color=STONE, linewidth=3)
        axes.scatter(ratios, positions, color=BLUE, s=38, zorder=3)
        for position, ratio in zip(positions, ratios, strict=True):
            text = f"{format_number(float(ratio), 2)}×"
            axes.annotate(text, (ratio, position), (8, 0), textcoords="offset points", va="center")
        axes.axvline(1, color=INK, linewidth=1.1, linestyle=":")
        axes.set_yticks(positions, names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(min(0.8, 0.8 * ratios.min()), 2.2 * max(ratios.max(), 1))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


def precision_recall_figure(spaces: Mapping[str, Mapping[str, ValueAndFloor]]) -> Figure:
    """Draw precision, recall, density and coverage as bars, a panel a space, floors as lines."""
    with style():
        figure = new_figure("Fidelity and diversity of samples, compared with training images", 2.3)
        panels = figure.subplots(1, len(spaces), sharey=True, squeeze=False)[0]
        for axes, (space, shares) in zip(panels, spaces.items(), strict=True):
            _draw_shares(axes, shares)
            axes.set_title(space)
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=2)
    return figure


def _draw_shares(axes: Axes, shares: Mapping[str, ValueAndFloor]) -> None:
    positions = np.arange(len(shares))
    floors = np.array([share.floor for share in shares.values()])
    values = np.array([share.value for share in shares.values()])
    axes.barh(positions, values, 0.6, color=BLUE, label="samples")
    axes.vlines(
        floors, positions - 0.4, positions + 0.4, color=INK, linewidth=2, label="training images"
    )
    axes.set_yticks(positions, list(shares))
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, max(1.0, 1.05 * values.max(), 1.05 * floors.max()))
    axes.grid(False, axis="y")


def class_shares_figure(samples: Shares, real: Shares, names: Sequence[str]) -> Figure:
    """Draw the share of each class among samples and among real images."""
    positions = np.arange(len(samples))
    with style():
        figure = new_figure("Predicted classes of samples and of real images", 2.7)
        axes = figure.add_subplot(ylabel="share of images")
        axes.bar(positions - 0.2, samples, 0.4, color=BLUE, label="samples")
        axes.bar(positions + 0.2, real, 0.4, color=STONE, label="real images")
        shown = evenly_spaced(len(names), 40)
        texts = [_shorten(names[k]) for k in shown]
        axes.set_xticks(shown, [escape_mathtext(text) for text in texts])
        if sum(len(text) + 2 for text in texts) > _LETTERS:
            axes.tick_params(axis="x", rotation=90)
        axes.grid(False, axis="x")
        axes.set_xlim(-0.8, len(positions) - 0.2)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def sources_figure(sources: Mapping[str, Bytes]) -> Figure:
    """Draw samples of each source, one source above the other."""
    blocks = [arrange(to_unit(samples[:PAIRS_SHOWN]), _COLUMNS) for samples in sources.values()]
    labels = [name for name, block in zip(sources, blocks, strict=True) for _ in block]
    breaks = np.cumsum([len(block) for block in blocks])[:-1].tolist()
    title = f"Samples of the {' and of the '.join(sources)}"
    return image_grid(np.concatenate(blocks), title, row_labels=labels, row_breaks=breaks)


def decoded_figure(originals: Images, decoded: Bytes) -> Figure:
    """Draw each reconstruction below its original, whose missing pixels are NaN."""
    grid = arrange_pairs(originals, to_unit(decoded), _COLUMNS)
    labels = ["original", "decoded"] * (len(grid) // 2)
    title = "Test images, and their reconstructions below them"
    return image_grid(grid, title, row_labels=labels, row_breaks=range(2, len(grid), 2))


def worst_figure(originals: Images, decoded: Bytes) -> Figure:
    """Draw each reconstruction below its original, the worst first."""
    columns = _COLUMNS * 2 // 3
    grid = arrange_pairs(originals, to_unit(decoded), columns)
    ranks = range(1, len(originals) + 1, columns)
    labels = [text for rank in ranks for text in (f"from {rank}", "decoded")]
    title = "The test images that are reconstructed worst"
    return image_grid(grid, title, row_labels=labels, row_breaks=range(2, len(grid), 2))


def nearest_figure(samples: Bytes, nearest: Bytes) -> Figure:
    """Draw each sample above its nearest training image."""
    shown = slice(PAIRS_SHOWN)
    grid = arrange_pairs(to_unit(samples[shown]), to_unit(nearest[shown]), _COLUMNS)
    labels = ["sample", "nearest"] * (len(grid) // 2)
    title = "Samples, each above its nearest training image"
    return image_grid(grid, title, row_labels=labels, row_breaks=range(2, len(grid), 2))


def interpolation_steps_figure(paths: Mapping[str, StepDistances]) -> Figure:
    """Draw decoded interpolation paths between pairs of images, grouped by pair."""
    kinds = list(paths)
    stacked = np.stack([to_unit(images[:_PAIRS]) for images in paths.values()], axis=1)
    grid = stacked.reshape(-1, *stacked.shape[2:])
    return image_grid(
        grid,
        "Interpolations between the latents of two images",
        row_labels=kinds * (len(grid) // len(kinds)),
        column_labels=[f"{share:.2f}" for share in np.linspace(0, 1, grid.shape[1])],
        column_title="position between the two posterior means",
        row_breaks=range(len(kinds), len(grid), len(kinds)) if len(kinds) > 1 else (),
    )


def to_unit(images: UInt8[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return images.astype(np.float32) / np.float32(255)


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"
