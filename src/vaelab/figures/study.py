"""What a search for settings found: over time, over one setting, over several at once."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.tri import Triangulation

from vaelab.figures.style import (
    BLUE,
    CLASS_COLORS,
    INK,
    MIST,
    NATS,
    ORANGE,
    SLATE,
    new_figure,
    spread_over,
    style,
)

State = Literal["complete", "pruned", "failed"]
Column = Float[np.ndarray, "trials"]
Chosen = Bool[np.ndarray, "trials"]
Values = Float[np.ndarray, "points"]
Colors = Float[np.ndarray, "points 4"]
Span = tuple[float, float]

# Dark enough at its light end for dots and lines on white.
SHADES = ListedColormap(NATS(np.linspace(0.25, 1, 256))).with_extremes(bad=MIST)
_SURFACE = ListedColormap(NATS(np.linspace(0.08, 0.78, 256)))  # dots stand out on it
STEPS = (1, 2, 5, 10)  # between ticks
_NONE = -0.13  # where parallel coordinates have a setting that a trial lacks


@dataclass(frozen=True)
class Parameter:
    """A setting that was searched, and its value in each trial; strings are categories."""

    name: str
    values: tuple[float | int | str | None, ...]  # None where a trial has none
    log: bool = False

    @property
    def categories(self) -> list[str]:
        """Name the categories in the order of their places; a numeric setting has none."""
        if not any(isinstance(value, str | bool) for value in self.values):
            return []
        return sorted({str(value) for value in self.values if value is not None})

    def places(self) -> Column:
        """Give each trial's place on an axis: log10 if `log`, a category's index, NaN for none."""
        index = {name: float(k) for k, name in enumerate(self.categories)}
        values = [np.nan if v is None else index[str(v)] if index else v for v in self.values]
        places = np.array(values, np.float64)
        return np.log10(np.where(places > 0, places, np.nan)) if self.log and not index else places

    def ends(self, places: Values) -> Span:
        """Give the ends of an axis, or of a colour bar, that shows `places`."""
        names, there = self.categories, places[np.isfinite(places)]
        if names or not len(there):
            return -0.5, max(len(names), 1) - 0.5
        return widen((float(there.min()), float(there.max())))

    def ticks(self, places: Values) -> tuple[list[float], list[str]]:
        """Choose the ticks of an axis that shows `places`: where they stand and what they say."""
        names, there = self.categories, places[np.isfinite(places)]
        if names or not len(there):
            shown = spread_over(len(names), 12)
            return [float(k) for k in shown], [_fold(names[k], 14) for k in shown]
        low, high = float(there.min()), float(there.max())
        if self.log:
            values = _log_ticks(10**low, 10**high)
            return [math.log10(value) for value in values], [number(value) for value in values]
        values = _ticks(low, high, integer=all(isinstance(v, int | None) for v in self.values))
        return values, tick_texts(values)


@dataclass(frozen=True)
class StudyTable:
    """The trials of a study in the order of their numbers, and what was measured in each."""

    measure: str  # with its unit, such as "validation NLL, nats per image"
    minimize: bool
    numbers: tuple[int, ...]
    values: tuple[float, ...]  # of a pruned trial what it had reached; NaN for none
    states: tuple[State, ...]
    parameters: tuple[Parameter, ...]

    def parameter(self, name: str) -> Parameter:
        """Find a parameter by its name; raises ValueError if there is none of that name."""
        found = {parameter.name: parameter for parameter in self.parameters}
        if name not in found:
            raise ValueError(f"no parameter {name!r} among: {', '.join(found) or 'none'}")
        return found[name]

    def complete(self, *parameters: Parameter) -> Chosen:
        """Tell which trials are complete, finite and have `parameters`.

        Raises ValueError if none is.
        """
        columns = [self.column(), *(p.places() for p in parameters)]
        chosen = np.isfinite(columns).all(axis=0) & self.pick("complete")
        if not chosen.any():
            names = " and ".join(p.name for p in parameters)
            which = f"has {names}" if names else f"among {len(self.numbers)}"
            raise ValueError(f"no complete trial {which}")
        return chosen

    def pick(self, state: State) -> Chosen:
        """Tell which trials are in this state."""
        return np.array([found == state for found in self.states], np.bool_)

    def column(self) -> Column:
        """Give the values as an array."""
        return np.array(self.values, np.float64)

    def losses(self) -> Column:
        """Give the values so that less is better."""
        return self.column() if self.minimize else -self.column()

    def best(self, chosen: Chosen) -> int:
        """Give the row of the best among the chosen trials."""
        return int(np.where(chosen, self.losses(), np.inf).argmin())

    def span(self) -> Span:
        """Give the range of the complete trials without those far worse than most."""
        low, high = widen(usual_span(self.losses()[self.complete()]))
        return (low, high) if self.minimize else (-high, -low)


def history_figure(table: StudyTable) -> Figure:
    """Draw each trial's value in their order, and the best complete one so far."""
    complete, span = table.complete(), table.span()
    numbers, values = np.array(table.numbers, np.float64), table.column()
    pruned = table.pick("pruned") & np.isfinite(values)
    lost = numbers[~complete & ~pruned]
    better = np.fmin if table.minimize else np.fmax
    so_far = better.accumulate(np.where(complete, values, np.nan))
    with style():
        figure = new_figure(f"The best of {len(numbers)} trials: {_best(table, complete)}", 3.4)
        axes = figure.add_subplot(xlabel="trial", ylabel=_fold(table.measure, 40))
        axes.plot(
            numbers, so_far, color=ORANGE, drawstyle="steps-post", zorder=1, label="best so far"
        )
        for label, chosen, face, edge in (
            ("complete", complete, BLUE, "white"),
            ("pruned, as far as it came", pruned, "white", SLATE),
        ):
            colors = np.tile(to_rgba(face), (chosen.sum(), 1))
            _scatter(
                axes, numbers[chosen], values[chosen], span, colors, edgecolors=edge, label=label
            )
        if len(lost):
            look: Any = {"color": CLASS_COLORS[2], "transform": axes.get_xaxis_transform()}
            axes.plot(lost, 0.0 * lost, "x", ms=5, clip_on=False, label="failed", **look)
        if len(numbers) == 1:
            axes.set_xlim(numbers[0] - 1, numbers[0] + 1)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=STEPS))
        _frame(axes, span)
        _note_beyond(axes, values[complete | pruned], span)
        best = table.best(complete)
        draw_star(axes, (numbers[best], values[best]), "best")
        add_legend(figure)
    return figure


