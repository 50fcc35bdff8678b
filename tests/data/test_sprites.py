"""Sprites against closed forms: area, centroid and turn of each shape; rows, subsets, files."""

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vaelab.config import DataSettings, UserError, parse_settings
from vaelab.data import sources
from vaelab.data.dataset import SPLITS, PreparedData
from vaelab.data.prepare import prepare
from vaelab.data.source import Source
from vaelab.data.sources import sprites

MIDDLE = (16, 16)
STEP = 2 * np.pi / 39
ALL_SPRITES = np.array([(*which, *MIDDLE) for which in np.ndindex(3, 6, 40)])


def white(factors: np.ndarray) -> np.ndarray:
    """Whether each pixel is white: [count, 64, 64]."""
    return sprites.draw(factors)[:, 0] > 0


def positions(factors: np.ndarray) -> list[np.ndarray]:
    """The white pixels of each image as x + iy from its sprite's middle, y upwards."""
    middle = factors[:, 3:] + 16
    found = []
    for image, (x, y) in zip(white(factors), middle, strict=True):
        rows, columns = np.nonzero(image)
        found.append((columns - x) - 1j * (rows - y))
    return found


def at_scale(shape: int, scale: int, orientations: int = 39) -> np.ndarray:
    """The factors of a shape in the middle, in its different orientations."""
    return np.array([(shape, scale, step, *MIDDLE) for step in range(orientations)])


def settings(**changes: object) -> DataSettings:
    return parse_settings({"data": {"name": "sprites", **changes}}).data


def read(**changes: object) -> tuple[Source, np.ndarray]:
    """The source and the factors of its images."""
    source = sprites.read(settings(**changes), Path("data/raw/sprites"))
    assert source.train.factors is not None
    return source, source.train.factors


def test_factors_are_every_combination_once_y_fastest():
    counts = (3, 6, 40, 32, 32)
    assert np.prod(counts) == sprites.IMAGES == 737_280
    factors = sprites.factors_of(np.arange(sprites.IMAGES))
    np.testing.assert_array_equal(factors, np.indices(counts).reshape(5, -1).T)
    assert factors.dtype == np.int64


def test_images_are_binary_and_white_on_black():
    images = sprites.draw(ALL_SPRITES)
    assert images.shape == (720, 1, 64, 64)
    assert images.dtype == np.uint8
    assert np.unique(images).tolist() == [0, 255]
    assert images.mean() < 255 / 10


@pytest.mark.parametrize(("shape", "scale"), list(np.ndindex(3, 6)))
def test_the_area_follows_the_scale_alone(shape, scale):
    counts = white(at_scale(shape, scale)).sum((1, 2))
    area = 346 * (0.5 + 0.1 * scale) ** 2
    # turned, a shape's border cuts the pixels at random: their number spreads about the area
    assert abs(counts.mean() - area) < 6 * counts.std(ddof=1) / np.sqrt(39)
    assert counts.std() < 0.05 * area


@pytest.mark.parametrize(("shape", "scale"), list(np.ndindex(3, 6)))
def test_a_shape_turns_about_its_centroid(shape, scale):
    centroids = np.array([z.mean() for z in positions(at_scale(shape, scale))])
    assert abs(centroids).max() < 0.25
    # what turned with the shape would not be noise
    turned_back = (centroids * np.exp(-1j * STEP * np.arange(39))).mean()
    assert abs(turned_back) < 6 * abs(centroids).std(ddof=1) / np.sqrt(39) + 0.01


@pytest.mark.parametrize(
    ("shape", "folds", "moment"),
    [
        (0, 4, lambda z: z**4),
        (1, 2, lambda z: z**2),
        (2, 3, lambda z: z**3),
        (2, 1, lambda z: abs(z) ** 2 * z),
    ],
    ids=["square", "ellipse", "heart", "heart's tip"],
)
def test_a_shape_turns_counter_clockwise_by_its_orientation(shape, folds, moment):
    # a moment of n-fold symmetry turns n times as far as the shape
    moments = np.array([moment(z - z.mean()).sum() for z in positions(at_scale(shape, 5))])
    turned_back = np.angle(moments / moments[0] * np.exp(-1j * folds * STEP * np.arange(39)))
    # the heart's moment of no symmetry is small beside the noise of its border
    assert abs(turned_back / folds).max() < (STEP / 2 if folds > 1 else 2 * STEP)


def test_second_and_fourth_moments_are_those_of_ellipse_and_square():
    square, ellipse = (positions(at_scale(shape, 5, 1))[0] for shape in (0, 1))
    # ellipse of half axes a, b: integral of z^2 is area (a^2 - b^2) / 4, where a b = area / pi
    assert (ellipse**2).sum() == pytest.approx(346**2 / np.pi * (2 - 1 / 2) / 4, rel=0.05)
    # square of side s: integral of z^4 is s^6 (2/80 - 6/144)
    assert (square**4).sum() == pytest.approx(-(346**3) / 60, rel=0.15)


