"""The latents of named images."""

import numpy as np
import pytest
import torch

from pipeline.artifacts import build_batches
from tests.factories import write_prepared
from vaelab.config import ModelSettings
from vaelab.data.dataset import SPLITS, PreparedData
from vaelab.evaluation import latent_table
from vaelab.evaluation.latent_table import encode_rows, latent_rows
from vaelab.models.model import Model, build_model

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


@pytest.fixture
def data(tmp_path, random) -> PreparedData:
    images = {s: random.integers(0, 256, (9, *SHAPE), dtype=np.uint8) for s in SPLITS}
    labels = {split: np.arange(9) % 3 - 1 for split in SPLITS}
    write_prepared(tmp_path / "prepared", images, labels, class_names=("cat", "dog"))
    return PreparedData.load(tmp_path / "prepared")


@pytest.fixture
def model() -> Model:
    chosen = ModelSettings(network="mlp", hidden=(), latent_dim=2, prior="standard_normal")
    return build_model(chosen, SHAPE).eval()


def test_a_row_has_the_name_the_split_the_class_and_the_latent(data, model):
    loader = build_batches(data, "train", False, CPU)
    rows = list(encode_rows(model, data, "train", loader, seed=0))
    assert [row["name"] for row in rows] == [f"train_images.npy#{n}" for n in range(9)]
    assert [row["label"] for row in rows] == ["", "cat", "dog"] * 3
    assert {row["split"] for row in rows} == {"train"}
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(np.array(data.images("train"))) / 255)
    found = np.array([[float(row[f"mean_{d}"]) for d in (0, 1)] for row in rows])
    np.testing.assert_allclose(found, expected.mean.numpy(), rtol=1e-5)
    found = np.array([[float(row[f"stddev_{d}"]) for d in (0, 1)] for row in rows])
    np.testing.assert_allclose(found, expected.stddev.numpy(), rtol=1e-5)


def test_of_many_images_some_are_chosen_with_their_own_names(data, model, monkeypatch):
    loader = build_batches(data, "train", False, CPU)
    every = {row["name"]: row for row in encode_rows(model, data, "train", loader, seed=0)}
    monkeypatch.setattr(latent_table, "MAX_IMAGES", 4)
    few = list(encode_rows(model, data, "train", loader, seed=0))
    assert len(few) == 4
    assert all(row == every[row["name"]] for row in few)


def test_without_labels_the_class_is_empty(tmp_path, random):
    images = {s: random.integers(0, 256, (2, *SHAPE), dtype=np.uint8) for s in SPLITS}
    write_prepared(tmp_path / "plain", images, None)
    plain = PreparedData.load(tmp_path / "plain")
    rows = latent_rows(plain, "test", np.eye(2), np.ones((2, 2)), np.arange(2))
    assert [row["label"] for row in rows] == ["", ""]
