"""The arrays in .npy and .npz files: their headers, and their images in one layout."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Shaped

from vaelab.config import UserError, reason
from vaelab.data.listing import shown
from vaelab.data.missing import nan_pixels
from vaelab.data.pixel_range import Extent, measure

ENDINGS = {".npy", ".npz"}
_CHUNK = 256
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class ArrayFile:
    """One array of a file; `key` is its name in an .npz file.

    `bands`, counted from 1, are the channels that are used.
    """

    path: Path
    key: str | None
    shape: tuple[int, ...]
    dtype: np.dtype
    bands: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """The name in messages, with the shape."""
        inside = f":{self.key}" if self.key is not None else ""
        return f"{shown(self.path.name)}{shown(inside)} {list(self.shape)}"

    @property
    def is_images(self) -> bool:
        """Whether this has the dimensions and the type of images."""
        return len(self.shape) in (3, 4) and self.dtype.kind in "buif"

    @property
    def is_one_image(self) -> bool:
        """Whether this looks like [height, width] or [height, width, RGB]."""
        if self.dtype.kind not in "buif":
            return False
        if len(self.shape) == 2:
            return self.key is None and min(self.shape) > 1
        return len(self.shape) == 3 and self.shape[-1] == 3 and self.shape[0] > 3

    @property
    def is_labels(self) -> bool:
        """Whether this has the dimensions and the type of labels."""
        flat = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)
        return flat and self.dtype.kind in "buiUS"

    @cached_property
    def values(self) -> Shaped[np.ndarray, "..."]:
        """The array: memory-mapped from an .npy file, read from an .npz file. Raises UserError."""
        try:
            if self.key is None:
                mapped: np.ndarray = np.lib.format.open_memmap(self.path, mode="r")
                return mapped
            with np.load(self.path, allow_pickle=False) as archive:
                loaded: np.ndarray = archive[self.key]
                return loaded
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{shown(self.path)}: cannot be read: {reason(error)}") from error

    def images(self) -> Shaped[np.ndarray, "n c h w"]:
        """Return the images as [N, channel, height, width]. Raises UserError for another shape."""
        values = self.values
        if self.is_one_image:
            values = values[None]
        if values.ndim == 3:
            return self._select(values[:, None])
        if self.bands:
            last = values.shape[3] < values.shape[1]
            return self._select(values.transpose(0, 3, 1, 2) if last else values)
        if values.shape[3] in _CHANNELS:
            return values.transpose(0, 3, 1, 2)
        if values.shape[1] in _CHANNELS:
            return values
        raise UserError(
            f"{self.name}: images are [N, height, width], [N, height, width, channel] or "
            "[N, channel, height, width], with 1 or 3 channels; data.bands chooses some of others"
        )

    def _select(self, images: Shaped[np.ndarray, "n bands h w"]) -> Shaped[np.ndarray, "n c h w"]:
        if self.bands is None:
            return images
        count = images.shape[1]
        if max(self.bands) > count:
            raise UserError(
                f"{self.name}: has {count} channels, and data.bands asks for {max(self.bands)}"
            )
        return images[:, [band - 1 for band in self.bands]]


def read_headers(path: Path) -> list[ArrayFile]:
    """Return the arrays of a file without reading them. Raises UserError for a broken file."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return [ArrayFile(path, None, *_header(file))]
        with zipfile.ZipFile(path) as archive:
            arrays = []
            for entry in archive.namelist():
                if entry.endswith(".npy"):
                    with archive.open(entry) as file:
                        arrays.append(ArrayFile(path, entry.removesuffix(".npy"), *_header(file)))
            return arrays
    except Exception as error:  # NumPy reads the header as Python, and raises what that raises
        raise UserError(f"{shown(path)}: cannot be read: {reason(error)}") from error


def survey(arrays: list[ArrayFile], nan_is_missing: bool) -> tuple[list[Extent], list[bytes]]:
    """Return the extent of the values of each image, and a digest.

    Raises UserError for values that are not finite, but for NaN if that is missing.
    """
    extents, digests = [], []
    for array in arrays:
        images = (image for chunk in _chunks(array) for image in chunk)
        for number, image in enumerate(images):
            try:
                extents.append(measure(_observed(image) if nan_is_missing else image))
            except ValueError as error:
                raise UserError(f"{array.name}: image {number}: {error}; remove it") from error
            digests.append(blake2b(image.tobytes(), digest_size=16).hexdigest().encode())
    return extents, digests


def _observed(image: Shaped[np.ndarray, "c h w"]) -> Shaped[np.ndarray, "c n"]:
    observed = image[:, ~nan_pixels(image)[0]]
    if not observed.size:
        raise ValueError("all of its pixels are missing")
    return observed


def _header(file: IO[bytes] | zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    is_old = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _chunks(array: ArrayFile) -> Iterator[np.ndarray]:
    images = array.images()
    for start in range(0, len(images), _CHUNK):
        yield np.ascontiguousarray(images[start : start + _CHUNK])
