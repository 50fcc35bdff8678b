"""What a model pays in rate for less distortion: Alemi et al. 2018, arXiv:1711.00464."""

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
_CLIPPED = "{} beyond the frame, up to rate {} and distortion {}"


def rate_distortion_figure(
    rate_nats: Column,
    distortion_nats: Column,
    kl_weight: Column | None,
    on_front: TrialMask,
    labeled: Sequence[int],
    title: str = "What each trial pays in KL loss for less generation loss",
) -> Figure:
    """Draw distortion over rate, and lines on which their sum, the negative ELBO, is the same.

    The `chosen` trials are named A, B, C and so on. Trials far from the front leave the frame.

    Raises ValueError if no trial has finite losses, or a chosen one has none.
    """
    points = np.stack([rate_nats, distortion_nats], axis=1)
    there = np.isfinite(points).all(axis=1)
    if not there.any():
        raise ValueError(f"none of {len(there)} trials has a finite rate and distortion")
    if not there[list(labeled)].all():
        raise ValueError(f"not all chosen trials have a finite rate and distortion: {labeled}")
    if len(labeled) > len(string.ascii_uppercase):
        raise ValueError(f"{len(labeled)} chosen trials are more than there are letters")
    front = on_front & there
    with style():
        figure = new_figure(title, 4.8)
        axes = figure.add_subplot(xlabel="KL loss (rate), nats per image")
        axes.set_ylabel("generation loss (distortion), nats per image")
        colors = np.tile(to_rgba(BLUE), (len(there), 1))
        if kl_weight is not None:
            weights = Parameter("KL weight", tuple(kl_weight.tolist()), log=True)
            colors = add_parameter_bar(figure, weights)
        kept = front.copy()
        kept[list(labeled)] = True
        _set_frame(axes, points[there], points[kept])
        _draw_equal_bounds(axes)
        _draw_trials(axes, points, there & ~front, front, colors)
        best = points[np.where(there, points.sum(axis=1), np.inf).argmin()]
        draw_star(axes, best, f"lowest negative ELBO: {format_number(best.sum())}")
        _name_points(axes, points[list(labeled)])
        add_legend(figure)
    return figure


def front_samples_figure(
    images: ImageGrid, labels: Sequence[str], title: str = "Samples of the models on the front"
) -> Figure:
    """Draw a row of samples a model, its label beside it; a very long label loses its end."""
    if len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} rows of images")
    shown = [s if len(s) <= _LONGEST_LABEL else f"{s[: _LONGEST_LABEL - 1]}…" for s in labels]
    return image_grid(images, title, row_labels=shown)


def _set_frame(axes: Axes, points: Points, kept: Float[np.ndarray, "kept 2"]) -> None:
    """Show all that is kept and the usual rest, and say what lies beyond."""
    spans = [_span(column, kept[:, axis]) for axis, column in enumerate(points.T)]
    beyond = points[(points > [high for _, high in spans]).any(axis=1)]
    (left, right), (bottom, top) = (widen(span) for span in spans)
    across, up = right - left, top - bottom
    axes.set_xlim(left - 0.1 * across, right + 0.1 * across)
    axes.set_ylim(bottom - 0.16 * up, top + 0.08 * up)
    if len(beyond):
        text = _CLIPPED.format(len(beyond), *map(format_number, beyond.max(axis=0)))
        axes.set_title(text, loc="right", fontsize=8, color=SLATE)


def _span(losses: Float[np.ndarray, "points"], kept: Float[np.ndarray, "kept"]) -> Span:
    low, high = typical_span(losses)
    return low, max([high, *kept.tolist()])


def _draw_equal_bounds(axes: Axes) -> None:
    """Draw distortion + rate = negative ELBO at round values, which stand in the margin."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    across, up = right - left, top - bottom
    totals = MaxNLocator(16, steps=STEPS).tick_values(left + bottom, right + top)
    look: Any = {"color": SLATE, "fontsize": 7, "ha": "center", "va": "center", "zorder": 1}
    look |= {"rotation": -45, "rotation_mode": "anchor", "transform_rotates_text": True}
    for total, text in zip(totals, tick_texts(totals), strict=True):
        line: Any = {"color": MIST, "linewidth": 0.8, "zorder": 0.5, "label": _EQUAL}
        axes.plot([left, right], [total - left, total - right], **line)
        x = min(right - 0.04 * across, total - bottom - 0.04 * up)
        if x > left + 0.03 * across and total - x < top - 0.03 * up:
            axes.text(x, total - x, text, bbox=_BLANK, **look)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(False)


def _draw_trials(
    axes: Axes, points: Points, others: TrialMask, front: TrialMask, colors: Colors
) -> None:
    along = points[front][np.argsort(points[front, 0])]
    if len(along):
        axes.plot(*along.T, color=INK, linewidth=1.0, zorder=1.5)
    for label, drawn, size, edge in (
        ("other trial", others, 22, "white"),
        ("on the front", front, 42, INK),
    ):
        if drawn.any():
            look: Any = {"s": size, "edgecolors": edge, "linewidths": 0.8}
            axes.scatter(
                points[drawn, 0], points[drawn, 1], color=colors[drawn], label=label, **look
            )


def _name_points(axes: Axes, points: Points) -> None:
    """Write A, B, C, ... below and left of the points, where no trial is better."""
    rim = [withStroke(linewidth=2.5, foreground="white")]
    look: Any = {"ha": "right", "va": "top", "weight": "bold", "path_effects": rim, "zorder": 6}
    for point, letter in zip(points.tolist(), string.ascii_uppercase, strict=False):
        axes.annotate(letter, point, (-4, -4), textcoords="offset points", **look)
