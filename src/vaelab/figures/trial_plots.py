"""What the figures of trials have in common: dots, star, frame, colours, legend."""

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
    axes: Axes, across: Values, values: Values, span: Span, colors: Colors, **look: Any
) -> None:
    """Draw dots; those beyond the span as triangles at its end."""
    above, below = values > span[1], values < span[0]
    look = {"edgecolors": "white", "linewidths": 0.4, "s": 28, **look}
    for marker, there in (("o", ~(above | below)), ("^", above), ("v", below)):
        if there.any():
            at = across[there], np.clip(values[there], *span)
            axes.scatter(*at, color=colors[there], marker=marker, **look)
            look.pop("label", None)


def draw_star(axes: Axes, point: Sequence[float] | Values, label: str) -> None:
    """Mark the best trial."""
    look: Any = {"color": ORANGE, "edgecolors": "white", "linewidths": 0.8, "s": 170}
    axes.scatter(*point, marker="*", label=label, zorder=5, **look)


def set_frame(axes: Axes, span: Span) -> None:
    """Give the heights of the span a margin."""
    low, high = span
    margin = 0.07 * (high - low)
    axes.set_ylim(low - margin, high + margin)


def note_clipped(axes: Axes, values: Values, span: Span) -> None:
    """Say how many values leave the frame, and how far."""
    above, below = values[values > span[1]], values[values < span[0]]
    notes = (
        [f"▲ {len(above)} beyond the frame, up to {format_number(above.max())}"]
        if len(above)
        else []
    )
    if len(below):
        notes += [f"▼ {len(below)} beyond the frame, down to {format_number(below.min())}"]
    axes.set_title("   ".join(notes), loc="right", fontsize=8, color=SLATE)


def add_legend(figure: Figure) -> None:
    """Name below all axes what is labelled in any of them, each label once."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found.update(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=len(found))


def add_parameter_bar(figure: Figure, parameter: Parameter) -> Colors:
    """Give each trial the colour of its parameter, and the figure a bar that explains it."""
    places, names = parameter.positions(), parameter.categories
    shades = ScalarMappable(
        Normalize(*parameter.limits(places)), SHADES.resampled(len(names)) if names else SHADES
    )
    bar = figure.colorbar(shades, ax=figure.axes, label=wrap(parameter.name, 40), aspect=40)
    at, texts = parameter.ticks(places)
    bar.set_ticks(at, labels=texts)
    return np.asarray(shades.to_rgba(places))
