"""Classes that only test images have: a training on some classes only."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.classifier import train_on
from tests.factories import write_prepared
from vaelab.config import EvaluateSettings
from vaelab.data.dataset import SPLITS, PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import EvaluationData, LatentPosteriors
from vaelab.evaluation.latent import label_metrics
from vaelab.evaluation.training_latents import TrainingLatents

CPU = torch.device("cpu")
LABELS = np.arange(60) % 3  # 2 is in the test split only
KNOWN = np.flatnonzero(LABELS < 2)
MEANS = (np.random.default_rng(0).normal(size=(60, 4)) + LABELS[:, None]).astype(np.float32)


def measured(rows: np.ndarray) -> dict[str, float]:
    """The metrics with these test images."""
    images = ImageLoader(np.zeros((60, 1, 2, 2), np.uint8), CPU)
    data = EvaluationData("made", 256, images, images, LABELS[KNOWN], LABELS[rows])
    training = TrainingLatents(np.arange(len(KNOWN)), MEANS[KNOWN])
    latents = LatentPosteriors(MEANS[rows], MEANS[rows], {})
    return label_metrics(data, training, latents, EvaluateSettings())


def test_latents_are_probed_with_the_classes_of_the_training() -> None:
    assert measured(np.arange(60)) == measured(KNOWN)
    assert measured(np.arange(60))["linear_probe_accuracy"] > 0.6


def test_the_classifier_is_tested_on_the_classes_that_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {s: np.zeros((60, 1, 8, 8), np.uint8) for s in SPLITS}
    for split in SPLITS:
        images[split][LABELS == 1] = 255
    images["train"], images["validation"] = images["train"][KNOWN], images["validation"][KNOWN]
    labels = {s: LABELS[KNOWN] if s != "test" else LABELS for s in SPLITS}
    write_prepared(tmp_path, images, labels, class_names=("a", "b", "c"))
    assert train_on(PreparedData.load(tmp_path), tmp_path / "classifier", 3, CPU)
    assert "classifier: 100.00% accuracy on the test images" in capsys.readouterr().out
