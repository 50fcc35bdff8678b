"""Latents of images: a scatter plot, and histograms compared with the prior."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from vaelab.figures.style import (
    BLUE,
    CLASS_COLORS,
    INK,
    NATS,
    SLATE,
    WIDTH,
    dimension_name,
    escape_mathtext,
    evenly_spaced,
    new_figure,
    style,
)

Means = Float[np.ndarray, "count latent"]
Points = Float[np.ndarray, "count 2"]
Labels = Int[np.ndarray, "count"]

_MARKERS = "os^DvPX*"
_MAX_NAMES = len(_MARKERS) * len(CLASS_COLORS)
_LEGEND_ROWS = 16
_LONGEST_NAME = 18
_MAX_DENSITY = 1.2  # three times the prior's; higher bars are clipped
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
) -> Figure:
    """Draw each image's posterior mean, colored by class if there are labels; -1 is unknown.

    Two dimensions are drawn as they are, more by their first two principal components, one
    as a strip a class. Of more than `limit` images a random sample of that size is drawn.
    """
    rows = np.random.default_rng(seed).permutation(len(means))[:limit]
    names = _class_names(labels, class_names)
    if labels is not None and (labels < 0).any():
        names = [*names, "unknown"]
        labels = np.where(labels < 0, len(names) - 1, labels)
    classes = None if labels is None else labels[rows]
    strip = means.shape[1] == 1
    points, (x_name, y_name) = _strips(means, labels, seed) if strip else _plane(means, seed)
    with style():
        height = min(2.0 + 0.22 * max(len(names), 4), 8.0) if strip else 5.2
        figure = new_figure(title, height, WIDTH if strip else _width(names))
        axes = figure.add_subplot(xlabel=x_name, ylabel=y_name)
        _draw_points(axes, points[rows], classes, names, legend=not strip)
        if strip:
            _label_strips(axes, names)
        else:
            axes.set_aspect("equal", adjustable="datalim")
        if means.shape[1] == 2 and standard_prior:
            _draw_prior(axes)
    return figure


def principal_components(means: Means, seed: int = 0) -> tuple[Points, tuple[float, float]]:
    """Project on the two directions of most variance; return the share that each explains."""
    from sklearn.decomposition import PCA

    if len(means) < 2 or not np.ptp(means, axis=0).any():
        return np.zeros((len(means), 2), np.float32), (0.0, 0.0)
    fitted = PCA(2, random_state=seed).fit(means)
    first, second = fitted.explained_variance_ratio_
    return fitted.transform(means), (float(first), float(second))


def aggregate_posterior_figure(
    samples: Float[np.ndarray, "count latent"],
    dimensions: Sequence[int],
    title: str = "Aggregate posterior of the test images against the prior",
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


def _plane(means: Means, seed: int) -> tuple[Points, tuple[str, str]]:
    if means.shape[1] == 2:
        return means, (f"mean of {dimension_name(0)}", f"mean of {dimension_name(1)}")
    points, shares = principal_components(means, seed)
    first, second = (
        f"principal component {k} ({share:.0%} of the variance)"
        for k, share in enumerate(shares, 1)
    )
    return points, (first, second)


def _strips(means: Means, labels: Labels | None, seed: int) -> tuple[Points, tuple[str, str]]:
    """Add a second coordinate to one-dimensional means: the class, with jitter."""
    jitter = np.random.default_rng(seed).uniform(-0.32, 0.32, len(means))
    heights = jitter + (0 if labels is None else labels)
    points = np.stack([means[:, 0], heights], axis=1).astype(np.float32)
    return points, (f"mean of {dimension_name(0)}", "" if labels is None else "class")


def _label_strips(axes: Axes, names: Sequence[str]) -> None:
    shown = evenly_spaced(len(names), 40)
    axes.set_yticks(shown, [names[k] for k in shown])
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(bool(names))


def _class_names(labels: Labels | None, class_names: Sequence[str] | None) -> list[str]:
    if labels is None:
        return []
    names = class_names or [str(k) for k in range(int(labels.max()) + 1)]
    return [escape_mathtext(_shorten(name)) for name in names]


def _shorten(name: str) -> str:
    """Shorten a long name in the middle, because its end often distinguishes it from others."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def _width(names: Sequence[str]) -> float:
    """Return the width in inches that leaves room for the plot beside a wide legend."""
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
