"""Latents of images: as dots, as images at their places, and histograms beside the prior."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from vaelab.figures.image_tiles import Images, tile_images
from vaelab.figures.latent_maps import (
    Labels,
    LatentMap,
    Means,
    Points,
    Rows,
    latent_maps,
    spread_out,
    strip_map,
)
from vaelab.figures.style import (
    BLUE,
    CLASS_COLORS,
    INK,
    MIST,
    NATS,
    SLATE,
    WIDTH,
    dimension_name,
    escape_mathtext,
    evenly_spaced,
    new_figure,
    style,
)

_MARKERS = "os^DvPX*"
_MAX_NAMES = len(_MARKERS) * len(CLASS_COLORS)
_LEGEND_ROWS = 16
_LONGEST_NAME = 18
_MAX_DENSITY = 1.2  # three times the prior's; higher bars are clipped
_HEIGHTS = (5.2, 4.4)  # inches of one plot, and of two side by side
_MAP_SIDE = 6.2  # inches of the map of images
_THUMBNAIL, _THUMBNAIL_GAP = 1 / 18, 0.12  # an image's share of the map, and the gap's of an image
_DENSE = 2000  # unlabeled points above which their density is drawn instead of dots


def latent_scatter(
    means: Means,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    *,
    title: str = "Posterior means of the test images",
    limit: int = 10_000,
    seed: int = 0,
    standard_prior: bool = True,
    maps: Sequence[LatentMap] = (),
) -> Figure:
    """Draw each image's posterior mean, colored by class if there are labels; -1 is unknown.

    Two dimensions or more are drawn as `maps`, by default those of `latent_maps`, one as a strip a
    class. Of more than `limit` images a random sample of that size is drawn.
    """
    labels, names = _classes(labels, class_names)
    strip = means.shape[1] == 1
    if strip:
        maps = [strip_map(means, labels, seed, limit)]
    maps = maps or latent_maps(means, seed, limit)
    with style():
        height = min(2.0 + 0.22 * max(len(names), 4), 8.0) if strip else _HEIGHTS[len(maps) - 1]
        figure = new_figure(title, height, WIDTH if strip else _width(names, len(maps)))
        for index, drawn in enumerate(maps, 1):
            axes = figure.add_subplot(1, len(maps), index, title=drawn.title)
            axes.set(xlabel=drawn.x_name, ylabel=drawn.y_name)
            classes = None if labels is None else labels[drawn.rows]
            legend = not strip and index == len(maps)
            _draw_points(axes, drawn.points, classes, names, legend=legend)
            if not drawn.has_axes:
                _hide_axes(axes)
        if strip:
            _label_strips(axes, names)
        else:
            for axes in figure.axes[: len(maps)]:
                axes.set_aspect("equal", adjustable="datalim")
        if means.shape[1] == 2 and standard_prior:
            _draw_prior(axes)
    return figure


def latent_images_figure(
    drawn: LatentMap,
    images_at: Callable[[Rows], Images],
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    *,
    title: str = "Test images at the places of their latents",
) -> Figure:
    """Draw images at their points of a map, framed in their class's color; the others as dots.

    `images_at` returns the images of some rows. As many are shown as do not overlap.
    """
    labels, names = _classes(labels, class_names)
    points, classes = drawn.points, None if labels is None else labels[drawn.rows]
    with style():
        figure = new_figure(title, _MAP_SIDE + 0.6, _MAP_SIDE + (0.8 if names else 0.3))
        axes = figure.add_subplot(title=drawn.title, xlabel=drawn.x_name, ylabel=drawn.y_name)
        _draw_points(axes, points, classes, names, legend=bool(names))
        _draw_images(axes, drawn, images_at, classes if 0 < len(names) <= _MAX_NAMES else None)
        if not drawn.has_axes:
            _hide_axes(axes)
    return figure


def _hide_axes(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_images(
    axes: Axes, drawn: LatentMap, images_at: Callable[[Rows], Images], classes: Labels | None
) -> None:
    """Draw images on top of the points, and set the limits of the axes around them."""
    longest = max(float(np.ptp(drawn.points, axis=0).max()), 1e-6) * _THUMBNAIL
    height, width = images_at(drawn.rows[:1]).shape[-2:]
    sides = np.array([width, height]) * longest / max(width, height)
    chosen = spread_out(drawn.points, *(sides * (1 + _THUMBNAIL_GAP)))
    tiles = (tile_images(image[None, None]) for image in images_at(drawn.rows[chosen]))
    for index, tile in zip(chosen, tiles, strict=True):
        (left, bottom), (right, top) = drawn.points[index] + np.array([-sides / 2, sides / 2])
        extent = (left, right, bottom, top)
        axes.imshow(tile, extent=extent, interpolation="nearest", zorder=2)
        color = MIST if classes is None else CLASS_COLORS[classes[index] % len(CLASS_COLORS)]
        axes.add_patch(
            Rectangle((left, bottom), *sides, fill=False, color=color, linewidth=1.6, zorder=3)
        )
    low, high = drawn.points.min(0), drawn.points.max(0)
    half = (np.array([[-0.5], [0.5]]) * ((high - low).max() + 1.5 * longest)).ravel()
    middle = (low + high) / 2
    axes.set(xlim=middle[0] + half, ylim=middle[1] + half)


def aggregate_posterior_figure(
    samples: Float[np.ndarray, "count latent"],
    dimensions: Sequence[int],
    title: str = "Aggregate posterior of the test images, beside the prior",
) -> Figure:
    """Draw a histogram of each dimension's posterior samples, and the density of N(0, 1)."""
    columns = min(4, len(dimensions))
    rows = -(-len(dimensions) // columns)
    with style():
        figure = new_figure(title, max(1.25 * rows + 0.8, 2.4))
        for index, dimension in enumerate(dimensions):
            axes = figure.add_subplot(rows, columns, index + 1)
            _draw_histogram(axes, samples[:, dimension], dimension_name(dimension))
        peak = max(axes.get_ylim()[1] for axes in figure.axes)
        for axes in figure.axes:
            axes.set_ylim(0, min(peak, _MAX_DENSITY))
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=2)
    return figure


