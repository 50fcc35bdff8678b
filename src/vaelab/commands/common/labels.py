"""Labels and latents, as they are typed or read from files."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaelab.commands.common.inputs import NamedImages
from vaelab.config import UserError, reason

ARRAY_FILES = (".npy", ".npz")
FOLDERS = "folders"
"""Value of --label: each image's folder has the name of its class."""


def class_label(text: str | None, names: Sequence[str]) -> str | int | None:
    """Return a label as it was typed: a class's name, or its number where none has that name."""
    if text is None or text in names or not text.removeprefix("-").isdecimal():
        return text
    return int(text)


def image_labels(text: str | None, images: NamedImages, names: Sequence[str]) -> object:
    """Return the labels of images, as `TrainedModel` takes them. Raises UserError.

    `text` is the value of --label, and `names` are those of the model's labels.
    """
    if text == FOLDERS and FOLDERS not in names:
        return [class_label(Path(name).parent.name, names) for name in images.names]
    if text is not None and Path(text).suffix in ARRAY_FILES and text not in names:
        return _read_labels(Path(text))
    return class_label(text, names)


def read_latents(path: Path) -> tuple[np.ndarray, list[str]]:
    """Return the latents of a file of `vaelab encode`, or of an .npy file, and their names.

    Raises UserError.
    """
    try:
        if path.suffix == ".csv":
            return _latents_of_table(path)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded, []
            return loaded["mean"], loaded["names"].tolist() if "names" in loaded else []
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be read as latents: {reason(error)}") from error


def _latents_of_table(path: Path) -> tuple[np.ndarray, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    columns = [name for name in (rows[0] if rows else ()) if name.startswith("mean_")]
    if not columns:
        raise UserError(f"{path}: has no columns mean_0, mean_1, ..., as `vaelab encode` writes")
    latents = np.array([[row[name] for name in columns] for row in rows], np.float32)
    return latents, [row["name"] for row in rows if "name" in row]


def _read_labels(path: Path) -> list[int | str]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            labels = loaded if isinstance(loaded, np.ndarray) else loaded["labels"]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path}: cannot be read as labels: {reason(error)}") from error
    if labels.ndim != 1:
        raise UserError(f"{path}: labels of shape {list(labels.shape)}: wanted one an image")
    found: list[int | str] = labels.tolist()
    return found
