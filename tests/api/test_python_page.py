"""The code of docs/python.md, and of the front page, as they stand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import vaelab
from tests import ROOT


def code_blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def test_the_code_of_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    for code in code_blocks("docs/python.md"):
        exec(code, found)
    assert found["latents"].mean.shape == (10, 8)
    assert found["decoded"].shape == found["eights"].shape == (10, 1, 8, 8)
    assert found["new"].shape == (16, 1, 8, 8)
    assert found["ways"].shape == (1, 9, 1, 8, 8)
    assert found["scores"].nll_nats.mean() < found["scores"].neg_elbo_nats.mean()
    # The code of the front page, with that model in place of the pipeline's.
    (code,) = code_blocks("README.md")
    front: dict[str, Any] = {}
    exec(code.replace("models/model", "digits"), front)
    assert front["eights"].shape == (5, 1, 8, 8)
    assert front["new"].shape == (16, 1, 8, 8)
    assert (tmp_path / "samples.png").is_file()
    assert (tmp_path / "eights.png").is_file()


def test_the_code_of_the_tutorial_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_digits()
    monkeypatch.chdir(tmp_path)
    model = vaelab.train(digits.images / 16, digits.target, network="mlp", epochs=1)
    model.save("models/model")
    (tmp_path / "results/evaluate").mkdir(parents=True)
    mean = model.encode(digits.images[:8] / 16).mean
    np.savez("results/evaluate/test_latents.npz", mean=mean)
    for code in code_blocks("docs/tutorial.md"):
        exec(code, {})
    for name, size in (("decoded", (32, 32)), ("edited", (8 * 32 + 7 * 2, 2 * 32 + 2))):
        with Image.open(f"{name}.png") as picture:
            assert picture.size == size
