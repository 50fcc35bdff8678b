"""What the stages write of a model without encoder, and what names a training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import paths
from pipeline.evaluate import write_latents
from tests.objectives.factories import settings
from vaelab.evaluation import LatentPosteriors
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import read_csv
from vaelab.training.fingerprint import training_fingerprint, training_settings

CPU = torch.device("cpu")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("sandbox")
def test_latents_are_read_back() -> None:
    means, stddevs = np.eye(3, 2, dtype=np.float32), np.ones((3, 2), np.float32)
    table = {"dimension": np.arange(2), "active": np.array([True, False])}
    write_latents(LatentPosteriors(means, stddevs, table))
    with np.load(paths.TEST_LATENTS, allow_pickle=False) as file:
        assert set(file) == {"mean", "stddev"}
        np.testing.assert_array_equal(file["mean"], means)
    rows = read_csv(paths.LATENT_DIMENSIONS)
    assert rows == [{"dimension": 0, "active": 1}, {"dimension": 1, "active": 0}]


@pytest.mark.usefixtures("sandbox")
def test_without_an_encoder_the_files_are_there_and_empty() -> None:
    write_latents(None)
    with np.load(paths.TEST_LATENTS, allow_pickle=False) as file:
        assert set(file) == set()
    assert read_csv(paths.LATENT_DIMENSIONS) == []


def test_training_settings_hold_the_chosen_objectives_own_and_no_others() -> None:
    found = training_settings(settings("wae", {"mmd_weight": 3.0}))
    own = {name: value for name, value in found.items() if name.startswith("objectives.")}
    assert own == {"objectives.wae.mmd_weight": 3.0}
    assert found["train.objective"] == "wae"
    assert {name.partition(".")[0] for name in found} == {"data", "model", "train", "objectives"}


@pytest.mark.usefixtures("sandbox")
def test_a_training_is_named_by_what_its_objective_reads() -> None:
    paths.PREPARED.mkdir(parents=True)
    write_text(paths.PREPARED / "dataset.json", "{}")
    plain = training_fingerprint(settings("wae"), CPU, paths.PREPARED)
    # The default, written explicitly, is the same training.
    assert (
        training_fingerprint(settings("wae", {"mmd_weight": 1000.0}), CPU, paths.PREPARED) == plain
    )
    assert training_fingerprint(settings("wae", {"mmd_weight": 2.0}), CPU, paths.PREPARED) != plain
    others = settings("wae").model_copy(update={"objectives": {"gan": {"loss": "wasserstein"}}})
    assert training_fingerprint(others, CPU, paths.PREPARED) == plain
