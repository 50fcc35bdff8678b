"""The trade-off between rate and distortion: Alemi et al. 2018, arXiv:1711.00464."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import ImageGrid
from vaelab.figures.study_table import (
    STEPS,
    Column,
    Parameter,
    Span,
    TrialMask,
    tick_texts,
    typical_span,
    widen,
)
from vaelab.figures.style import BLUE, INK, MIST, SLATE, new_figure, style
from vaelab.figures.trial_plots import Colors, add_legend, add_parameter_bar, draw_star
from vaelab.runtime.formatting import format_number

Points = Float[np.ndarray, "points 2"]  # rate and distortion

_LONGEST_LABEL = 44
_BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
_EQUAL = "equal negative ELBO, nats"
_CLIPPED = "{} outside the axes, up to rate {} and distortion {}"


def rate_distortion_figure(
    rate_nats: Column,
    distortion_nats: Column,
    kl_weight: Column | None,
    on_front: TrialMask,
    labeled: Sequence[int],
    title: str = "Trade-off between KL loss and generation loss of the trials",
) -> Figure:
    """Draw distortion over rate, and lines of equal negative ELBO, which is their sum.

    The `labeled` trials are named A, B, C and so on. Trials far from the front are clipped.

    Raises ValueError if no trial has finite losses, or a labeled one has none.
    """
    points = np.stack([rate_nats, distortion_nats], axis=1)
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise ValueError(f"none of {len(finite)} trials has a finite rate and distortion")
    if not finite[list(labeled)].all():
        raise ValueError(f"labeled trials without a finite rate and distortion: {labeled}")
    if len(labeled) > len(string.ascii_uppercase):
        raise ValueError(f"at most 26 trials can be labeled, got {len(labeled)}")
    front = on_front & finite
    with style():
        figure = new_figure(title, 4.8)
        axes = figure.add_subplot(xlabel="KL loss (rate), nats per image")
        axes.set_ylabel("generation loss (distortion), nats per image")
        colors = np.tile(to_rgba(BLUE), (len(finite), 1))
        if kl_weight is not None:
            weights = Parameter("KL weight", tuple(kl_weight.tolist()), log=True)
            colors = add_parameter_bar(figure, weights)
        kept = front.copy()
        kept[list(labeled)] = True
        _set_limits(axes, points[finite], points[kept])
        _draw_equal_bounds(axes)
        _draw_trials(axes, points, finite & ~front, front, colors)
        best = points[np.where(finite, points.sum(axis=1), np.inf).argmin()]
        draw_star(axes, best, f"lowest negative ELBO: {format_number(best.sum())}")
        _label_points(axes, points[list(labeled)])
        add_legend(figure)
    return figure


def front_samples_figure(
    images: ImageGrid,
    labels: Sequence[str],
    title: str = "Samples of the models on the Pareto front",
) -> Figure:
    """Draw a row of samples a model, its label beside it; very long labels are shortened."""
    if len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} rows of images")
    shown = [s if len(s) <= _LONGEST_LABEL else f"{s[: _LONGEST_LABEL - 1]}…" for s in labels]
    return image_grid(images, title, row_labels=shown)


def _set_limits(axes: Axes, points: Points, kept: Float[np.ndarray, "kept 2"]) -> None:
    """Set limits that contain the points to keep and typical others; note what is clipped."""
    spans = [_span(column, kept[:, axis]) for axis, column in enumerate(points.T)]
    clipped = points[(points > [high for _, high in spans]).any(axis=1)]
    (left, right), (bottom, top) = (widen(span) for span in spans)
    width, height = right - left, top - bottom
    axes.set_xlim(left - 0.1 * width, right + 0.1 * width)
    axes.set_ylim(bottom - 0.16 * height, top + 0.08 * height)
    if len(clipped):
        text = _CLIPPED.format(len(clipped), *map(format_number, clipped.max(axis=0)))
        axes.set_title(text, loc="right", fontsize=8, color=SLATE)


def _span(losses: Float[np.ndarray, "points"], kept: Float[np.ndarray, "kept"]) -> Span:
    low, high = typical_span(losses)
    return low, max([high, *kept.tolist()])


def _draw_equal_bounds(axes: Axes) -> None:
    """Draw distortion + rate = negative ELBO at round values, labeled at the margin."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = right - left, top - bottom
    totals = MaxNLocator(16, steps=STEPS).tick_values(left + bottom, right + top)
    options: Any = {"color": SLATE, "fontsize": 7, "ha": "center", "va": "center", "zorder": 1}
    options |= {"rotation": -45, "rotation_mode": "anchor", "transform_rotates_text": True}
    for total, text in zip(totals, tick_texts(totals), strict=True):
        line: Any = {"color": MIST, "linewidth": 0.8, "zorder": 0.5, "label": _EQUAL}
        axes.plot([left, right], [total - left, total - right], **line)
        x = min(right - 0.04 * width, total - bottom - 0.04 * height)
        if x > left + 0.03 * width and total - x < top - 0.03 * height:
            axes.text(x, total - x, text, bbox=_BLANK, **options)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(False)


def _draw_trials(
    axes: Axes, points: Points, others: TrialMask, front: TrialMask, colors: Colors
) -> None:
    along = points[front][np.argsort(points[front, 0])]
    if len(along):
        axes.plot(*along.T, color=INK, linewidth=1.0, zorder=1.5)
    for label, mask, size, edge in (
        ("other trial", others, 22, "white"),
        ("on the Pareto front", front, 42, INK),
    ):
        if mask.any():
            options: Any = {"s": size, "edgecolors": edge, "linewidths": 0.8}
            axes.scatter(
                points[mask, 0], points[mask, 1], color=colors[mask], label=label, **options
            )


def _label_points(axes: Axes, points: Points) -> None:
    """Write A, B, C, ... below and left of the points, where no trial is better."""
    rim = [withStroke(linewidth=2.5, foreground="white")]
    options: Any = {
        "ha": "right",
        "va": "top",
        "weight": "bold",
        "path_effects": rim,
        "zorder": 6,
    }
    for point, letter in zip(points.tolist(), string.ascii_uppercase, strict=False):
        axes.annotate(letter, point, (-4, -4), textcoords="offset points", **options)
