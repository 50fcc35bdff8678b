"""Figures of images: `image_grid` lays out a labeled grid, the others define its contents."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaelab.figures.image_tiles import (
    BREAK,
    Canvas,
    ImageGrid,
    Images,
    arrange,
    arrange_pairs,
    tile_images,
    tile_offsets,
)
from vaelab.figures.style import WIDTH, dimension_name, evenly_spaced, new_figure, signed, style

Image = Float[np.ndarray, "channel height width"]

_LETTER, _LINE = 0.07, 0.16  # inches, of a label
_LARGEST_TILE, _LARGEST_HEIGHT = 0.95, 7.5  # inches, of a tile and of all tiles
_CANVAS_DPI = 360  # high, so that the edges of scaled pixels stay sharp
_CANVAS_SIDE = 6000  # pixels at most


def image_grid(
    images: ImageGrid,
    title: str,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    row_title: str = "",
    column_title: str = "",
    row_breaks: Sequence[int] = (),
    column_breaks: Sequence[int] = (),
    gap: float = 0.06,
) -> Figure:
    """Draw image [i, j] at row i, column j; NaN is blank.

    `gap` is the space between tiles as a share of a tile's shorter side; it is wider before each of
    `row_breaks` and `column_breaks`. Labels that would overlap are left out.
    """
    rows, columns, _, height, width = images.shape
    space = gap * min(height, width)
    across = _extent(columns, width, space, column_breaks)
    down = _extent(rows, height, space, row_breaks)
    left = 0.25 + _LETTER * _longest(row_labels) + _LINE * bool(row_title)
    below = 0.15 + _LINE * (bool(column_labels) + bool(column_title))
    inch = min((WIDTH - left) / across, _LARGEST_HEIGHT / down, _LARGEST_TILE / max(height, width))
    scale = max(1, min(round(inch * _CANVAS_DPI), _CANVAS_SIDE // round(max(across, down))))
    pixel_gap = round(space * scale)
    canvas = tile_images(
        images, scale=scale, gap=pixel_gap, row_breaks=row_breaks, column_breaks=column_breaks
    )
    with style():
        figure = new_figure(title, inch * down + below + 0.4, max(inch * across + left, 4.5))
        axes = _show(figure, canvas, inch * across, column_title, row_title)
        shown = evenly_spaced(len(row_labels), int(inch * down / _LINE))
        tops = tile_offsets(rows, height * scale, pixel_gap, row_breaks)
        axes.set_yticks(_middles(tops, height * scale, shown), [row_labels[i] for i in shown])
        columns_shown = _fitting(column_labels, inch * (width + space), column_breaks)
        lefts = tile_offsets(columns, width * scale, pixel_gap, column_breaks)
        middles = _middles(lefts, width * scale, columns_shown)
        axes.set_xticks(middles, [column_labels[i] for i in columns_shown])
    return figure


def samples_figure(images: Images, title: str = "Samples from the prior, z ~ N(0, I)") -> Figure:
    """Draw unordered images in a grid about as wide as high."""
    grid = arrange(images, math.ceil(math.sqrt(len(images))))
    return image_grid(grid, title, column_title="means of p(x|z)")


def reconstructions_figure(
    originals: Images,
    reconstructions: Images,
    title: str = "Reconstructions, each below its original",
) -> Figure:
    """Draw each reconstruction below its original."""
    grid = arrange_pairs(originals, reconstructions, math.ceil(math.sqrt(4 * len(originals))))
    labels = ["original", "decoded"] * (len(grid) // 2)
    return image_grid(grid, title, row_labels=labels, row_breaks=range(2, len(grid), 2))


def interpolations_figure(
    first: Images,
    second: Images,
    decoded: ImageGrid,
    title: str = "Interpolations between the latents of two images",
) -> Figure:
    """Draw decoded interpolation paths between pairs of real images, shown at both ends."""
    steps = decoded.shape[1]
    grid = np.concatenate([first[:, None], decoded, second[:, None]], axis=1)
    labels = ["image", *(f"{t:.2f}" for t in np.linspace(0, 1, steps)), "image"]
    return image_grid(
        grid,
        title,
        column_labels=labels,
        column_breaks=(1, steps + 1),
        column_title="position between the two posterior means",
    )


def traversals_figure(
    images: ImageGrid,
    dimensions: Sequence[int],
    kl_per_dimension_nats: Float[np.ndarray, "latent"] | None,
    radius: float,
    title: str = "Traversals of single dimensions, around the prior's mean",
    column_title: str = "value of the dimension, in the prior's standard deviations",
) -> Figure:
    """Draw a row a dimension, labeled with its KL if that is given."""
    kl = kl_per_dimension_nats
    names = [dimension_name(j) for j in dimensions]
    if kl is not None:
        names = [f"{dimension_name(j)}   KL {kl[j]:.2f} nats" for j in dimensions]
    return image_grid(
        images,
        title,
        row_labels=names,
        column_labels=[signed(v) for v in np.linspace(-radius, radius, images.shape[1]).tolist()],
        column_title=column_title,
    )


def image_traversals_figure(
    image: Image, decoded: Image, rows: ImageGrid, dimensions: Sequence[int], radius: float
) -> Figure:
    """Draw a traversal of each dimension around an image, after the image and the decoded one."""
    fixed = np.broadcast_to(np.stack([image, decoded]), (len(rows), 2, *image.shape))
    steps = np.linspace(-radius, radius, rows.shape[1])
    return image_grid(
        np.concatenate([fixed, rows], axis=1),
        "Traversals around a test image, one dimension a row",
        row_labels=[dimension_name(j) for j in dimensions],
        column_labels=["image", "decoded", *(signed(step) for step in steps.tolist())],
        column_breaks=(1, 2),
        column_title="value of the dimension, in standard deviations around its mean over images",
    )


def manifold_figure(
    images: ImageGrid,
    dimensions: Sequence[int],
    quantiles: Float[np.ndarray, "columns"],
) -> Figure:
    """Draw the plane that `decoding.manifold` decodes, labeled with the latents' values."""
    names = [dimension_name(j) for j in dimensions]
    title = f"Decoded {' × '.join(names)} at the Gaussian's quantiles"
    labels = [signed(value) for value in quantiles.tolist()]
    return image_grid(
        images,
        title,
        column_labels=labels,
        column_title=names[0],
        row_labels=labels[::-1] if len(names) > 1 else (),
        row_title=names[1] if len(names) > 1 else "",
        gap=0.04,
    )


