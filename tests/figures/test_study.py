"""What the figures of a study and of its rate-distortion front show, and where."""

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.tri import TriContourSet

from tests.figures.factories import assert_readable
from vaelab.figures import pareto_front, study, style
from vaelab.figures.study_table import Parameter, StudyTable, typical_span
from vaelab.figures.trial_plots import SHADES

WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
LATENTS = (2, 16, 4, 32, 8, 64)
LOSSES = (99.0, 91.0, 90.0, 92.0, 95.0, 97.0)


def table(*parameters: Parameter, values: Any = LOSSES, **changes: Any) -> StudyTable:
    """Make a study of complete trials, numbered from 0, unless given otherwise."""
    defaults: dict[str, Any] = {
        "measure": "validation NLL, nats per image",
        "minimize": True,
        "numbers": tuple(range(len(values))),
        "values": tuple(values),
        "states": ("complete",) * len(values),
        "parameters": parameters or (weight(), latents()),
    }
    return StudyTable(**{**defaults, **changes})


def weight(values: Any = WEIGHTS, name: str = "train.kl_weight") -> Parameter:
    return Parameter(name, tuple(values), log=True)


def latents(values: Any = LATENTS) -> Parameter:
    return Parameter("model.latent_dim", tuple(values), log=True)


def scatters(axes: Axes, marker: str) -> list[Any]:
    """Return the dots of one marker."""
    found: list[Any] = [c for c in axes.collections if isinstance(c, PathCollection)]
    shape = MarkerStyle(marker)
    corners = shape.get_path().transformed(shape.get_transform()).vertices
    return [c for c in found if np.array_equal(c.get_paths()[0].vertices, corners)]


def points(found: list[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(dots.get_offsets()) for dots in found])


def labeled(axes: Axes) -> dict[str, Any]:
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def ticks(axis: Any) -> dict[str, float]:
    names = [label.get_text() for label in axis.get_ticklabels()]
    return dict(zip(names, axis.get_ticklocs(), strict=True))


def darkness(colors: Any) -> np.ndarray:
    shares: np.ndarray = 1 - np.asarray(colors)[:, :3].mean(axis=1)
    return shares


# --- history


@pytest.mark.parametrize("minimize", [True, False])
def test_the_best_so_far_counts_complete_trials_only(minimize):
    sign = 1 if minimize else -1
    values = sign * np.array([9.0, 1.0, 7.0, 8.0, math.nan, 5.0, 6.0])
    states = ("complete", "pruned", "complete", "complete", "failed", "complete", "complete")
    numbers = (0, 1, 2, 4, 5, 6, 9)
    study_table = table(values=values, states=states, numbers=numbers, minimize=minimize)
    (axes,) = study.history_figure(study_table).axes
    line = labeled(axes)["best so far"]
    np.testing.assert_array_equal(line.get_xdata(), numbers)
    np.testing.assert_array_equal(line.get_ydata(), sign * np.array([9, 9, 7, 7, 7, 5, 5]))
    assert line.get_drawstyle() == "steps-post"
    assert points(scatters(axes, "*")).tolist() == [[6, sign * 5]]
    best = {True: "5 in trial 6", False: "−5 in trial 6"}[minimize]
    assert study.history_figure(study_table).get_suptitle() == f"Best of 7 trials: {best}"


