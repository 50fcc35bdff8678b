"""The digits are scikit-learn's, read without its import where its file is as expected."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vaelab.config import DataSettings
from vaelab.data.source import Source
from vaelab.data.sources import digits


def read() -> Source:
    return digits.read(DataSettings(), Path())


def pixels_and_labels(source: Source) -> tuple[np.ndarray, np.ndarray]:
    images = source.train
    assert images.labels is not None
    return images.read(np.arange(images.count)), images.labels


def test_images_and_labels_are_those_of_load_digits() -> None:
    expected = load_digits()
    pixels, labels = pixels_and_labels(read())
    np.testing.assert_array_equal(pixels[:, 0], np.rint(expected.images * 255 / 16))
    np.testing.assert_array_equal(labels, expected.target)
    assert read().class_names == tuple(str(name) for name in expected.target_names)


@pytest.mark.parametrize(
    "changed",
    [None, lambda rows: rows[1:], lambda rows: rows + 1, lambda rows: np.fmin(rows, 8)],
    ids=["missing", "fewer", "other labels", "other grey levels"],
)
def test_load_digits_reads_what_is_not_as_expected(
    changed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, file = pixels_and_labels(read()), tmp_path / "digits.csv.gz"
    if callable(changed):
        np.savetxt(file, changed(np.column_stack(load_digits(return_X_y=True))), "%d", ",")
    monkeypatch.setattr(digits, "_FILE", str(file))
    for found, expected in zip(pixels_and_labels(read()), before, strict=True):
        np.testing.assert_array_equal(found, expected)


READ = """
import sys
from pathlib import Path
from vaelab.config import DataSettings
from vaelab.data.sources import digits
digits.read(DataSettings(), Path())
print(*sys.modules.keys() & {"sklearn", "scipy"})
"""


def test_scikit_learn_is_not_imported() -> None:
    command = [sys.executable, "-c", READ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
