"""CIFAR-10, SVHN and CelebA, from small generated files in their real formats."""

import hashlib
import io
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision.datasets import CIFAR10, SVHN, CelebA

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher
from vaelab.data.source import ImageSet
from vaelab.data.sources import celeba, cifar10, svhn


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


# CelebA: a zip of 178x218 JPEGs, and tables with two lines of header or none


PARTITION = [0, 0, 1, 2, 0, 2]
ATTRIBUTES = ["5_o_Clock_Shadow", "Bald", "Young"]


def tables(random: np.random.Generator) -> dict[str, str]:
    names = [f"{index + 1:06}.jpg" for index in range(len(PARTITION))]
    signs = np.where(random.random((len(names), 3)) < 0.5, -1, 1)

    def rows(values: Iterable[Iterable[int]]) -> str:
        lines = zip(names, values, strict=True)
        return "".join(f"{name} {' '.join(f'{v:2}' for v in row)}\n" for name, row in lines)

    count = len(names)
    return {
        # the real file's header ends in a space
        "list_attr_celeba.txt": f"{count}\n{' '.join(ATTRIBUTES)} \n{rows(signs)}",
        "identity_CelebA.txt": rows([[7]] * count),
        "list_bbox_celeba.txt": f"{count}\nid x y width height\n{rows([[1] * 4] * count)}",
        "list_landmarks_align_celeba.txt": f"{count}\nmany\n{rows([[1] * 10] * count)}",
        "list_eval_partition.txt": rows([[part] for part in PARTITION]),
    }


def faces() -> bytes:
    """A zip of faces whose middle square is of one grey level, 10 * number, amid white."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(len(PARTITION)):
            image = np.full((218, 178, 3), 255, np.uint8)
            image[20:198] = 10 * (index + 1)
            jpeg = io.BytesIO()
            Image.fromarray(image).save(jpeg, "JPEG", quality=95)
            archive.writestr(f"img_align_celeba/{index + 1:06}.jpg", jpeg.getvalue())
    return buffer.getvalue()


@pytest.fixture
def celebrities(mirror, monkeypatch, random):
    contents = {name: text.encode() for name, text in tables(random).items()}
    contents["img_align_celeba.zip"] = faces()
    (mirror / "celeba").mkdir()
    for name, content in contents.items():
        (mirror / "celeba" / name).write_bytes(content)
    files = [(file_id, md5(contents[name]), name) for file_id, _, name in CelebA.file_list]
    monkeypatch.setattr(CelebA, "file_list", files)
    return contents


def test_celeba(celebrities, fetch_from_mirror, tmp_path):
    settings = DataSettings(name="celeba")
    celeba.download(settings, tmp_path / "raw", fetch_from_mirror("celeba"))
    source = celeba.read(settings, tmp_path / "raw")
    assert source.train.shape == (3, 64, 64)
    assert source.validation is not None
    assert source.test is not None
    for part, numbers in (
        (source.train, [1, 2, 5]),
        (source.validation, [3]),
        (source.test, [4, 6]),
    ):
        images = everything(part)
        assert part.count == len(numbers)
        # the middle of each face; JPEG may be off by a little
        np.testing.assert_allclose(
            images[:, :, 8:56, 8:56].mean((1, 2, 3)), np.array(numbers) * 10, atol=1
        )
        assert images.max() < 128, "the white above and below should be cropped off"
    assert source.factor_names == tuple(ATTRIBUTES)
    lines = celebrities["list_attr_celeba.txt"].decode().splitlines()[2:]
    expected = [[int(sign == "1") for sign in line.split()[1:]] for line in lines]
    np.testing.assert_array_equal(source.train.factors, [expected[i] for i in (0, 1, 4)])
    assert source.class_names is None


def test_celeba_in_another_size(celebrities, mirror):
    source = celeba.read(DataSettings(name="celeba", image_size=(218, 178)), mirror / "celeba")
    image = source.train.read(np.array([2]))[0]
    assert image.shape == (3, 218, 178)
    assert image[:, :10].min() > 250


def test_a_broken_face_is_named(celebrities, mirror, monkeypatch):
    folder = mirror / "celeba"
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", b"")
    broken = md5((folder / "img_align_celeba.zip").read_bytes())
    files = [(i, broken if n.endswith("zip") else m, n) for i, m, n in CelebA.file_list]
    monkeypatch.setattr(CelebA, "file_list", files)
    source = celeba.read(DataSettings(name="celeba"), folder)
    with pytest.raises(UserError, match=r"000001\.jpg cannot be read"):
        source.train.read(np.array([0]))


@pytest.mark.parametrize("name", ["img_align_celeba.zip", "list_attr_celeba.txt"])
def test_a_changed_celeba_file_is_refused(celebrities, mirror, name):
    (mirror / "celeba" / name).write_bytes(b"<html>")
    with pytest.raises(UserError, match=f"of .*{name}.* one is missing or broken"):
        celeba.read(DataSettings(name="celeba"), mirror / "celeba")


def test_celeba_without_gdown_says_what_to_do(mirror, fetch_from_mirror, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    expected = (
        r"img_align_celeba\.zip could not be had: file://.*No such file.*Google Drive, which needs "
        r"the package gdown: pip install gdown, or name a mirror that has celeba/img_align_celeba"
    )
    with pytest.raises(UserError, match=expected):
        celeba.download(DataSettings(name="celeba"), tmp_path / "raw", fetch_from_mirror("celeba"))


@pytest.fixture
def gdown(monkeypatch) -> ModuleType:
    module = ModuleType("gdown")
    monkeypatch.setitem(sys.modules, "gdown", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: module)
    return module


def test_celeba_from_google_drive(celebrities, tmp_path, monkeypatch, gdown):
    names = {file_id: name for file_id, _, name in CelebA.file_list}

    def download(id, output, **options):
        with open(output, "wb") as file:
            file.write(celebrities[names[id]])

    gdown.download = download
    fetch = Fetcher("celeba", (), tmp_path / "partial")
    celeba.download(DataSettings(name="celeba"), tmp_path / "raw", fetch)
    found = {path.name: path.read_bytes() for path in (tmp_path / "raw").iterdir()}
    assert found == celebrities
    assert fetch.used["identity_CelebA.txt"].startswith("Google Drive, file 1_ee_0u7vcNLOf")
    assert list((tmp_path / "partial").iterdir()) == []


def test_google_drives_refusal_is_a_clear_error(tmp_path, gdown):
    def download(id, output, **options):
        raise OSError("Too many users\nhave viewed this file")

    gdown.download = download
    expected = "^Google Drive did not give img_align_celeba.zip: Too many users have .*; try again"
    fetch = Fetcher("celeba", (), tmp_path / "partial")
    with pytest.raises(UserError, match=expected):
        celeba.download(DataSettings(name="celeba"), tmp_path / "raw", fetch)