def test_each_state_has_its_own_marker():
    values = (90.0, 95.0, 93.0, math.nan, 92.0, math.nan, 500.0)
    states = ("complete", "pruned", "complete", "failed", "complete", "pruned", "pruned")
    (axes,) = study.history_figure(table(values=values, states=states)).axes
    marks = labeled(axes)
    complete, pruned = marks["complete"], marks["pruned, last value"]
    np.testing.assert_array_equal(complete.get_offsets(), [[0, 90], [2, 93], [4, 92]])
    # 90 and 93 are the ends of what the complete trials span; what is above stands at the end.
    assert points(scatters(axes, "^")).tolist() == [[1, 93], [6, 93]]
    assert axes.get_title("right") == "▲ 2 outside the axes, up to 500"
    assert tuple(pruned.get_facecolor()[0]) == to_rgba("white")
    failed = marks["failed"]
    assert failed.get_xdata().tolist() == [3, 5]
    x, y = axes.transData.inverted().transform(failed.get_transform().transform([3, 0.0]))
    assert (x, y) == pytest.approx((3, axes.get_ylim()[0]))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_outlier_is_clipped(sign):
    values = sign * np.array([52345.0, *LOSSES[1:]])
    study_table = table(values=values, minimize=sign > 0)
    figures = [
        study.history_figure(study_table),
        study.slice_figure(study_table),
        study.weight_figure(study_table, "train.kl_weight", 0.1),
    ]
    for axes in (figures[0].axes[0], *figures[1].axes[:2], figures[2].axes[0]):
        low, high = sorted(sign * limit for limit in axes.get_ylim())
        assert 89 < low < 90  # the best one
        assert 97 < high < 98  # the worst one but the awful one
    notes = {"▲ 1 outside the axes, up to 52,345", "▼ 1 outside the axes, down to −52,345"}
    assert {
        figure.axes[k].get_title("right") for figure, k in zip(figures, (0, 1, 0), strict=True)
    } < notes
    # The measure's axis of parallel coordinates ends where the frames do.
    parallel = study.parallel_figure(study_table).axes[0]
    assert parallel.get_title("right") in notes
    assert {"90", "−90"} & {text.get_text() for text in parallel.texts}


@pytest.mark.parametrize(
    ("losses", "span"),
    [
        ([3.0], (3, 3)),
        ([5.0, 5.0, 5.0], (5, 5)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], (1, 5)),
        ([1.0, 2.0, 3.0, 11.0, 12.0], (1, 11)),  # as far as 3 + 4 * (3 - 1) = 11
        ([-10.0, -9.0, 1e6], (-10, -9)),
        ([1.0, 1.0, 1.0, 1e6], (1, 1e6)),  # no usual range here
    ],
)
def test_the_typical_span_excludes_trials_far_worse_than_the_better_half(losses, span):
    assert typical_span(np.array(losses)) == span


# --- importances


