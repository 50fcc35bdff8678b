"""Splits are disjoint, complete and repeatable; binary pixels have the grey ones as mean."""

import numpy as np
import pytest

from vaelab.config import DataSettings, UserError
from vaelab.data.source import ImageSet, Source, from_array
from vaelab.data.splits import Part, binarize, generator, split


def numbered(count: int, first: int = 0) -> ImageSet:
    """Images of one pixel, whose labels number them."""
    labels = np.arange(first, first + count)
    return from_array(np.zeros((count, 1, 1, 1), np.uint8), labels, DataSettings())


def source(train: int, **official: int) -> Source:
    validation, test = (
        numbered(official[name], 1000) if name in official else None
        for name in ("validation", "test")
    )
    names = tuple(str(number) for number in range(2000))
    return Source("made", "here", 256, numbered(train), validation, test, class_names=names)


def numbers(part: Part) -> list[int]:
    assert part.images.labels is not None
    return list(part.images.labels[part.rows])


def test_splits_are_disjoint_and_complete():
    settings = DataSettings(test_fraction=0.2, validation_fraction=0.05)
    parts = split(source(1797), settings)
    # 1797 * 0.2 = 359.4; (1797 - 359) * 0.05 = 71.9
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 1366,
        "validation": 72,
        "test": 359,
    }
    found = [number for part in parts.values() for number in numbers(part)]
    assert sorted(found) == list(range(1797))


def test_splits_are_drawn_at_random():
    parts = split(source(1000), DataSettings())
    # uniform on 0..999: the mean of 200 has a standard error of 288.7 / sqrt(200) * sqrt(0.8)
    assert abs(np.mean(numbers(parts["test"])) - 499.5) < 6 * 288.7 / np.sqrt(200) * np.sqrt(0.8)
    assert numbers(parts["test"]) == sorted(numbers(parts["test"]))


def test_splits_follow_the_seed():
    first, again, other = (split(source(100), DataSettings(seed=seed)) for seed in (1, 1, 2))
    for name in first:
        assert numbers(first[name]) == numbers(again[name])
    assert numbers(first["test"]) != numbers(other["test"])


def test_an_official_test_split_is_kept():
    parts = split(source(100, test=30), DataSettings(validation_fraction=0.1))
    assert numbers(parts["test"]) == list(range(1000, 1030))
    assert sorted(numbers(parts["train"]) + numbers(parts["validation"])) == list(range(100))
    assert len(parts["validation"]) == 10


def test_official_splits_are_all_kept():
    parts = split(source(100, validation=7, test=30), DataSettings())
    assert numbers(parts["train"]) == list(range(100))
    assert numbers(parts["validation"]) == list(range(1000, 1007))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_too_few_images_are_an_error(count):
    with pytest.raises(UserError, match=rf"made: {count} images are too few: .* at least one"):
        split(source(count), DataSettings())
    fractions = DataSettings(test_fraction=0.34, validation_fraction=0.4)
    assert all(len(part) == 1 for part in split(source(3), fractions).values())


@pytest.mark.parametrize(
    ("shapes", "labels", "reason"),
    [
        ([(0, 1, 2, 2)], [None], "holds no image"),
        ([(1, 1, 2, 2), (1, 1, 2, 3)], [None, None], "all must have one shape"),
        ([(2, 1, 2, 2)], [[0]], "2 images but 1 labels"),
        ([(2, 1, 2, 2)], [[0, 3]], "label 3 is out of range: 0 to 2"),
        ([(2, 1, 2, 2)], [[0, -2]], "label -2 is out of range: 0 to 2, or -1 for unknown"),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(shapes, labels, reason):
    parts = [
        from_array(np.zeros(shape, np.uint8), label and np.array(label), DataSettings())
        for shape, label in zip(shapes, labels, strict=True)
    ]
    with pytest.raises(UserError, match=f"made: .*{reason}"):
        Source("made", "here", 256, parts[0], test=parts[-1], class_names=("a", "b", "c"))


def test_binary_pixels_have_the_grey_ones_as_mean():
    levels = np.arange(256, dtype=np.uint8)
    draws = 4000
    binary = binarize(np.tile(levels, (draws, 1)), generator(3, "binarize"))
    assert set(np.unique(binary)) == {0, 255}
    chance = levels / 255
    error = np.abs(binary.mean(0) / 255 - chance)
    assert (error <= 6 * np.sqrt(chance * (1 - chance) / draws)).all()
    assert not binary[:, 0].any()
    assert (binary[:, 255] == 255).all()


def test_streams_differ_and_repeat():
    grey = np.full((50, 50), 128, np.uint8)
    first, again, other = (
        binarize(grey, generator(0, name)) for name in ("binarize test", "binarize test", "x")
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
