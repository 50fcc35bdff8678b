"""Figures of a study: history, importance, slices, contours, parallel coordinates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaelab.figures.study_table import STEPS, Column, Parameter, StudyTable
from vaelab.figures.style import BLUE, CLASS_COLORS, INK, ORANGE, SLATE, new_figure, style
from vaelab.figures.surface import discrete_shades, draw_surface
from vaelab.figures.trial_plots import (
    SHADES,
    Colors,
    add_legend,
    add_parameter_bar,
    draw_dots,
    draw_star,
    note_clipped,
    set_limits,
)
from vaelab.runtime.formatting import format_number, wrap

_MISSING = -0.13  # height in parallel coordinates of a setting that a trial does not have


def history_figure(table: StudyTable) -> Figure:
    """Draw each trial's value in order, and the best complete one so far."""
    complete, span = table.complete(), table.span()
    numbers, values = np.array(table.numbers, np.float64), table.column()
    pruned = table.in_state("pruned") & np.isfinite(values)
    failed = numbers[~complete & ~pruned]
    better = np.fmin if table.minimize else np.fmax
    so_far = better.accumulate(np.where(complete, values, np.nan))
    with style():
        figure = new_figure(f"Best of {len(numbers)} trials: {table.describe_best(complete)}", 3.4)
        axes = figure.add_subplot(xlabel="trial", ylabel=wrap(table.measure, 40))
        axes.plot(
            numbers, so_far, color=ORANGE, drawstyle="steps-post", zorder=1, label="best so far"
        )
        for label, mask, face, edge in (
            ("complete", complete, BLUE, "white"),
            ("pruned, last value", pruned, "white", SLATE),
        ):
            colors = np.tile(to_rgba(face), (mask.sum(), 1))
            draw_dots(axes, numbers[mask], values[mask], span, colors, edgecolors=edge, label=label)
        if len(failed):
            options: Any = {"color": CLASS_COLORS[2], "transform": axes.get_xaxis_transform()}
            axes.plot(failed, 0.0 * failed, "x", ms=5, clip_on=False, label="failed", **options)
        if len(numbers) == 1:
            axes.set_xlim(numbers[0] - 1, numbers[0] + 1)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=STEPS))
        set_limits(axes, span)
        note_clipped(axes, values[complete | pruned], span)
        best = table.best(complete)
        draw_star(axes, (numbers[best], values[best]), "best")
        add_legend(figure)
    return figure


