"""scikit-learn's bundled handwritten digits: 1,797 real 8x8 images, no network needed."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from vaelab.config import DataSettings
from vaelab.data.fetch import Fetcher
from vaelab.data.source import Source, from_array, is_resized

_LEVELS = 17
"""Grey levels 0 to 16."""
_SHAPE, _SIDE, _CLASSES = (1797, 65), 8, 10
_FILE = "sklearn/datasets/data/digits.csv.gz"
"""What `load_digits` reads: an image a row, its pixels and its label."""


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """Nothing: the images are part of scikit-learn."""


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The digits, their 17 grey levels spread over 0 to 255."""
    rows = _rows()
    pixels = rows[:, :-1].reshape(-1, 1, _SIDE, _SIDE)
    images = np.rint(pixels * 255 / (_LEVELS - 1)).astype(np.uint8)
    return Source(
        name="digits",
        origin="sklearn.datasets.load_digits: UCI, Optical Recognition of Handwritten Digits",
        levels=256 if is_resized(images, settings) else _LEVELS,
        train=from_array(images, rows[:, -1].astype(np.int64), settings),
        class_names=tuple(str(label) for label in range(_CLASSES)),
    )


def _rows() -> np.ndarray:
    """Return the 64 pixels and the label of each image, from scikit-learn's file.

    `load_digits` gives the same, but its import takes most of a second. It is used where the file
    is not as expected.
    """
    file = Path(str(distribution("scikit-learn").locate_file(_FILE)))
    if file.is_file() and _are_digits(rows := np.loadtxt(file, delimiter=",")):
        return rows
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))


def _are_digits(rows: np.ndarray) -> bool:
    if rows.shape != _SHAPE:
        return False
    levels, labels = np.unique(rows[:, :-1]), np.unique(rows[:, -1])
    return np.array_equal(levels, range(_LEVELS)) and np.array_equal(labels, range(_CLASSES))
