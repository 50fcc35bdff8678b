"""Latents of images: a scatter plot, and histograms compared with the prior."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
Rows = Int[np.ndarray, "shown"]

_MARKERS = "os^DvPX*"
_MAX_NAMES = len(_MARKERS) * len(CLASS_COLORS)
_LEGEND_ROWS = 16
_LONGEST_NAME = 18
_MAX_DENSITY = 1.2  # three times the prior's; higher bars are clipped
_MAP_LIMIT, _FEWEST = 2000, 10  # images of a t-SNE map
_HEIGHTS = (5.2, 4.4)  # inches of one plot, and of two side by side
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

    Two dimensions are drawn as they are, more as a t-SNE map (van der Maaten & Hinton 2008) beside
    their first two principal components, one as a strip a class. Of more than `limit` images a
    random sample of that size is drawn, on the t-SNE map of at most 2,000.
    """
    rows = np.random.default_rng(seed).permutation(len(means))[:limit]
    names = _class_names(labels, class_names)
    if labels is not None and (labels < 0).any():
        names = [*names, "unknown"]
        labels = np.where(labels < 0, len(names) - 1, labels)
    strip = means.shape[1] == 1
    maps = [_strips(means, labels, seed, rows)] if strip else _maps(means, seed, rows)
    with style():
        height = min(2.0 + 0.22 * max(len(names), 4), 8.0) if strip else _HEIGHTS[len(maps) - 1]
        figure = new_figure(title, height, WIDTH if strip else _width(names, len(maps)))
        for index, drawn in enumerate(maps, 1):
            axes = figure.add_subplot(1, len(maps), index, title=drawn.title)
            axes.set(xlabel=drawn.x_name, ylabel=drawn.y_name)
            classes = None if labels is None else labels[drawn.rows]
            legend = not strip and index == len(maps)
            _draw_points(axes, drawn.points, classes, names, legend=legend)
            if drawn.is_map:
                axes.set(xticks=[], yticks=[])
        if strip:
            _label_strips(axes, names)
        else:
            for axes in figure.axes[: len(maps)]:
                axes.set_aspect("equal", adjustable="datalim")
        if means.shape[1] == 2 and standard_prior:
            _draw_prior(axes)
    return figure


@dataclass(frozen=True)
class _Map:
    """Points in a plane, the rows of the images that they are, and the names of the axes."""

    points: Points
    rows: Rows
    x_name: str = ""
    y_name: str = ""
    title: str = ""

    @property
    def is_map(self) -> bool:
        """Whether the axes mean nothing by themselves."""
        return not self.x_name


def _maps(means: Means, seed: int, rows: Rows) -> list[_Map]:
    if means.shape[1] == 2:
        names = (f"mean of {dimension_name(0)}", f"mean of {dimension_name(1)}")
        return [_Map(means[rows], rows, *names)]
    points, shares = principal_components(means, seed)
    x_name, y_name = (f"component {k} ({share:.0%})" for k, share in enumerate(shares, 1))
    plane = _Map(points[rows], rows, x_name, y_name, "Principal components (share of variance)")
    few = rows[:_MAP_LIMIT]
    if len(few) < _FEWEST or not np.ptp(means[few], axis=0).any():
        return [plane]
    return [_Map(_t_sne(means[few], seed), few, title="t-SNE: neighbors stay close"), plane]


def _t_sne(means: Means, seed: int) -> Points:
    """Map images so that those with close latents stay close; distances far apart mean little."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(means) - 1) / 3)
    found: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        means
    )
    return found


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


def _strips(means: Means, labels: Labels | None, seed: int, rows: Rows) -> _Map:
    """Add a second coordinate to one-dimensional means: the class, with jitter."""
    jitter = np.random.default_rng(seed).uniform(-0.32, 0.32, len(means))
    heights = jitter + (0 if labels is None else labels)
    points = np.stack([means[:, 0], heights], axis=1).astype(np.float32)
    names = f"mean of {dimension_name(0)}", "" if labels is None else "class"
    return _Map(points[rows], rows, *names)


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
