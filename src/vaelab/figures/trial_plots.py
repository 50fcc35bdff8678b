"""Elements shared by the figures of trials: dots, star, limits, colors, legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from vaelab.figures.study_table import Parameter, Span, Values
from vaelab.figures.style import MIST, NATS, ORANGE, SLATE
from vaelab.runtime.formatting import format_number, wrap

Colors = Float[np.ndarray, "points 4"]

# Dark enough at its light end for dots and lines on white.
SHADES = ListedColormap(NATS(np.linspace(0.25, 1, 256))).with_extremes(bad=MIST)


def draw_dots(
    axes: Axes, x: Values, values: Values, span: Span, colors: Colors, **options: Any
) -> None:
    """Draw dots; those outside the span as triangles at its limits."""
    above, below = values > span[1], values < span[0]
    options = {"edgecolors": "white", "linewidths": 0.4, "s": 28, **options}
    for marker, mask in (("o", ~(above | below)), ("^", above), ("v", below)):
        if mask.any():
            position = x[mask], np.clip(values[mask], *span)
            axes.scatter(*position, color=colors[mask], marker=marker, **options)
            options.pop("label", None)


def draw_star(axes: Axes, point: Sequence[float] | Values, label: str) -> None:
    """Mark the best trial."""
    options: Any = {"color": ORANGE, "edgecolors": "white", "linewidths": 0.8, "s": 170}
    axes.scatter(*point, marker="*", label=label, zorder=5, **options)


def set_limits(axes: Axes, span: Span) -> None:
    """Set the vertical limits to the span, with a margin."""
    low, high = span
    margin = 0.07 * (high - low)
    axes.set_ylim(low - margin, high + margin)


def note_clipped(axes: Axes, values: Values, span: Span) -> None:
    """Note above the axes how many values are clipped, and how extreme they are."""
    above, below = values[values > span[1]], values[values < span[0]]
    notes = (
        [f"▲ {len(above)} outside the axes, up to {format_number(above.max())}"]
        if len(above)
        else []
    )
    if len(below):
        notes += [f"▼ {len(below)} outside the axes, down to {format_number(below.min())}"]
    axes.set_title("   ".join(notes), loc="right", fontsize=8, color=SLATE)


def add_legend(figure: Figure) -> None:
    """Add a legend below all axes with each label once."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=len(entries),
    )


def add_parameter_bar(figure: Figure, parameter: Parameter) -> Colors:
    """Add a color bar of a parameter; return each trial's color."""
    positions, names = parameter.positions(), parameter.categories
    shades = ScalarMappable(
        Normalize(*parameter.limits(positions)), SHADES.resampled(len(names)) if names else SHADES
    )
    bar = figure.colorbar(shades, ax=figure.axes, label=wrap(parameter.name, 40), aspect=40)
    ticks, labels = parameter.ticks(positions)
    bar.set_ticks(ticks, labels=labels)
    return np.asarray(shades.to_rgba(positions))
