"""What the report's figures show and where; that all of it can be read."""

import io
import itertools
import subprocess
import sys
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.figures.factories import assert_readable, normal, texts
from vaelab.figures import attributes, latents, report, report_latents, report_samples
from vaelab.figures.report_samples import ValueAndFloor
from vaelab.figures.style import BLUE, STONE

NOISE = np.random.default_rng(0)


def byte_images(*shape: int) -> np.ndarray:
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def dots(axes: Axes) -> list[list[float]]:
    (found,) = (c for c in axes.collections if isinstance(c, PathCollection))
    return [[float(x), float(y)] for x, y in np.asarray(found.get_offsets())]


# --- bounds


def test_every_image_is_in_the_histogram_and_outliers_are_in_the_end_bins():
    nll = np.concatenate([np.linspace(90, 110, 998), [-1e6, 1e6]])
    (axes,) = report.nll_figure(nll).axes
    heights = [bar.get_height() for bar in bars(axes) if bar.get_height()]
    assert sum(heights) == 1000
    assert axes.get_xlim()[0] > 85
    assert axes.get_xlim()[1] < 115
    assert axes.get_title("left") == "2 outside this range, counted in the end bins"
    assert axes.get_lines()[0].get_label() == "mean 99.8"
    (plain,) = report.nll_figure(np.array([3.0, 3.0])).axes
    assert sum(bar.get_height() for bar in bars(plain)) == 2
    assert plain.get_title("left") == ""


def test_effective_sample_sizes_run_from_one_to_k():
    # Rounding may take a size a little below 1.
    sizes = np.array([1 - 1e-9, 1.0, 10.0, 100.0])
    (axes,) = report.effective_samples_figure(sizes, 100).axes
    assert sum(bar.get_height() for bar in bars(axes)) == 4
    assert axes.get_xlim() == pytest.approx((1, 100))
    assert "K = 100" in axes.get_xlabel()
    assert axes.get_lines()[0].get_xdata() == pytest.approx([28, 28])


def test_bounds_are_drawn_as_dots_in_order():
    ladders = {
        "test images": {"loose": -3.0, "tight": -5.5},
        "simulated": {"upper": 1.0, "lower": 0.5},
    }
    figure = report.bound_ladder_figure(ladders)
    first, second = figure.axes
    assert dots(first) == [[-3, 0], [-5.5, 1]]
    assert dots(second) == [[1, 0], [0.5, 1]]
    assert [label.get_text() for label in first.get_yticklabels()] == ["loose", "tight"]
    assert [text.get_text() for text in first.texts] == ["−3", "−5.5"]
    assert first.get_ylim()[0] > first.get_ylim()[1], "the first is on top"
    title = figure.get_suptitle()
    assert "loosest" not in title, "bounds are in the order of the mapping"
    assert (first.get_title("left"), second.get_title("left")) == ("test images", "simulated")


def test_the_rate_is_a_stacked_bar_and_negative_parts_have_no_length():
    (axes,) = report.rate_split_figure({"a": 4.0, "b": -0.5, "c": 2.0}, 5.5, 9.2).axes
    found = [(bar.get_x(), bar.get_width()) for bar in bars(axes)]
    assert found == [(0, 4), (4, 0), (4, 2)]
    (legend,) = axes.get_figure().legends  # type: ignore[union-attr]
    assert [text.get_text() for text in legend.get_texts()] == ["a: 4", "b: −0.5", "c: 2"]
    assert axes.get_lines()[0].get_xdata() == [9.2, 9.2]
    assert axes.get_xlim()[1] > 9.2, "the cap is in sight"


# --- the latent space


def test_inactive_dimensions_are_marked_by_a_cross():
    kl = np.array([0.02, 3.0, 0.5, 1.0], np.float32)
    (axes,) = report_latents.collapse_figure(kl, np.array([False, True, False, True])).axes
    # By KL: z1, z3, z2, z0
    assert [at for at, _ in dots(axes)] == [2, 3]
    (none,) = report_latents.collapse_figure(kl, np.ones(4, np.bool_)).axes
    assert dots(none) == []


def test_variances_are_split_at_the_threshold():
    variances = np.array([0.0, 1e-12, 0.009, 0.011, 0.5, 1.0])
    figure = report_latents.variances_figure(variances, 0.01)
    (axes,) = figure.axes
    counted: dict[str, float] = {}
    for bar in bars(axes):
        color = matplotlib.colors.to_hex(bar.get_facecolor())
        counted[color] = counted.get(color, 0) + bar.get_height()
    assert counted == {BLUE: 3, STONE: 3}
    assert axes.get_lines()[0].get_xdata() == [0.01, 0.01]
    (legend,) = figure.legends
    shown = {text.get_text() for text in legend.get_texts()}
    assert shown == {"active: 3", "not active: 3", "threshold 0.01"}


