"""scikit-learn's bundled handwritten digits: 1,797 real 8x8 images, no network needed."""

from pathlib import Path

import numpy as np

from vaelab.config import DataSettings
from vaelab.data.fetch import Fetcher
from vaelab.data.source import Source, from_array, is_resized

_LEVELS = 17
"""Grey levels 0 to 16."""


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """Nothing: the images are part of scikit-learn."""


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The digits, their 17 grey levels spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:, None] * 255 / (_LEVELS - 1)).astype(np.uint8)
    return Source(
        name="digits",
        origin="sklearn.datasets.load_digits: UCI, Optical Recognition of Handwritten Digits",
        levels=256 if is_resized(images, settings) else _LEVELS,
        train=from_array(images, digits.target.astype(np.int64), settings),
        class_names=tuple(str(name) for name in digits.target_names),
    )
