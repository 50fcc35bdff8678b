"""Random damage to every kind of file that is read: it is read, or refused in one line."""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from PIL import Image

from pipeline import paths
from tests.bad_input.sandbox import Sandbox, write_classifier, write_model, write_prepared
from tests.bad_input.strategies import edited, edits, read_or_refused, tries
from vaelab.config import DataSettings
from vaelab.data.dataset import PreparedData
from vaelab.data.prepare import prepare
from vaelab.data.sources import cifar10, read
from vaelab.evaluation.classifier import load_classifier
from vaelab.models.saving import load_model
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import read_arrays, read_csv, read_metrics, write_arrays

RAW = Path("data/raw")
CPU = torch.device("cpu")
Pack = Callable[[bytes], bytes]
Reader = Callable[[], object]


def plain(content: bytes) -> bytes:
    return content


def prepared(name: str) -> object:
    settings = DataSettings.model_validate({"name": name, "folder": "images"})
    return prepare(read(settings, RAW), settings, Path("made"))


def source(name: str, files: dict[str, bytes]) -> Reader:
    write_text(RAW / "source.json", json.dumps({"name": name}))
    for file, content in files.items():
        path = RAW / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return partial(prepared, name)


def mnist() -> tuple[Path, Pack, Reader]:
    pixels = struct.pack(">IIII", 2051, 40, 2, 2) + bytes(range(160))
    labels = struct.pack(">II", 2049, 40) + bytes(range(10)) * 4
    files = {}
    for split in ("train", "t10k"):
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(pixels)
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(labels)
    return RAW / "mnist" / "train-images-idx3-ubyte.gz", plain, source("mnist", files)


def mnist_unpacked() -> tuple[Path, Pack, Reader]:
    path, _, reader = mnist()
    path.write_bytes(gzip.decompress(path.read_bytes()))
    return path, gzip.compress, reader


def cifar() -> tuple[Path, Pack, Reader]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        names = "\n".join(f"class{index}" for index in range(10)).encode()
        for name in (*cifar10.TRAIN, *cifar10.TEST, cifar10.NAMES):
            entry = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            content = names if name == cifar10.NAMES else bytes(2 * 3073)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    reader = source("cifar10", {cifar10.ARCHIVE: buffer.getvalue()})
    return RAW / "cifar10" / cifar10.ARCHIVE, partial(gzip.compress, compresslevel=1), reader


def svhn() -> tuple[Path, Pack, Reader]:
    arrays = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1))}
    scipy.io.savemat("made.mat", arrays)
    files = {f"{split}_32x32.mat": Path("made.mat").read_bytes() for split in ("train", "test")}
    return RAW / "svhn" / "train_32x32.mat", plain, source("svhn", files)


def image(ending: str) -> tuple[Path, Pack, Reader]:
    Path("images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for number in range(20):
        Image.fromarray(pixels).save(f"images/{number}.{ending}")
    return Path(f"images/0.{ending}"), plain, source("folder", {})


def data(name: str) -> tuple[Path, Pack, Reader]:
    write_prepared()
    return paths.PREPARED / name, plain, lambda: PreparedData.load(paths.PREPARED)


def model(name: str) -> tuple[Path, Pack, Reader]:
    write_model()
    return paths.MODEL / name, plain, lambda: load_model(paths.MODEL, CPU)


def classifier(name: str) -> tuple[Path, Pack, Reader]:
    write_classifier()
    folder = paths.EVALUATION_CLASSIFIER
    return folder / name, plain, lambda: load_classifier(folder, CPU)


def evaluated(path: Path) -> tuple[Path, Pack, Reader]:
    write_arrays(paths.TEST_LATENTS, {"mean": np.eye(3), "stddev": np.ones((3, 3))})
    write_text(paths.HISTORY, "epoch,loss\n1,2.5\n2,1.5\n")
    write_text(paths.EVALUATE_METRICS, '{"test": {"nll_nats": 1.5}, "dataset": {"name": "a"}}')
    readers: dict[str, Callable[[Path], object]] = {
        ".npz": read_arrays,
        ".csv": read_csv,
        ".json": read_metrics,
    }
    return path, plain, lambda: readers[path.suffix](path)


KINDS: dict[str, Callable[[], tuple[Path, Pack, Reader]]] = {
    "idx, packed": mnist,
    "idx": mnist_unpacked,
    "CIFAR-10": cifar,
    "SVHN": svhn,
    **{f"an image.{ending}": partial(image, ending) for ending in ("png", "jpg", "tiff", "gif")},
    **{
        name: partial(data, name) for name in ("test_images.npy", "test_labels.npy", "dataset.json")
    },
    **{name: partial(model, name) for name in ("weights.safetensors", "config.json")},
    "a classifier's weights": partial(classifier, "weights.safetensors"),
    "classifier.json": partial(classifier, "classifier.json"),
    **{
        path.name: partial(evaluated, path)
        for path in (paths.TEST_LATENTS, paths.HISTORY, paths.EVALUATE_METRICS)
    },
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_damaged_file_is_read_or_refused(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[], tuple[Path, Pack, Reader]],
) -> None:
    monkeypatch.setattr(cifar10, "RECORDS", 2)
    path, pack, reader = kind()
    whole = path.read_bytes()

    @tries(15)
    @given(edits())
    def holds(changes: list[tuple[float, str, bytes]]) -> None:
        path.write_bytes(pack(edited(whole, changes)))
        read_or_refused(reader)

    holds()
