"""The files that stages write."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.config import UserError
from vaelab.files import write_atomically, write_text


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON that people can read; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under the union of their keys, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, float]]:
    """Read rows of numbers; empty cells are left out."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, as .npz without pickled objects."""

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, save)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read arrays by name. Raises UserError where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); `dvc repro -s -f evaluate` makes it anew"
        ) from error


def nested(flat: Mapping[str, float]) -> dict[str, Any]:
    """Turn dotted names into a group each, as DVC shows them dotted again."""
    groups: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, key = name.rpartition(".")
        (groups.setdefault(group, {}) if group else groups)[key] = value
    return groups


def flattened(groups: Mapping[str, Any]) -> dict[str, float]:
    """Give the numbers of a metrics file by their dotted names."""
    flat = {}
    for group, values in groups.items():
        for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            if isinstance(value, int | float):
                flat[f"{group}.{key}" if key else group] = float(value)
    return flat
