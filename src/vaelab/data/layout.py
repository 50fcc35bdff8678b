"""What the folders around files mean: splits, classes, and groups that stay in one split."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from jaxtyping import Int64

from vaelab.config import DataSettings, UserError
from vaelab.data.dataset import SPLITS, SplitName
from vaelab.data.listing import natural_key, shown, some_of

_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_LEVELS = 3
"""Folder levels among which the one of the splits is looked for."""
_FEW = 0.1
"""Share of all images up to which those beside the folders of classes are left out unasked."""
Parents = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Layout:
    """The split, class and group of each file; only training where the folder has no splits."""

    splits: tuple[SplitName, ...]
    class_names: tuple[str, ...] | None
    labels: Int64[np.ndarray, " files"] | None
    groups: Int64[np.ndarray, " files"] | None
    notes: tuple[str, ...]

    def rows(self, split: SplitName) -> Int64[np.ndarray, " rows"]:
        """Return the numbers of the files of a split."""
        return np.flatnonzero([name == split for name in self.splits]).astype(np.int64)


def loose_files(folder: Path, files: Sequence[Path], settings: DataSettings) -> list[Path]:
    """Return the files beside the folders of classes, if these are to be left out.

    Raises UserError where they are many, and `data.loose_images` does not say what they are.
    """
    parents = _parents(folder, files)
    level = _level_of_mixture(folder, parents, settings)
    if level is None or settings.loose_images == "class":
        return []
    loose = [path for path, p in zip(files, parents, strict=True) if len(p) <= level]
    if settings.loose_images == "auto" and len(loose) > _FEW * len(files):
        _refuse_mixture(folder, parents, level)
    return loose


def read_layout(folder: Path, files: Sequence[Path], settings: DataSettings) -> Layout:
    """Read the layout of the files below a folder.

    Raises UserError for a layout that can be read in two ways, and for files without a group or
    without a folder of `data.label_level`.
    """
    group, parents = settings.group, _parents(folder, files)
    if (mixed := _level_of_mixture(folder, parents, settings)) is not None:
        if settings.loose_images != "class":
            _refuse_mixture(folder, parents, mixed)
        parents = [p if len(p) > mixed else (*p, folder.name) for p in parents]
    level, named = _split_level(folder, parents)
    splits: list[SplitName] = ["train"] * len(files)
    notes: list[str] = []
    if level is not None:
        splits = [named[p[level]] for p in parents]
        notes.append(_split_note(folder, parents, level, named))
    used = _used_levels(level, group)
    label_level = _label_level(folder, files, parents, used, settings.label_level)
    names = labels = None
    if label_level is not None:
        names, labels = number_names([p[label_level] for p in parents])
        notes += _label_notes(folder, parents, label_level, used, names)
    groups = None if group is None else _groups(folder, files, parents, group)
    shown_names = None if names is None else tuple(shown(name) for name in names)
    return Layout(tuple(splits), shown_names, labels, groups, tuple(notes))


def find_split(name: str) -> tuple[SplitName, str] | None:
    """Return the split that a name such as train2017 has as a word, and the rest of the name."""
    words = [m for m in re.finditer(r"[a-z]+", name.lower()) if m.group() in _WORDS]
    if len(words) != 1:
        return None
    word = words[0]
    return _WORDS[word.group()], name.lower()[: word.start()] + name.lower()[word.end() :]


def _split_level(folder: Path, parents: Parents) -> tuple[int | None, dict[str, SplitName]]:
    for level in range(_LEVELS):
        if any(len(p) <= level for p in parents):
            break
        names = sorted({p[level] for p in parents}, key=natural_key)
        named = _as_splits(folder, names, may_be_one=level == 0)
        if named:
            return level, named
    return None, {}


def _as_splits(folder: Path, names: list[str], may_be_one: bool) -> dict[str, SplitName]:
    """Return the split of each folder name; nothing where they are no splits."""
    found = {name: split for name in names if (split := find_split(name))}
    by_rest: dict[str, set[SplitName]] = defaultdict(set)
    for word, rest in found.values():
        by_rest[rest].add(word)
    single = may_be_one and len(names) == 1 and list(by_rest) == [""]
    if not single and all(len(splits) < 2 for splits in by_rest.values()):
        return {}
    others = [name for name in names if name not in found]
    if others:
        problem = f"beside others ({some_of(others)})"
    elif len(by_rest) > 1 or len(found) > len({split for split, _ in found.values()}):
        problem = "of which several may be the same split"
    elif "train" not in next(iter(by_rest.values())):
        problem = "and none of training images"
    else:
        return {name: split for name, (split, _) in found.items()}
    raise UserError(
        f"data.folder: {shown(folder)} holds folders of splits ({some_of(list(found))}) {problem}; "
        "keep one folder for each of train, val and test, or set data.folder to one of them"
    )


def _split_note(folder: Path, parents: Parents, level: int, named: dict[str, SplitName]) -> str:
    counts = Counter(p[level] for p in parents)
    parts = [
        f"{shown(name)} ({counts[name]:,} files) as {split}"
        for split in SPLITS
        for name in named
        if named[name] == split
    ]
    missing = [split for split in SPLITS if split not in named.values()]
    drawn = f"; {' and '.join(missing)} drawn from train" if missing else ""
    return f"{shown(folder)}: its folders are taken as splits: {', '.join(parts)}{drawn}"


def _parents(folder: Path, files: Sequence[Path]) -> list[tuple[str, ...]]:
    return [path.relative_to(folder).parts[:-1] for path in files]


def _used_levels(split_level: int | None, group: int | str | None) -> set[int | None]:
    return {split_level} if isinstance(group, str) or group is None else {split_level, group - 1}


def _level_of_mixture(folder: Path, parents: Parents, settings: DataSettings) -> int | None:
    """Return the level of folders that some files are in and others beside, if no other differs."""
    if settings.label_level != "auto":
        return None
    used = _used_levels(_split_level(folder, parents)[0], settings.group)
    levels = _differing_levels(parents, used)
    return levels[0] if levels and levels[0] >= min(map(len, parents)) else None


def _differing_levels(parents: Parents, used: set[int | None]) -> list[int]:
    """Return the levels at which not all files are in one and the same folder."""
    names = [{p[level : level + 1] for p in parents} for level in range(max(map(len, parents)))]
    return [level for level, some in enumerate(names) if level not in used and len(some) > 1]


def _label_level(
    folder: Path,
    files: Sequence[Path],
    parents: Parents,
    used: set[int | None],
    chosen: int | Literal["auto"],
) -> int | None:
    """Return the level of the classes: the first at which folders differ, of no split or group."""
    if chosen == "auto":
        return next(iter(_differing_levels(parents, used)), None)
    lacking = [
        path.relative_to(folder) for path, p in zip(files, parents, strict=True) if len(p) < chosen
    ]
    if lacking:
        raise UserError(
            f"data.label_level: there is no folder of level {chosen} above {len(lacking):,} of "
            f"{len(files):,} files: {some_of(lacking)}; set the level that all have, or 0 for none"
        )
    return chosen - 1 if chosen else None


def _refuse_mixture(folder: Path, parents: Parents, level: int) -> NoReturn:
    at_top = sum(len(p) <= level for p in parents)
    where = "itself" if level == 0 else f"in folders of level {level}"
    raise UserError(
        f"data.folder: {shown(folder)} holds {at_top:,} images {where} and "
        f"{len(parents) - at_top:,} in its sub-folders; data.loose_images: class makes a class of "
        "the former, skip leaves them out, and data.label_level: 0 takes all without labels"
    )


def _label_notes(
    folder: Path, parents: Parents, level: int, used: set[int | None], names: Sequence[str]
) -> list[str]:
    notes = []
    splits = [name for name in names if name.lower() in _WORDS]
    if splits and len(names) > 1:
        notes.append(f"{shown(folder)}: its folder {some_of(splits)} is taken as a class, no split")
    deeper = [p for p in parents if set(range(level + 1, len(p))) - used]
    if deeper:
        notes.append(
            f"{shown(folder)}: {len(deeper):,} files are in folders below those of the classes, "
            f"whose names are not used ({some_of(sorted({'/'.join(p) for p in deeper}))})"
        )
    return notes


def _groups(
    folder: Path, files: Sequence[Path], parents: Parents, group: int | str
) -> Int64[np.ndarray, " files"]:
    if isinstance(group, str):
        matches = [re.search(group, path.name) for path in files]
        keys = [
            m and (m.group() if not m.groups() else "\0".join(map(str, m.groups())))
            for m in matches
        ]
        problem = f"{group!r} is not found in the names of"
    else:
        keys = [p[group - 1] if len(p) >= group else None for p in parents]
        problem = f"there is no folder of level {group} above"
    missing = [
        path.relative_to(folder) for path, key in zip(files, keys, strict=True) if key is None
    ]
    if missing:
        raise UserError(
            f"data.group: {problem} {len(missing):,} of {len(files):,} files: {some_of(missing)}; "
            "set a folder level from 1 or a pattern that each file name has"
        )
    return number_names([str(key) for key in keys])[1]


def number_names(names: list[str]) -> tuple[list[str], Int64[np.ndarray, " names"]]:
    """Return the different names in natural order, and each name's place among them."""
    different = sorted(set(names), key=natural_key)
    numbers = {name: number for number, name in enumerate(different)}
    return different, np.array([numbers[name] for name in names], np.int64)