def test_moments_reach_one_standard_deviation_to_either_side():
    means, stddevs = np.array([0.0, 2.0]), np.array([1.0, 0.5])
    (axes,) = report_latents.moments_figure(means, stddevs).axes
    (lines,) = (c for c in axes.collections if not isinstance(c, PathCollection))
    reach = [segment[:, 1].tolist() for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert reach == [[-1, 1], [1.5, 2.5]]
    (band,) = bars(axes)
    assert matplotlib.colors.to_hex(band.get_edgecolor()) == STONE, "its ends can be seen"
    assert (band.get_y(), band.get_height()) == (-1, 2)


def test_factor_maps_have_a_row_a_factor():
    values = np.array([[0.0, 1.0, 0.2], [0.5, 0.0, 0.0]])
    figure = report_latents.factor_maps_figure({"information": values}, ["shape", "scale"])
    axes = figure.axes[0]
    (mesh,) = axes.collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(2, 3), values)
    labels = {label.get_text(): label.get_position()[1] for label in axes.get_yticklabels()}
    assert labels == {"shape": 0.5, "scale": 1.5}
    assert axes.get_ylim() == (2, 0), "the first factor is on top"
    assert axes.get_title("left") == "information"


# --- samples


def test_distances_are_multiples_of_their_floors():
    found = {"pixels": ValueAndFloor(6.0, 2.0), "components": ValueAndFloor(0.5, 1.0)}
    (axes,) = report_samples.distances_figure(found).axes
    assert dots(axes) == [[3, 0], [0.5, 1]]
    assert [text.get_text() for text in axes.texts] == ["3×", "0.5×"]
    assert axes.get_lines()[0].get_xdata() == [1, 1]
    assert axes.get_xlim()[0] < 0.5


def test_floors_are_drawn_beside_the_values_of_samples():
    shares = {"precision": ValueAndFloor(0.8, 0.9), "density": ValueAndFloor(2.5, 1.1)}
    (axes,) = report_samples.precision_recall_figure({"pixels": shares}).axes
    assert [bar.get_width() for bar in bars(axes)] == [0.8, 2.5]
    (floors,) = axes.collections
    at = [segment[0, 0] for segment in floors.get_segments()]  # type: ignore[attr-defined]
    assert at == [0.9, 1.1]
    assert axes.get_xlim()[1] > 2.5


def test_class_shares_of_samples_and_real_images_are_drawn_side_by_side():
    samples, real = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    (axes,) = report_samples.class_shares_figure(samples, real, ["cat", "dog"]).axes
    assert [bar.get_height() for bar in bars(axes)] == [0.75, 0.25, 0.5, 0.5]
    assert [bar.get_facecolor() == bars(axes)[0].get_facecolor() for bar in bars(axes)][2:] == [
        False,
        False,
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]


def test_class_names_are_not_parsed_as_formulas():
    name = r"$\frac{$"
    drawing = report_samples.class_shares_figure(np.ones(1), np.ones(1), [name])
    maps = report_latents.factor_maps_figure({"map": np.eye(2)}, [name, "b"])
    classes, means = np.array([0, 1]), normal(2, 3).astype(np.float32)
    scatter = latents.latent_scatter(means, classes, [name, "a"])
    strip = latents.latent_scatter(means[:, :1], classes, [name, "a"])
    pair = np.zeros((1, 3, 1, 4, 4), np.float32)
    edited = attributes.class_arithmetic_figure(pair, [name], [name])
    for figure in (drawing, maps, scatter, strip, edited):
        figure.savefig(io.BytesIO(), format="svg")
        assert any(r"\$" in text.get_text() for text in texts(figure))


def test_each_sample_is_above_its_nearest_training_image():
    samples, nearest = np.zeros((2, 1, 4, 4), np.uint8), np.full((2, 1, 4, 4), 255, np.uint8)
    (axes,) = report_samples.nearest_figure(samples, nearest).axes
    canvas = np.asarray(axes.get_images()[0].get_array())
    assert canvas[:10, :10].max() == 0
    assert canvas[-10:, -10:].min() == 255
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sample", "nearest"]
    many = report_samples.nearest_figure(byte_images(99, 1, 4, 4), byte_images(99, 1, 4, 4))
    assert len(many.axes[0].get_yticklabels()) == 6, "no more than three rows of pairs"


