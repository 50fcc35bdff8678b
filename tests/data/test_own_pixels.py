"""A folder of images of other numbers, bands and frames than photographs have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.data.test_folder import images, put, read, refused
from vaelab.config import DataSettings
from vaelab.data.prepare import prepare
from vaelab.data.splits import split

LEVELS = np.arange(4096).reshape(64, 64)


def put_tiff(path: Path, values: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, photometric=options.pop("photometric", "minisblack"), **options)


def test_12_bits_in_16_use_all_gray_levels_in_one_scale(tmp_path):
    for number, brightest in enumerate((4095, 1000)):
        put_tiff(tmp_path / f"{number}.tif", np.minimum(LEVELS, brightest).astype(np.uint16))
    source = read(tmp_path)
    first, second = images(source)[:, 0]
    np.testing.assert_array_equal(first, np.rint(LEVELS * (255 / 4095)))
    assert second.max() == round(1000 * 255 / 4095)
    assert source.pixel_range == (0.0, 4095.0)
    assert source.notes == (
        f"{tmp_path}: the pixel values (16-bit) are 0 to 4,095: 0 to 4,095 becomes black to white "
        "in all images (data.range sets another range)",
    )


def test_masks_of_0_and_1_are_black_and_white(tmp_path):
    for number in range(3):
        mask = (LEVELS[:8, :8] % (number + 2) == 0).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
    source = read(tmp_path)
    assert (source.levels, source.pixel_range) == (2, (0, 1))
    assert np.unique(images(source)).tolist() == [0, 255]
    assert np.unique(images(read(tmp_path, range=(0, 255)))).tolist() == [0, 1]


@pytest.mark.parametrize("resized", [{"image_size": (5, 5)}, {"color": "rgb"}])
def test_mixed_pixels_have_256_levels_and_copied_ones_have_not(tmp_path, resized):
    Image.fromarray((LEVELS[:8, :8] % 2).astype(np.uint8)).save(tmp_path / "a.png")
    assert read(tmp_path, **resized).levels == (256 if "image_size" in resized else 2)


def test_one_value_that_is_not_finite_makes_a_file_unreadable(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    put_tiff(tmp_path / "a.tif", values)
    assert images(read(tmp_path)).max() == 255
    values[0, 0] = np.nan
    put_tiff(tmp_path / "b.tif", values)
    refused(tmp_path, r"1 of 2 .*b\.tif \(1 of its 64 values are not finite numbers;")
    assert read(tmp_path, unreadable="skip").train.count == 1


def test_frames_are_counted_or_all_used_in_one_split(tmp_path):
    stack = np.arange(8 * 16, dtype=np.uint8).reshape(8, 4, 4) + 128
    for number in range(20):
        put_tiff(tmp_path / f"{number:02}.tif", np.roll(stack, number, axis=2))
    source = read(tmp_path)
    assert source.train.count == 20
    assert source.notes == (
        f"{tmp_path}: 160 frames, 20 used: the first of each file (data.frames: all uses all)",
    )
    source = read(tmp_path, frames="all")
    assert source.train.count == 160
    assert not source.notes
    rows = np.array([9, 159, 8])
    expected = [
        np.roll(stack[1], 1, axis=1),
        np.roll(stack[7], 19, axis=1),
        np.roll(stack, 1, 2)[0],
    ]
    np.testing.assert_array_equal(source.train.read(rows)[:, 0], expected)
    for part in split(source, DataSettings()).values():
        assert len(part) % 8 == 0, "a file's frames stay together"


def test_frames_have_the_label_of_their_file(tmp_path):
    for name, count in (("cat", 2), ("dog", 3)):
        put_tiff(tmp_path / name / "a.tif", np.full((count, 4, 4), 200, np.uint8))
    labels = read(tmp_path, frames="all").train.labels
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_bands_are_refused_or_chosen(tmp_path):
    bands = np.stack([np.full((4, 4), 60 * n, np.uint8) for n in range(4)], -1)
    for number in range(2):
        put_tiff(tmp_path / f"{number}.tif", bands, photometric="rgb", extrasamples=["unspecified"])
    refused(
        tmp_path,
        r"2 of 2 images cannot be read \(it has 4 bands, photometric RGB, whose meaning is not "
        r"known; choose one, or three for RGB, such as data.bands: \[1, 2, 3\]\): 0.tif, 1.tif;",
    )
    assert images(read(tmp_path, bands=(4, 3, 2)))[0, :, 0, 0].tolist() == [180, 120, 60]
    assert images(read(tmp_path, bands=(4,)))[0, :, 0, 0].tolist() == [180]


def test_what_is_converted_is_counted(tmp_path):
    Image.new("CMYK", (6, 4), (255, 0, 0, 0)).save(tmp_path / "ink.jpg")
    Image.new("RGBA", (6, 4), (255, 0, 0, 9)).save(tmp_path / "glass.png")
    Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(tmp_path / "opaque.png")
    assert read(tmp_path).notes == (
        f"{tmp_path}: 1 CMYK images are converted to RGB",
        f"{tmp_path}: 1 images are transparent in parts, and are put on white",
    )


def test_formats_without_a_common_scale_are_refused(tmp_path):
    put(tmp_path / "a.png", (64, 64))
    put_tiff(tmp_path / "b.tif", LEVELS.astype(np.uint16))
    refused(
        tmp_path,
        r"its images have several number formats, which have no common scale: 1 8-bit \(a\.png: "
        r"values 190 to 190\), 1 16-bit \(b\.tif: values 0 to 4,095\); save all of them with the",
    )


def test_dataset_json_keeps_range_and_notes(tmp_path):
    for number in range(30):
        put_tiff(tmp_path / f"own/{number}.tif", np.roll(LEVELS, number).astype(np.uint16))
    prepare(read(tmp_path / "own"), DataSettings(), tmp_path / "prepared")
    kept = json.loads((tmp_path / "prepared/dataset.json").read_text())
    assert kept["pixel_range"] == [0, 4095]
    assert kept["notes"][0].startswith(f"{tmp_path / 'own'}: the pixel values (16-bit) are 0 to")
    for number in range(30):
        put(tmp_path / f"plain/{number}.png", color=(200, 0, number))
    prepare(read(tmp_path / "plain"), DataSettings(), tmp_path / "prepared")
    kept = json.loads((tmp_path / "prepared/dataset.json").read_text())
    assert not {"pixel_range", "notes"} & kept.keys()
