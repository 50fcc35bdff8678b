"""CIFAR-10 and SVHN, from small generated files in their real formats."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import CIFAR10, SVHN

from vaelab.config import DataSettings, UserError
from vaelab.data.source import ImageSet
from vaelab.data.sources import cifar10, svhn


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def everything(part: ImageSet) -> np.ndarray:
    return part.read(np.arange(part.count))


# CIFAR-10: a tar.gz of pickled batches, 3,072 bytes an image, red, green and blue in turn


@pytest.fixture
def cifar(mirror, monkeypatch, tmp_path, random):
    """An archive on the mirror whose checksums are trusted; returns its batches."""
    batches = {
        name: {
            "data": random.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": random.integers(0, 10, 4).tolist(),
        }
        for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)
    }
    meta = {"label_names": [f"class {index}" for index in range(10)]}
    files = {
        name: pickle.dumps(content, protocol=2)
        for name, content in {**batches, "batches.meta": meta}.items()
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    for split in ("train_list", "test_list"):
        names = [name for name, _ in getattr(CIFAR10, split)]
        monkeypatch.setattr(CIFAR10, split, [[name, md5(files[name])] for name in names])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(files["batches.meta"])})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(buffer.getvalue()))
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "official").as_uri())
    (mirror / "cifar10").mkdir()
    (mirror / "cifar10" / CIFAR10.filename).write_bytes(buffer.getvalue())
    return batches


def test_cifar10(cifar, fetch_from_mirror, tmp_path):
    settings = DataSettings(name="cifar10")
    cifar10.download(settings, tmp_path / "raw", fetch_from_mirror("cifar10"))
    source = cifar10.read(settings, tmp_path / "raw")
    first = cifar["data_batch_1"]["data"][0]
    image = source.train.read(np.array([0]))[0]
    # red plane first, each row by row
    assert image.shape == (3, 32, 32)
    assert image[0, 0, 5] == first[5]
    assert image[1, 2, 0] == first[1024 + 64]
    assert image[2, 31, 31] == first[3071]
    assert source.train.count == 20
    assert source.train.labels is not None
    np.testing.assert_array_equal(source.train.labels[4:8], cifar["data_batch_2"]["labels"])
    assert source.test is not None
    np.testing.assert_array_equal(
        everything(source.test).reshape(4, -1), cifar["test_batch"]["data"]
    )
    assert source.class_names == tuple(f"class {index}" for index in range(10))


def test_cifar10_is_never_unpickled_unverified(cifar, fetch_from_mirror, tmp_path, monkeypatch):
    settings = DataSettings(name="cifar10")
    cifar10.download(settings, tmp_path / "raw", fetch_from_mirror("cifar10"))
    trusted = CIFAR10.train_list[1][0]
    monkeypatch.setattr(CIFAR10, "train_list", [[trusted, "0" * 32]])

    def refuse(*arguments, **options):
        raise AssertionError("unpickled a file whose checksum is wrong")

    monkeypatch.setattr(pickle, "load", refuse)
    with pytest.raises(UserError, match="checksums of its batches are not CIFAR-10's"):
        cifar10.read(settings, tmp_path / "raw")


def test_a_changed_cifar10_is_refused(cifar, mirror, fetch_from_mirror, tmp_path):
    archive = mirror / "cifar10" / CIFAR10.filename
    archive.write_bytes(archive.read_bytes() + b"!")
    fetch = fetch_from_mirror("cifar10")
    with pytest.raises(UserError, match=f"refused: .* should be {CIFAR10.tgz_md5}"):
        cifar10.download(DataSettings(name="cifar10"), tmp_path / "raw", fetch)


@pytest.mark.parametrize("length", [0, 300, -100])
def test_a_broken_cifar10_archive_is_one_clear_error(cifar, mirror, tmp_path, length):
    content = (mirror / "cifar10" / CIFAR10.filename).read_bytes()[:length]
    (tmp_path / CIFAR10.filename).write_bytes(content)
    with pytest.raises(UserError, match=r"no whole CIFAR-10 archive: .+; download it again"):
        cifar10.read(DataSettings(name="cifar10"), tmp_path)


def test_a_missing_cifar10_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"No such file.*cifar-10-python\.tar\.gz"):
        cifar10.read(DataSettings(name="cifar10"), tmp_path)


# SVHN: .mat files of X [32, 32, 3, N] and y [N, 1], where the digit 0 is labelled 10


@pytest.fixture
def house_numbers(mirror, monkeypatch, tmp_path, random):
    (mirror / "svhn").mkdir()
    splits, made = {}, {}
    for split, count in (("train", 7), ("test", 3)):
        _, name, _ = SVHN.split_list[split]
        path = mirror / "svhn" / name
        pixels = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = np.array([10, 1, 9, 10, 5, 2, 3][:count], dtype=np.uint8)[:, None]
        scipy.io.savemat(path, {"X": pixels, "y": labels})
        splits[split] = [(tmp_path / name).as_uri(), name, md5(path.read_bytes())]
        made[split] = pixels
    monkeypatch.setattr(SVHN, "split_list", splits)
    return made


def test_svhn(house_numbers, fetch_from_mirror, tmp_path):
    settings = DataSettings(name="svhn")
    svhn.download(settings, tmp_path / "raw", fetch_from_mirror("svhn"))
    source = svhn.read(settings, tmp_path / "raw")
    image = source.train.read(np.array([4]))[0]
    assert image.shape == (3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(image[channel], house_numbers["train"][:, :, channel, 4])
    np.testing.assert_array_equal(source.train.labels, [0, 1, 9, 0, 5, 2, 3])
    assert source.test is not None
    assert source.test.count == 3
    assert source.class_names == tuple("0123456789")


def test_a_broken_svhn_file_is_named(house_numbers, mirror, tmp_path):
    (tmp_path / "train_32x32.mat").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"train_32x32\.mat: missing or broken .*; download it"):
        svhn.read(DataSettings(name="svhn"), tmp_path)
