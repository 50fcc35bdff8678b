"""Figures of the report: active dimensions, their moments, and the factors they encode."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vaelab.figures.curves import kl_bars_figure
from vaelab.figures.report import HALF
from vaelab.figures.style import (
    BLUE,
    INK,
    MIST,
    NATS,
    ORANGE,
    SLATE,
    STONE,
    dimension_name,
    escape_mathtext,
    evenly_spaced,
    new_figure,
    style,
)

Column = Float[NDArray[np.floating], "latent"]
FactorMap = Float[NDArray[np.floating], "factors latent"]


def collapse_figure(kl_nats: Column, active: Bool[NDArray[np.bool_], "latent"]) -> Figure:
    """Draw each dimension's KL, highest first, with a cross at each inactive one."""
    figure = kl_bars_figure(kl_nats, active, "KL loss by dimension")
    order = np.argsort(-kl_nats, kind="stable")
    inactive = np.flatnonzero(~active[order])
    with style():
        (axes,) = figure.axes
        height = 0.03 * axes.get_ylim()[1]
        axes.scatter(
            inactive, np.full(len(inactive), height), marker="x", color=ORANGE, s=22, zorder=3
        )
    return figure


def variances_figure(variances: Column, threshold: float) -> Figure:
    """Draw a histogram of the variances of the posterior means, on a logarithmic axis."""
    floor = 1e-8  # an inactive dimension may be constant
    shown = np.log10(np.maximum(variances, floor))
    low = min(shown.min(), math.log10(threshold)) - 0.3
    high = max(shown.max(), math.log10(threshold)) + 0.3
    edges = np.linspace(low, high, int(np.clip(2 * math.sqrt(len(shown)), 12, 40)))
    active = variances > threshold
    with style():
        figure = new_figure("Variance of the posterior means", 2.6, HALF)
        axes = figure.add_subplot(xscale="log", ylabel="dimensions")
        axes.set_xlabel("variance over images of the posterior mean")
        groups = {
            f"active: {active.sum()}": (active, BLUE),
            f"not active: {(~active).sum()}": (~active, STONE),
        }
        kinds = {label: kind for label, kind in groups.items() if kind[0].any()}
        axes.hist(
            [10 ** shown[mask] for mask, _ in kinds.values()],
            bins=(10**edges).tolist(),
            color=[color for _, color in kinds.values()],
            label=list(kinds),
            stacked=True,
        )
        axes.axvline(threshold, color=INK, linestyle=":", label=f"threshold {threshold:g}")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def moments_figure(means: Column, stddevs: Column) -> Figure:
    """Draw mean and standard deviation of q(z) in each dimension, compared with N(0, 1)."""
    positions = np.arange(len(means))
    with style():
        figure = new_figure("Aggregate posterior of each dimension compared with N(0, 1)", 2.7)
        axes = figure.add_subplot(xlabel="latent dimension", ylabel="value of the latent")
        options: Any = {"facecolor": to_rgba(MIST, 0.45), "edgecolor": STONE, "linewidth": 0.9}
        axes.axhspan(-1, 1, label="N(0, 1): mean and stddev", **options)
        axes.axhline(0, color=SLATE, linewidth=0.9)
        axes.vlines(
            positions, means - stddevs, means + stddevs, color=BLUE, linewidth=_width(positions)
        )
        options = {"ms": 5, "mec": "white", "mew": 0.8}
        axes.plot(positions, means, "o", color=BLUE, label="q(z): mean and stddev", **options)
        shown = evenly_spaced(len(positions), 24)
        axes.set_xticks(shown, [dimension_name(j) for j in shown])
        axes.grid(False, axis="x")
        axes.set_xlim(-0.8, len(positions) - 0.2)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def factor_maps_figure(maps: Mapping[str, FactorMap], factors: Sequence[str]) -> Figure:
    """Draw the dependence of each dimension and each factor, a panel a measure."""
    with style():
        height = max(0.24 * len(factors), 0.9) + 0.75
        figure = new_figure(
            "Dependence between factors and latent dimensions", height * len(maps) + 0.3
        )
        panels = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
        for axes, (name, values) in zip(panels, maps.items(), strict=True):
            _draw_map(axes, values, factors)
            axes.set_title(name)
        panels[-1].set_xlabel("latent dimension")
    return figure


def _draw_map(axes: Axes, values: FactorMap, factors: Sequence[str]) -> None:
    top = float(values.max()) or 1.0
    cells = axes.pcolormesh(values, cmap=NATS, vmin=0, vmax=top, edgecolors="white", linewidth=0.6)
    axes.invert_yaxis()
    shown = evenly_spaced(len(factors), 40)
    axes.set_yticks([k + 0.5 for k in shown], [escape_mathtext(factors[k]) for k in shown])
    shown = evenly_spaced(values.shape[1], 24)
    axes.set_xticks([j + 0.5 for j in shown], [dimension_name(j) for j in shown])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(cells, ax=axes, aspect=12, pad=0.02)


def _width(positions: NDArray[np.integer]) -> float:
    return float(np.clip(120 / len(positions), 0.8, 5))
