"""Folders of mixed good and odd files: each file is read, or named with a reason."""

import os
import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.bad_input.strategies import refusal, tries
from vaelab.config import DataSettings
from vaelab.data.source import Source
from vaelab.data.sources import folder as source_folder

GOOD = ("a.png", "b.PNG", "c.jpg", "d.tif", "e.bmp")
ODD = ("f.txt", "g", ".hidden.png", "Thumbs.db", "i.heic", "j.tar.gz")
KINDS = ("image", "broken", "text", "empty", "link", "dangling", "pipe", "loop")
FOLDERS = ("", "cat", "dog", "cat/young", "train", "val", ".store", "10", "9")


def make(path: Path, kind: str, color: int, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "image":
        Image.new("L", (6, 4), color).save(path, format="PNG")
    elif kind == "broken":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(color))
    elif kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": str(outside), "dangling": "nowhere", "loop": path.name}[kind])


def entries(folder: Path) -> int:
    """Count what is in a folder and is no folder itself; links to folders are followed no more."""
    return sum(
        len(files) + sum(Path(parent, name).is_symlink() for name in folders)
        for parent, folders, files in os.walk(folder)
    )


def read(folder: Path) -> Source:
    settings = DataSettings(name="folder", folder=folder, unreadable="skip")
    return source_folder.read(settings, folder)


@given(
    files=st.dictionaries(
        st.tuples(st.sampled_from(FOLDERS), st.sampled_from(GOOD + ODD)),
        st.tuples(st.sampled_from(KINDS), st.integers(0, 255)),
        min_size=1,
        max_size=12,
    ),
    circle=st.booleans(),
)
@tries(60)
def test_every_file_is_read_or_named(
    tmp_path: Path, files: dict[tuple[str, str], tuple[str, int]], circle: bool
) -> None:
    folder, outside = tmp_path / "images", tmp_path / "outside.png"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    Image.new("L", (6, 4), 99).save(outside)
    for (parent, name), (kind, color) in files.items():
        make(folder / parent / name, kind, color, outside)
    if circle:
        (folder / "up").symlink_to("..")
    found: list[Source] = []
    message = refusal(lambda: found.append(read(folder)))
    assert "\n" not in message
    for source in found:
        parts = [source.train, source.validation, source.test]
        images = sum(part.count for part in parts if part)
        named = source.lists.get("skipped_files.txt", ())
        assert len({line.partition("\t")[0] for line in named}) == len(named)
        assert all(line.partition("\t")[2] for line in named)
        assert images + len(named) == entries(folder)
        assert bool(named) == any("not read" in note for note in source.notes)
