"""The forms of images and latents that people have, and those that are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaelab.config import UserError
from vaelab.inference.inputs import image_batch, latent_batch

GRAY, COLOR = (1, 4, 6), (3, 4, 6)
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLORS = np.stack([PIXELS, 255 - PIXELS, PIXELS // 2])
WANTED = "wanted floats from 0 .black. to 1 .white., or integers from 0 to 255"


@pytest.mark.parametrize(
    "form",
    [
        PIXELS,
        PIXELS.tolist(),
        PIXELS.astype(np.int64),
        PIXELS / 255,
        (PIXELS / 255).tolist(),
        np.float32(PIXELS / 255),
        PIXELS[None],
        PIXELS[..., None],
        PIXELS[None, None],
        PIXELS[None, ..., None],
        [PIXELS],
        [PIXELS.tolist()],
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS / np.float32(255)).requires_grad_(),
        [torch.from_numpy(PIXELS)],
        Image.fromarray(PIXELS),
        [Image.fromarray(PIXELS)],
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'dtype', '')}{np.shape(form)}",
)
def test_one_gray_image_in_every_form(form: Any) -> None:
    found = image_batch(form, GRAY)
    expected = torch.from_numpy(PIXELS / np.float32(255))[None, None]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "form",
    [
        COLORS,
        np.moveaxis(COLORS, 0, -1),
        np.moveaxis(COLORS, 0, -1)[None] / 255,
        Image.fromarray(np.ascontiguousarray(np.moveaxis(COLORS, 0, -1))),
    ],
    ids=["channels first", "channels last", "a batch of floats", "a picture"],
)
def test_one_color_image_in_every_form(form: Any) -> None:
    expected = torch.from_numpy(COLORS / np.float32(255))[None]
    torch.testing.assert_close(image_batch(form, COLOR), expected, atol=1e-7, rtol=0)


def test_many_images_keep_their_order() -> None:
    many = np.stack([PIXELS, 255 - PIXELS, PIXELS // 3, PIXELS // 4])
    for form in (many, many[:, None], many[..., None], list(many)):
        expected = torch.from_numpy(many / np.float32(255))[:, None]
        torch.testing.assert_close(image_batch(form, GRAY), expected, atol=1e-7, rtol=0)


def test_rounding_is_clipped_and_booleans_are_black_and_white() -> None:
    rounded = image_batch(np.where(PIXELS > 100, 1 + 5e-5, -5e-5), GRAY)
    binary = image_batch(PIXELS > 100, GRAY)
    assert torch.equal(rounded, binary)
    assert set(binary.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS.astype(float), "pixels of float64 from 0 to 230 cannot be right: "),
        (PIXELS / 127.5 - 1, "pixels of float64 from -1 to 0.803922 cannot be right: "),
        (PIXELS.astype(int) - 100, "pixels of int64 from -100 to 130 cannot be right: "),
        (PIXELS.astype(np.uint16) * 16, "pixels of uint16 from 0 to 3680 cannot be right: "),
        ((PIXELS > 100).astype(np.uint8), "pixels of uint8 are only 0 and 1, almost black: "),
    ],
)
def test_a_range_that_cannot_be_right_is_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}{WANTED}$"):
        image_batch(pixels, GRAY)


def test_black_images_are_images() -> None:
    assert not image_batch(np.zeros((4, 6), np.uint8), GRAY).any()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((6, 4)), r"images of shape \[6, 4\] do not fit the model: wanted \[1, 4, 6\] or"),
        (np.zeros((2, 3, 4, 6)), r"shape \[2, 3, 4, 6\] .* or a batch of them$"),
        (np.zeros((0, 4, 6)), r"shape \[0, 4, 6\]"),
        (0.5, r"shape \[\]"),
        ([], r"shape \[0\]"),
        ([[0.1, 0.2], [0.3]], "^images are not all of one shape$"),
        (np.full((4, 6), np.nan), "^pixels are not all finite$"),
        ("a.png", "^images must be numbers, not str of <U5$"),
        (None, "^images must be numbers, not NoneType of object$"),
        (Image.fromarray(PIXELS).convert("P"), r"mode P: convert it, with \.convert\('L'\)"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(images: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        image_batch(images, GRAY)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_latents_one_or_many() -> None:
    assert latent_batch([0.5, 1, 2], 3).tolist() == [[0.5, 1, 2]]
    assert latent_batch(np.eye(3), 3).tolist() == torch.eye(3).tolist()
    message = r"^latents of shape \[4\] do not fit the model: wanted \[3\], or a batch of them$"
    with pytest.raises(UserError, match=message):
        latent_batch(np.zeros(4), 3)
    with pytest.raises(UserError, match=r"^latents are not all finite$"):
        latent_batch([0, 1, np.inf], 3)