def test_the_upright_heart_has_its_tip_below_and_two_lobes_above():
    (heart,) = white(np.array([(2, 5, 0, *MIDDLE)]))
    rows = np.flatnonzero(heart.any(1))
    np.testing.assert_array_equal(heart[:, 33:47], heart[:, 31:17:-1])
    assert heart[rows[-1]].sum() == 1
    changes = np.diff(heart[rows[0]].astype(int))
    assert (changes == 1).sum() == 2


def test_positions_move_the_sprite_by_a_pixel():
    for shape in range(3):
        start = np.array([shape, 5, 7, 0, 0])
        (corner,) = white(start[None])
        for x, y in itertools.product((0, 1, 17, 31), repeat=2):
            (moved,) = white(start[None] + [0, 0, 0, x, y])
            np.testing.assert_array_equal(moved, np.roll(corner, (y, x), (0, 1)))


def test_nothing_leaves_the_frame():
    whole = white(ALL_SPRITES).sum((1, 2))
    for corner in itertools.product((0, 31), repeat=2):
        moved = np.concatenate([ALL_SPRITES[:, :3], np.tile(corner, (720, 1))], axis=1)
        images = white(moved)
        np.testing.assert_array_equal(images.sum((1, 2)), whole)
        border = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
        assert not np.any(border)


def test_orientations_0_and_39_alone_are_always_the_same():
    images = white(ALL_SPRITES).reshape(3, 6, 40, -1)
    np.testing.assert_array_equal(images[:, :, 0], images[:, :, 39])
    kinds = [{image.tobytes() for image in images[which]} for which in np.ndindex(3, 6)]
    different = np.array([len(kind) for kind in kinds]).reshape(3, 6)
    assert different.sum() == 656  # as the module says
    assert (different[2] == 39).all()
    assert (different[:, 5] == 39).all()


def test_a_subset_has_different_rows_drawn_with_the_seed():
    first, again, other = (read(sprites_images=5000, seed=seed)[1] for seed in (0, 0, 1))
    assert len(first) == len(np.unique(first, axis=0)) == 5000
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for factor, count in enumerate((3, 6, 40, 32, 32)):
        error = np.sqrt((count**2 - 1) / 12 / 5000)
        assert abs(first[:, factor].mean() - (count - 1) / 2) < 6 * error


def test_all_images_need_the_memory_of_those_that_are_read():
    tracemalloc.start()
    source, _ = read(sprites_images=None)
    images = source.train.read(np.arange(0, sprites.IMAGES, 10_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.train.count == 737_280
    assert images.shape == (74, 1, 64, 64)
    assert peak < 737_280 * 64 * 64 / 20


@pytest.mark.parametrize("binarization", ["none", "fixed", "fresh"])
def test_prepared_images_are_those_of_their_factors(tmp_path, fetch_from_mirror, binarization):
    chosen = settings(sprites_images=300, binarization=binarization)
    sources.download(chosen, tmp_path / "raw", fetch_from_mirror("sprites"))
    source = sources.read(chosen, tmp_path / "raw")
    info = prepare(source, chosen, tmp_path / "prepared")
    data = PreparedData.load(tmp_path / "prepared")
    assert info.counts == {"train": 228, "validation": 12, "test": 60}
    assert (info.levels, info.image_shape) == (2, (1, 64, 64))
    assert info.class_names == ("square", "ellipse", "heart")
    assert info.factor_names == ("shape", "scale", "orientation", "x", "y")
    for split in SPLITS:
        factors = data.factors(split)
        assert factors is not None
        np.testing.assert_array_equal(data.images(split), sprites.draw(np.array(factors)))
        np.testing.assert_array_equal(data.labels(split), factors[:, 0])
    assert prepare(source, chosen, tmp_path / "prepared").sha256 == info.sha256


def test_resized_sprites_are_grey():
    source, factors = read(sprites_images=50, image_size=[32, 32])
    images = source.train.read(np.arange(50))
    assert images.shape == (50, *source.train.shape) == (50, 1, 32, 32)
    assert source.levels == 256
    assert len(np.unique(images)) > 10
    original = sprites.draw(factors)
    np.testing.assert_allclose(images.mean((1, 2, 3)), original.mean((1, 2, 3)), atol=1)


def test_their_own_size_leaves_them_binary():
    source, factors = read(sprites_images=50, image_size=[64, 64])
    assert source.levels == 2
    np.testing.assert_array_equal(source.train.read(np.arange(50)), sprites.draw(factors))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "greater than or equal to 1"),
        (737_281, "less than or equal to 737280"),
        ("many", "integer"),
        (True, "true and false are not valid here"),
    ],
)
def test_wrong_numbers_of_images_are_refused(value, reason):
    with pytest.raises(UserError, match=f"data.sprites_images: .*{reason}") as caught:
        settings(sprites_images=value)
    assert "\n" not in str(caught.value)


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="sprites: 2 images are too few"):
        prepare(read(sprites_images=2)[0], settings(), tmp_path / "prepared")
