"""MNIST and data sets in its format, from generated and from real files."""

import gzip
import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import KMNIST, MNIST, FashionMNIST

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher, mirror_urls
from vaelab.data.source import Source
from vaelab.data.sources import idx

NAMES = [name for name, _ in MNIST.resources]


def idx_file(array: np.ndarray) -> bytes:
    """An idx file: two zero bytes, type 8 (unsigned byte), dimensions, sizes, data."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return header + array.astype(np.uint8).tobytes()


def contents(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Twelve training and five test images of 6x4, with labels that use all ten classes."""
    return {
        "train-images-idx3-ubyte.gz": random.integers(0, 256, (12, 6, 4)),
        "train-labels-idx1-ubyte.gz": np.arange(12) % 10,
        "t10k-images-idx3-ubyte.gz": random.integers(0, 256, (5, 6, 4)),
        "t10k-labels-idx1-ubyte.gz": np.array([9, 8, 7, 6, 5]),
    }


def write(folder: Path, files: dict[str, np.ndarray], level: int = 9) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        (folder / name).write_bytes(gzip.compress(idx_file(array), level, mtime=0))


def trust(monkeypatch: pytest.MonkeyPatch, files: dict[str, np.ndarray]) -> None:
    """Let MNIST's checksums be those of generated files."""
    hashes = {name: hashlib.sha256(idx_file(array)).hexdigest() for name, array in files.items()}
    monkeypatch.setattr(idx, "_MNIST_SHA256", hashes)


def pixels(source: Source) -> list[np.ndarray]:
    assert source.test is not None
    return [part.read(np.arange(part.count)) for part in (source.train, source.test)]


@pytest.fixture
def no_official_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for dataset in (MNIST, FashionMNIST, KMNIST):
        monkeypatch.setattr(dataset, "mirrors", [(tmp_path / "official").as_uri() + "/"])


@pytest.mark.usefixtures("no_official_hosts")
@pytest.mark.parametrize(
    ("name", "dataset"), [("mnist", MNIST), ("fashion_mnist", FashionMNIST), ("kmnist", KMNIST)]
)
def test_images_and_labels_arrive(
    name, dataset, mirror, fetch_from_mirror, tmp_path, monkeypatch, random
):
    files = contents(random)
    write(mirror / name, files)
    trust(monkeypatch, files)
    monkeypatch.setattr(
        dataset,
        "resources",
        [(n, hashlib.md5((mirror / name / n).read_bytes()).hexdigest()) for n in NAMES],
    )
    settings = DataSettings(name=name)
    idx.download(settings, tmp_path / "raw", fetch_from_mirror(name))
    source = idx.read(settings, tmp_path / "raw")
    assert source.test is not None
    for part, prefix in ((source.train, "train"), (source.test, "t10k")):
        images, labels = (files[name] for name in NAMES if name.startswith(prefix))
        np.testing.assert_array_equal(part.read(np.arange(part.count)), images[:, None])
        np.testing.assert_array_equal(part.labels, labels)
        assert part.shape == (1, 6, 4)
    names = tuple(map(str, range(10))) if name == "mnist" else tuple(dataset.classes)
    assert (source.levels, source.class_names) == (256, names)


@pytest.mark.usefixtures("no_official_hosts")
def test_a_recompressed_mnist_is_accepted(mirror, fetch_from_mirror, tmp_path, monkeypatch, random):
    files = contents(random)
    trust(monkeypatch, files)
    write(mirror / "mnist", files, level=1)
    assert (mirror / "mnist" / NAMES[0]).read_bytes() != gzip.compress(idx_file(files[NAMES[0]]), 9)
    idx.download(DataSettings(name="mnist"), tmp_path / "raw", fetch_from_mirror("mnist"))
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(NAMES)


@pytest.mark.usefixtures("no_official_hosts")
def test_a_changed_pixel_is_refused(mirror, fetch_from_mirror, tmp_path, monkeypatch, random):
    files = contents(random)
    trust(monkeypatch, files)
    files[NAMES[0]] = files[NAMES[0]].copy()
    files[NAMES[0]][3, 2, 1] ^= 1
    write(mirror / "mnist", files)
    expected = rf"{NAMES[0]}: refused: 304 bytes with SHA-256 \w+, which should be \w+; .*official"
    with pytest.raises(UserError, match=expected):  # 304 = 16 of header + 12 * 6 * 4
        idx.download(DataSettings(name="mnist"), tmp_path / "raw", fetch_from_mirror("mnist"))
    assert not (tmp_path / "raw" / NAMES[0]).exists()


