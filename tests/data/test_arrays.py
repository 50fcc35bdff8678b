"""Images in .npy and .npz files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.test_folder import images, read, refused
from vaelab.data.source import ImageSet

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def rows(part: ImageSet | None) -> np.ndarray:
    assert part is not None
    return part.read(np.arange(part.count))


def labels_of(part: ImageSet | None) -> list[int]:
    assert part is not None
    return [int(label) for label in np.asarray(part.labels)]


def save(path: Path, **arrays: Any) -> None:
    np.savez_compressed(path / "a.npz", **arrays)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (PIXELS, PIXELS.transpose(0, 3, 1, 2)),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS.transpose(0, 3, 1, 2)),
        (GREY / 255, GREY[:, None]),
        ((GREY / 127.5 - 1).astype(np.float32), GREY[:, None]),
        (GREY.astype(np.float32), GREY[:, None]),
        (GREY.astype(np.int64), GREY[:, None]),
        (GREY > 99, (GREY > 99)[:, None] * 255),
    ],
)
def test_forms_of_arrays(tmp_path, array, expected):
    np.save(tmp_path / "a.npy", array)
    for folder in (tmp_path / "a.npy", tmp_path):
        source = read(folder)
        np.testing.assert_array_equal(images(source), expected)
        assert source.train.labels is None
    assert (source.notes == ()) == (array.dtype == np.uint8)


def test_other_ranges_are_said(tmp_path):
    np.save(tmp_path / "a.npy", GREY.astype(np.uint16) * 16)
    low, high = int(GREY.min()) * 16, int(GREY.max()) * 16
    source = read(tmp_path)
    assert source.notes == (
        f"{tmp_path}: the pixel values (16-bit) are {low:,} to {high:,}: 0 to {high:,} becomes "
        "black to white in all images (data.range sets another range)",
    )
    np.testing.assert_array_equal(
        images(source)[:, 0], np.rint(GREY * (255 / GREY.max())).astype(np.uint8)
    )


def test_range_and_bands_are_settings_of_arrays_too(tmp_path):
    many = np.stack([GREY.astype(np.uint16) * n for n in range(4)], -1)
    np.save(tmp_path / "a.npy", many)
    source = read(tmp_path, bands=(4, 3, 2), range=(0, 765))
    expected = [GREY, np.rint(GREY * (2 / 3)).astype(np.uint8), np.rint(GREY / 3).astype(np.uint8)]
    np.testing.assert_array_equal(images(source), np.stack(expected, 1))
    assert not source.notes
    assert source.pixel_range == (0.0, 765.0)
    refused(tmp_path, r"a\.npy \[.*\]: has 4 channels, and data\.bands asks for 5", bands=(5,))


def test_masks_have_two_levels(tmp_path):
    np.save(tmp_path / "a.npy", (GREY > 99).astype(np.uint8))
    source = read(tmp_path)
    assert source.levels == 2
    assert set(np.unique(images(source))) == {0, 255}
    assert read(tmp_path, image_size=(5, 5)).levels == 256


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("arr_0", "arr_1")])
def test_images_and_labels_in_one_file(tmp_path, names):
    labels = np.array([[10], [9], [2]] * 4)
    save(tmp_path, **dict(zip(names, (PIXELS, labels), strict=True)))
    source = read(tmp_path / "a.npz")
    assert source.class_names == ("2", "9", "10")
    np.testing.assert_array_equal(source.train.labels, [2, 1, 0] * 4)


@pytest.mark.parametrize(
    ("image_key", "label_key", "validation"),
    [("{}_images", "{}_labels", "val"), ("x_{}", "y_{}", "valid")],
)
def test_splits_by_keys(tmp_path, image_key, label_key, validation):
    labels = np.array(["b", "a"] * 6)
    parts = {"train": slice(0, 6), validation: slice(6, 8), "test": slice(8, 12)}
    save(
        tmp_path,
        **{image_key.format(name): PIXELS[part] for name, part in parts.items()},
        **{label_key.format(name): labels[part] for name, part in parts.items()},
    )
    source = read(tmp_path / "a.npz")
    for part, own in zip(
        (source.train, source.validation, source.test), parts.values(), strict=True
    ):
        np.testing.assert_array_equal(rows(part), PIXELS[own].transpose(0, 3, 1, 2))
        assert labels_of(part) == [1, 0] * (len(rows(part)) // 2)
    assert source.class_names == ("a", "b")
    assert "arrays are taken as splits" in source.notes[0]


def test_splits_and_labels_in_files_of_a_folder(tmp_path):
    for name, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
        np.save(tmp_path / f"{name}_images.npy", PIXELS[part])
        np.save(tmp_path / f"{name}_labels.npy", np.arange(12)[part] % 2)
    source = read(tmp_path)
    np.testing.assert_array_equal(rows(source.test), PIXELS[8:].transpose(0, 3, 1, 2))
    assert labels_of(source.test) == [0, 1, 0, 1]
    assert source.validation is None


def test_parts_in_class_folders_are_joined(tmp_path):
    for name, part in (("cat/1", slice(0, 3)), ("cat/2", slice(3, 7)), ("dog/1", slice(7, 12))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", GREY[part])
    (tmp_path / "notes.txt").touch()
    source = read(tmp_path, group=r"\d")
    assert source.class_names == ("cat", "dog")
    assert labels_of(source.train) == [0] * 7 + [1] * 5
    assert np.asarray(source.train.groups).tolist() == [0] * 3 + [1] * 4 + [0] * 5
    order = np.array([11, 0, 3, 0, 6])
    np.testing.assert_array_equal(source.train.read(order)[:, 0], GREY[order])
    assert source.notes == (f"{tmp_path}: 3 of 4 files are read; not read: not images: 1 .txt",)


def test_one_image_a_file(tmp_path):
    for name, image in (("p1/a", GREY[0]), ("p2/a", GREY[1]), ("p2/b", GREY[2])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", image)
    source = read(tmp_path)
    np.testing.assert_array_equal(images(source)[:, 0], GREY[:3])
    assert labels_of(source.train) == [0, 1, 1]
    assert source.notes == (f"{tmp_path}: each of 3 arrays is taken as one image",)


def test_size_and_color_are_as_set(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    assert images(read(tmp_path, image_size=(8, 8), color="grey")).shape == (12, 1, 8, 8)
    np.save(tmp_path / "a.npy", GREY)
    assert images(read(tmp_path, color="rgb")).shape == (12, 3, 5, 4)


def test_what_is_not_used_is_named(tmp_path):
    save(tmp_path, images=GREY, masks=GREY > 9, latents=np.zeros((12, 6)))
    assert read(tmp_path).notes == ("not used: a.npz:masks [12, 5, 4], a.npz:latents [12, 6]",)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: (p / "a.npy").write_bytes(b"x"), r"a\.npy: cannot be read"),
        (lambda p: (p / "a.npz").write_bytes(b"x"), r"a\.npz: cannot be read"),
        (
            lambda p: save(p, a=GREY, b=GREY),
            r"which array holds the images is not clear \(a\.npz:a",
        ),
        (
            lambda p: save(p, x=np.zeros((12, 64))),
            r"holds no array of images .*\(a\.npz:x \[12, 64\]",
        ),
        (
            lambda p: save(p, x=np.full((3, 4, 4), np.nan)),
            r"image 0: 16 of its 16 values are not",
        ),
        (lambda p: save(p, x=np.zeros((3, 4, 4, 7))), "with 1 or 3 channels"),
        (lambda p: save(p, x=np.array([{}] * 3)), "holds no array of images"),
        (lambda p: save(p, x_test=GREY), "no arrays for training"),
    ],
)
def test_other_arrays_are_refused(tmp_path, make, problem):
    make(tmp_path)
    refused(tmp_path, problem)


def test_images_of_arrays_are_named_by_file_and_row(tmp_path):
    save(tmp_path, images=GREY[:2])
    np.save(tmp_path / "b.npy", GREY[2:4])
    assert read(tmp_path).train.names == ["a.npz/images#0", "a.npz/images#1", "b.npy#0", "b.npy#1"]


def test_one_image_a_file_is_named_by_the_file(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, GREY[0])
    assert read(tmp_path).train.names == ["a.npy", "b.npy"]
