"""The images that a subcommand is given, with their names; and labels as they are typed."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import vaelab
from vaelab.config import UserError, reason

Images = np.ndarray
"""[count, channel, height, width], floats in [0, 1]."""
BAR_SECONDS = 2
"""Progress bars are shown of what takes longer."""
FOLDERS = "folders"
"""Value of --label: each image's folder has the name of its class."""


@dataclass(frozen=True)
class NamedImages:
    """Images, and the file of each as it was typed; of an array, with its number: a.npy[3].

    `below` are paths below the folder that was given, for files that are made of the images.
    """

    pixels: Images
    names: list[str]
    below: list[Path]


def read_images(arguments: argparse.Namespace, shape: tuple[int, int, int]) -> NamedImages:
    """Read the images that the arguments name, in a model's shape. Raises UserError."""
    from vaelab.api.inputs import read_item

    files = [found for path in arguments.images for found in _files(path)]
    pixels: list[np.ndarray] = []
    names: list[str] = []
    below: list[Path] = []
    for file, relative in tqdm(
        files, "reading images", unit="file", disable=None, delay=BAR_SECONDS, leave=False
    ):
        found = read_item(file, shape, arguments.resize).numpy()
        pixels.append(found)
        is_array = len(found) > 1
        names += [f"{file}[{i}]" if is_array else str(file) for i in range(len(found))]
        below += [
            relative.with_name(f"{relative.stem}_{i:04d}.png") if is_array else relative
            for i in range(len(found))
        ]
    return NamedImages(np.concatenate(pixels), names, below)


def class_label(text: str | None, names: Sequence[str]) -> str | int | None:
    """Return a label as it was typed: a class's name, or its number where none has that name."""
    is_number = text is not None and text not in names and text.removeprefix("-").isdecimal()
    return int(text) if is_number else text  # type: ignore[arg-type]


def image_labels(text: str | None, images: NamedImages, model: "vaelab.TrainedModel") -> object:
    """Return the labels of images, as `TrainedModel` takes them. Raises UserError."""
    names = model.description.class_names
    if text == FOLDERS and FOLDERS not in names:
        return [class_label(Path(name).parent.name, names) for name in images.names]
    if text is not None and Path(text).suffix == ".npy" and text not in names:
        return _read_labels(Path(text))
    return class_label(text, names)


def _read_labels(path: Path) -> np.ndarray:
    try:
        labels: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as labels: {reason(error)}") from error
    if labels.ndim != 1:
        raise UserError(f"{path}: labels of shape {list(labels.shape)}: wanted one an image")
    return labels


def _files(path: Path) -> list[tuple[Path, Path]]:
    """Return the files of a path, each with its path below the folder that was given."""
    from vaelab.api.inputs import list_images

    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        return [(path, Path(path.name))]
    listing = list_images(path)
    if note := listing.note():
        print(f"note: {note}", file=sys.stderr)
    return [(file, file.relative_to(path)) for file in listing.files]