@pytest.mark.usefixtures("no_official_hosts")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>Moved</title>", "Not a gzipped file"),
        (gzip.compress(bytes(10_000))[:-9], "ended before the end-of-stream marker"),
        (b"", "0 bytes with SHA-256"),
    ],
    ids=["HTML", "truncated", "empty"],
)
def test_what_is_no_gzip_file_is_refused(
    mirror, fetch_from_mirror, tmp_path, random, content, reason
):
    write(mirror / "mnist", contents(random))
    (mirror / "mnist" / NAMES[0]).write_bytes(content)
    with pytest.raises(UserError, match=f"{NAMES[0]}: refused: .*{reason}.* should "):
        idx.download(DataSettings(name="mnist"), tmp_path / "raw", fetch_from_mirror("mnist"))


@pytest.mark.usefixtures("no_official_hosts")
def test_fashion_mnist_is_held_to_its_md5(mirror, fetch_from_mirror, tmp_path, random):
    write(mirror / "fashion_mnist", contents(random))
    md5 = FashionMNIST.resources[0][1]
    fetch = fetch_from_mirror("fashion_mnist")
    with pytest.raises(UserError, match=f"MD5 .* should be {md5}"):
        idx.download(DataSettings(name="fashion_mnist"), tmp_path / "raw", fetch)


HEADER = struct.pack(">BBBBIII", 0, 0, 8, 3, 12, 6, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a valid idx file"),
        (b"<html>not found</html>", r"not a complete gzip file: Not a gzipped file \(b'<h'\)"),
        (gzip.compress(HEADER + bytes(288))[:-9], "not a complete gzip file: Compressed"),
        (gzip.compress(b"<html>not found</html>"), "not a valid idx file"),
        (gzip.compress(b""), "not a valid idx file"),
        (gzip.compress(b"\1" + HEADER[1:] + bytes(288)), "not a valid idx file"),
        (gzip.compress(HEADER + bytes(287)), "not a valid idx file: .* size 287"),
        (gzip.compress(HEADER[:8]), "not a valid idx file"),
        (gzip.compress(idx_file(np.zeros(12))), "not a valid idx file: x should have 3 dimension"),
    ],
    ids=[
        "empty",
        "HTML",
        "truncated",
        "compressed HTML",
        "compressed nothing",
        "wrong magic",
        "too few pixels",
        "half a header",
        "labels for images",
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, random, content, reason):
    write(tmp_path, contents(random))
    (tmp_path / NAMES[0]).write_bytes(content)
    expected = f"{re.escape(str(tmp_path / NAMES[0]))}: ({reason}).*; download it again"
    with pytest.raises(UserError, match=expected) as caught:
        idx.read(DataSettings(name="mnist"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path, random):
    write(tmp_path, contents(random))
    (tmp_path / NAMES[3]).unlink()
    with pytest.raises(UserError, match=f"{NAMES[3]}.*No such file.*download it again"):
        idx.read(DataSettings(name="mnist"), tmp_path)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(11), "mnist: 12 images but 11 labels"),
        (np.full(12, 10), "mnist: label 10 is out of range: 0 to 9"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, random, labels, reason):
    write(tmp_path, {**contents(random), NAMES[1]: labels})
    with pytest.raises(UserError, match=reason):
        idx.read(DataSettings(name="mnist"), tmp_path)


def test_images_are_resized_as_set(tmp_path, random):
    files = contents(random)
    files[NAMES[0]][0] = 200
    write(tmp_path, files)
    source = idx.read(DataSettings(name="mnist", image_size=(12, 8)), tmp_path)
    images = source.train.read(np.array([0, 5]))
    assert images.shape == (2, 1, 12, 8)
    assert (images[0] == 200).all()


def test_the_real_mnist(real_mirror, tmp_path):
    settings = DataSettings(name="mnist")
    mirrors = mirror_urls({"VAELAB_DATA_MIRROR": real_mirror}, None)
    idx.download(settings, tmp_path / "raw", Fetcher("mnist", mirrors, tmp_path / "partial"))
    source = idx.read(settings, tmp_path / "raw")
    assert source.test is not None
    assert (source.train.count, source.test.count) == (60_000, 10_000)
    assert source.train.shape == (1, 28, 28)
    # the mean and standard deviation that everyone normalises MNIST with: 0.1307, 0.3081
    train = source.train.read(np.arange(60_000)) / np.float32(255)
    assert train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert train.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
    assert source.train.labels is not None
    np.testing.assert_array_equal(source.train.labels[:5], [5, 0, 4, 1, 9])
