"""A variant is trained where no model of the same settings, data and code is there already."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.train import delete, train_seed
from pipeline.comparison.variants import ComparisonConfig, ComparisonSettings
from tests.factories import write_prepared
from vaelab.config import parse_settings
from vaelab.data.dataset import SPLITS, SplitName

CONFIG = ComparisonConfig(
    parse_settings({"model": {"network": "mlp", "hidden": [4], "latent_dim": 2}}),
    ComparisonSettings(variants={"vae": {"train.epochs": 1}}, seeds=(3,)),
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), np.uint8)
    splits: dict[SplitName, np.ndarray] = dict.fromkeys(SPLITS, images)
    write_prepared(tmp_path / paths.COMPARISON_PREPARED, splits)
    use(monkeypatch, CONFIG)
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, config: ComparisonConfig) -> None:
    monkeypatch.setattr(ComparisonConfig, "load", classmethod(lambda cls: config))


@pytest.mark.usefixtures("workspace")
def test_a_model_is_trained_once() -> None:
    assert train_seed("vae", 3).startswith("vae, seed 3: 1 epochs in ")
    assert variant_paths.trained_seeds("vae") == [3]
    weights = variant_paths.model("vae", 3) / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    assert train_seed("vae", 3) == "vae, seed 3: trained already"
    assert weights.stat().st_mtime_ns == written


@pytest.mark.usefixtures("workspace")
def test_another_setting_trains_again(monkeypatch: pytest.MonkeyPatch) -> None:
    train_seed("vae", 3)
    changed = ComparisonSettings(variants={"vae": {"train.epochs": 2}}, seeds=(3,))
    use(monkeypatch, ComparisonConfig(CONFIG.base, changed))
    assert train_seed("vae", 3).startswith("vae, seed 3: 2 epochs in ")


@pytest.mark.usefixtures("workspace")
def test_an_incomplete_model_is_trained_again() -> None:
    train_seed("vae", 3)
    shutil.rmtree(variant_paths.model("vae", 3))
    assert train_seed("vae", 3).startswith("vae, seed 3: 1 epochs in ")
    variant_paths.training("vae", 3).write_text("{")
    assert train_seed("vae", 3).startswith("vae, seed 3: 1 epochs in ")


@pytest.mark.usefixtures("workspace")
def test_nothing_is_left_of_a_deleted_seed() -> None:
    train_seed("vae", 3)
    delete("vae", 3)
    left = [p for p in Path().rglob("seed_3*") if ".checkpoints" not in p.parts]
    assert not left
    assert variant_paths.trained_seeds("vae") == []
