"""The arrays in .npy and .npz files: their headers, and their images in one layout and scale."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Shaped, UInt8

from vaelab.config import UserError, reason
from vaelab.data.listing import shown

ENDINGS = {".npy", ".npz"}
_CHUNK = 256
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class ArrayFile:
    """One array of a file; `key` is its name in an .npz file."""

    path: Path
    key: str | None
    shape: tuple[int, ...]
    dtype: np.dtype

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
            return values[:, None]
        if values.shape[3] in _CHANNELS:
            return values.transpose(0, 3, 1, 2)
        if values.shape[1] in _CHANNELS:
            return values
        raise UserError(
            f"{self.name}: images are [N, height, width], [N, height, width, channel] or "
            "[N, channel, height, width], with 1 or 3 channels"
        )


@dataclass(frozen=True)
class Scale:
    """The values that become 0 and 255."""

    black: float
    white: float

    def to_bytes(self, values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """Return the nearest gray levels."""
        if values.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return values
        scaled = (values.astype(np.float64) - self.black) * (255 / (self.white - self.black))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)


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


def survey(arrays: list[ArrayFile]) -> tuple[Scale, str | None, list[bytes]]:
    """Return the scale of all values, what is to be said of it, and a digest of each image.

    Raises UserError for values that are not finite.
    """
    low, high, digests = np.inf, -np.inf, []
    for array in arrays:
        for chunk in _chunks(array):
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
            if not np.isfinite(chunk).all():
                count = int((~np.isfinite(chunk)).sum())
                raise UserError(f"{array.name}: {count:,} values are NaN or infinite; remove them")
            digests += [
                blake2b(image.tobytes(), digest_size=16).hexdigest().encode() for image in chunk
            ]
    scale = _scale(low, high, arrays[0].dtype)
    if arrays[0].dtype == np.uint8 and scale == Scale(0, 255):
        return scale, None, digests
    kinds = ", ".join(sorted({str(array.dtype) for array in arrays}))
    said = (
        f"{kinds} values of {low:g} to {high:g}: {scale.black:g} becomes black and "
        f"{scale.white:g} white in all images"
    )
    return scale, said, digests


def _scale(low: float, high: float, dtype: np.dtype) -> Scale:
    ranges = [(0, 1), (-1, 1), (0, 255)] if dtype.kind == "f" else [(0, 1), (0, 255)]
    for black, white in ranges:
        if black <= low and high <= white:
            return Scale(black, white)
    return Scale(min(low, 0), high)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    is_old = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _chunks(array: ArrayFile) -> Iterator[np.ndarray]:
    images = array.images()
    for start in range(0, len(images), _CHUNK):
        yield np.ascontiguousarray(images[start : start + _CHUNK])
