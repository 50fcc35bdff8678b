"""A study of a linear model, whose best weight and latent size are known in closed form."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.study.summary import summarize
from pipeline.tune import Launch
from tests.factories import write_prepared
from vaelab.config import Settings, parse_settings
from vaelab.data.dataset import SPLITS

pytestmark = pytest.mark.slow

SIDE, LATENTS, NOISE = 3, 3, 0.1
PIXELS = SIDE * SIDE
COUNTS = {"train": 2000, "validation": 2000, "test": 500}


def draw(count: int, rng: np.random.Generator, mixing: np.ndarray) -> np.ndarray:
    """Images x = 1/2 + W z + noise of a linear-Gaussian model of three dimensions, as bytes."""
    latents = rng.standard_normal((count, LATENTS)) @ mixing.T
    pixels = 0.5 + latents + NOISE * rng.standard_normal((count, PIXELS))
    rounded: np.ndarray = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    return rounded.reshape(count, 1, SIDE, SIDE)


@pytest.fixture
def train_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write the data as the prepare stage does, and return the training split."""
    for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((PIXELS, PIXELS)))
    mixing = axes[:, :LATENTS] * [0.3, 0.25, 0.2]
    images = {split: draw(COUNTS[split], rng, mixing) for split in SPLITS}
    write_prepared(tmp_path / "data/prepared", images)
    return images["train"]


def settings() -> Settings:
    return parse_settings(
        {
            "data": {"name": "folder"},
            "model": {
                "network": "mlp",
                "hidden": [],
                "gaussian_mean": "linear",
                "gaussian_variance": 0.5,  # the generation loss is the sum of squared errors
            },
            "train": {
                "epochs": 40,
                "learning_rate": 0.1,
                "learning_rate_schedule": "cosine",
            },
            "tune": {
                "search_space": {
                    "model.latent_dim": {"type": "int", "low": 1, "high": 6},
                    "train.kl_weight": {"type": "float", "low": 0.001, "high": 0.5, "log": True},
                },
                "trials": 24,
                "seeds": 2,
            },
            "machine": {"device": "cpu", "threads": 1},
        }
    )


def closed_form(images: np.ndarray) -> float:
    """The weight that is best for SSE + weight KL: 2 s2_ML, the mean of the last eigenvalues.

    Lucas et al. 2019; maximizing -(D/2)(ln(2 pi SSE / D) + 1) - KL gives weight = s2_ML / s2_0,
    and SSE + weight KL is the bound of a Gaussian of variance s2_0 = 1/2, twice over.
    """
    rows = images.reshape(len(images), -1) / 255
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1]
    return float(eigenvalues[LATENTS:].mean()) / 0.5


def test_the_study_finds_the_weight_and_the_latent_size(train_images: np.ndarray) -> None:
    launch = Launch(settings())
    launch.run_worker(math.inf)
    summary = summarize(launch.study, launch.runner)
    assert summary is not None
    assert summary.smallest is not None
    expected = closed_form(train_images)
    best = summary.settings_of_finalist(summary.best)
    assert best["train.kl_weight"] == pytest.approx(expected, rel=0.25)
    assert best["model.latent_dim"] in (3, 4)
    assert summary.settings_of_finalist(summary.smallest)["model.latent_dim"] in (3, 4)
    metrics = summary.best.metrics
    assert metrics["closed_form_kl_weight"] == pytest.approx(expected, rel=0.1)
    assert summary.test is not None
