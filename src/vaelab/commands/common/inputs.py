"""The images that a subcommand is given, each with its name."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from vaelab.config import UserError

if TYPE_CHECKING:
    from torch import Tensor

BAR_SECONDS = 2
"""Progress bars are shown of what takes longer."""


@dataclass(frozen=True)
class NamedImages:
    """Images [count, channel, height, width], and the file of each, as it was typed.

    An image of an array is named by its number too: a.npy#3. `below` are paths below the folder
    that was given, for files that are made of the images.
    """

    pixels: np.ndarray
    names: list[str]
    below: list[Path]


def read_images(arguments: argparse.Namespace, shape: tuple[int, int, int]) -> NamedImages:
    """Read the images that the arguments name, in [0, 1], of a model's shape. Raises UserError."""
    return read_paths(arguments.images, shape, arguments.resize)


def read_paths(
    paths: Iterable[Path],
    shape: tuple[int, int, int],
    resize: str | None,
    read_file: Callable[[Path], "Tensor"] | None = None,
) -> NamedImages:
    """Read the images of files and folders, by `read_file` if that is given. Raises UserError."""
    from vaelab.api.inputs import ImageSizesError, read_item

    reader = read_file or (lambda file: read_item(file, shape, resize))
    try:
        read = [(file, below, reader(file).numpy()) for file, below in _files(paths)]
    except ImageSizesError as error:
        raise UserError(f"{error}; --resize crop, pad or stretch fits pictures") from error
    names = [name for file, _, found in read for name in _numbered(str(file), len(found))]
    return NamedImages(np.concatenate([found for _, _, found in read]), names, _below(read))


def read_to_train(
    paths: Sequence[Path], size: tuple[int, int] | None, resize: str | None
) -> NamedImages:
    """Read images of one size, or resized to `size`, as 8-bit pixels. Raises UserError."""
    from vaelab.api.inputs import ImageSizesError, training_pixels

    files = [*_files(paths)]
    try:
        pixels = training_pixels([file for file, _ in files], size, resize or "crop")
    except ImageSizesError as error:
        raise UserError(f"{error}; --size chooses one") from error
    if len(pixels) == len(files):
        return NamedImages(pixels, [str(file) for file, _ in files], [f for _, f in files])
    names = _numbered(str(files[0][0]), len(pixels))
    return NamedImages(pixels, names, [Path(name) for name in names])


def _files(paths: Iterable[Path]) -> Iterable[tuple[Path, Path]]:
    """Yield the files of paths, each with its path below the folder that was given."""
    files = [found for path in paths for found in _files_of(path.expanduser())]
    return tqdm(files, "reading", unit="file", disable=None, delay=BAR_SECONDS, leave=False)


def _files_of(path: Path) -> list[tuple[Path, Path]]:
    from vaelab.api.inputs import list_images

    if not path.is_dir():
        return [(path, Path(path.name))]
    listing = list_images(path)
    if note := listing.note():
        print(f"note: {note}", file=sys.stderr)
    return [(file, file.relative_to(path)) for file in listing.files]


def _numbered(name: str, count: int) -> list[str]:
    """Return the names of a file's images."""
    return [name] if count == 1 else [f"{name}#{number}" for number in range(count)]


def _below(read: Sequence[tuple[Path, Path, np.ndarray]]) -> list[Path]:
    return [
        below if len(found) == 1 else below.with_name(f"{below.stem}_{number:04d}.png")
        for _, below, found in read
        for number in range(len(found))
    ]
