"""Figures of the report: log-likelihood, its bounds, and the decomposition of the KL loss."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from vaelab.figures.style import BLUE, INK, MIST, ORANGE, SLATE, new_figure, style
from vaelab.runtime.formatting import format_number

HALF = 4.4  # inches: two stand side by side on a page

Values = Float[NDArray[np.floating], "values"]


def nll_figure(nll_nats: Values) -> Figure:
    """Draw a histogram of test images' negative log-likelihoods; outliers are in the end bins."""
    low, high = _typical_range(nll_nats)
    bins = np.linspace(low, high, _bins(nll_nats) + 1)
    with style():
        figure = new_figure("Negative log-likelihood of each test image", 2.6, HALF)
        axes = figure.add_subplot(xlabel="nats per image", ylabel="test images")
        _draw_histogram(axes, nll_nats.clip(low, high), bins, float(nll_nats.mean()))
        outside = int(((nll_nats < low) | (nll_nats > high)).sum())
        if outside:
            axes.set_title(f"{outside} outside this range, counted in the end bins", fontsize=7.5)
    return figure


def effective_samples_figure(sizes: Values, samples: int) -> Figure:
    """Draw a histogram of effective sample sizes, between 1 and K = `samples`."""
    # Rounding may take a size just below 1.
    with style():
        figure = new_figure("Effective sample size of each test image", 2.6, HALF)
        axes = figure.add_subplot(xscale="log", xlabel=f"effective samples of K = {samples:,}")
        axes.set_ylabel("test images")
        bins = np.geomspace(1, max(samples, 2), _bins(sizes) + 1)
        _draw_histogram(axes, sizes.clip(1, samples), bins, float(sizes.mean()))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return figure


def _draw_histogram(
    axes: Axes, values: Values, bins: Float[NDArray[np.floating], "edges"], mean: float
) -> None:
    axes.hist(values, bins=bins.tolist(), color=BLUE)
    axes.axvline(mean, color=INK, linewidth=1.1, label=f"mean {format_number(mean, 3)}")
    axes.legend(loc="upper right")
    axes.set_xlim(bins[0], bins[-1])


def bound_ladder_figure(ladders: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw estimates of the negative log-likelihood, a panel a set of images.

    Values compare within a panel only.
    """
    longest = max(len(ladder) for ladder in ladders.values())
    with style():
        title = "Bounds on the negative log-likelihood"
        figure = new_figure(title, 0.36 * longest + 1.25)
        panels = figure.subplots(1, len(ladders), squeeze=False)[0]
        for axes, (images, ladder) in zip(panels, ladders.items(), strict=True):
            _draw_ladder(axes, ladder, longest)
            axes.set_title(images)
            axes.set_xlabel("nats per image")
    return figure


def _draw_ladder(axes: Axes, ladder: Mapping[str, float], longest: int) -> None:
    values = np.array(list(ladder.values()))
    positions = np.arange(len(values))
    low, high = values.min(), values.max()
    margin = 0.25 * (high - low) or 1.0
    axes.axvspan(low, high, color=MIST, alpha=0.35, linewidth=0)
    axes.scatter(values, positions, color=BLUE, s=34, zorder=3)
    for value, position in zip(values, positions, strict=True):
        options: Any = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5}
        axes.annotate(format_number(value), (value, position), (0, 6), **options)
    axes.set_yticks(positions, list(ladder))
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(longest - 0.5, -0.8)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def rate_split_figure(parts: Mapping[str, float], rate: float, cap: float) -> Figure:
    """Draw the KL loss as a bar stacked of its parts, in nats; `cap` bounds the first part.

    A part whose estimate is below 0 has length 0.
    """
    colors = (BLUE, ORANGE, SLATE)
    with style():
        figure = new_figure(f"Decomposition of the KL loss of {format_number(rate, 3)} nats", 1.75)
        axes = figure.add_subplot(xlabel="nats per image", yticks=[], ylim=(-0.5, 0.5))
        start = 0.0
        for (name, nats), color in zip(parts.items(), colors, strict=False):
            label = f"{name}: {format_number(nats, 3)}"
            axes.barh(0, max(nats, 0), 0.62, left=start, color=color, label=label)
            start += max(nats, 0)
        axes.axvline(cap, color=INK, linewidth=1.1, linestyle=":")
        right = 1.05 * max(start, cap, 1e-6)
        options: Any = {
            "fontsize": 7.5,
            "color": SLATE,
            "ha": "right" if cap > right / 2 else "left",
        }
        axes.annotate(f"  cap of the first part: {format_number(cap, 3)}  ", (cap, 0.42), **options)
        axes.set_xlim(0, right)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=len(parts))
    return figure


def _typical_range(values: Values) -> tuple[float, float]:
    """Return the range that contains nearly all values."""
    low, high = (float(end) for end in np.quantile(values, [0.002, 0.998]))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _bins(values: Values) -> int:
    return int(np.clip(1.5 * math.sqrt(len(values)), 8, 48))
