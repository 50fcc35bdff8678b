"""The groups of an evaluation: measured alone, each matches the full evaluation."""

import numpy as np
import pytest

from tests.evaluation.factories import CPU, make_data
from tests.evaluation.test_models import make_objective_model
from tests.report.factories import known, measured
from vaelab.config import EvaluateSettings
from vaelab.evaluation import GROUPS, evaluate
from vaelab.evaluation.classifier import build_classifier

FEW = EvaluateSettings(
    importance_samples=4,
    likelihood_images=2,
    annealing_images=2,
    annealing_chains=2,
    annealing_temperatures=3,
    samples=40,
)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_measured_alone_matches_the_full_evaluation(group: str) -> None:
    model, whole = measured("vae")
    classifier = build_classifier((1, 8, 8), 10).eval()
    alone = evaluate(model, known(), FEW, CPU, classifier, groups=[group])
    assert alone.metrics[group] == whole.metrics[group]
    others = set(alone.metrics) - {group, "dataset", "latent"}
    assert not others, "nothing else was measured"


def test_the_full_evaluation_has_every_group_and_the_arrays_of_the_figures() -> None:
    _, whole = measured("vae")
    assert set(whole.metrics) == {*GROUPS, "dataset", "sampler"}
    images = whole.metrics["dataset"]["test_images"]
    assert whole.arrays["nll"].shape == whole.arrays["effective_sample_size"].shape == (images,)
    assert whole.arrays["nll"].mean() == pytest.approx(whole.metrics["test"]["nll_nats"])
    assert whole.arrays["factor_columns"].tolist() == [0, 1]
    assert whole.arrays["factor_mutual_information"].shape == (2, 4)
    assert whole.arrays["linear_interpolation"].shape[:2] == (4, 10)


def test_interpolation_paths_share_their_ends() -> None:
    _, whole = measured("vae")
    linear, arc = (whole.arrays[f"{path}_interpolation"] for path in ("linear", "spherical"))
    np.testing.assert_array_equal(linear[:, 0], arc[:, 0])
    np.testing.assert_array_equal(linear[:, -1], arc[:, -1])


def test_a_model_without_encoder_has_annealing_and_samples() -> None:
    _, whole = measured("gan")
    assert set(whole.metrics) == {"dataset", "latent", "annealing", "samples"}
    assert whole.latents is None
    assert float(whole.metrics["annealing"]["observation_variance"]) > 0


def test_without_factors_there_are_no_disentanglement_metrics() -> None:
    found = evaluate(make_objective_model("vae"), make_data(), FEW, CPU, groups=["disentanglement"])
    assert "disentanglement" not in found.metrics
    assert "dci_importance" not in found.arrays
