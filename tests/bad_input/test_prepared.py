"""Downloaded and prepared data that is damaged, or says what is not so."""

import gzip
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import classifier, evaluate, paths, prepare, report, train
from tests.bad_input.sandbox import (
    SHAPE,
    Sandbox,
    npy,
    write_classifier,
    write_model,
    write_prepared,
)

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
PIXELS = np.arange(50 * 25, dtype=np.uint8).reshape(50, 5, 5)


def idx(*sizes: int, content: bytes = PIXELS.tobytes(), magic: int = 2051) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content)


def npy_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(117) + b"\n"


WHOLE, TEN = idx(50, 5, 5), idx(50, content=bytes(range(10)) * 5, magic=2049)
BAD_MNIST: dict[str, tuple[str, bytes | None, str]] = {
    "a truncated file": (IMAGES, WHOLE[:-20], "not a complete gzip file: Compressed file ended"),
    "a wrong checksum": (IMAGES, WHOLE[:-8] + bytes(8), "not a complete gzip file: CRC"),
    "a page": (IMAGES, b"<!DOCTYPE html>", "not a complete gzip file: Not a gzipped file"),
    "a packed page": (IMAGES, gzip.compress(b"<!DOCTYPE html>"), "not a valid idx file"),
    "an empty file": (IMAGES, b"", "not a valid idx file"),
    "no file": (IMAGES, None, "No such file or directory"),
    "a wrong magic number": (IMAGES, idx(50, 5, 5, magic=0x12345678), "not a valid idx file"),
    "fractions": (IMAGES, idx(1, 2, 2, content=bytes(16), magic=0x0D03), "not a valid idx file"),
    "labels for images": (IMAGES, TEN, "not a valid idx file"),
    "images for labels": (LABELS, WHOLE, "not a valid idx file"),
    "more images than there are": (IMAGES, idx(60, 5, 5), "invalid for input of size 1250"),
    "fewer images than there are": (IMAGES, idx(40, 5, 5), "invalid for input of size 1250"),
    "no images": (IMAGES, idx(0, 5, 5, content=b""), "not a valid idx file"),
    "fewer labels": (LABELS, idx(9, content=bytes(9), magic=2049), "50 images but 9 labels"),
    "a label that is no class": (
        LABELS,
        idx(50, content=b"\x0a" * 50, magic=2049),
        "label 10 is out of range: 0 to 9",
    ),
    "test images of another size": (
        "t10k-images-idx3-ubyte.gz",
        idx(50, 1, 25),
        "images of (1, 1, 25) beside images of (1, 5, 5)",
    ),
}


@pytest.mark.parametrize(("name", "content", "fragment"), BAD_MNIST.values(), ids=BAD_MNIST)
def test_bad_downloaded_files_are_named(
    sandbox: Sandbox, name: str, content: bytes | None, fragment: str
) -> None:
    write_prepared()
    raw = Path("data/raw/mnist")
    raw.mkdir(parents=True)
    Path("data/raw/source.json").write_text('{"name": "mnist"}')
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte.gz").write_bytes(WHOLE)
        (raw / f"{split}-labels-idx1-ubyte.gz").write_bytes(TEN)
    (raw / name).unlink()
    if content is not None:
        (raw / name).write_bytes(content)
    sandbox.settings(data={"name": "mnist"})
    sandbox.refuses(prepare.main, fragment)


