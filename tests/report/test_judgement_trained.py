"""The judgement of models that were really trained into each condition, on the 8x8 digits."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import vaelab
from tests.report.factories import info
from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.report import EvaluationResult
from vaelab.report.judgement import judge

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
# Shuffled: the last ones are by other writers.
ORDER = np.random.default_rng(0).permutation(1797)
DIGITS = np.rint(load_digits().images[ORDER] * 255 / 16).astype(np.uint8)
TEST = slice(1400, None)
SHARED: dict[str, Any] = {"network": "mlp", "hidden": [100], "latent_dim": 8, "device": "cpu"}
# Which images are trained on, and the settings.
MODELS: dict[str, tuple[slice, dict[str, Any]]] = {
    "sound": (
        slice(0, 1400),
        {"epochs": 60, "learning_rate": 0.003, "learning_rate_schedule": "cosine"},
    ),
    "undertrained": (slice(0, 1400), {"epochs": 10}),
    "collapsed": (slice(0, 1400), {"epochs": 30, "kl_weight": 50.0}),
    "overfitted": (slice(0, 120), {"epochs": 150, "hidden": [500, 500]}),
}


def evaluated(kind: str) -> EvaluationResult:
    """Train a model of a kind, and measure it on the test images."""
    rows, settings = MODELS[kind]
    trained = vaelab.train(DIGITS[rows], progress=False, **SHARED | settings)
    train, test = (ImageLoader(DIGITS[split][:, None], CPU) for split in (rows, TEST))
    data = EvaluationData(name="digits", levels=256, train=train, test=test)
    chosen = EvaluateSettings(importance_samples=2)
    found = evaluate(trained.network, data, chosen, CPU, groups={"test", "latent"})
    names = trained.history[0]
    assert found.latents
    return EvaluationResult(
        metrics=found.metrics,
        description=trained.description,
        info=info(class_names=None),
        active_unit_threshold=chosen.active_unit_threshold,
        objective_settings=frozenset({"train.kl_weight"}),
        dimensions=found.latents.dimension_table,
        history={name: np.array([row[name] for row in trained.history]) for name in names},
    )


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_was_trained_into_a_condition_is_judged_so(kind: str) -> None:
    found = judge(evaluated(kind))
    assert found.kind == kind, found.text
