"""Which files below a folder are read, and why the others are not."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

from vaelab.config import UserError
from vaelab.data.source import NoImagesError

HIDDEN = "hidden"
NOT_REGULAR = "not regular files"
BROKEN = "links to nothing"
CIRCLE = "links to a folder above them"
READ_ALREADY = "folders that are read already"
_OTHER_ENDING = "not images"
_NAMED = 3
"""Skipped entries of a reason that are named in a line; the rest is counted."""
_ENDINGS_NAMED = 8
_UNPRINTED = {"Cc", "Cn", "Cs"}
"""Unicode categories that a page cannot hold: control, not assigned, surrogate."""


@dataclass(frozen=True)
class Listing:
    """The files below `folder` that are read, sorted by path, and why the others are not.

    `skipped` maps the relative path of each other file, and of each linked folder that is not
    followed, to its reason.
    """

    folder: Path
    files: tuple[Path, ...]
    skipped: dict[Path, str]

    def note(self) -> str | None:
        """Return one line that counts what is not read, by reason; None where all is read."""
        if not self.skipped:
            return None
        total = len(self.files) + len(self.skipped)
        return (
            f"{shown(self.folder)}: {len(self.files):,} of {total:,} files are read; not read: "
            f"{self.reasons()}"
        )

    def without(self, problems: Mapping[Path, str]) -> "Listing":
        """Return the listing with some of its files skipped, each for its own reason."""
        skipped = {path.relative_to(self.folder): why for path, why in problems.items()}
        return Listing(
            self.folder,
            tuple(path for path in self.files if path not in problems),
            dict(sorted((self.skipped | skipped).items())),
        )

    def lines(self) -> tuple[str, ...]:
        """Return a line for each file that is not read: its path and the reason."""
        return tuple(f"{shown(path)}\t{shown(reason)}" for path, reason in self.skipped.items())

    def reasons(self) -> str:
        """Return how many files are not read for which reason."""
        endings = [
            r.partition(": ")[2] for r in self.skipped.values() if r.startswith(_OTHER_ENDING)
        ]
        parts = [f"{_OTHER_ENDING}: {_counted(endings)}"] if endings else []
        others = {
            p: r.partition(": ")[0] for p, r in self.skipped.items() if _OTHER_ENDING not in r
        }
        for reason, count in Counter(others.values()).most_common():
            named = some_of([path for path, why in others.items() if why == reason])
            parts.append(f"{reason}: {count:,} ({named})")
        return "; ".join(parts)


def list_files(folder: Path, endings: Collection[str]) -> Listing:
    """Find the files below a folder whose names have one of the endings, such as ".png".

    Links are followed, to files and to folders. A folder is read once, so links in circles end;
    hidden files and folders are skipped. Raises UserError for no folder, and for a folder that
    may not be read.
    """
    if not folder.is_dir():
        raise NoImagesError(f"data.folder: {shown(folder)} is not a folder of images")
    files: list[Path] = []
    skipped: dict[Path, str] = {}
    for path, reason in _walk(folder, endings):
        if reason is None:
            files.append(path)
        else:
            skipped[path.relative_to(folder)] = reason
    files.sort(key=lambda path: path.relative_to(folder).parts)
    return Listing(folder, tuple(files), dict(sorted(skipped.items())))


def expand_user(path: Path) -> Path:
    """Return the path with a leading ~ replaced by the user's home folder."""
    try:
        return path.expanduser()
    except RuntimeError:  # ~name, where nobody has that name
        return path


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by their value: 2 before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]


def shown(name: Path | str) -> str:
    """Return a name that can be printed, whatever bytes the file system holds."""
    return "".join(
        letter.encode("unicode_escape").decode() if category(letter) in _UNPRINTED else letter
        for letter in str(name)
    )


def name_in(folder: Path, path: Path, number: int | None = None) -> str:
    """Return the name of an image: its path in the folder, and its number in the file, from 0."""
    return shown(path.relative_to(folder).as_posix()) + ("" if number is None else f"#{number}")


def some_of(names: Sequence[object], most: int = _NAMED) -> str:
    """Return the first few names, and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(shown(str(name)) for name in names[:most])}{rest}"


def _walk(folder: Path, endings: Collection[str]) -> Iterator[tuple[Path, str | None]]:
    """Yield each file with the reason why it is not read, which is None if it is."""
    root = os.path.realpath(folder)
    seen: set[str] = set()
    todo = [(folder, False)]
    while todo:
        parent, hidden = todo.pop()
        real = os.path.realpath(parent)
        if not hidden:
            if real in seen:
                yield parent, READ_ALREADY
                continue
            seen.add(real)
        for entry in _entries(parent, hidden):
            path, is_hidden = Path(entry.path), hidden or entry.name.startswith(".")
            if not path.is_dir():
                yield path, HIDDEN if is_hidden else _reason(path, endings)
            elif not entry.is_symlink():
                todo.append((path, is_hidden))
            elif reason := _why_not_followed(path, is_hidden, root):
                yield path, reason
            else:
                todo.insert(0, (path, False))  # after the folders that are no links


def _entries(folder: Path, hidden: bool) -> Iterable["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if hidden:
            return ()
        raise UserError(
            f"data.folder: {error.filename} cannot be read: {error.strerror}"
        ) from error


def _reason(path: Path, endings: Collection[str]) -> str | None:
    if path.suffix.lower() not in endings:
        if not path.exists():
            return BROKEN
        return f"{_OTHER_ENDING}: {path.suffix.lower() or 'without ending'}"
    # A broken link is an image that cannot be read, and reported as such.
    return NOT_REGULAR if path.exists() and not path.is_file() else None


def _why_not_followed(path: Path, hidden: bool, root: str) -> str | None:
    if hidden:
        return HIDDEN
    target = os.path.realpath(path)
    if any(Path(above).is_relative_to(target) for above in (root, os.path.realpath(path.parent))):
        return CIRCLE
    inside = Path(target).is_relative_to(root)
    if inside and not any(p.startswith(".") for p in Path(target).relative_to(root).parts):
        return READ_ALREADY
    return None


def _counted(endings: list[str]) -> str:
    counts = Counter(endings).most_common()
    named = ", ".join(f"{count:,} {shown(ending)}" for ending, count in counts[:_ENDINGS_NAMED])
    rest = sum(count for _, count in counts[_ENDINGS_NAMED:])
    return f"{named}, {rest:,} of other endings" if rest else named
