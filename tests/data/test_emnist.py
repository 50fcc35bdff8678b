"""EMNIST, from generated archives as NIST makes them: stored sideways, letters from 1."""

import gzip
import hashlib
import io
import zipfile

import numpy as np
import pytest
from torchvision.datasets import EMNIST

from tests.data.test_idx import idx_file
from vaelab.config import DataSettings, UserError
from vaelab.data.sources import idx


def emnist_archive(
    split: str, random: np.random.Generator, first_label: int
) -> tuple[bytes, dict[str, np.ndarray]]:
    """NIST's zip of idx.gz files, the images column by column as NIST stores them."""
    upright = {
        "train": random.integers(0, 256, (6, 5, 5)),
        "test": random.integers(0, 256, (3, 5, 5)),
    }
    labels = {part: np.arange(len(images)) + first_label for part, images in upright.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, images in upright.items():
            stem = f"gzip/emnist-{split}-{part}"
            columns = np.stack([image.T for image in images])
            archive.writestr(f"{stem}-images-idx3-ubyte.gz", gzip.compress(idx_file(columns)))
            archive.writestr(f"{stem}-labels-idx1-ubyte.gz", gzip.compress(idx_file(labels[part])))
    return buffer.getvalue(), upright


@pytest.mark.parametrize(
    ("split", "first_label", "classes"),
    [
        ("balanced", 0, "0123456789AB"),
        ("letters", 1, "abcdefghijkl"),
        ("byclass", 0, "0123456789AB"),
    ],
)
def test_emnist_is_upright_and_counts_from_0(
    mirror, fetch_from_mirror, tmp_path, monkeypatch, random, split, first_label, classes
):
    content, upright = emnist_archive(split, random, first_label)
    (mirror / "emnist").mkdir()
    (mirror / "emnist" / "gzip.zip").write_bytes(content)
    monkeypatch.setattr(EMNIST, "md5", hashlib.md5(content).hexdigest())
    settings = DataSettings(name="emnist", emnist_split=split)
    idx.download(settings, tmp_path / "raw", fetch_from_mirror("emnist"))
    source = idx.read(settings, tmp_path / "raw")
    assert source.test is not None
    train, test = (part.read(np.arange(part.count)) for part in (source.train, source.test))
    np.testing.assert_array_equal(train[:, 0], upright["train"])
    np.testing.assert_array_equal(test[:, 0], upright["test"])
    np.testing.assert_array_equal(source.train.labels, range(6))
    assert source.class_names is not None
    assert "".join(source.class_names).startswith(classes)


@pytest.mark.parametrize(
    ("split", "count"),
    # Cohen et al. 2017, table II
    [
        ("balanced", 47),
        ("byclass", 62),
        ("bymerge", 47),
        ("digits", 10),
        ("letters", 26),
        ("mnist", 10),
    ],
)
def test_emnist_has_its_papers_classes(tmp_path, random, split, count):
    first = int(split == "letters")
    (tmp_path / "gzip.zip").write_bytes(emnist_archive(split, random, first)[0])
    source = idx.read(DataSettings(name="emnist", emnist_split=split), tmp_path)
    assert source.class_names is not None
    assert len(set(source.class_names)) == count


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\3\4 and no more"])
def test_a_broken_emnist_archive_is_one_clear_error(tmp_path, content):
    (tmp_path / "gzip.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"emnist-balanced-train-images.*File is not a zip file"):
        idx.read(DataSettings(name="emnist"), tmp_path)


def test_an_emnist_archive_without_the_split_is_an_error(tmp_path, random):
    (tmp_path / "gzip.zip").write_bytes(emnist_archive("letters", random, 1)[0])
    with pytest.raises(UserError, match="no item named 'gzip/emnist-mnist-train"):
        idx.read(DataSettings(name="emnist", emnist_split="mnist"), tmp_path)
