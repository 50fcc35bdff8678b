"""The prepared format: memory-mapped .npy arrays and the dataset.json that describes them."""

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vaelab.config import ArtifactError, reason
from vaelab.config.section import Positive

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
INFO_FILE = "dataset.json"

ARRAY_TYPES = {
    "images": np.uint8,
    "missing": np.bool_,
    "labels": np.int64,
    "factors": np.int64,
}
"""The type of each kind of array."""


class DatasetInfo(BaseModel):
    """What dataset.json says about the arrays beside it.

    `levels` counts the grey levels that a pixel can take: 256 for 8-bit images, 2 for binary
    ones (also where the training split is stored grey, to be drawn at each access).
    `sha256` is keyed by file name. `pixel_range` is the values of the source that became 0 and 255,
    None for the whole range of its format. `missing` is the share of pixels that are missing, by
    split; splits of whole images are not in it. `notes` say what of the source's files was left out
    or reinterpreted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image_shape: tuple[Positive, Positive, Positive]
    counts: dict[SplitName, int]
    class_names: tuple[str, ...] | None
    factor_names: tuple[str, ...] | None
    levels: int = Field(ge=2, le=256)
    binarization: Literal["none", "fixed", "fresh"]
    seed: int
    sha256: dict[str, str]
    origin: str
    pixel_range: tuple[float, float] | None = Field(default=None, exclude_if=operator.not_)
    missing: dict[SplitName, float] = Field(default={}, exclude_if=operator.not_)
    notes: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)

    @field_validator("counts")
    @classmethod
    def _has_all_splits(cls, counts: dict[SplitName, int]) -> dict[SplitName, int]:
        if set(counts) != set(SPLITS):
            raise ValueError(f"must be given for each of {', '.join(SPLITS)}")
        return counts

    @property
    def has_names(self) -> bool:
        """Whether the file of each image is known."""
        return names_file("train") in self.sha256

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array file, by file name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for split, count in self.counts.items():
            shapes[array_file(split, "images")] = (count, *self.image_shape)
            if split in self.missing:
                shapes[array_file(split, "missing")] = (count, 1, *self.image_shape[1:])
            if self.class_names is not None:
                shapes[array_file(split, "labels")] = (count,)
            if self.factor_names is not None:
                shapes[array_file(split, "factors")] = (count, len(self.factor_names))
        return shapes


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set; its arrays stay on disk until they are indexed."""

    info: DatasetInfo
    arrays: dict[str, np.ndarray]
    folder: Path = Path()

    @classmethod
    def load(cls, folder: Path) -> "PreparedData":
        """Open what the prepare stage wrote.

        Raises ArtifactError, in one line, where a file is missing or disagrees with dataset.json.
        """
        info = _load_info(folder / INFO_FILE)
        shapes = info.array_shapes()
        arrays = {name: _open(folder / name, shape) for name, shape in shapes.items()}
        data = cls(info, arrays, folder)
        for split in SPLITS:
            _check_labels(folder / array_file(split, "labels"), data.labels(split), info)
            if info.has_names:
                data.names(split)
        return data

    def images(self, split: SplitName) -> UInt8[np.ndarray, "count channel height width"]:
        """The pixels of a split, 0 to 255."""
        return self.arrays[array_file(split, "images")]

    def missing(self, split: SplitName) -> Bool[np.ndarray, "count 1 height width"] | None:
        """Where pixels of a split's images are missing; they are 0 in `images`.

        None where all are there.
        """
        return self.arrays.get(array_file(split, "missing"))

    def labels(self, split: SplitName) -> Int64[np.ndarray, " count"] | None:
        """The classes of a split's images, indices into `info.class_names`, -1 where unknown.

        None for a data set without labels.
        """
        return self.arrays.get(array_file(split, "labels"))

    def factors(self, split: SplitName) -> Int64[np.ndarray, "count factor"] | None:
        """The known factors of a split's images, columns as `info.factor_names`, where known."""
        return self.arrays.get(array_file(split, "factors"))

    def names(self, split: SplitName) -> list[str]:
        """The name of each image of a split: its path in the user's folder.

        Images of sources without files are named by their places, as "test_images.npy#0". Raises
        ArtifactError for a file of names that cannot be read, or has another number of them.
        """
        count = self.info.counts[split]
        if not self.info.has_names:
            return [f"{array_file(split, 'images')}#{row}" for row in range(count)]
        return _read_names(self.folder / names_file(split), count)


def array_file(split: SplitName, kind: str) -> str:
    """The name of the file of a split's `images`, `missing`, `labels` or `factors`."""
    return f"{split}_{kind}.npy"


def names_file(split: SplitName) -> str:
    """The name of the file with the name of each image of a split, one a line."""
    return f"{split}_names.txt"


def _read_names(path: Path, count: int) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"cannot be read ({reason(error)})") from error
    if len(names) != count:
        raise ArtifactError(path, f"holds {len(names)} names, {INFO_FILE} says {count} images")
    return names


def _load_info(path: Path) -> DatasetInfo:
    try:
        return DatasetInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise ArtifactError(path, f"describes no data set: {reason(error)}") from error


def _open(path: Path, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})") from error
    except Exception as error:  # NumPy reads the header as Python, and raises what that raises
        raise ArtifactError(path, f"cannot be read ({reason(error)})") from error
    wanted = np.dtype(ARRAY_TYPES[path.stem.rpartition("_")[2]])
    if (array.dtype, array.shape) != (wanted, shape):
        raise ArtifactError(
            path,
            f"holds {array.dtype} {list(array.shape)}, {INFO_FILE} says {wanted} {list(shape)}",
        )
    if not len(array):
        raise ArtifactError(path, "is empty")
    return array


def _check_labels(
    path: Path, labels: Int64[np.ndarray, " count"] | None, info: DatasetInfo
) -> None:
    classes = len(info.class_names or ())
    if labels is not None and not -1 <= labels.min() <= labels.max() < classes:
        problem = f"its labels are not all from 0 to {classes - 1}, or -1 where unknown"
        raise ArtifactError(path, problem)
