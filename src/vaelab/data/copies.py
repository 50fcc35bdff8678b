"""Exact copies among images, groups of images, and what is said of both after the split."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int64

from vaelab.data.dataset import SplitName
from vaelab.data.listing import some_of
from vaelab.data.source import ImageSet


def units(images: ImageSet, with_copies: bool = True) -> Int64[np.ndarray, " count"]:
    """Return a number for each image; images of one group, and copies, have the same."""
    numbers = np.arange(images.count)
    if images.groups is not None:
        numbers = np.unique(images.groups, return_inverse=True)[1]
    if images.digests is None or not with_copies:
        return numbers.astype(np.int64)
    return _joined(numbers, np.unique(images.digests, return_inverse=True)[1])


def _joined(first: np.ndarray, second: np.ndarray) -> Int64[np.ndarray, " count"]:
    """Return the connected components of two equivalence relations."""
    while True:
        before = first
        for other in (second, first):
            lowest = np.full(other.max() + 1, len(first), np.int64)
            np.minimum.at(lowest, other, first)
            first = lowest[other]
        first = np.unique(first, return_inverse=True)[1].astype(np.int64)
        if np.array_equal(first, before):
            return first


def overlaps(images: ImageSet, others: Sequence[ImageSet]) -> Bool[np.ndarray, " count"]:
    """Return which images have a copy, or a member of their group, in other sets."""
    found = np.zeros(images.count, bool)
    for other in others:
        for mine, theirs in ((images.digests, other.digests), (images.groups, other.groups)):
            if mine is not None and theirs is not None:
                found |= np.isin(mine, theirs)
    return found


def copies_note(name: str, images: ImageSet, is_kept_together: bool) -> str | None:
    """Return a line that counts the exact copies; None where there are none."""
    if images.digests is None:
        return None
    _, numbers, counts = np.unique(images.digests, return_inverse=True, return_counts=True)
    extra = images.count - len(counts)
    if not extra:
        return None
    how = (
        "copies of an image are kept in one split"
        if is_kept_together
        else "they stand in several splits, as too few different images are left otherwise"
    )
    note = f"{name}: {extra:,} images are exact copies of others ({len(counts):,} differ); {how}"
    if images.labels is not None:
        pairs = np.unique(np.stack([numbers, images.labels]), axis=1)
        contradictory = int((np.bincount(pairs[0]) > 1).sum())
        if contradictory:
            note += f"; {contradictory:,} images have copies of another class"
    return note


def missing_classes_note(
    name: str, labels: Mapping[SplitName, np.ndarray], class_names: Sequence[str]
) -> str | None:
    """Return a line that names the classes that a split lacks; None where it lacks none."""
    parts = []
    for split, present in labels.items():
        lacking = sorted(set(range(len(class_names))) - set(present.tolist()))
        if lacking:
            parts.append(f"{split} lacks {some_of([class_names[i] for i in lacking], 10)}")
    return f"{name}: classes without images in a split: {'; '.join(parts)}" if parts else None