def map_figure(images: ImageGrid, title: str) -> Figure:
    """Draw the map that `traversal.map_manifold` decodes."""
    return image_grid(images, title, column_title="means of p(x|z)", gap=0.04)


def _show(figure: Figure, canvas: Canvas, inches: float, column_title: str, row_title: str) -> Axes:
    """Draw the canvas, `inches` wide; a column title longer than that starts at its left."""
    axes = figure.add_subplot(anchor="NW")
    fits = _LETTER * len(column_title) < inches
    axes.set_xlabel(column_title, loc="center" if fits else "left")
    axes.set_ylabel(row_title)
    axes.imshow(canvas)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=3)
    return axes


def _middles(starts: Sequence[int], size: int, shown: Sequence[int]) -> list[float]:
    return [starts[index] + (size - 1) / 2 for index in shown]


def _fitting(labels: Sequence[str], tile: float, breaks: Sequence[int]) -> list[int]:
    """Return the columns whose labels fit below tiles of so many inches, run by run of `breaks`."""
    shown: list[int] = []
    for start, end in itertools.pairwise([0, *breaks, len(labels)]):
        run = labels[start:end]
        letters = _LETTER * (_longest(run) + 0.5)
        shown += [start + i for i in evenly_spaced(len(run), int(tile * len(run) / letters))]
    return shown


def _extent(count: int, size: int, gap: float, breaks: Sequence[int]) -> float:
    return count * size + gap * (count - 1 + BREAK * len(breaks))


def _longest(labels: Sequence[str]) -> int:
    return max((len(label) for label in labels), default=0)
