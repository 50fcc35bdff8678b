"""Read and write JSON, CSV and .npz files."""

import csv
import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.config import ArtifactError, reason
from vaelab.runtime.files import write_atomically, write_text


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON. Raises ValueError for NaN and infinity."""
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
    """Read rows of numbers, without empty cells. Raises ArtifactError if the file is damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return [_numbers(row, reader.line_num) for row in reader]
    except (ValueError, csv.Error) as error:
        raise ArtifactError(path, f"cannot be read ({reason(error)})") from error


def _numbers(row: Mapping[str | None, Any], line: int) -> dict[str, float]:
    if None in row:
        raise ValueError(f"line {line} has more cells than the header has names")
    try:
        return {str(name): float(cell) for name, cell in row.items() if cell}
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def read_table(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read columns of numbers; {} if there are no rows.

    Raises ArtifactError if the file is damaged, one of `names` is missing, or a cell is empty.
    """
    rows = read_csv(path)
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ArtifactError(path, "a row has an empty cell")
    if rows and (missing := [name for name in names if name not in rows[0]]):
        raise ArtifactError(path, f"has no column {', '.join(missing)}")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz, without pickled objects."""

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, save)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays from .npz. Raises ArtifactError if the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _array(archive, name) for name in archive.namelist()}
    except Exception as error:  # NumPy and zipfile raise many types for a broken header
        if isinstance(error, OSError) and error.filename:
            raise
        raise ArtifactError(path, f"cannot be read ({reason(error)})") from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {array.dtype} instead of numbers")
    return array


def read_metrics(path: Path) -> dict[str, dict[str, float | int | str]]:
    """Read metrics by group and name. Raises ArtifactError if the file is damaged."""
    try:
        groups = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"cannot be read ({reason(error)})") from error
    if not _are_metrics(groups):
        raise ArtifactError(path, "must contain groups of named numbers")
    found: dict[str, dict[str, float | int | str]] = groups
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a finite number")


def _are_metrics(groups: object) -> bool:
    return isinstance(groups, dict) and all(
        isinstance(group, dict) and all(map(_is_measured, group.values()))
        for group in groups.values()
    )


def _is_measured(value: object) -> bool:
    most = sys.float_info.max
    return isinstance(value, str) or (isinstance(value, int | float) and -most <= value <= most)


def nested(flat: Mapping[str, float]) -> dict[str, Any]:
    """Turn dotted names, `group.name`, into a dictionary for each group."""
    groups: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, key = name.rpartition(".")
        (groups.setdefault(group, {}) if group else groups)[key] = value
    return groups


def flattened(groups: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a metrics file by their dotted names, `group.name`."""
    flat = {}
    for group, values in groups.items():
        for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            if isinstance(value, int | float):
                flat[f"{group}.{key}" if key else group] = float(value)
    return flat
