"""PSNR and SSIM, compared with torchmetrics and with cases whose value is known."""

import math

import pytest
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from vaelab.estimators.image_quality import (
    LARGEST_PSNR_DB,
    has_ssim,
    psnr_db,
    ssim,
    window_stddev,
)

# Height and width, and the radius of the largest window that fits, of 11 pixels at most
SIZES = [(8, 8, 3), (28, 20, 5), (64, 64, 5), (11, 12, 5), (9, 30, 4), (3, 3, 1), (4, 5, 1)]


def pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images with edges, and the same blurred and noisy."""
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(shape, generator=random).round() * 0.8 + 0.1
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    return images, blurred + 0.1 * torch.randn(shape, generator=random)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "radius"), SIZES)
def test_both_are_those_of_a_second_library(
    height: int, width: int, radius: int, channels: int
) -> None:
    images, found = pair(6, channels, height, width)
    cut = found.clamp(0, 1)
    expected = peak_signal_noise_ratio(cut, images, 1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr_db(images, found), expected, rtol=1e-5, atol=1e-5)
    _, at_each_pixel = structural_similarity_index_measure(
        cut.double(),
        images.double(),
        sigma=window_stddev(radius),
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    # The paper averages windows inside the image; this library's mean has those on the border too.
    inside = at_each_pixel[..., radius : height - radius, radius : width - radius]
    expected = inside.flatten(1).mean(1).float()
    torch.testing.assert_close(ssim(images, found), expected, rtol=1e-4, atol=1e-4)


def test_the_window_is_the_papers_and_smaller_in_proportion() -> None:
    assert window_stddev(5) == 1.5
    assert window_stddev(3) == pytest.approx(0.9)


def test_a_constant_error_has_a_known_psnr() -> None:
    images = torch.full((2, 1, 8, 8), 0.5)
    # 10 log10(1 / 0.1²) = 20 dB, and 10 log10(1 / 0.01²) = 40 dB
    found = images + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(
        psnr_db(images, found), torch.tensor([20.0, 40.0]), rtol=1e-4, atol=0
    )
    flat = 0.5, 0.6
    # Without contrast, SSIM is its first factor: (2 a b + c1) / (a² + b² + c1), c1 = 0.01²
    expected = (2 * math.prod(flat) + 1e-4) / (flat[0] ** 2 + flat[1] ** 2 + 1e-4)
    assert ssim(images, found)[0].item() == pytest.approx(expected, abs=1e-4)


def test_equal_opposite_and_unrelated_images() -> None:
    images, _ = pair(4, 3, 16, 16)
    assert psnr_db(images, images).tolist() == [LARGEST_PSNR_DB] * 4
    torch.testing.assert_close(ssim(images, images), torch.ones(4))
    assert (ssim(images, 1 - images) < -0.5).all()
    assert (ssim(images, pair(4, 3, 16, 16, seed=1)[0]).abs() < 0.2).all()


def test_pixels_beyond_the_range_are_cut_off() -> None:
    images = torch.ones(1, 1, 8, 8)
    assert psnr_db(images, images + 3).item() == LARGEST_PSNR_DB
    assert ssim(images, images + 3).item() == pytest.approx(1)


def test_the_psnr_of_missing_pixels_is_that_of_the_known_ones() -> None:
    images, found = pair(2, 1, 8, 8)
    known = psnr_db(images[:, :, :4], found[:, :, :4])
    images[:, :, 4:] = torch.nan
    torch.testing.assert_close(psnr_db(images, found), known)


def test_images_below_three_pixels_have_no_window() -> None:
    assert has_ssim(3, 4)
    assert not has_ssim(2, 40)
