"""The stage that fits a sampler to the trained model's latents."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import evaluate, paths, sampler, train
from tests.factories import write_prepared
from tests.pipeline.conftest import change_directory, copy_stores
from tests.test_structure import STAGES
from vaelab.config import ArtifactError, Settings, parse_settings
from vaelab.data.dataset import SPLITS
from vaelab.models.weights import weights_sha256

COUNTS = {"train": 240, "validation": 12, "test": 12}
FLOW = {"width": 8, "layers": 1, "steps": 3, "batch_size": 20}
WEIGHTS = paths.SAMPLER / "weights.safetensors"


def settings(name: str = "flow_matching", objective: str = "vae", seed: int = 0) -> Settings:
    return parse_settings(
        {
            "model": {"network": "mlp", "hidden": [8], "latent_dim": 2},
            "train": {"epochs": 1, "batch_size": 60, "seed": seed, "objective": objective},
            "sampler": {"name": name},
            "samplers": {"flow_matching": FLOW},
        }
    )


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_stores: Path) -> None:
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)
    rng = np.random.default_rng(0)
    images = {s: rng.integers(0, 256, (COUNTS[s], 1, 8, 8), dtype=np.uint8) for s in SPLITS}
    write_prepared(paths.PREPARED, images, {s: np.arange(COUNTS[s]) % 2 for s in SPLITS})


def description() -> dict[str, object]:
    found: dict[str, object] = json.loads((paths.SAMPLER / "config.json").read_text())
    return found


def test_each_sampler_is_fitted_and_the_model_stays(capsys: pytest.CaptureFixture[str]) -> None:
    train.train(settings())
    weights = weights_sha256(paths.MODEL)
    for name in ("mixture", "gaussian", "flow_matching"):
        sampler.work(settings(name))
        written = description()
        assert (written["name"], written["model_sha256"]) == (name, weights)
        assert (written["images"], written["latent_dim"], written["classes"]) == (240, 2, 2)
        assert WEIGHTS.is_file()
    assert "to the latents of 240 images, held_out_loss" in capsys.readouterr().out
    assert weights_sha256(paths.MODEL) == weights
    sampler.work(settings("prior"))
    assert description()["name"] == "prior"
    assert not WEIGHTS.exists()


def test_the_sampler_of_another_model_is_refused() -> None:
    train.train(settings())
    sampler.work(settings("gaussian"))
    train.train(settings(seed=1))
    with pytest.raises(ArtifactError, match="it was fitted to the latents of another model"):
        evaluate.evaluate(settings())


def test_a_model_without_an_encoder_keeps_its_prior(capsys: pytest.CaptureFixture[str]) -> None:
    train.train(settings(objective="gan"))
    sampler.work(settings(objective="gan"))
    assert description()["name"] == "prior"
    assert not WEIGHTS.exists()
    assert "no sampler is fitted: latents are sampled from the model's prior" in (
        capsys.readouterr().out
    )


def test_settings_of_the_sampler_train_nothing_again() -> None:
    assert set(STAGES["sampler"]["params"]) == {"sampler", "samplers"}
    for stage in ("download", "prepare", "train", "classifier"):
        params = STAGES[stage].get("params", [])
        assert not {name.partition(".")[0] for name in params} & {"sampler", "samplers"}
        assert not any("models/sampler" in str(dep) for dep in STAGES[stage].get("deps", []))
