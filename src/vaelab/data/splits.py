"""Which images are for training, validation and test, and how grey pixels become binary."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from vaelab.config import DataSettings, UserError
from vaelab.data.dataset import SplitName
from vaelab.data.source import ImageSet, Source


@dataclass(frozen=True)
class Part:
    """The rows of a source's images that make up a split."""

    images: ImageSet
    rows: Int64[np.ndarray, " count"]

    def __len__(self) -> int:
        return len(self.rows)


def generator(seed: int, stream: str) -> np.random.Generator:
    """A generator of its own for each use of a seed."""
    return np.random.default_rng([seed, *stream.encode()])


def split(source: Source, settings: DataSettings) -> dict[SplitName, Part]:
    """The source's own splits; those that it lacks are drawn from its training images.

    The test split is drawn first, then validation from what is left.
    Raises UserError where a split would be empty.
    """
    rows = generator(settings.seed, "split").permutation(source.train.count).astype(np.int64)
    test, rows = _take(rows, 0.0 if source.test else settings.test_fraction)
    validation, rows = _take(rows, 0.0 if source.validation else settings.validation_fraction)
    parts: dict[SplitName, Part] = {
        "train": Part(source.train, np.sort(rows)),
        "validation": _official(source.validation) or Part(source.train, np.sort(validation)),
        "test": _official(source.test) or Part(source.train, np.sort(test)),
    }
    _check_not_empty(source, parts)
    return parts


def binarize(
    images: UInt8[np.ndarray, "*shape"], random: np.random.Generator
) -> UInt8[np.ndarray, "*shape"]:
    """Draw each pixel p of 0..255 as 255 with probability p/255, otherwise as 0."""
    # P(u < p) = p / 255 exactly for u uniform on 0..254
    drawn = random.integers(0, 255, size=images.shape, dtype=np.uint8) < images
    return drawn.astype(np.uint8) * np.uint8(255)


def _take(rows: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    count = round(fraction * len(rows))
    return rows[:count], rows[count:]


def _official(images: ImageSet | None) -> Part | None:
    if images is None:
        return None
    return Part(images, np.arange(images.count, dtype=np.int64))


def _check_not_empty(source: Source, parts: dict[SplitName, Part]) -> None:
    if any(len(part) == 0 for part in parts.values()):
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise UserError(
            f"{source.name}: {source.train.count} images are too few: they split into {counts}, "
            "and each needs at least one; add images, or change data.validation_fraction or "
            "data.test_fraction"
        )
