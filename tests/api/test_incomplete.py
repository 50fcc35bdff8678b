"""Missing pixels in every form, and those that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from vaelab.api.incomplete import read_incomplete

GRAY, COLOR = (1, 4, 6), (3, 4, 6)
PIXELS = np.arange(72, dtype=np.uint8).reshape(3, 4, 6) * 3
COLORS = np.stack([PIXELS, 255 - PIXELS, PIXELS // 2], -1)
MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:] = True
MAGENTA = (255, 0, 255)


def with_nan(images: np.ndarray) -> np.ndarray:
    found = images / 255
    found[:, MASK] = np.nan
    return found


def marked() -> list[Image.Image]:
    images = COLORS.copy()
    images[:, MASK] = MAGENTA
    return [Image.fromarray(image) for image in images]


@pytest.mark.parametrize(
    ("images", "mask"),
    [
        (with_nan(PIXELS), None),
        (torch.from_numpy(with_nan(PIXELS)), None),
        (PIXELS, MASK),
        (PIXELS, MASK.astype(np.uint8) * 255),
        (PIXELS, MASK.astype(float)),
        (PIXELS, np.stack([MASK] * 3)),
        (PIXELS, np.stack([MASK] * 3)[..., None]),
        (PIXELS, MASK[None]),
        (PIXELS, Image.fromarray(MASK)),
        (PIXELS, [Image.fromarray(MASK)] * 3),
        ([Image.fromarray(image) for image in PIXELS], MASK),
    ],
)
def test_gray_images_in_every_form(images: Any, mask: Any) -> None:
    expected = torch.from_numpy(with_nan(PIXELS)).float()[:, None]
    found = read_incomplete(images, mask, GRAY)
    torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "form", [marked, lambda: np.stack([np.asarray(each) for each in marked()])]
)
def test_a_color_marks_missing_pixels(form: Any) -> None:
    expected = torch.from_numpy(with_nan(COLORS)).float().permute(0, 3, 1, 2)
    found = read_incomplete(form(), "#FF00ff", COLOR)
    torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-7, rtol=0)
    of_gray = read_incomplete(form(), "#ff00ff", GRAY)
    assert torch.equal(of_gray[:, 0].isnan(), torch.from_numpy(MASK).expand(3, 4, 6))


def test_channels_may_be_missing_alone() -> None:
    images = np.moveaxis(COLORS, -1, 1) / 255
    images[:, 1, 0, 0] = np.nan
    found = read_incomplete(images, None, COLOR).isnan()
    assert found.sum() == 3
    assert found[:, 1, 0, 0].all()


def test_files_of_images_and_masks(tmp_path: Path) -> None:
    for number, picture in enumerate(marked()):
        picture.save(tmp_path / f"{number}.png")
    expected = torch.from_numpy(MASK).expand(3, 1, 4, 6)
    assert torch.equal(read_incomplete(tmp_path, "#ff00ff", GRAY).isnan(), expected)
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", MASK)
    np.save(tmp_path / "images.npy", with_nan(PIXELS))
    for mask in ("mask.png", "mask.npy"):
        found = read_incomplete(PIXELS, tmp_path / mask, GRAY)
        assert torch.equal(found.isnan(), expected)
    assert torch.equal(read_incomplete(tmp_path / "images.npy", None, GRAY).isnan(), expected)


@pytest.mark.parametrize(
    ("images", "mask", "message"),
    [
        (PIXELS, None, "no pixel is missing: give a mask that is not 0 where one is missing, NaN"),
        (PIXELS, np.zeros((4, 6)), "no pixel is missing"),
        (marked(), "#ff00fe", "no pixel is missing"),
        (
            PIXELS,
            np.ones((6, 4)),
            r"a mask of shape \[6, 4\] does not fit the images: wanted \[4, 6",
        ),
        (PIXELS, np.ones((2, 4, 6)), "2 masks for 3 images: wanted one, or one each"),
        (
            PIXELS,
            "#ff00ff",
            r"a color marks missing pixels in pictures, .* not \[3, 4, 6\] of uint8",
        ),
        (PIXELS, "no.png", "the mask no.png: no such file"),
        (PIXELS, "no.npy", "no.npy: cannot be read as a mask: .*No such file"),
        (np.full((4, 6), np.inf), MASK, "pixels are not all finite"),
        ("no.png", MASK, "no.png: no such file"),
        ("no.png", "#ff00ff", "no.png: no such file"),
    ],
)
def test_what_cannot_be_is_refused(images: Any, mask: Any, message: str) -> None:
    with pytest.raises(vaelab.UserError, match=f"^{message}"):
        read_incomplete(images, mask, GRAY)