GIVEN = npy(np.zeros((6, *SHAPE), np.uint8))
BAD_ARRAYS: dict[str, tuple[str, bytes | None, str]] = {
    "no array": ("images", None, "test_images.npy: cannot be read (No such file"),
    "an empty array file": ("images", b"", "test_images.npy: cannot be read (EOF"),
    "a truncated array": ("images", GIVEN[:-9], "cannot be read (mmap length is greater"),
    "a truncated header": ("images", GIVEN[:30], "cannot be read (EOF: reading array header"),
    "a broken header": ("images", npy_header(b"("), "test_images.npy: cannot be read ("),
    "a size of 20 digits": (
        "images",
        npy_header(
            b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 1, 8, 8), }"
        ),
        "test_images.npy: cannot be read (",
    ),
    "a page for an array": ("images", b"<!DOCTYPE html>", "the magic string is not correct"),
    "a zip for an array": ("images", b"PK\3\4", "cannot be read (EOF: reading magic string"),
    "a pickle for an array": ("images", pickle.dumps([1] * 9), "the magic string is not correct"),
    "a pickled array": ("images", npy(np.array([{}])), "cannot be read (Array can't be memory"),
    "fractions for pixels": (
        "images",
        npy(np.zeros((6, *SHAPE))),
        "holds float64 [6, 1, 8, 8], dataset.json says uint8 [6, 1, 8, 8]",
    ),
    "images of another shape": (
        "images",
        npy(np.zeros((6, 1, 8, 9), np.uint8)),
        "holds uint8 [6, 1, 8, 9], dataset.json says uint8 [6, 1, 8, 8]",
    ),
    "too large a label": ("labels", npy(np.full(6, 99)), "labels are not all from 0 to 1"),
    "a negative label": ("labels", npy(np.full(6, -2)), "labels are not all from 0 to 1, or -1"),
}


def ready(sandbox: Sandbox) -> None:
    """Let there be everything that the stages after `prepare` read."""
    sandbox.settings()
    write_prepared()
    write_model()
    write_classifier()


@pytest.mark.parametrize(("kind", "content", "fragment"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_named(
    sandbox: Sandbox, kind: str, content: bytes | None, fragment: str
) -> None:
    ready(sandbox)
    path = paths.PREPARED / f"test_{kind}.npy"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for stage in (train, classifier, evaluate, report):
        sandbox.refuses(stage.main, fragment)


BAD_INFO: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "an empty description": (b"", "describes no data set: Invalid JSON"),
    "half a description": (b'{"name": ', "describes no data set: Invalid JSON"),
    "a list for a description": (b"[]", "describes no data set: Input should be an object"),
    "bytes for a description": (b"\xff\xfe", "describes no data set: Invalid JSON"),
    "an unknown key": ({"colour": 1}, "colour: Extra inputs are not permitted"),
    "a count that is a text": ({"counts": "six"}, "counts: Input should be"),
    "a split too few": ({"counts": {"train": 6}}, "must be given for each of train"),
    "other counts": (
        {"counts": {"train": 5, "validation": 6, "test": 6}},
        "holds uint8 [6, 1, 8, 8], dataset.json says uint8 [5, 1, 8, 8]",
    ),
    "two sides": ({"image_shape": [1, 8]}, "image_shape.2: Field required"),
    "a negative side": ({"image_shape": [1, -8, 8]}, "image_shape.1: Input should be greater"),
    "no grey levels": ({"levels": 0}, "levels: Input should be greater than or equal to 2"),
    "fewer classes than labels": ({"class_names": ["even"]}, "not all from 0 to 0"),
    "factors that are not there": (
        {"factor_names": ["size"]},
        "train_factors.npy: cannot be read (No such file",
    ),
}


@pytest.mark.parametrize(("change", "fragment"), BAD_INFO.values(), ids=BAD_INFO)
def test_bad_descriptions_of_data_are_named(
    sandbox: Sandbox, change: dict[str, Any] | bytes, fragment: str
) -> None:
    ready(sandbox)
    path = paths.PREPARED / "dataset.json"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    printed = sandbox.refuses(evaluate.main, fragment)
    assert printed.endswith("prepare` recreates it\n")


def test_no_prepared_data_is_reported(sandbox: Sandbox) -> None:
    sandbox.settings()
    message = "data/prepared/dataset.json: there are no prepared data yet; `dvc repro prepare`"
    sandbox.refuses(train.main, message)


def test_images_of_another_shape_than_the_models_are_refused(sandbox: Sandbox) -> None:
    ready(sandbox)
    for path in paths.PREPARED.glob("*_images.npy"):
        np.save(path, np.zeros((6, 1, 4, 4), np.uint8))
    path = paths.PREPARED / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_shape": [1, 4, 4]}))
    fragment = "trained on images of shape [1, 8, 8], the prepared images have [1, 4, 4]"
    for stage in (evaluate, report):
        sandbox.refuses(stage.main, fragment)