def _draw_histogram(axes: Axes, values: Float[np.ndarray, "count"], name: str) -> None:
    edge = max(4.0, 1.2 * float(np.quantile(np.abs(values), 0.999)))
    inside = values.clip(-edge, edge)
    bins = int(np.clip(1.5 * math.sqrt(len(values)), 16, 64))
    options: dict[str, Any] = {"color": BLUE, "alpha": 0.45, "label": "q(z)"}
    axes.hist(inside, bins=bins, range=(-edge, edge), density=True, **options)
    grid = np.linspace(-edge, edge, 201)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    axes.plot(grid, density, color=INK, linewidth=1.1, label="N(0, 1)")
    mean, stddev = (f"{v:z.2f}".replace("-", "−") for v in (values.mean(), values.std()))
    axes.set_title(f"{name}: mean {mean}, stddev {stddev}", fontsize=7)
    axes.set(yticks=[], xlim=(-edge, edge))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.spines["left"].set_visible(False)


def _label_strips(axes: Axes, names: Sequence[str]) -> None:
    shown = evenly_spaced(len(names), 40)
    axes.set_yticks(shown, [names[k] for k in shown])
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(bool(names))


def _classes(
    labels: Labels | None, class_names: Sequence[str] | None
) -> tuple[Labels | None, list[str]]:
    """Return the labels and the classes' short names; images of label -1 are a class, unknown."""
    if labels is None:
        return None, []
    names = class_names or [str(k) for k in range(int(labels.max()) + 1)]
    short = [escape_mathtext(_shorten(name)) for name in names]
    if (labels < 0).any():
        return np.where(labels < 0, len(short), labels), [*short, "unknown"]
    return labels, short


def _shorten(name: str) -> str:
    """Shorten a long name in the middle, because its end often distinguishes it from others."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def _width(names: Sequence[str], plots: int) -> float:
    """Return the width in inches that leaves room for the plots beside a wide legend."""
    if plots > 1:
        return _width(names, 1) + 1.6
    if not names or len(names) > _MAX_NAMES:
        return WIDTH
    legend = _legend_columns(names) * (0.3 + 0.065 * max(len(name) for name in names))
    return max(WIDTH, 5.9 + legend)


def _legend_columns(names: Sequence[str]) -> int:
    return -(-len(names) // _LEGEND_ROWS)


def _draw_points(
    axes: Axes, points: Points, classes: Labels | None, names: Sequence[str], legend: bool
) -> None:
    size = float(np.clip(12_000 / len(points), 5, 24))
    options: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.85, "rasterized": True}
    if classes is None and len(points) > _DENSE and legend:
        bins = axes.hexbin(*points.T, gridsize=45, mincnt=1, cmap=NATS, linewidths=0)
        axes.figure.colorbar(bins, label="images", aspect=40)
    elif classes is None:
        axes.scatter(*points.T, color=BLUE, **options)
    elif len(names) > _MAX_NAMES:
        dots = axes.scatter(points[:, 0], points[:, 1], c=classes, cmap="viridis", **options)
        if legend:
            axes.figure.colorbar(dots, label="class", aspect=40)
    else:
        _draw_classes(axes, points, classes, options)
        if legend:
            _draw_legend(axes, names)


def _draw_classes(axes: Axes, points: Points, classes: Labels, options: dict[str, Any]) -> None:
    """Draw ten classes in a color each, the next ten in the same colors with another marker."""
    count = len(CLASS_COLORS)
    colors = np.array(CLASS_COLORS)[classes % count]
    for cycle in np.unique(classes // count):
        mask = classes // count == cycle
        x, y = points[mask].T
        axes.scatter(x, y, c=colors[mask], marker=_MARKERS[cycle], **options)


def _draw_legend(axes: Axes, names: Sequence[str]) -> None:
    count = len(CLASS_COLORS)
    handles = [
        Line2D([], [], linestyle="", marker=_MARKERS[k // count], color=CLASS_COLORS[k % count])
        for k in range(len(names))
    ]
    axes.figure.legend(
        handles,
        names,
        loc="outside right upper",
        title="class",
        ncols=_legend_columns(names),
        markerscale=0.8,
        handletextpad=0.1,
        columnspacing=0.8,
    )


def _draw_prior(axes: Axes) -> None:
    """Draw circles of one and two of the prior's standard deviations."""
    for radius in (1, 2):
        for line in ({"color": "white", "linewidth": 2.0}, {"color": INK, "linestyle": "--"}):
            axes.add_patch(Circle((0, 0), radius, fill=False, zorder=3, **line))
    axes.update_datalim([(-2.1, -2.1), (2.1, 2.1)])
    axes.set_title("dashed: 1 and 2 standard deviations of the prior", fontsize=8, color=SLATE)
