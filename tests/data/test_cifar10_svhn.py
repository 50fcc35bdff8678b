"""CIFAR-10 and SVHN, from small generated files in their real formats."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import SVHN

from vaelab.config import DataSettings, UserError
from vaelab.data.source import ImageSet
from vaelab.data.sources import cifar10, svhn


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def everything(part: ImageSet) -> np.ndarray:
    return part.read(np.arange(part.count))


# CIFAR-10: a tar.gz of batches, records of a label and 3,072 pixels: red, green and blue in turn


CLASS_NAMES = tuple(f"class{index}" for index in range(10))


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def batches(monkeypatch, random) -> dict[str, np.ndarray]:
    """Batches of four records instead of 10,000."""
    monkeypatch.setattr(cifar10, "RECORDS", 4)
    made = {}
    for name in (*cifar10.TRAIN, *cifar10.TEST):
        made[name] = random.integers(0, 256, (4, 3073), dtype=np.uint8)
        made[name][:, 0] %= 10
    return made


@pytest.fixture
def files(batches) -> dict[str, bytes]:
    """What the archive holds, in an order of its own, with an unknown file."""
    names = "\n".join((*CLASS_NAMES, "", ""))
    members = {name: array.tobytes() for name, array in reversed(batches.items())}
    members |= {"readme.html": b"<html>", "batches.meta.txt": names.encode()}
    return {f"cifar-10-batches-bin/{name}": content for name, content in members.items()}


@pytest.fixture
def cifar(mirror, monkeypatch, tmp_path, files) -> bytes:
    """An archive on the mirror whose checksum is trusted."""
    content = packed(files)
    monkeypatch.setattr(cifar10, "MD5", md5(content))
    monkeypatch.setattr(cifar10, "URL", (tmp_path / "official").as_uri())
    (mirror / "cifar10").mkdir()
    (mirror / "cifar10" / cifar10.ARCHIVE).write_bytes(content)
    return content


def refused(folder: Path, content: bytes, message: str) -> None:
    (folder / cifar10.ARCHIVE).write_bytes(content)
    whole = rf"{cifar10.ARCHIVE}: not a complete CIFAR-10 archive: {message}; download it again"
    with pytest.raises(UserError, match=whole):
        cifar10.read(DataSettings(name="cifar10"), folder)


def test_cifar10(cifar, batches, fetch_from_mirror, tmp_path):
    settings = DataSettings(name="cifar10")
    cifar10.download(settings, tmp_path / "raw", fetch_from_mirror("cifar10"))
    source = cifar10.read(settings, tmp_path / "raw")
    label, *first = batches["data_batch_1.bin"][0]
    image = source.train.read(np.array([0]))[0]
    # red plane first, each row by row
    assert image.shape == (3, 32, 32)
    assert image[0, 0, 5] == first[5]
    assert image[1, 2, 0] == first[1024 + 64]
    assert image[2, 31, 31] == first[3071]
    assert source.train.count == 20
    assert source.train.labels is not None
    assert source.train.labels[0] == label
    np.testing.assert_array_equal(source.train.labels[4:8], batches["data_batch_2.bin"][:, 0])
    assert source.test is not None
    np.testing.assert_array_equal(
        everything(source.test).reshape(4, -1), batches["test_batch.bin"][:, 1:]
    )
    assert source.class_names == CLASS_NAMES


def test_cifar10_is_read_without_writing_or_unpickling(files, tmp_path, monkeypatch):
    outside = {"../outside": b"x", "/tmp/outside": b"x", "data_batch_1.bin": b"x"}
    (tmp_path / cifar10.ARCHIVE).write_bytes(packed(outside | files))

    def refuse(*arguments, **options):
        raise AssertionError("wrote or unpickled something")

    for module, name in ((pickle, "load"), (pickle, "loads"), (tarfile.TarFile, "extract")):
        monkeypatch.setattr(module, name, refuse)
    assert cifar10.read(DataSettings(name="cifar10"), tmp_path).train.count == 20
    assert [path.name for path in tmp_path.iterdir()] == [cifar10.ARCHIVE]


def test_a_changed_cifar10_is_refused(cifar, mirror, fetch_from_mirror, tmp_path):
    (mirror / "cifar10" / cifar10.ARCHIVE).write_bytes(cifar + b"!")
    fetch = fetch_from_mirror("cifar10")
    with pytest.raises(UserError, match=f"refused: .* should be {cifar10.MD5}"):
        cifar10.download(DataSettings(name="cifar10"), tmp_path / "raw", fetch)


@pytest.mark.parametrize("length", [0, 300, -100, -4])
def test_a_broken_cifar10_archive_is_one_clear_error(files, tmp_path, length):
    refused(tmp_path, packed(files)[:length], ".+")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", None, r"it has no data_batch_3\.bin"),
        ("data_batch_3.bin", bytes(3073), r"data_batch_3\.bin has 3,073 bytes, .* be 12,292"),
        ("batches.meta.txt", bytes(2000), r"batches\.meta\.txt has 2,000 bytes, .* 1,024 at most"),
        ("batches.meta.txt", b"cat\ndog\n", r"batches\.meta\.txt names 2 classes, .* be 10"),
        ("batches.meta.txt", b"\xff", "'ascii' codec can't decode.*"),
    ],
)
def test_what_does_not_fit_in_cifar10_is_named(files, tmp_path, name, content, message):
    changed = files | {f"cifar-10-batches-bin/{name}": content}
    refused(tmp_path, packed({k: v for k, v in changed.items() if v is not None}), message)


def test_a_link_in_the_place_of_a_cifar10_batch_is_refused(files, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("cifar-10-batches-bin/batches.meta.txt")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    refused(tmp_path, buffer.getvalue(), r"batches\.meta\.txt is not a file")


def test_a_label_that_is_no_class_of_cifar10_is_refused(files, tmp_path):
    changed = files | {"cifar-10-batches-bin/test_batch.bin": b"\x0a" * 4 * 3073}
    (tmp_path / cifar10.ARCHIVE).write_bytes(packed(changed))
    with pytest.raises(UserError, match="cifar10: label 10 is out of range: 0 to 9"):
        cifar10.read(DataSettings(name="cifar10"), tmp_path)


def test_a_missing_cifar10_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"No such file.*cifar-10-binary\.tar\.gz"):
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
