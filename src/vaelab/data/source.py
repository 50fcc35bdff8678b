"""What every source returns: images that can be read in any order, a few at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, UInt8

from vaelab.config import DataSettings, UserError
from vaelab.data.pixels import resize_array

Shape = tuple[int, int, int]


MAX_NAMED = 10
"""Unreadable files that an error names; the rest is counted."""


class NoImagesError(UserError):
    """The user's folder is missing or holds no images."""


class UnreadableError(UserError):
    """Files of the user's cannot be read; `files` has a line for each, with the reason."""

    def __init__(self, message: str, files: tuple[str, ...]) -> None:
        super().__init__(message)
        self.files = files


@dataclass(frozen=True)
class ImageSet:
    """The images of one split: `read` takes row numbers [n] and returns pixels [n, *shape].

    Where files mark missing pixels, it returns a masked array, in which these are masked.
    Labels are -1 where they are unknown. `names` are the images' files. Images of one group stay in
    one split; images of equal `digests` are copies of one another. Both are compared across the
    splits of a source.
    """

    count: int
    shape: Shape
    read: Callable[[np.ndarray], np.ndarray]
    labels: Int64[np.ndarray, " labels"] | None = None
    factors: Int64[np.ndarray, "rows factors"] | None = None
    names: Sequence[str] | None = None
    groups: Int64[np.ndarray, " labels"] | None = None
    digests: np.ndarray | None = None


@dataclass(frozen=True)
class Source:
    """A data set as its source has it; `validation` and `test` are the official ones or None.

    `pixel_range` is the values that became 0 and 255, None for the whole range of its format.
    `notes` say in a line each what of the user's files is not used, or not as it stands; `lists`
    maps names of text files, to be written beside the arrays, to their lines.
    Raises UserError where its parts disagree: no images, two shapes, a wrong number of labels, a
    label that is not a class.
    """

    name: str
    origin: str
    levels: int
    train: ImageSet
    validation: ImageSet | None = None
    test: ImageSet | None = None
    class_names: tuple[str, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    pixel_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for images in (self.train, self.validation, self.test):
            if images is not None:
                self._check(images)

    def _check(self, images: ImageSet) -> None:
        if images.count < 1:
            raise UserError(f"{self.name}: a split of its source holds no image")
        if images.shape != self.train.shape:
            raise UserError(
                f"{self.name}: images of {images.shape} beside images of {self.train.shape}; "
                "all must have one shape"
            )
        if images.names is not None and len(images.names) != images.count:
            raise UserError(f"{self.name}: {images.count} images but {len(images.names)} names")
        if images.labels is not None:
            self._check_labels(images.count, images.labels)

    def _check_labels(self, count: int, labels: Int64[np.ndarray, " labels"]) -> None:
        if len(labels) != count:
            raise UserError(f"{self.name}: {count} images but {len(labels)} labels")
        classes = len(self.class_names or ())
        if labels.min() < -1 or labels.max() >= classes:
            wrong = labels[(labels < -1) | (labels >= classes)][0]
            raise UserError(
                f"{self.name}: label {wrong} is out of range: 0 to {classes - 1}, or -1 for unknown"
            )


def is_resized(images: UInt8[np.ndarray, "n c h w"], settings: DataSettings) -> bool:
    """Return whether the settings name another size than the images have."""
    return settings.image_size not in (None, images.shape[2:])


def from_array(
    images: UInt8[np.ndarray, "n c h w"],
    labels: Int64[np.ndarray, " labels"] | None,
    settings: DataSettings,
) -> ImageSet:
    """Images that are in memory, resized as the settings say when they are read."""
    channels, height, width = images.shape[1:]
    size = settings.image_size or (height, width)

    def read(rows: np.ndarray) -> np.ndarray:
        return resized(images[rows], settings)

    return ImageSet(len(images), (channels, *size), read, labels)


def resized(
    images: UInt8[np.ndarray, "n c old_h old_w"], settings: DataSettings
) -> UInt8[np.ndarray, "n c h w"]:
    """Return images of the size in the settings."""
    size = settings.image_size
    if size is None or not is_resized(images, settings):
        return images
    return np.stack([resize_array(image, size, settings.resize) for image in images])