def test_importances_are_sorted_and_labeled():
    (axes,) = study.importance_figure({"a": 0.25, "model.b": 0.7, "c": 0.05, "d": math.nan}).axes
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == [0.7, 0.25, 0.05, 0]
    assert list(ticks(axes.yaxis)) == ["model.b", "a", "c", "d"]
    assert [text.get_text() for text in axes.texts] == ["0.70", "0.25", "0.05", "nan"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first one is on top
    with pytest.raises(ValueError, match="no importances"):
        study.importance_figure({})


# --- slices


def test_slices_use_log_or_category_positions_and_darken_with_time():
    activation = Parameter("model.activation", ("relu", "gelu", "silu", "gelu", "relu", "silu"))
    depth = Parameter("model.depth", (None, 2, 1, 3, 1, None))
    study_table = table(weight(), activation, depth, latents(), values=(9, 8, 7, 6, 5, 8.5))
    axes = study.slice_figure(study_table).axes
    dots = [scatters(panel, "o")[0] for panel in axes[:4]]
    expected = np.stack([np.log10(WEIGHTS), [9, 8, 7, 6, 5, 8.5]], axis=1)
    np.testing.assert_allclose(dots[0].get_offsets(), expected)
    assert np.asarray(dots[1].get_offsets())[:, 0].tolist() == [1, 0, 2, 0, 1, 2]
    assert ticks(axes[1].xaxis) == {"gelu": 0, "relu": 1, "silu": 2}
    assert ticks(axes[0].xaxis) == pytest.approx({"0.01": -2, "0.1": -1, "1": 0})
    assert ticks(axes[2].xaxis) == {"1": 1, "2": 2, "3": 3}
    assert axes[2].get_xlabel() == "model.depth\n(2 without it)"
    for panel, best in zip(axes, (0.0, 1, 1, math.log10(8)), strict=False):
        np.testing.assert_allclose(points(scatters(panel, "*")), [[best, 5]])
        assert panel.get_ylim() == axes[0].get_ylim()
    shades = darkness(dots[0].get_facecolor())
    assert (np.diff(shades) > 0).all()
    assert axes[4].get_ylabel() == "trial"


# --- two parameters


def surface(axes: Axes) -> Any:
    """Find the filled surface, plotted first, if there is one."""
    return next((c for c in axes.collections if isinstance(c, TriContourSet)), None)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_surface_is_darkest_at_the_best_trial_and_outliers_do_not_flatten_it(sign):
    values = sign * np.array([*LOSSES[:-1], 1e5])
    study_table = table(values=values, minimize=sign > 0)
    axes, bar = study.contour_figure(study_table, "train.kl_weight", "model.latent_dim").axes
    plotted = surface(axes)
    assert sorted(sign * plotted.levels)[0] == 90  # the best one
    assert 99 <= sorted(sign * plotted.levels)[-1] <= 100
    assert plotted.extend == ("max" if sign > 0 else "min")
    beyond = plotted.get_paths()[-1 if sign > 0 else 0]  # what the triangle of the bar stands for
    assert not beyond.to_polygons()
    shades = darkness(plotted.to_rgba(sign * np.array([90.5, 95.5, 98.5, 1e5])))
    assert (np.diff(shades) < 0).all()
    expected = np.log10([[0.1, 4]])  # of the loss 90
    np.testing.assert_allclose(points(scatters(axes, "*")), expected)
    complete = np.asarray(labeled(axes)["complete"].get_offsets())
    np.testing.assert_allclose(np.sort(complete[:, 0]), np.log10(WEIGHTS))
    assert bar.get_ylabel() == "validation NLL, nats per image"
    assert ticks(axes.xaxis) == pytest.approx({"0.01": -2, "0.1": -1, "1": 0})
    assert ticks(axes.yaxis) == pytest.approx({t: math.log10(float(t)) for t in ("3", "10", "30")})


def test_pruned_trials_are_hollow_and_not_part_of_the_surface():
    states = ("complete",) * 5 + ("pruned",)
    study_table = table(values=(*LOSSES[:-1], 1.0), states=states)
    axes = study.contour_figure(study_table, "train.kl_weight", "model.latent_dim").axes[0]
    pruned, plotted = labeled(axes)["pruned"], surface(axes)
    np.testing.assert_allclose(pruned.get_offsets(), np.log10([[3, 64]]))
    assert tuple(pruned.get_facecolor()[0]) == to_rgba("white")
    assert plotted.levels[0] == 90


def test_of_coinciding_trials_the_best_one_makes_the_surface():
    twice = table(weight(WEIGHTS * 2), latents(LATENTS * 2), values=(99.0,) * 6 + LOSSES)
    plotted = [
        surface(study.contour_figure(study_table, "model.latent_dim", "train.kl_weight").axes[0])
        for study_table in (twice, table())
    ]
    for path, expected in zip(plotted[0].get_paths(), plotted[1].get_paths(), strict=True):
        np.testing.assert_allclose(path.vertices, expected.vertices)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (weight(), latents(), 3),  # too few
        (weight(), latents([2 * w for w in WEIGHTS]), 6),  # on a line
        (weight((0.1,) * 6), latents(), 6),
        (weight(), latents((8,) * 6), 6),
        (weight((0.1,) * 6), latents((8,) * 6), 6),
        (weight(), Parameter("model.latent_dim", tuple("abcabc")), 6),
    ],
)
def test_without_a_surface_the_dots_are_colored(first, second, count):
    states = ("complete",) * count + ("failed",) * (6 - count)
    study_table = table(first, second, states=states)
    axes = study.contour_figure(study_table, first.name, second.name).axes[0]
    assert surface(axes) is None
    dots = labeled(axes)["complete"]
    losses = np.sort(LOSSES[:count])  # the best one is plotted first
    np.testing.assert_array_equal(
        np.argsort(-darkness(dots.get_facecolor()), kind="stable"), range(count)
    )
    assert len(dots.get_offsets()) == len(losses)


# --- all parameters


