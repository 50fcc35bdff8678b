"""What the figures show and where; that all of it can be read."""

import io
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests import ROOT
from tests.figures.factories import assert_readable, flat, normal, random_images
from vaelab.estimators.embedding import t_sne
from vaelab.figures import curves, grids, image_tiles, latent_maps, latents, saving
from vaelab.figures.style import CLASS_COLORS

MEANS = normal(30, 2)


def history(epochs: int) -> dict[str, np.ndarray]:
    falling = 100 + 50 * np.exp(-np.arange(epochs) / 5)
    names = [
        "train.generation_loss_nats",
        "train.kl_loss_nats",
        "validation.neg_elbo_nats",
        "validation.generation_loss_nats",
        "validation.kl_loss_nats",
    ]
    return {"epoch": np.arange(1, epochs + 1), **{name: falling.copy() for name in names}}


# --- tiles


def test_arrange_fills_rows_from_the_left_and_leaves_the_rest_blank():
    grid = image_tiles.arrange(flat(np.arange(5, dtype=np.float32)), 3)
    assert grid.shape == (2, 3, 1, 2, 3)
    np.testing.assert_array_equal(grid[..., 0, 0, 0], [[0, 1, 2], [3, 4, np.nan]])


def test_arrange_pairs_puts_each_second_below_its_first():
    first = flat(np.array([1.0, 2.0, 3.0], np.float32))
    grid = image_tiles.arrange_pairs(first, first / 10, 2)
    expected = np.array([[1, 2], [0.1, 0.2], [3, np.nan], [0.3, np.nan]])
    np.testing.assert_allclose(grid[..., 0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tile_shows_image_i_j_at_row_i_column_j(channels):
    images = random_images(6, channels, 4, 5).reshape(2, 3, channels, 4, 5)
    canvas = image_tiles.tile_images(images, scale=2, gap=3, row_breaks=(1,), column_breaks=(2,))
    # A tile is 8 x 10 pixels; a gap 3, with a break 3 + 9.
    assert canvas.shape == (8 + 12 + 8, 10 + 3 + 10 + 12 + 10, 3)
    assert canvas.dtype == np.uint8
    for (i, top), (j, left) in itertools.product(enumerate((0, 20)), enumerate((0, 13, 35))):
        shown = canvas[top : top + 8 : 2, left : left + 10 : 2]
        expected = np.rint(255 * images[i, j].transpose(1, 2, 0))
        np.testing.assert_array_equal(shown, np.broadcast_to(expected, (4, 5, 3)))
        doubled = canvas[top + 1 : top + 8 : 2, left + 1 : left + 10 : 2]
        np.testing.assert_array_equal(doubled, shown)
    assert (canvas[8:20] == 255).all()
    assert (canvas[:, 23:35] == 255).all()


def test_missing_pixels_have_a_color_of_their_own():
    images = np.array([[0.2, np.nan], [np.nan, 1]], np.float32)
    whole = np.zeros((1, 1, 1, 2, 2), np.float32)
    tiles = np.concatenate([images[None, None, None], whole], axis=1)
    canvas = image_tiles.tile_images(tiles, gap=1)
    assert canvas[0, 0].tolist() == [51] * 3
    assert canvas[0, 1].tolist() == canvas[1, 0].tolist() == list(image_tiles.MISSING)
    assert (canvas[:, 3:] == 0).all()


def test_blank_images_are_white():
    assert (image_tiles.tile_images(flat(np.full((1, 1), np.nan, np.float32))) == 255).all()


@pytest.mark.parametrize(("side", "tile_side"), [(8, 32), (28, 56), (32, 32), (64, 64)])
def test_progress_images_enlarge_small_images(side, tile_side):
    samples = image_tiles.progress_samples(random_images(20, 1, side, side), columns=5)
    assert samples.shape == (4 * tile_side + 3 * 2, 5 * tile_side + 4 * 2, 3)


def test_progress_pairs_alternate_originals_and_reconstructions():
    bright, dark = flat(np.full(3, 0.8), 1, 32, 32), flat(np.full(3, 0.2), 1, 32, 32)
    canvas = image_tiles.progress_pairs(bright, dark, columns=2)
    # Rows of 32 pixels: original, gap 2, decoded, gap 2 + 6 for the break, and so on.
    assert [int(canvas[y, 5, 0]) for y in (5, 39, 79, 113)] == [204, 51, 204, 51]


# --- what figures show


def test_a_grid_has_each_image_under_its_labels():
    images = flat(np.arange(12, dtype=np.float32).reshape(3, 4) / 15)
    rows, columns = ["a", "b", "c"], ["p", "q", "r", "s"]
    figure = grids.image_grid(
        images, "t", row_labels=rows, column_labels=columns, row_breaks=[1], column_breaks=[1, 3]
    )
    (axes,) = figure.axes
    canvas = axes.get_images()[0].get_array()
    assert canvas is not None
    assert [label.get_text() for label in axes.get_yticklabels()] == rows
    assert [label.get_text() for label in axes.get_xticklabels()] == columns
    for (i, y), (j, x) in itertools.product(
        enumerate(axes.get_yticks()), enumerate(axes.get_xticks())
    ):
        assert canvas[int(y), int(x), 0] == 17 * (4 * i + j)  # 255 / 15 = 17


def test_traversals_are_labeled_with_dimension_kl_and_values():
    images = random_images(6).reshape(2, 3, 1, 8, 8)
    kl = np.array([0.1, 0.25, 1.5], np.float32)
    (axes,) = grids.traversals_figure(images, [2, 1], kl, 3.0).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["z₂   KL 1.50 nats", "z₁   KL 0.25 nats"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["−3.0", "0.0", "3.0"]


def test_the_title_of_a_manifold_names_its_dimensions():
    images, quantiles = random_images(9).reshape(3, 3, 1, 8, 8), np.array([-1.0, 0, 1], np.float32)
    plane = grids.manifold_figure(images, [1, 0], quantiles)
    assert "z₁ × z₀" in plane.get_suptitle()
    assert [label.get_text() for label in plane.axes[0].get_yticklabels()] == ["1.0", "0.0", "−1.0"]


def test_principal_components_match_the_covariance():
    means = normal(200, 4) * np.array([3.0, 2.0, 1.0, 0.1], np.float32)
    points, shares = latent_maps.principal_components(means)
    eigenvalues = np.linalg.eigvalsh(np.cov(means.T))[::-1]
    np.testing.assert_allclose(shares, eigenvalues[:2] / eigenvalues.sum(), rtol=1e-4)
    np.testing.assert_allclose(points.var(axis=0, ddof=1), eigenvalues[:2], rtol=1e-4)
    (axes,) = latents.latent_scatter(means).axes
    assert axes.get_xlabel() == f"component 1 ({shares[0]:.0%})"
    assert axes.get_ylabel() == f"component 2 ({shares[1]:.0%})"


def test_two_latents_are_drawn_unprojected_in_class_colors():
    means, labels = normal(30, 2), np.arange(30) % 12
    figure = latents.latent_scatter(means, labels, [f"class {k}" for k in range(12)])
    axes, (legend,) = figure.axes[0], figure.legends
    plotted = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections])
    np.testing.assert_allclose(np.sort(plotted, axis=0), np.sort(means, axis=0))
    assert len(axes.collections) == 2  # ten colours with one marker, two with another
    assert [text.get_text() for text in legend.get_texts()] == [f"class {k}" for k in range(12)]
    assert axes.get_xlabel() == "mean of z₀"


def test_images_of_unknown_labels_are_a_class_of_their_own_in_the_scatter():
    labels = np.arange(30) % 3 - 1
    figure = latents.latent_scatter(normal(30, 2), labels, ["left", "right"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["left", "right", "unknown"]
    plotted = [np.asarray(dots.get_offsets()) for dots in figure.axes[0].collections]
    assert len(np.concatenate(plotted)) == 30


def test_many_dimensions_are_a_map_beside_their_principal_components():
    means, labels = normal(60, 5), np.arange(60) // 20
    means[labels == 1] += 20
    means[labels == 2] -= 20
    found = t_sne(means, seed=0)
    assert found is not None
    maps = latent_maps.latent_maps(means, embedded=found)
    figure = latents.latent_scatter(means, labels, maps=maps)
    mapped, plane = figure.axes
    assert mapped.get_title("left").startswith("t-SNE")
    assert plane.get_xlabel().startswith("component 1 (")
    points = np.asarray(mapped.collections[0].get_offsets())
    rows = found[1]
    centers = np.stack([points[labels[rows] == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - centers, axis=-1).argmin(1)
    np.testing.assert_array_equal(nearest, labels[rows])
    assert figure.legends[0].get_title().get_text() == "class"
    again = t_sne(means, seed=0)
    assert again is not None
    np.testing.assert_array_equal(points, again[0])
    (only,) = latents.latent_scatter(means, labels).axes
    assert only.get_xlabel().startswith("component 1 (")


@pytest.mark.parametrize("shape", [(60, 2), (9, 5)])
def test_few_images_and_two_dimensions_have_no_map(shape):
    assert t_sne(normal(*shape), seed=0) is None
    assert t_sne(np.ones((60, 5), np.float32), seed=0) is None


def test_points_of_other_images_are_refused():
    points, rows = normal(3, 2), np.array([0, 2, 5])
    arrays = {"map_points": points, "map_rows": rows}
    assert latent_maps.embedded_latents({"map_points": points}, 6) is None
    assert latent_maps.embedded_latents(arrays, 6) == (points, rows)
    for wrong in (arrays, arrays | {"map_points": points[:2]}, arrays | {"map_rows": rows / 2}):
        with pytest.raises(ValueError, match="map_points and map_rows are not of the 5 test"):
            latent_maps.embedded_latents(wrong, 5)


def latent_images(
    means: np.ndarray,
    labels: np.ndarray | None = None,
    names: list[str] | None = None,
    images: np.ndarray | None = None,
) -> Figure:
    images = random_images(len(means), 1, 8, 8) if images is None else images
    (first, *_) = latent_maps.latent_maps(means, embedded=t_sne(means, seed=0))
    return latents.latent_images_figure(first, images.__getitem__, labels, names)


def test_images_are_at_their_points_of_the_map_and_do_not_overlap():
    means, labels = normal(200, 2), np.arange(200) % 2
    # The brightness of an image is its number.
    images = flat(np.arange(200, dtype=np.float32) / 255, 1, 6, 8)
    (axes,) = latent_images(means, labels, ["left", "right"], images).axes
    shown = axes.get_images()
    boxes = np.array([image.get_extent() for image in shown])
    numbers = [int(np.asarray(image.get_array())[0, 0, 0]) for image in shown]
    assert 10 < len(numbers) < 200
    centers = np.stack([boxes[:, :2].mean(1), boxes[:, 2:].mean(1)], axis=1)
    np.testing.assert_allclose(centers, means[numbers], atol=1e-4)
    sides = np.ptp(boxes[0].reshape(2, 2), axis=1)
    assert sides[1] / sides[0] == pytest.approx(6 / 8, rel=1e-4)
    for (i, one), (j, other) in itertools.combinations(enumerate(centers), 2):
        assert (np.abs(one - other) >= sides).any(), f"{numbers[i]} and {numbers[j]} overlap"
    frames = [to_hex(patch.get_edgecolor()) for patch in axes.patches]
    assert frames == [CLASS_COLORS[labels[number]] for number in numbers]


@pytest.mark.parametrize("extension", ["png", "svg", "pdf"])
def test_equal_figures_are_equal_files(extension, tmp_path):
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[extension]
    files = [
        saving.figure_files(latents.latent_scatter(MEANS), "scatter", [extension], 50)
        for _ in range(2)
    ]
    assert files[0] == files[1]
    assert list(files[0]) == [f"scatter.{extension}"]
    assert files[0][f"scatter.{extension}"].startswith(start)


def test_figures_replace_those_of_an_earlier_format(tmp_path):
    for name in ("old.svg", "a.pdf", "report.md"):
        (tmp_path / name).write_text("")
    saving.write_figures(tmp_path, {"a.png": b"1", "a.svg": b"2"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "report.md"]


def test_only_one_module_saves_figures():
    savers = {
        path.name
        for folder in ("src", "pipeline")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\.savefig\(|canvas_class\(", path.read_text())
    }
    assert savers == {"saving.py"}


def image_traversals() -> Figure:
    image = random_images(1)[0]
    rows = random_images(33).reshape(3, 11, 1, 8, 8)
    return grids.image_traversals_figure(image, image, rows, [4, 0, 1], 3.0)


def test_the_image_the_decoded_one_and_each_step_of_a_traversal_are_labeled():
    labels = [label.get_text() for label in image_traversals().axes[0].get_xticklabels()]
    assert labels[:4] == ["image", "decoded", "−3.0", "−2.4"]
    assert len(labels) == 13


def test_the_explorer_has_the_same_colors():
    script = (ROOT / "src/vaelab/explorer/page/map.js").read_text()
    assert tuple(re.findall(r'"(#[0-9a-f]{6})"', script)[:10]) == CLASS_COLORS


def test_many_points_are_subsampled_by_the_seed():
    means, labels = normal(300, 2), np.zeros(300, np.int64)
    plotted = [
        np.asarray(
            latents.latent_scatter(means, labels, limit=50, seed=seed)
            .axes[0]
            .collections[0]
            .get_offsets()
        )
        for seed in (1, 1, 2)
    ]
    assert len(plotted[0]) == 50
    np.testing.assert_array_equal(plotted[0], plotted[1])
    assert not np.array_equal(plotted[0], plotted[2])


def test_histograms_are_in_order_and_show_their_moments():
    samples = np.stack([np.full(100, 2.0), np.linspace(-1, 1, 100)], 1).astype(np.float32)
    first, second = latents.aggregate_posterior_figure(samples, [1, 0]).axes
    # The standard deviation of a uniform distribution on [-1, 1] is 1 / sqrt(3) = 0.58.
    assert first.get_title("left") == "z₁: mean 0.00, stddev 0.58"
    assert second.get_title("left") == "z₀: mean 2.00, stddev 0.00"
    area = sum(bar.get_width() * bar.get_height() for bar in first.patches)  # type: ignore[attr-defined]
    assert area == pytest.approx(1, abs=1e-5)


def test_the_bound_is_the_sum_of_its_parts_and_its_best_epoch_is_marked():
    columns = history(10)
    columns["validation.neg_elbo_nats"][6] = 90
    figure = curves.loss_curves(columns)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["Negative evidence lower bound", "Generation loss", "KL loss"]
    train = figure.axes[0].get_lines()[0]
    parts = columns["train.generation_loss_nats"] + columns["train.kl_loss_nats"]
    np.testing.assert_array_equal(train.get_ydata(), parts)
    assert "best epoch: 7" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_early_huge_values_are_clipped():
    columns = history(100)
    columns["train.generation_loss_nats"][0] = 52345
    generation = curves.loss_curves(columns).axes[1]
    assert generation.get_ylim()[1] < 200
    assert [text.get_text() for text in generation.texts] == ["↑ up to 52,345"]


def test_other_losses_are_drawn_and_a_history_without_losses_is_refused():
    other = {"epoch": np.arange(3), "train.generator.loss": np.ones(3)}
    assert [axes.get_title("left") for axes in curves.loss_curves(other).axes] == ["generator loss"]
    with pytest.raises(ValueError, match=r"no losses among these columns: epoch, train\.rate"):
        curves.loss_curves({"epoch": np.arange(3), "train.rate": np.ones(3)})


def test_missing_values_are_skipped():
    columns = history(4)
    columns["validation.kl_loss_nats"][[0, 2]] = np.nan
    kl = curves.loss_curves(columns).axes[2]
    np.testing.assert_array_equal(kl.get_lines()[1].get_xdata(), [2, 4])


def test_kl_bars_are_sorted_and_count_the_active_ones():
    kl = np.array([0.1, 2.0, 0.0, 1.0], np.float32)
    figure = curves.kl_bars_figure(kl, kl > 0.5)
    (axes,) = figure.axes
    heights = np.array([bar.get_height() for bar in axes.patches]).reshape(2, 4).sum(0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(heights, [2.0, 1.0, 0.1, 0.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["z₁", "z₃", "z₀", "z₂"]
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "active: 2 of 4"
    assert "3.1 nats" in figure.get_suptitle()


def test_the_kl_map_has_the_dimension_of_highest_kl_on_top():
    kl = np.abs(normal(5, 12))
    axes = curves.kl_history_figure(np.arange(1, 6), kl).axes[0]
    shown = axes.get_images()[0].get_array()
    np.testing.assert_array_equal(shown, kl[:, np.argsort(-kl[-1])].T)


# --- that it can be read


def figures() -> Iterator[tuple[str, Figure]]:
    """Every figure at its usual size and at its extremes."""
    yield "one sample", grids.samples_figure(random_images(1))
    yield "samples", grids.samples_figure(random_images(100, 3, 28, 20))
    yield "one pair", grids.reconstructions_figure(random_images(1), random_images(1))
    yield "pairs", grids.reconstructions_figure(random_images(100), random_images(100))
    rows = random_images(80).reshape(8, 10, 1, 8, 8)
    yield "interpolations", grids.interpolations_figure(random_images(8), random_images(8), rows)
    many = random_images(600).reshape(20, 30, 1, 8, 8)
    kl = np.linspace(1, 30, 300, dtype=np.float32)
    yield "traversals", grids.traversals_figure(many, range(280, 300), kl, 3.0)
    yield "no KL", grids.traversals_figure(many[:1, :3], [0], None, 3.0)
    square = random_images(400, 1, 28, 28).reshape(20, 20, 1, 28, 28)
    quantiles = np.linspace(-2, 2, 20, dtype=np.float32)
    yield "manifold", grids.manifold_figure(square, [137, 201], quantiles)
    yield "line", grids.manifold_figure(square[:1], [0], quantiles)
    holes = np.where(np.arange(20)[:, None, None, None, None] % 3, square, np.nan)
    yield "map", grids.map_figure(holes, "a map with holes")
    yield "around an image", image_traversals()
    names = [f"a rather long name of a class {k}" for k in range(62)]
    for latent, classes in itertools.product((1, 2, 20), (None, 1, 10, 26, 62, 200)):
        labels = None if classes is None else np.arange(400) % classes
        class_names = names[:classes] if classes in (10, 62) else None
        yield (
            f"{latent}, {classes}",
            latents.latent_scatter(normal(400, latent), labels, class_names),
        )
    for count, classes in ((1, 1), (12, None), (400, 10), (400, 62)):
        labels = None if classes is None else np.arange(count) % classes
        drawn = latent_images(normal(count, 5), labels, names[: classes or 0] or None)
        yield f"images of {count}, {classes}", drawn
    yield "density", latents.latent_scatter(normal(3000, 2))
    yield "one image", latents.latent_scatter(normal(1, 5), np.zeros(1, np.int64))
    yield "collapsed", latents.latent_scatter(np.zeros((9, 5), np.float32))
    wide = np.concatenate([normal(50, 12) * 40, np.zeros((50, 1), np.float32)], axis=1)
    yield "histograms", latents.aggregate_posterior_figure(wide, range(13))
    yield "one histogram", latents.aggregate_posterior_figure(wide[:1], [0])
    yield "losses", curves.loss_curves(history(100))
    yield "one epoch", curves.loss_curves(history(1))
    yield "one loss", curves.loss_curves({"train.kl_loss_nats": np.ones(3)})
    for latent, epochs in itertools.product((1, 2, 10, 256), (1, 40)):
        values = np.abs(normal(epochs, latent))
        yield f"KL {latent}, {epochs}", curves.kl_history_figure(np.arange(1, epochs + 1), values)
    for latent in (1, 20, 256):
        values = np.abs(normal(latent))
        yield f"KL bars {latent}", curves.kl_bars_figure(values, values > 1)


def test_no_text_is_cut_off_or_overlaps_another():
    for name, figure in figures():
        assert_readable(figure, name)


def test_figures_leave_matplotlib_unchanged():
    before = dict(matplotlib.rcParams)
    figures_drawn = [
        grids.samples_figure(random_images(4)),
        latents.latent_scatter(normal(9, 2), np.arange(9)),
        latents.aggregate_posterior_figure(normal(9, 2), [0]),
        curves.loss_curves(history(3)),
        curves.kl_history_figure(np.arange(1, 4), np.abs(normal(3, 12))),
        curves.kl_bars_figure(np.abs(normal(3)), np.ones(3, np.bool_)),
    ]
    for figure in figures_drawn:
        figure.savefig(io.BytesIO(), format="png")
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_loaded_and_tiles_do_not_load_matplotlib():
    check = (
        "import sys, vaelab.figures.image_tiles; assert 'matplotlib' not in sys.modules;"
        "import vaelab.figures.grids, vaelab.figures.latents, vaelab.figures.curves;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
