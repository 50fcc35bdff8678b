"""A folder of images with something bad in it, and odd but good images."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import prepare
from tests.bad_input.sandbox import Sandbox, write_prepared
from vaelab.data.dataset import PreparedData

FOLDER = Path("images")
COUNT = 25


def pixels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def put(name: str, size: tuple[int, int] = (6, 4)) -> None:
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 90).save(path)


def holding(name: str, content: bytes) -> Callable[[], object]:
    return lambda: (FOLDER / name).write_bytes(content)


def saved(name: str, image: Image.Image, **options: Any) -> Callable[[], object]:
    return lambda: image.save(FOLDER / name, **options)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width: int, height: int) -> bytes:
    """A few bytes that say that they are a grey image of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def cut() -> None:
    """Leave half of an image that does not compress."""
    path = FOLDER / "x.png"
    Image.fromarray(pixels(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def file_in_its_place() -> None:
    shutil.rmtree(FOLDER)
    FOLDER.write_bytes(b"")


def only(count: int) -> Callable[[], None]:
    def leave() -> None:
        for path in sorted(FOLDER.iterdir())[count:]:
            path.unlink()

    return leave


UNKNOWN = "(in no image format that Pillow knows); repair or remove them"
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "an empty file": (holding("x.png", b""), "1 of 26 images cannot be read: x.png (an empty"),
    "half an image": (holding("x.png", png(6, 4)[:40]), f"x.png {UNKNOWN}"),
    "an image without its end": (cut, "x.png (image file is truncated"),
    "text": (holding("x.png", b"no image"), f"x.png {UNKNOWN}"),
    "a page": (holding("x.jpg", b"<!DOCTYPE html><title>Not found</title>"), f"x.jpg {UNKNOWN}"),
    "fractions": (
        saved("x.tiff", Image.fromarray(pixels(4, 6, dtype=np.float32))),
        "25 8-bit (0.png: values 90 to 90), 1 float (x.tiff: values 0 to 248); save all of them",
    ),
    "32 bits": (
        saved("x.tiff", Image.fromarray(pixels(4, 6, dtype=np.int32) * 2**20)),
        "which have no common scale: 25 8-bit (0.png: values 90 to 90), 1 integer (x.tiff: values",
    ),
    "a decompression bomb": (
        holding("x.png", png(100_000, 100_000)),
        "x.png (Image size (10000000000 pixels) exceeds limit",
    ),
    "a side of 0 pixels": (holding("x.png", png(0, 4)), f"x.png {UNKNOWN}"),
    "a name of two lines": (holding("x\ny.png", b""), r"x\ny.png (an empty file)"),
    "a name that colours a terminal": (holding("\x1b[31m.png", b""), r"\x1b[31m.png (an empty"),
    "a name of no characters": (holding(os.fsdecode(b"\xff.png"), b""), r"\udcff.png (an empty"),
    "a link to itself": (
        lambda: os.symlink("x.png", FOLDER / "x.png"),
        "x.png (Too many levels of symbolic links)",
    ),
    "a link to nothing": (lambda: os.symlink("y", FOLDER / "x.png"), "x.png (No such file"),
    "images beside and in sub-folders": (
        lambda: put("sub/x.png"),
        "holds 25 images itself and 1 in its sub-folders; data.loose_images: class makes a class",
    ),
    "no folder": (lambda: shutil.rmtree(FOLDER), "images is not a folder of images"),
    "a file in its place": (
        file_in_its_place,
        "images is not a folder",
    ),
    "an empty folder": (only(0), "images holds no images (other entries: 0)"),
    "a folder without images": (
        lambda: [path.rename(path.with_suffix(".txt")) for path in FOLDER.iterdir()],
        "images holds no images (other entries: 25)",
    ),
    "one image": (only(1), "1 images are too few: they split into 1 train, 0 validation, 0 test"),
    "four images": (only(4), "4 images are too few: they split into 3 train, 0 validation"),
}

RGB = Image.fromarray(pixels(4, 6, 3))
FRAMES = [Image.fromarray(frame) for frame in pixels(3, 4, 6, 3)]
TURNED = Image.Exif()
TURNED[0x112] = 6
GOOD: dict[str, Callable[[], object]] = {
    "L": saved("x.png", RGB.convert("L")),
    "LA": saved("x.png", RGB.convert("LA")),
    "P": saved("x.png", RGB.convert("P")),
    "P with transparency": saved("x.png", RGB.convert("P"), transparency=0),
    "RGB": saved("x.png", RGB),
    "RGBA": saved("x.png", RGB.convert("RGBA")),
    "CMYK": saved("x.jpg", RGB.convert("CMYK")),
    "LAB": saved("x.tiff", RGB.convert("LAB")),
    "16 bits": saved("x.png", Image.fromarray(pixels(4, 6, dtype=np.uint16) * 257)),
    "1 bit": saved("x.png", RGB.convert("1")),
    "an animation": saved("x.gif", FRAMES[0], save_all=True, append_images=FRAMES[1:]),
    "a turned photograph": saved("x.jpg", Image.fromarray(pixels(6, 4, 3)), exif=TURNED),
    "a link to another image": lambda: os.symlink("0.png", FOLDER / "x.png"),
    **{
        f"the name {name!a}": partial(put, f"{name}.png")
        for name in ("a b", "'\"`", "a\nb", "-rf", "ä🐱", "$(x);", "%s{0}", "b" * 240)
    },
    "a name of no characters": lambda: put(os.fsdecode(b"\xff\xfe.png")),
}


@pytest.fixture
def folder(sandbox: Sandbox) -> Sandbox:
    """25 good images, and what was prepared before."""
    for number in range(COUNT):
        put(f"{number}.png")
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/source.json").write_text('{"name": "folder"}')
    sandbox.settings(data={"name": "folder", "folder": "images"})
    return sandbox


@pytest.mark.parametrize(("make", "fragment"), BAD.values(), ids=BAD)
def test_bad_images_are_named(folder: Sandbox, make: Callable[[], object], fragment: str) -> None:
    write_prepared()
    make()
    printed = folder.refuses(prepare.main, fragment)
    assert printed.startswith(("error: data.folder: ", "error: folder: "))
    assert {path.name for path in Path("data").iterdir()} == {"raw", "prepared"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
@pytest.mark.parametrize("name", ["x.png", "sub"])
def test_what_may_not_be_read_is_named(folder: Sandbox, name: str) -> None:
    put("x.png")
    (FOLDER / "sub").mkdir()
    (FOLDER / name).chmod(0)
    folder.refuses(prepare.main, "Permission denied")
    (FOLDER / name).chmod(0o700)


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_odd_but_good_images_are_read(folder: Sandbox, make: Callable[[], object]) -> None:
    make()
    assert folder.run(prepare.main).startswith("folder: 20 train, 1 validation, 5 test")
    assert PreparedData.load(Path("data/prepared")).info.image_shape[1:] == (4, 6)


def test_links_in_circles_are_named(folder: Sandbox) -> None:
    os.symlink("..", FOLDER / "up")
    (FOLDER / "notes.txt").touch()
    printed = folder.run(prepare.main)
    assert printed.startswith("folder: 19 train, 1 validation, 5 test")
    said = (
        "images: 25 of 27 files are read; not read: not images: 1 .txt; "
        "links to a folder above them: 1 (up)"
    )
    assert said in printed.splitlines()
    assert said in json.loads(Path("data/prepared/dataset.json").read_text())["notes"]
    listed = Path("data/prepared/skipped_files.txt").read_text()
    assert listed == "notes.txt\tnot images: .txt\nup\tlinks to a folder above them\n"


def test_a_path_with_a_zero_byte_is_no_folder(folder: Sandbox) -> None:
    folder.settings(data={"name": "folder", "folder": "a\0b"})
    folder.refuses(prepare.main, r"data.folder: a\x00b is not a folder")