def test_parallel_lines_match_their_values_and_the_best_is_last_and_thick():
    activation = Parameter("activation", ("a", "b", "a", "b", "a", "b"))
    depth = Parameter("depth", (1, 2, None, 3, 5, 1))
    (axes,) = study.parallel_figure(table(weight(), activation, depth)).axes
    lines: Any
    (lines,) = (
        c for c in axes.collections if isinstance(c, LineCollection) and len(c.get_paths()) > 1
    )
    plotted = np.array([path.vertices for path in lines.get_paths()])
    order = np.argsort(LOSSES)[::-1]
    low, high = np.log10(WEIGHTS[0]), np.log10(WEIGHTS[-1])
    np.testing.assert_array_equal(plotted[..., 0], [[0, 1, 2, 3]] * 6)
    np.testing.assert_allclose(plotted[:, 0, 1], (np.log10(WEIGHTS)[order] - low) / (high - low))
    np.testing.assert_allclose(plotted[:, 1, 1], np.array([0.25, 0.75] * 3)[order])
    np.testing.assert_allclose(plotted[:, 3, 1], (np.array(LOSSES)[order] - 90) / 9)
    depths = np.array([0, 0.25, np.nan, 0.5, 1, 0])[order]
    np.testing.assert_allclose(plotted[:-1, 2, 1], depths[:-1])
    assert plotted[-1, 2, 1] < -0.1  # it has no depth
    (best,) = axes.get_lines()
    np.testing.assert_array_equal(best.get_ydata(), plotted[-1, :, 1])
    assert best.get_linewidth() > 2 * lines.get_linewidth()[0]
    assert best.get_zorder() > lines.get_zorder()
    assert (np.diff(darkness(lines.get_colors())) > 0).all()
    marks = {
        (text.get_text(), round(text.get_position()[0])): text.get_position()[1]
        for text in axes.texts
    }
    assert marks["0.1", 0] == pytest.approx((-1 - low) / (high - low))
    assert marks["b", 1] == 0.75
    assert marks["none", 2] == plotted[-1, 2, 1]
    assert marks["94", 3] == pytest.approx(4 / 9)


# --- the weight