def test_paths_of_one_pair_are_in_adjacent_rows():
    line, arc = np.zeros((2, 3, 1, 4, 4), np.uint8), np.full((2, 3, 1, 4, 4), 255, np.uint8)
    (axes,) = report_samples.interpolation_steps_figure({"line": line, "arc": arc}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["line", "arc"] * 2
    canvas = np.asarray(axes.get_images()[0].get_array())
    tops = [round(label.get_position()[1]) for label in axes.get_yticklabels()]
    assert [canvas[top, 5].max() for top in tops] == [0, 255, 0, 255]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.00", "0.50", "1.00"]
    (alone,) = report_samples.interpolation_steps_figure({"arc": arc}).axes
    assert [label.get_text() for label in alone.get_yticklabels()] == ["arc"] * 2


# --- that it can be read


def figures() -> Iterator[tuple[str, Figure]]:
    """Every figure at its usual size and at its extremes."""
    for count, scale in itertools.product((1, 10_000), (1e-3, 1e4)):
        yield f"nll {count}, {scale}", report.nll_figure(scale * normal(count) - 2 * scale)
    for samples in (2, 5000):
        sizes = np.linspace(1, samples, 400)
        yield f"sizes {samples}", report.effective_samples_figure(sizes, samples)
    steps = {"negative ELBO": -1234.5, "NLL, K = 2,500": -1240.25, "NLL, K = 5,000": -1240.5}
    simulated = {"NLL, K = 5,000": 81.2, "annealed, upper": 80.9, "annealed, lower": 80.4}
    yield (
        "two ladders",
        report.bound_ladder_figure({"a": steps, "16 images of the model": simulated}),
    )
    yield "one ladder", report.bound_ladder_figure({"10,000 test images": steps})
    yield "flat ladder", report.bound_ladder_figure({"a": dict.fromkeys(steps, 0.0)})
    names = ("mutual information", "total correlation", "dimension-wise KL")
    for parts, cap in itertools.product(((9.2, 14.1, 3.3), (0.0, -0.1, 0.0)), (0.0, 9.21)):
        split = dict(zip(names, parts, strict=True))
        yield f"rate {parts}, {cap}", report.rate_split_figure(split, sum(parts), cap)
    for latent in (1, 20, 256):
        kl, means = np.abs(normal(latent)).astype(np.float32), normal(latent)
        yield f"collapse {latent}", report_latents.collapse_figure(kl, kl > 0.7)
        yield f"variances {latent}", report_latents.variances_figure(kl**8, 0.01)
        yield f"moments {latent}", report_latents.moments_figure(means, np.abs(means) + 0.1)
        for factors in (1, 40):
            maps = {name: np.abs(normal(factors, latent)) for name in names[:2]}
            texts_of = [f"a factor {k}" for k in range(factors)]
            drawing = report_latents.factor_maps_figure(maps, texts_of)
            yield f"factors {latent}, {factors}", drawing
    spaces = ("classifier features", "pixels", "principal components", "Inception features")
    for count, ratio in itertools.product((1, 4), (0.3, 4e4)):
        found = {
            space: ValueAndFloor(ratio * (k + 1), 1.0) for k, space in enumerate(spaces[:count])
        }
        yield f"distances {count}, {ratio}", report_samples.distances_figure(found)
        shares = {name: ValueAndFloor(ratio, 0.9) for name in ("precision", "recall", "density")}
        every = dict.fromkeys(spaces[:count], shares)
        yield f"shares {count}, {ratio}", report_samples.precision_recall_figure(every)
    for classes in (2, 26, 200):
        shares_of = np.full(classes, 1 / classes)
        for short in (True, False):
            class_names = [str(k) if short else f"a long name of class {k}" for k in range(classes)]
            drawing = report_samples.class_shares_figure(shares_of, shares_of, class_names)
            yield f"classes {classes}, {short}", drawing
    for count, size in itertools.product((1, 36), (4, 64)):
        images = byte_images(count, 3, size, size)
        yield f"nearest {count}, {size}", report_samples.nearest_figure(images, images)
        paths = byte_images(min(count, 8), 10, 1, size, size)
        yield (
            f"paths {count}, {size}",
            report_samples.interpolation_steps_figure({"line": paths, "arc": paths}),
        )


def test_no_text_is_cut_off_or_overlaps_another():
    for name, figure in figures():
        assert_readable(figure, name)


def test_figures_leave_matplotlib_unchanged_and_load_no_pyplot():
    before = dict(matplotlib.rcParams)
    report.nll_figure(normal(9))
    report_latents.collapse_figure(np.ones(3, np.float32), np.ones(3, np.bool_))
    report_samples.nearest_figure(byte_images(2, 1, 4, 4), byte_images(2, 1, 4, 4))
    assert dict(matplotlib.rcParams) == before
    check = "import sys, vaelab.report; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