def importance_figure(
    importances: Mapping[str, float], title: str = "Importance of each setting"
) -> Figure:
    """Draw a bar a setting, the most important on top; raises ValueError if there is none."""
    if not importances:
        raise ValueError("no importances to draw")
    values = np.array(list(importances.values()), np.float64)
    shares = np.nan_to_num(values)
    order = np.argsort(-shares, kind="stable").tolist()
    names = [wrap(list(importances)[k], 36) for k in order]
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
    """Draw the complete trials over one parameter a panel; later trials are darker."""
    complete, count = table.complete(), len(table.parameters)
    if not count:
        raise ValueError("the study has no parameters to draw")
    rows, columns = -(-count // 3), min(count, 3)
    title = f"Value over each setting; best: {table.describe_best(complete)}"
    with style():
        figure = new_figure(title, 2.4 * rows + 0.8)
        figure.supylabel(wrap(table.measure, 40), color=SLATE, fontsize=8.5)
        panels = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
        colors = add_parameter_bar(figure, Parameter("trial", table.numbers))
        for index, (axes, parameter) in enumerate(zip(panels, table.parameters, strict=True)):
            _draw_slice(axes, table, parameter, colors[complete])
            axes.tick_params(labelleft=index % columns == 0)
        note_clipped(panels[columns - 1], table.column()[complete], table.span())
        add_legend(figure)
    return figure


def contour_figure(table: StudyTable, x: str, y: str) -> Figure:
    """Draw the measure over two parameters, as a surface between the complete trials.

    Where they span no surface, and for categorical parameters, colored dots show it.
    """
    across, up = table.parameter(x), table.parameter(y)
    points, values = np.stack([across.positions(), up.positions()], 1), table.column()
    complete, pruned = table.complete(across, up), table.in_state("pruned")
    pruned &= np.isfinite(points).all(axis=1)
    order = np.argsort(np.where(complete, table.losses(), np.inf))[: complete.sum()]
    shades, shown = discrete_shades(table), np.clip(values[order], *table.span())
    with style():
        figure = new_figure(f"{x} and {y}: darker is better", 4.8)
        axes = figure.add_subplot(xlabel=wrap(x, 60), ylabel=wrap(y, 40))
        axes.grid(False)
        axes.use_sticky_edges = False
        numeric = not across.categories and not up.categories
        smooth = numeric and draw_surface(axes, points[order], shown, shades)
        filled = np.array([to_rgba(INK)]) if smooth else shades.to_rgba(values[order])
        for label, rows, colors, edge in (
            ("complete", order, filled, "white" if smooth else SLATE),
            ("pruned", np.flatnonzero(pruned), "white", INK),
        ):
            if len(rows):
                options: Any = {"color": colors, "edgecolors": edge, "label": label}
                axes.scatter(points[rows, 0], points[rows, 1], s=22, linewidths=0.8, **options)
        draw_star(axes, points[order[0]], f"best: {table.describe_best(complete)}")
        axes.set_xticks(*across.ticks(points[complete | pruned, 0]))
        axes.set_yticks(*up.ticks(points[complete | pruned, 1]))
        figure.colorbar(shades, ax=axes, label=wrap(table.measure, 50), aspect=40)
        add_legend(figure)
    return figure


def parallel_figure(table: StudyTable) -> Figure:
    """Draw each complete trial as a line through its settings and, last, the measure."""
    complete, span, values = table.complete(), table.span(), table.column()
    measure = Parameter(table.measure, tuple(np.clip(values, *span).tolist()))
    parameters = (*table.parameters, measure)
    order = np.argsort(-table.losses()[complete], kind="stable")
    with style():
        figure = new_figure("All complete trials: darker is better", 3.9)
        axes = figure.add_subplot(xlim=(-0.3, len(parameters) - 0.8))
        names = [wrap(p.name, 80 // len(parameters)) for p in parameters]
        axes.set_xticks(range(len(parameters)), names)
        axes.tick_params(
            length=0, labelbottom=False, labeltop=True, labelleft=False, labelcolor=INK
        )
        axes.spines[:].set_visible(False)
        axes.grid(False)
        columns = [
            _draw_axis(axes, k, p, p.positions()[complete]) for k, p in enumerate(parameters)
        ]
        across = np.broadcast_to(np.arange(len(parameters)), (len(order), len(parameters)))
        lines = np.stack([across, np.stack(columns, axis=1)], axis=2)[order]
        cmap = SHADES.reversed() if table.minimize else SHADES
        colors = cmap(Normalize(*span)(values[complete][order]))
        axes.add_collection(LineCollection(list(lines), colors=colors, linewidths=1.0))
        label = f"best: {table.describe_best(complete)}"
        axes.plot(*lines[-1].T, color=ORANGE, linewidth=2.6, label=label, zorder=3)
        note_clipped(axes, values[complete], span)
        add_legend(figure)
    return figure


def weight_figure(
    table: StudyTable,
    weight: str,
    closed_form: float,
    color_by: str | None = None,
    *,
    located: bool = True,
) -> Figure:
    """Draw the measure over a weight, with its best measured and its closed-form value.

    The best measured one has no line unless there are trials enough that they have `located` it.
    Raises ValueError if the closed-form value cannot be drawn on the weight's axis.
    """
    parameter = table.parameter(weight)
    complete, positions, values = table.complete(parameter), parameter.positions(), table.column()
    expected = Parameter(weight, (closed_form,), parameter.log).positions()[0]
    if not np.isfinite(expected):
        raise ValueError(f"{weight} in closed form is {closed_form}, outside its axis")
    best = table.best(complete)
    with style():
        title = "measured and in closed form" if located else "in closed form"
        figure = new_figure(f"Best {weight}: {title}", 3.8)
        axes = figure.add_subplot(xlabel=wrap(weight, 60), ylabel=wrap(table.measure, 40))
        colors = np.tile(to_rgba(BLUE), (len(positions), 1))
        if color_by is not None:
            colors = add_parameter_bar(figure, table.parameter(color_by))
        measured = ("best measured", positions[best], ORANGE, "-")
        for name, position, color, line in (
            *([measured] if located else []),
            ("closed form", expected, INK, "--"),
        ):
            label = f"{name}: {format_number(10**position if parameter.log else position, 2)}"
            axes.axvline(
                position, color=color, linestyle=line, linewidth=1.3, zorder=1, label=label
            )
        draw_dots(axes, positions[complete], values[complete], table.span(), colors[complete])
        draw_star(axes, (positions[best], values[best]), f"best: {table.describe_best(complete)}")
        axes.set_xticks(*parameter.ticks(np.append(positions[complete], expected)))
        set_limits(axes, table.span())
        note_clipped(axes, values[complete], table.span())
        add_legend(figure)
    return figure


def _draw_slice(axes: Axes, table: StudyTable, parameter: Parameter, colors: Colors) -> None:
    complete, best = table.complete(), table.best(table.complete())
    positions, values = parameter.positions(), table.column()
    draw_dots(axes, positions[complete], values[complete], table.span(), colors)
    draw_star(axes, (positions[best], values[best]), "best")
    set_limits(axes, table.span())
    axes.set_xticks(*parameter.ticks(positions[complete]))
    if names := parameter.categories:
        axes.set_xlim(*parameter.limits(positions))
        if len(names) * max(map(len, names)) > 72 // min(len(table.parameters), 3):
            axes.tick_params(axis="x", rotation=30)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    missing = int(np.isnan(positions[complete]).sum())
    axes.set_xlabel(wrap(parameter.name, 26) + (f"\n({missing} without it)" if missing else ""))


def _draw_axis(axes: Axes, index: int, parameter: Parameter, positions: Column) -> Column:
    """Draw an axis of parallel coordinates; return the heights of the trials on it."""
    low, high = parameter.limits(positions)
    axes.vlines(index, 0, 1, color=SLATE, linewidth=0.9, zorder=2)
    box: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
    options: Any = {"fontsize": 8, "color": SLATE, "zorder": 4, "bbox": box}
    marks = [
        ((at - low) / (high - low), text)
        for at, text in zip(*parameter.ticks(positions), strict=True)
    ]
    if np.isnan(positions).any():
        marks.append((_MISSING, "none"))
    for height, text in marks:
        axes.text(index - 0.03, height, text, ha="right", va="center", **options)
    return np.where(np.isnan(positions), _MISSING, (positions - low) / (high - low))