def importance_figure(
    importances: Mapping[str, float], title: str = "How much each setting matters"
) -> Figure:
    """Draw a bar a setting, the most important on top; raises ValueError if there is none."""
    if not importances:
        raise ValueError("there are no importances to draw")
    values = np.array(list(importances.values()), np.float64)
    shares = np.nan_to_num(values)
    order = np.argsort(-shares, kind="stable").tolist()
    names = [_fold(list(importances)[k], 36) for k in order]
    lines = 1 + max(name.count("\n") for name in names)
    with style():
        figure = new_figure(title, 0.9 + (0.16 + 0.16 * lines) * len(order))
        axes = figure.add_subplot(xlabel="importance")
        bars = axes.barh(range(len(order)), shares[order], 0.7, color=BLUE)
        axes.bar_label(bars, [f"{value:.2f}" for value in values[order]], padding=4)
        axes.set_yticks(range(len(order)), names)
        axes.set(xlim=(0, 1.1 * shares.max() or 1.0), ylim=(len(order) - 0.4, -0.6))
        axes.grid(False, axis="y")
    return figure


def slice_figure(table: StudyTable) -> Figure:
    """Draw the complete trials over one parameter a panel; late trials are dark."""
    complete, count = table.complete(), len(table.parameters)
    if not count:
        raise ValueError("the study has no parameters to draw")
    rows, columns = -(-count // 3), min(count, 3)
    title = f"Each setting by itself; the best: {_best(table, complete)}"
    with style():
        figure = new_figure(title, 2.4 * rows + 0.8)
        figure.supylabel(_fold(table.measure, 40), color=SLATE, fontsize=8.5)
        panels = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
        colors = add_parameter_bar(figure, Parameter("trial", table.numbers))
        for place, (axes, parameter) in enumerate(zip(panels, table.parameters, strict=True)):
            _draw_slice(axes, table, parameter, colors[complete])
            axes.tick_params(labelleft=place % columns == 0)
        _note_beyond(panels[columns - 1], table.column()[complete], table.span())
        add_legend(figure)
    return figure


def contour_figure(table: StudyTable, x: str, y: str) -> Figure:
    """Draw the measure over two parameters, as a surface between the complete trials.

    Where they span no surface, and where a parameter has categories, coloured dots show it.
    """
    across, up = table.parameter(x), table.parameter(y)
    points, values = np.stack([across.places(), up.places()], 1), table.column()
    complete, pruned = table.complete(across, up), table.pick("pruned")
    pruned &= np.isfinite(points).all(axis=1)
    order = np.argsort(np.where(complete, table.losses(), np.inf))[: complete.sum()]
    shades, shown = _bands(table), np.clip(values[order], *table.span())
    with style():
        figure = new_figure(f"{x} and {y}: the darker the better", 4.8)
        axes = figure.add_subplot(xlabel=_fold(x, 60), ylabel=_fold(y, 40))
        axes.grid(False)
        axes.use_sticky_edges = False
        numeric = not across.categories and not up.categories
        smooth = numeric and _draw_surface(axes, points[order], shown, shades)
        filled = np.array([to_rgba(INK)]) if smooth else shades.to_rgba(values[order])
        for label, rows, colors, edge in (
            ("complete", order, filled, "white" if smooth else SLATE),
            ("pruned", np.flatnonzero(pruned), "white", INK),
        ):
            if len(rows):
                look: Any = {"color": colors, "edgecolors": edge, "label": label}
                axes.scatter(points[rows, 0], points[rows, 1], s=22, linewidths=0.8, **look)
        draw_star(axes, points[order[0]], f"best: {_best(table, complete)}")
        axes.set_xticks(*across.ticks(points[complete | pruned, 0]))
        axes.set_yticks(*up.ticks(points[complete | pruned, 1]))
        figure.colorbar(shades, ax=axes, label=_fold(table.measure, 50), aspect=40)
        add_legend(figure)
    return figure


def parallel_figure(table: StudyTable) -> Figure:
    """Draw each complete trial as a line through its settings and, last, the measure."""
    complete, span, values = table.complete(), table.span(), table.column()
    measure = Parameter(table.measure, tuple(np.clip(values, *span).tolist()))
    parameters = (*table.parameters, measure)
    order = np.argsort(-table.losses()[complete], kind="stable")
    with style():
        figure = new_figure("All complete trials at once: the darker the better", 3.9)
        axes = figure.add_subplot(xlim=(-0.3, len(parameters) - 0.8))
        names = [_fold(p.name, 80 // len(parameters)) for p in parameters]
        axes.set_xticks(range(len(parameters)), names)
        axes.tick_params(
            length=0, labelbottom=False, labeltop=True, labelleft=False, labelcolor=INK
        )
        axes.spines[:].set_visible(False)
        axes.grid(False)
        columns = [_draw_axis(axes, k, p, p.places()[complete]) for k, p in enumerate(parameters)]
        across = np.broadcast_to(np.arange(len(parameters)), (len(order), len(parameters)))
        lines = np.stack([across, np.stack(columns, axis=1)], axis=2)[order]
        cmap = SHADES.reversed() if table.minimize else SHADES
        colors = cmap(Normalize(*span)(values[complete][order]))
        axes.add_collection(LineCollection(list(lines), colors=colors, linewidths=1.0))
        label = f"best: {_best(table, complete)}"
        axes.plot(*lines[-1].T, color=ORANGE, linewidth=2.6, label=label, zorder=3)
        _note_beyond(axes, values[complete], span)
        add_legend(figure)
    return figure


def weight_figure(
    table: StudyTable, weight: str, closed_form: float, color_by: str | None = None
) -> Figure:
    """Draw the measure over a weight, and where its best measured and its closed form lie.

    Raises ValueError if the closed form has no place on the weight's axis.
    """
    parameter = table.parameter(weight)
    complete, places, values = table.complete(parameter), parameter.places(), table.column()
    expected = Parameter(weight, (closed_form,), parameter.log).places()[0]
    if not np.isfinite(expected):
        raise ValueError(f"{weight} in closed form is {closed_form}, no place on its axis")
    best = table.best(complete)
    with style():
        figure = new_figure(f"The best {weight}: measured and in closed form", 3.8)
        axes = figure.add_subplot(xlabel=_fold(weight, 60), ylabel=_fold(table.measure, 40))
        colors = np.tile(to_rgba(BLUE), (len(places), 1))
        if color_by is not None:
            colors = add_parameter_bar(figure, table.parameter(color_by))
        for name, place, color, line in (
            ("best measured", places[best], ORANGE, "-"),
            ("closed form", expected, INK, "--"),
        ):
            label = f"{name}: {number(10**place if parameter.log else place, 2)}"
            axes.axvline(place, color=color, linestyle=line, linewidth=1.3, zorder=1, label=label)
        _scatter(axes, places[complete], values[complete], table.span(), colors[complete])
        draw_star(axes, (places[best], values[best]), f"best: {_best(table, complete)}")
        axes.set_xticks(*parameter.ticks(np.append(places[complete], expected)))
        _frame(axes, table.span())
        _note_beyond(axes, values[complete], table.span())
        add_legend(figure)
    return figure


def number(value: float, digits: int = 4) -> str:
    """Write a number as people do: 0.031, −82.31, 1,234.5, 52,345."""
    text = f"{value:.{digits}g}"
    if min(10**digits, 1000) <= abs(value) < 1e7:
        tenth = digits > 3 and abs(value) < 1e4
        text = f"{value:,.1f}".removesuffix(".0") if tenth else f"{value:,.0f}"
    return text.replace("-", "−")


def tick_texts(values: Sequence[float] | Values) -> list[str]:
    """Write all numbers with as many decimals as tell them apart."""
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_scientific(False)
    formatter.create_dummy_axis()
    return formatter.format_ticks(list(values))


def usual_span(losses: Values) -> Span:
    """Give the range of the losses without those far worse than the better half."""
    ordered = np.sort(losses)
    low, usual = ordered[0], ordered[(len(ordered) - 1) // 2]
    limit = usual + 4 * (usual - low) if usual > low else np.inf
    return float(low), float(ordered[ordered <= limit][-1])


def widen(span: Span) -> Span:
    """Give a span of one value some width."""
    low, high = span
    half = 0.0 if high > low else 0.05 * abs(low) or 0.5
    return low - half, high + half


def draw_star(axes: Axes, point: Sequence[float] | Values, label: str) -> None:
    """Mark the best trial."""
    look: Any = {"color": ORANGE, "edgecolors": "white", "linewidths": 0.8, "s": 170}
    axes.scatter(*point, marker="*", label=label, zorder=5, **look)


def add_legend(figure: Figure) -> None:
    """Name below all axes what is labelled in any of them, each label once."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found.update(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=len(found))


def add_parameter_bar(figure: Figure, parameter: Parameter) -> Colors:
    """Give each trial the colour of its parameter, and the figure a bar that explains it."""
    places, names = parameter.places(), parameter.categories
    shades = ScalarMappable(
        Normalize(*parameter.ends(places)), SHADES.resampled(len(names)) if names else SHADES
    )
    bar = figure.colorbar(shades, ax=figure.axes, label=_fold(parameter.name, 40), aspect=40)
    at, texts = parameter.ticks(places)
    bar.set_ticks(at, labels=texts)
    return np.asarray(shades.to_rgba(places))


def _scatter(
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


def _frame(axes: Axes, span: Span) -> None:
    low, high = span
    margin = 0.07 * (high - low)
    axes.set_ylim(low - margin, high + margin)


def _note_beyond(axes: Axes, values: Values, span: Span) -> None:
    """Say how many values leave the frame, and how far."""
    above, below = values[values > span[1]], values[values < span[0]]
    notes = [f"▲ {len(above)} beyond the frame, up to {number(above.max())}"] if len(above) else []
    if len(below):
        notes += [f"▼ {len(below)} beyond the frame, down to {number(below.min())}"]
    axes.set_title("   ".join(notes), loc="right", fontsize=8, color=SLATE)


def _draw_slice(axes: Axes, table: StudyTable, parameter: Parameter, colors: Colors) -> None:
    complete, best = table.complete(), table.best(table.complete())
    places, values = parameter.places(), table.column()
    _scatter(axes, places[complete], values[complete], table.span(), colors)
    draw_star(axes, (places[best], values[best]), "best")
    _frame(axes, table.span())
    axes.set_xticks(*parameter.ticks(places[complete]))
    if names := parameter.categories:
        axes.set_xlim(*parameter.ends(places))
        if len(names) * max(map(len, names)) > 72 // min(len(table.parameters), 3):
            axes.tick_params(axis="x", rotation=30)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    lacking = int(np.isnan(places[complete]).sum())
    axes.set_xlabel(_fold(parameter.name, 26) + (f"\n({lacking} without it)" if lacking else ""))


def _draw_surface(
    axes: Axes, points: Float[np.ndarray, "points 2"], values: Values, shades: ScalarMappable
) -> bool:
    """Draw the measure between the points, the first of those that coincide.

    Gives False if they span no surface.
    """
    points, first = np.unique(points, axis=0, return_index=True)
    spread = np.ptp(points, axis=0)
    if len(points) < 4 or not spread.all():
        return False
    even = (points - points.mean(axis=0)) / spread
    if np.linalg.svd(even, compute_uv=False)[1] < 1e-3:
        return False
    triangles = Triangulation(even[:, 0], even[:, 1]).triangles
    net = Triangulation(points[:, 0], points[:, 1], triangles)
    norm = shades.norm
    assert isinstance(norm, BoundaryNorm)
    look: Any = {"levels": norm.boundaries, "extend": norm.extend, "norm": norm}
    axes.tricontourf(net, values[first], cmap=shades.cmap, **look)
    axes.tricontour(net, values[first], norm.boundaries, colors="white", linewidths=0.4)
    return True


def _draw_axis(axes: Axes, place: int, parameter: Parameter, places: Column) -> Column:
    """Draw an axis of parallel coordinates; give the heights of the trials on it."""
    low, high = parameter.ends(places)
    axes.vlines(place, 0, 1, color=SLATE, linewidth=0.9, zorder=2)
    box: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
    look: Any = {"fontsize": 8, "color": SLATE, "zorder": 4, "bbox": box}
    marks = [
        ((at - low) / (high - low), text) for at, text in zip(*parameter.ticks(places), strict=True)
    ]
    if np.isnan(places).any():
        marks.append((_NONE, "none"))
    for height, text in marks:
        axes.text(place - 0.03, height, text, ha="right", va="center", **look)
    return np.where(np.isnan(places), _NONE, (places - low) / (high - low))


def _bands(table: StudyTable) -> ScalarMappable:
    """Shade the span in steps between round values, the better the darker."""
    values, (low, high) = table.column()[table.complete()], table.span()
    below, above = (values < low).any(), (values > high).any()
    extend: Any = {(0, 0): "neither", (0, 1): "max", (1, 0): "min"}.get((below, above), "both")
    levels = MaxNLocator(11, steps=STEPS).tick_values(low, high)
    cmap = _SURFACE.reversed() if table.minimize else _SURFACE
    return ScalarMappable(BoundaryNorm(levels, 256, extend=extend), cmap)


def _best(table: StudyTable, chosen: Chosen) -> str:
    row = table.best(chosen)
    return f"{number(table.values[row])} in trial {table.numbers[row]}"


def _fold(text: str, letters: int) -> str:
    """Break a long name into lines: after its dots, then at its spaces and underscores."""
    parts = re.split(r"(?<=\.)(?=[a-z])", text) if len(text) > letters else [text]
    lines = [textwrap.fill(part.replace("_", "_\0 "), letters) for part in parts]
    return "\n".join(lines).replace("\0 ", "").replace("\0", "")


def _ticks(low: float, high: float, integer: bool = False) -> list[float]:
    near = 1e-6 * (high - low)
    found = np.asarray(MaxNLocator(5, integer=integer, steps=STEPS).tick_values(low, high))
    return [value for value in found.tolist() if low - near <= value <= high + near] or [low]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [value for value in found if low * (1 - 1e-6) <= value <= high * (1 + 1e-6)]
        if len(found) > 2:
            return [found[k] for k in spread_over(len(found), 5)]
    return _ticks(low, high)
