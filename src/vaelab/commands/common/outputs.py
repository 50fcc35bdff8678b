"""What a subcommand writes: images or a table, as the ending of --output says.

Nothing that exists is replaced without --force, and what is replaced stays until the new one is
complete. `ImageOutput` and `TableOutput` refuse an output before the work begins.
"""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vaelab.config import UserError
from vaelab.figures.image_tiles import progress_pairs, progress_samples, write_png
from vaelab.runtime.files import write_atomically
from vaelab.runtime.serialization import write_arrays, write_csv

IMAGES = "a .png with all images, a folder of .png (a name without ending), .npz or .npy"
TABLE = ".csv or .npz"
MAX_TILES = 2000
MAX_COLUMNS = 20


class ImageOutput:
    """Writes images [count, channel, height, width] to a .png, a folder of them, .npz or .npy."""

    endings = (".png", ".npz", ".npy", "")

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path, self.force = arguments.output, arguments.force
        check_output(self.path, self.endings, IMAGES, self.force)

    def write(
        self,
        images: np.ndarray,
        files: Sequence[Path],
        names: Sequence[str] = (),
        originals: np.ndarray | None = None,
        scores: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write the images; `files` name those in a folder, `names` say what each is made of.

        In a single .png, each of `originals` stands above its image; `scores` [count] are written
        to .npz too.
        """
        if self.path.suffix == ".png":
            _check_tiles(len(images))
            columns = min(math.ceil(math.sqrt(len(images))), MAX_COLUMNS)
            canvas = (
                progress_samples(images, columns)
                if originals is None
                else progress_pairs(originals, images, columns)
            )
            write_png(self.path, canvas)
        elif self.path.suffix == ".npy":
            write_atomically(self.path, lambda path: _save(path, images))
        elif self.path.suffix == ".npz":
            given = {"names": np.array(names)} if names else {}
            write_arrays(self.path, {"images": images, **given, **(scores or {})})
        else:
            self._write_folder(images, files)
        print(f"{self.path}: {described(images)}")

    def _write_folder(self, images: np.ndarray, files: Sequence[Path]) -> None:
        targets = [self.path / file for file in _distinct(files)]
        if not self.force and (found := [path for path in targets if path.exists()]):
            raise UserError(f"{found[0]} exists: --force replaces it, or choose another --output")
        for image, target in zip(images, targets, strict=True):
            rounded = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
            write_png(target, rounded[0] if len(rounded) == 1 else np.moveaxis(rounded, 0, -1))


class TableOutput:
    """Writes a row for each image to .csv, or arrays to .npz."""

    endings = (".csv", ".npz")

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path = arguments.output
        check_output(self.path, self.endings, TABLE, arguments.force)

    def write(self, names: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
        """Write values [count] or [count, dimension] of each image, after its name."""
        if self.path.suffix == ".npz":
            write_arrays(self.path, {"names": np.array(names), **columns})
        else:
            write_csv(self.path, table_rows(names, columns))
        print(f"{self.path}: {len(names):,} {'row' if len(names) == 1 else 'rows'}")


def table_rows(
    names: Sequence[str], columns: Mapping[str, np.ndarray]
) -> list[dict[str, str | float]]:
    """Return a row for each image: its name, and its values; those of dimensions are numbered."""
    rows = []
    for number, name in enumerate(names):
        row: dict[str, str | float] = {"name": name}
        for column, values in columns.items():
            if values.ndim == 1:
                row[column] = _shortest(values[number])
            else:
                row |= {f"{column}_{i}": _shortest(v) for i, v in enumerate(values[number])}
        rows.append(row)
    return rows


def check_output(path: Path, endings: Sequence[str], kinds: str, force: bool) -> None:
    """Raise UserError for an output that exists, has another ending or cannot be written."""
    if path.suffix not in endings:
        raise UserError(f"{path}: wanted {kinds}, not {path.suffix or 'a name without ending'}")
    is_folder = path.suffix == ""
    if path.is_dir() != is_folder and path.exists():
        raise UserError(f"{path} is {'no folder' if is_folder else 'a folder'}: wanted {kinds}")
    if path.exists() and not is_folder and not force:
        raise UserError(f"{path} exists: --force replaces it, or choose another --output")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    parent = next(found for found in (path, *path.parents, Path.cwd()) if found.exists())
    if parent != path and not parent.is_dir():
        raise UserError(f"{path}: {parent} is no folder")
    if not os.access(parent, os.W_OK):
        raise UserError(f"{path}: {parent} may not be written to")


def check_folder(path: Path, force: bool) -> None:
    """Raise UserError for a folder of a model that has files, or cannot be written."""
    if path.is_dir() and any(path.iterdir()) and not force:
        raise UserError(f"{path} has files: --force replaces them, or choose another --output")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is no folder: wanted one, for the files of a model")
    _check_writable(path)


def described_quality(found: Mapping[str, float | int | str]) -> str:
    """Return PSNR and SSIM of reconstructions in one line, from their means and errors."""
    parts = [f"PSNR {found['psnr_db']:.2f}{_error(found, 'psnr_standard_error_db', 2)} dB"]
    if "ssim" in found:
        parts.append(f"SSIM {found['ssim']:.3f}{_error(found, 'ssim_standard_error', 3)}")
    return f"  {', '.join(parts)}"


def _error(found: Mapping[str, float | int | str], name: str, digits: int) -> str:
    return f" ± {found[name]:.{digits}f}" if name in found else ""


def described(images: np.ndarray) -> str:
    """Return how many images of which size there are."""
    count, _, height, width = images.shape
    return f"{count:,} {'image' if count == 1 else 'images'} of {width}x{height} pixels"


def numbered(what: str, count: int) -> list[Path]:
    """Return names of files for images that are made of nothing: sample_0000.png."""
    return [Path(f"{what}_{number:04d}.png") for number in range(count)]


def _shortest(value: np.generic) -> float:
    """Return a number with the digits that its own type has, not those of a double."""
    return int(value) if isinstance(value, np.integer) else float(str(value))


def _check_tiles(count: int) -> None:
    if count > MAX_TILES:
        raise UserError(
            f"{count:,} images are too many for one .png of at most {MAX_TILES:,}: "
            "name a folder, .npz or .npy as --output"
        )


def _distinct(files: Sequence[Path]) -> list[Path]:
    """Return the files as .png, with their old endings too where two would be the same."""
    as_png = [file.with_suffix(".png") for file in files]
    same = {path for path in as_png if as_png.count(path) > 1}
    return [
        file.with_name(f"{file.name}.png") if path in same else path
        for file, path in zip(files, as_png, strict=True)
    ]


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
