"""Images as one picture in a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab

IMAGES = np.random.default_rng(0).random((5, 1, 8, 6), dtype=np.float32)
SCALE, GAP = 6, 2  # 6 pixels become at least 32


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def tile(path: Path, row: int, column: int) -> np.ndarray:
    """Return an image of the picture, with each pixel once."""
    top, left = row * (8 * SCALE + GAP), column * (6 * SCALE + GAP)
    pixels = read(path)[top : top + 8 * SCALE, left : left + 6 * SCALE, 0]
    return pixels[::SCALE, ::SCALE] / 255


def test_images_are_in_rows_enlarged_with_white_lines_between(tmp_path: Path) -> None:
    vaelab.save_images(IMAGES, tmp_path / "all.png", columns=3)
    picture = read(tmp_path / "all.png")
    assert picture.shape == (2 * 8 * SCALE + GAP, 3 * 6 * SCALE + 2 * GAP, 3)
    for number, image in enumerate(IMAGES):
        found = tile(tmp_path / "all.png", *divmod(number, 3))
        np.testing.assert_allclose(found, image[0], atol=0.51 / 255)
    assert (picture[:, 6 * SCALE : 6 * SCALE + GAP] == 255).all()
    assert (tile(tmp_path / "all.png", 1, 2) == 1).all()


@pytest.mark.parametrize(
    "same",
    [torch.from_numpy(IMAGES), [*IMAGES], IMAGES[:, 0], IMAGES[:, 0, ..., None], (IMAGES * 255)],
    ids=["tensor", "list", "no channel", "channel last", "bytes"],
)
def test_all_forms_of_images_give_the_same_picture(tmp_path: Path, same: object) -> None:
    if isinstance(same, np.ndarray) and same.max() > 1:
        same = np.rint(same).astype(np.uint8)
    vaelab.save_images(IMAGES, tmp_path / "a.png")
    vaelab.save_images(same, str(tmp_path / "b.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_each_way_of_an_interpolation_is_a_row(tmp_path: Path) -> None:
    ways = np.stack([IMAGES[:3], IMAGES[2:]])
    vaelab.save_images(ways, tmp_path / "ways.png")
    np.testing.assert_allclose(tile(tmp_path / "ways.png", 1, 2), IMAGES[4, 0], atol=0.51 / 255)
    vaelab.save_images(IMAGES[0, 0], tmp_path / "one.png")
    assert read(tmp_path / "one.png").shape == (8 * SCALE, 6 * SCALE, 3)


@pytest.mark.parametrize(
    ("images", "name", "columns", "message"),
    [
        (IMAGES, "all.jpg", 8, "all.jpg: wanted a name that ends in .png"),
        (IMAGES, "all.png", 0, r"columns must be a whole number of at least 1 \(it is 0\)"),
        (IMAGES * 9, "all.png", 8, "pixels of float32 from .* cannot be right"),
        (np.zeros((600, 8, 6)), "all.png", 1, "600 images in 1 columns would be a picture of 36x"),
        ("nowhere.png", "all.png", 8, "nowhere.png: no such file"),
        (IMAGES[..., :0], "all.png", 8, "images of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: object,
    name: str,
    columns: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vaelab.UserError, match=f"^{message}") as error:
        vaelab.save_images(images, name, columns)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())
