"""Which images are for training, validation and test, and how grey pixels become binary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from vaelab.config import DataSettings, UserError
from vaelab.config.choices import unknown_message
from vaelab.data.copies import copies_note, missing_classes_note, overlaps, units
from vaelab.data.dataset import SplitName
from vaelab.data.source import ImageSet, Source
from vaelab.data.stratified import take


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

    The test split is drawn first, then validation from what is left. Where the source knows
    copies and groups of images, they stay in one split, and splits are stratified by label.
    Raises UserError where a split would be empty.
    """
    parts = _split(source, settings, with_copies=True)
    if not _copies_are_kept_together(source, parts):
        parts = _split(source, settings, with_copies=False)
    _check_not_empty(source, parts)
    return parts


def keep_classes(
    source: Source, parts: Mapping[SplitName, Part], chosen: Sequence[int | str]
) -> tuple[dict[SplitName, Part], str]:
    """Leave only some classes, given by name or number, in the training and validation split.

    Returns a line that says so. Raises UserError for what is no class, and for an empty split.
    """
    kept = [_class_number(source, each) for each in chosen]
    found = {name: p if name == "test" else _of_classes(p, kept) for name, p in parts.items()}
    _check_not_empty(source, found)
    names = ", ".join((source.class_names or ())[number] for number in kept)
    others = len(found["test"]) - len(_of_classes(found["test"], kept))
    return found, (
        f"{source.name}: only images of {names} are in train and validation (data.only_classes); "
        f"of {len(found['test']):,} test images {others:,} are of other classes"
    )


def _class_number(source: Source, chosen: int | str) -> int:
    names = source.class_names or ()
    if str(chosen) in names:
        return names.index(str(chosen))
    if isinstance(chosen, int) and 0 <= chosen < len(names):
        return chosen
    if not names:
        raise UserError(f"data.only_classes: the images of {source.name} have no classes")
    raise UserError(unknown_message("class of data.only_classes", str(chosen), names))


def _of_classes(part: Part, classes: Sequence[int]) -> Part:
    labels = part.images.labels
    if labels is None:
        return part
    return Part(part.images, part.rows[np.isin(labels[part.rows], classes)])


def split_notes(source: Source, parts: dict[SplitName, Part]) -> tuple[str, ...]:
    """Return a line each on copies, on what own splits share, and on classes that a split lacks."""
    images = source.train
    notes = [copies_note(source.name, images, _are_apart(parts))]
    if images.groups is not None:
        notes.append(_groups_note(source.name, parts))
    for name, own in (("train", images), ("validation", source.validation)):
        left_out = own.count - sum(len(p) for p in parts.values() if p.images is own) if own else 0
        if left_out:
            notes.append(
                f"{source.name}: {left_out:,} images of {name} are left out: copies of images in a "
                "later split, or of one group with them"
            )
    if source.class_names is not None:
        labels = {
            n: p.images.labels[p.rows] for n, p in parts.items() if p.images.labels is not None
        }
        notes.append(missing_classes_note(source.name, labels, source.class_names))
    return tuple(note for note in notes if note)


def _groups_note(name: str, parts: dict[SplitName, Part]) -> str:
    groups = {
        split: len(np.unique(part.images.groups[part.rows]))
        for split, part in parts.items()
        if part.images.groups is not None
    }
    counted = ", ".join(f"{count:,} {split}" for split, count in groups.items())
    return f"{name}: {sum(groups.values()):,} groups of images stay together: {counted}"


def binarize(
    images: UInt8[np.ndarray, "*shape"], random: np.random.Generator
) -> UInt8[np.ndarray, "*shape"]:
    """Draw each pixel p of 0..255 as 255 with probability p/255, otherwise as 0."""
    # P(u < p) = p / 255 exactly for u uniform on 0..254
    drawn = random.integers(0, 255, size=images.shape, dtype=np.uint8) < images
    return drawn.astype(np.uint8) * np.uint8(255)


def _split(source: Source, settings: DataSettings, with_copies: bool) -> dict[SplitName, Part]:
    train, validation, test = source.train, source.validation, source.test
    later = [images for images in (validation, test) if images is not None]
    rows = generator(settings.seed, "split").permutation(train.count).astype(np.int64)
    rows = rows[~overlaps(train, later)[rows]]
    draw = _Draw(train, with_copies)
    drawn, rows = draw(rows, 0.0 if test else settings.test_fraction)
    parts: dict[SplitName, Part] = {"test": _official(test, []) or Part(train, np.sort(drawn))}
    drawn, rows = draw(rows, 0.0 if validation else settings.validation_fraction)
    own = _official(validation, [test] if test else [])
    return {
        "train": Part(train, np.sort(rows)),
        "validation": own or Part(train, np.sort(drawn)),
        **parts,
    }


class _Draw:
    """Takes a fraction of the training images, in random order or by label, copy and group."""

    def __init__(self, images: ImageSet, with_copies: bool) -> None:
        self.is_plain = images.groups is None and images.digests is None
        self.strata = np.zeros(images.count, np.int64) if images.labels is None else images.labels
        self.units = units(images, with_copies)

    def __call__(self, rows: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        count = round(fraction * len(rows))
        if self.is_plain or not count:
            return rows[:count], rows[count:]
        return take(rows, count, self.strata, self.units)


def _official(images: ImageSet | None, later: list[ImageSet]) -> Part | None:
    if images is None:
        return None
    return Part(images, np.flatnonzero(~overlaps(images, later)).astype(np.int64))


def _copies_are_kept_together(source: Source, parts: dict[SplitName, Part]) -> bool:
    """Whether the split is possible with all copies of an image on one side."""
    return source.train.digests is None or all(len(part) for part in parts.values())


def _are_apart(parts: dict[SplitName, Part]) -> bool:
    """Whether no image of a split has a copy in another."""
    found = [
        np.unique(part.images.digests[part.rows])
        for part in parts.values()
        if part.images.digests is not None
    ]
    return sum(map(len, found)) == len(np.unique(np.concatenate(found))) if found else True


def _check_not_empty(source: Source, parts: dict[SplitName, Part]) -> None:
    if any(len(part) == 0 for part in parts.values()):
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        groups = source.train.groups
        together = "" if groups is None else f" in {len(np.unique(groups))} groups"
        raise UserError(
            f"{source.name}: {source.train.count} images{together} are too few: they split into "
            f"{counts}, and each needs at least one; add images, or change "
            "data.validation_fraction or data.test_fraction"
        )
