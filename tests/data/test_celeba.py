"""CelebA, from a small generated archive and its tables in their real formats."""

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CelebA

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher
from vaelab.data.source import ImageSet
from vaelab.data.sources import celeba


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def everything(part: ImageSet) -> np.ndarray:
    return part.read(np.arange(part.count))


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
        r"img_align_celeba\.zip could not be downloaded: file://.*No such file.*Google Drive, "
        r"which needs the package gdown: pip install gdown, or name a mirror that has "
        r"celeba/img_align_celeba"
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
