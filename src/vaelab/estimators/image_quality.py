"""How close reconstructions are to their images: PSNR, and SSIM by scikit-image.

Pixels range from 0 to 1; a reconstruction beyond that is cut off there, as in a picture.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vaelab.models.observation import mean_squared_error

Images = Float[Tensor, "batch channel height width"]

WINDOW = 11
"""Pixels on a side of the window of SSIM: Wang et al. 2004, section III.C."""

LARGEST_PSNR_DB = 100.0
"""Of an image that is reconstructed exactly, whose PSNR is infinite."""


def psnr_db(images: Images, reconstructions: Images) -> Float[Tensor, "batch"]:
    """Compute the peak signal-to-noise ratio of each image, in decibels, over known pixels."""
    errors = mean_squared_error(reconstructions.clamp(0, 1), images.clamp(0, 1))
    # PSNR = 10 log10(1 / mean squared error)
    return (-10 * errors.log10()).clamp_max(LARGEST_PSNR_DB)


def has_ssim(height: int, width: int) -> bool:
    """Return whether images are large enough for a window of 3x3 pixels."""
    return min(height, width) >= 3


def ssim(images: Images, reconstructions: Images) -> Float[Tensor, "batch"]:
    """Compute the structural similarity of each image: the mean over windows and channels.

    The window is a Gaussian of 11x11 pixels and standard deviation 1.5 (Wang et al. 2004, equation
    13). In smaller images it is the largest that fits, of an odd number of pixels, with the
    standard deviation reduced in proportion: 7x7 and 0.9 in 8x8 pixels.
    """
    from skimage.metrics import structural_similarity

    radius = (min(WINDOW, *images.shape[2:]) - 1) // 2
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            image,
            found,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=window_stddev(radius),
            use_sample_covariance=False,
        )
        for image, found in _pairs(images, reconstructions)
    ]
    return images.new_tensor(values)


def window_stddev(radius: int) -> float:
    """Return the standard deviation, in pixels, of a window of 2 radius + 1 pixels on a side."""
    return 1.5 * radius / (WINDOW // 2)


def _pairs(images: Images, reconstructions: Images) -> "zip[tuple[np.ndarray, np.ndarray]]":
    both = (each.clamp(0, 1).float().cpu().numpy() for each in (images, reconstructions))
    return zip(*both, strict=True)