@pytest.mark.parametrize("log", [True, False])
def test_lines_mark_the_best_and_the_closed_form_weight(log):
    parameter = Parameter("train.kl_weight", WEIGHTS, log)
    figure = study.weight_figure(table(parameter, latents()), "train.kl_weight", 0.029)
    (axes,), scale = figure.axes, math.log10 if log else float
    measured, closed = (
        labeled(axes)[name] for name in ("best measured: 0.1", "closed form: 0.029")
    )
    assert measured.get_xdata() == pytest.approx([scale(0.1)] * 2)
    assert closed.get_xdata() == pytest.approx([scale(0.029)] * 2)
    assert (measured.get_linestyle(), closed.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(points(scatters(axes, "*")), [[scale(0.1), 90]])
    expected = [[scale(w), loss] for w, loss in zip(WEIGHTS, LOSSES, strict=True)]
    np.testing.assert_allclose(points(scatters(axes, "o")), expected)


def test_a_weight_that_few_trials_cannot_locate_has_no_line() -> None:
    figure = study.weight_figure(table(), "train.kl_weight", 0.029, located=False)
    (axes,) = figure.axes
    assert "closed form: 0.029" in labeled(axes)
    assert not any("measured" in name for name in labeled(axes))
    assert "measured" not in str(figure.get_suptitle())


def test_a_closed_form_outside_the_searched_range_is_visible():
    (axes,) = study.weight_figure(table(), "train.kl_weight", 1e-4).axes
    low, high = axes.get_xlim()
    assert low < -4 < math.log10(3) < high
    assert ticks(axes.xaxis)["0.0001"] == -4


def test_weights_are_colored_by_another_parameter_on_its_scale():
    figure = study.weight_figure(table(), "train.kl_weight", 0.029, "model.latent_dim")
    axes, bar = figure.axes
    (dots,) = scatters(axes, "o")
    shades = darkness(dots.get_facecolor())
    np.testing.assert_array_equal(np.argsort(shades), np.argsort(LATENTS))
    assert bar.get_ylabel() == "model.latent_dim"
    assert ticks(bar.yaxis) == pytest.approx({t: math.log10(float(t)) for t in ("3", "10", "30")})
    # 2, 4, 8, ..., 64 are at equal distances of a logarithmic scale.
    places = (np.log10(LATENTS) - math.log10(2)) / math.log10(32)
    np.testing.assert_allclose(dots.get_facecolor(), SHADES(places), atol=0.02)


def test_a_trial_without_the_color_parameter_is_gray():
    lacking = latents((2, None, 4, 8, 16, 32))
    axes = study.weight_figure(table(weight(), lacking), "train.kl_weight", 1.0, lacking.name).axes[
        0
    ]
    colors = scatters(axes, "o")[0].get_facecolor()
    grey = [tuple(color) == pytest.approx(to_rgba(style.MIST)) for color in colors]
    assert grey == [False, True, False, False, False, False]


# --- what is refused


def test_tables_without_drawable_trials_are_refused():
    nothing = table(states=("pruned",) * 5 + ("failed",))
    with pytest.raises(ValueError, match="no complete trial among 6"):
        study.history_figure(nothing)
    with pytest.raises(ValueError, match="no complete trial among 6"):
        study.slice_figure(table(values=(math.nan,) * 6))
    with pytest.raises(ValueError, match="no complete trial among 6"):
        study.parallel_figure(nothing)
    with pytest.raises(ValueError, match="no parameters to draw"):
        study.slice_figure(table(parameters=()))
    with pytest.raises(ValueError, match=r"no parameter 'beta' among: train\.kl_weight, model\."):
        study.contour_figure(table(), "beta", "model.latent_dim")
    apart = table(weight((*WEIGHTS[:3], *[None] * 3)), latents((*[None] * 3, *LATENTS[3:])))
    with pytest.raises(ValueError, match=r"no complete trial has train\.kl_weight and model\.lat"):
        study.contour_figure(apart, "train.kl_weight", "model.latent_dim")
    for closed_form in (0.0, -1.0, math.nan):
        with pytest.raises(
            ValueError, match=r"train\.kl_weight in closed form is (0\.0|-1\.0|nan)"
        ):
            study.weight_figure(table(), "train.kl_weight", closed_form)


# --- numbers and names


@pytest.mark.parametrize(
    ("values", "log", "expected"),
    [
        ((0.001, 10.0), True, ["0.001", "0.01", "0.1", "1", "10"]),
        ((1e-3, 1e6), True, ["0.001", "0.1", "10", "1,000", "100,000"]),
        ((0.021, 0.35), True, ["0.03", "0.1", "0.3"]),
        ((0.02, 0.05), True, ["0.02", "0.03", "0.04", "0.05"]),
        ((0.3, 0.3), True, ["0.3"]),
        ((1, 3), False, ["1", "2", "3"]),
        ((0.0, 0.5), False, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ((7, 7), False, ["7"]),
        ((1000.5, 1001.5), False, ["1000.6", "1000.8", "1001.0", "1001.2", "1001.4"]),
        ((None, None), True, []),
    ],
)
def test_ticks_are_round_and_within_the_range(values, log, expected):
    parameter = Parameter("p", values, log)
    at, names = parameter.ticks(parameter.positions())
    assert names == expected
    written = [float(name.replace(",", "")) for name in names]
    np.testing.assert_allclose(at, np.log10(written) if log else written)


# --- rate and distortion

RATES = np.array([50.0, 5.0, 20.0, 30.0, 10.0, 45.0])
DISTORTIONS = np.array([60.0, 130.0, 80.0, 100.0, 100.0, 90.0])
ON_FRONT = np.array([True, True, True, False, True, False])
KL_WEIGHTS = np.array([0.01, 10.0, 0.1, 0.1, 1.0, 0.03])


def plane(
    rates: Any = RATES, distortions: Any = DISTORTIONS, weights: Any = KL_WEIGHTS, **others: Any
) -> Axes:
    arguments = {"on_front": ON_FRONT, "labeled": [1, 2, 0], **others}
    return pareto_front.rate_distortion_figure(rates, distortions, weights, **arguments).axes[0]


def bound_lines(axes: Axes) -> list[Any]:
    return [line for line in axes.get_lines() if line.get_label() == "equal negative ELBO, nats"]


@pytest.mark.parametrize("offset", [0.0, -1300.0])
def test_lines_of_equal_bound_are_labeled_with_rate_plus_distortion(offset):
    axes = plane(distortions=DISTORTIONS + offset)
    totals = []
    for line in bound_lines(axes):
        (x, y), (other_x, other_y) = line.get_xydata()
        assert (other_y - y) / (other_x - x) == pytest.approx(-1)
        assert x + y == pytest.approx(other_x + other_y)
        totals.append(round(x + y, 6))
    assert len(set(np.round(np.diff(totals), 6))) == 1
    marks = {t.get_text(): t for t in axes.texts if not t.get_text().isalpha()}
    assert len(marks) >= 5
    for name, text in marks.items():
        total = float(name.replace("−", "-"))
        assert sum(text.get_position()) == pytest.approx(total)
        assert total in totals
        x, y = text.get_position()
        assert RATES.max() < x < axes.get_xlim()[1] or axes.get_ylim()[0] < y < 60 + offset
    # The label of a line lies along it, on the page too.
    text = next(iter(marks.values()))
    start, end = axes.transData.transform([(0, 0), (1, -1)])
    plotted = math.degrees(math.atan2(*(end - start)[::-1]))
    assert text.get_rotation() % 360 == pytest.approx(plotted % 360)


def test_the_front_is_sorted_by_rate_and_the_best_bound_has_the_star():
    axes = plane()
    along = next(line for line in axes.get_lines() if line not in bound_lines(axes))
    assert np.asarray(along.get_xydata()).tolist() == [[5, 130], [10, 100], [20, 80], [50, 60]]
    assert points(scatters(axes, "*")).tolist() == [[20, 80]]  # 20 + 80 < 110 = 10 + 100
    assert "lowest negative ELBO: 100" in labeled(axes)
    assert labeled(axes)["on the Pareto front"].get_offsets().tolist() == [
        [50, 60],
        [5, 130],
        [20, 80],
        [10, 100],
    ]
    assert labeled(axes)["other trial"].get_offsets().tolist() == [[30, 100], [45, 90]]


def test_letters_are_below_and_left_of_their_points():
    axes = plane()
    letters: dict[str, Any] = {t.get_text(): t for t in axes.texts if t.get_text().isalpha()}
    assert {name: tuple(text.xy) for name, text in letters.items()} == {
        "A": (5, 130),
        "B": (20, 80),
        "C": (50, 60),
    }
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    for text in letters.values():
        x, y = axes.transData.transform(text.xy)
        box = text.get_window_extent()
        assert box.x1 <= x <= box.x1 + 12
        assert box.y1 <= y <= box.y1 + 12


def test_trials_are_colored_by_weight_and_gray_without_one():
    axes = plane(weights=np.array([0.01, 10.0, 0.1, 0.0, 1.0, math.nan]))
    on_front = labeled(axes)[
        "on the Pareto front"
    ].get_facecolor()  # of weights 0.01, 10, 0.1 and 1
    np.testing.assert_allclose(on_front, SHADES(np.array([0, 1, 1 / 3, 2 / 3])), atol=0.02)
    for color in labeled(axes)["other trial"].get_facecolor():
        assert tuple(color) == pytest.approx(to_rgba(style.MIST))
    bar = axes.figure.axes[1]
    assert bar.get_ylabel() == "KL weight"
    assert ticks(bar.yaxis) == pytest.approx({"0.01": -2, "0.1": -1, "1": 0, "10": 1})
    assert len(plane(weights=None).figure.axes) == 1


def test_outliers_outside_the_axes_are_noted():
    rates, distortions = RATES.copy(), DISTORTIONS.copy()
    rates[3], distortions[3], distortions[5] = 5200, 1e6, math.nan
    axes = plane(rates, distortions)
    assert axes.get_xlim()[1] < 60
    assert axes.get_ylim()[1] < 140
    assert (
        axes.get_title("right") == "1 outside the axes, up to rate 5,200 and distortion 1,000,000"
    )
    # A trial that the samples show is never outside.
    shown = plane(rates, distortions, labeled=[3])
    assert shown.get_xlim()[1] > 5200
    assert shown.get_title("right") == ""


def test_planes_without_points_or_with_too_many_labels_are_refused():
    nothing = np.full(6, math.nan)
    with pytest.raises(ValueError, match="none of 6 trials has a finite rate"):
        plane(nothing)
    with pytest.raises(ValueError, match=r"labeled trials without a finite .*: \[1, 2, 0\]"):
        plane(np.where(ON_FRONT, nothing, RATES))
    with pytest.raises(ValueError, match="at most 26 trials can be labeled, got 27"):
        plane(labeled=[0] * 27)


def test_samples_of_the_front_are_labeled():
    images = np.zeros((2, 3, 1, 8, 8), np.float32)
    names = ["A  weight 0.03, 12 latents", "B  " + "x" * 60]
    axes = pareto_front.front_samples_figure(images, names).axes[0]
    shown = list(ticks(axes.yaxis))
    assert shown[0] == names[0]
    assert shown[1].startswith("B  xxx")
    assert shown[1].endswith("x…")
    with pytest.raises(ValueError, match="1 labels for 2 rows of images"):
        pareto_front.front_samples_figure(images, names[:1])


# --- that it can be read


def extreme_tables() -> Iterator[tuple[str, StudyTable]]:
    """Studies at their extremes."""
    long = [
        "model.decoder.of.a_rather_long_name_of_a_setting_that_goes_on",
        "train.kl_weight_of_it",
    ]
    yield "one trial", table(weight((0.1,)), latents((8,)), values=(90.0,), numbers=(7,))
    yield "one complete", table(states=("complete", *["pruned", "failed"] * 2, "pruned"))
    yield "equal, one parameter", table(weight(), values=(-5.0,) * 6)
    yield (
        "wide",
        table(weight(np.logspace(-3, 6, 6).tolist()), latents(), values=np.logspace(-3, 6, 6)),
    )
    lacking = Parameter("train.none_of_it", (None,) * 6)
    some = Parameter("model.activation", (None, "leaky_relu", "gelu", None, "silu", "softplus"))
    yield "lacking", table(latents(), weight((None, *WEIGHTS[1:])), some, lacking)
    changes: dict[str, Any] = {"measure": "validation log-likelihood of it all, " * 3 + "nats"}
    named = [Parameter(name, WEIGHTS, log=True) for name in long]
    negative = (-1234.5, -1234.6, math.nan, -1.2e5, math.inf, -1235.0)
    yield "long, negative", table(*named, values=negative, minimize=False, **changes)


def extreme_figures() -> Iterator[tuple[str, Figure]]:
    for name, study_table in extreme_tables():
        first, *others = (parameter.name for parameter in study_table.parameters)
        second = others[0] if others else first
        yield f"{name}: history", study.history_figure(study_table)
        yield f"{name}: slices", study.slice_figure(study_table)
        yield f"{name}: contour", study.contour_figure(study_table, second, first)
        yield f"{name}: parallel", study.parallel_figure(study_table)
        yield (
            f"{name}: weight",
            study.weight_figure(study_table, first, 0.5, others[-1] if others else None),
        )
    yield (
        "importances",
        study.importance_figure({f"a_very.long_name_{k}" * 4: 0.0 for k in range(9)}),
    )
    one, none = np.array([30.0]), np.array([False])
    yield "one point", pareto_front.rate_distortion_figure(one, -one, one, ~none, [0])
    yield "no front", pareto_front.rate_distortion_figure(one, one, 0 * one, none, [])
    images = np.zeros((2, 30, 1, 8, 8), np.float32)
    yield "samples", pareto_front.front_samples_figure(images, ["a long label " * 9] * 2)


def test_extreme_studies_are_drawn_without_cut_off_or_overlapping_text():
    for name, figure in extreme_figures():
        assert_readable(figure, name)


def test_study_figures_leave_matplotlib_unchanged_and_load_no_pyplot():
    before = dict(matplotlib.rcParams)
    study.slice_figure(table())
    plane()
    assert dict(matplotlib.rcParams) == before
    check = "import sys, vaelab.figures.pareto_front; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
