"""Which metrics are reported, their reproducibility, and what is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.factories import (
    CPU,
    LABELS,
    PIXELS,
    TEST,
    TRAIN,
    digit_images,
    evaluate_model,
    make_data,
    make_model,
    metric,
)
from tests.oracles import gaussian_posterior
from vaelab.config import ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import Evaluation
from vaelab.models.model import build_model

DATASET = {"name", "test_images"}
TEST_METRICS = {
    "neg_elbo_nats",
    "generation_loss_nats",
    "kl_loss_nats",
    "nll_nats",
    "nll_images",
    "nll_importance_samples",
    "nll_effective_sample_size",
    "nll_change_on_doubling_nats",
    "neg_elbo_standard_error_nats",
    "nll_standard_error_nats",
    "mean_squared_error",
    "psnr_db",
    "psnr_standard_error_db",
    "psnr_db_mean_image",
    "ssim",
    "ssim_standard_error",
}
LATENT_METRICS = {
    "dimensions",
    "active_units",
    "aggregate_mean_norm",
    "aggregate_stddev_min",
    "aggregate_stddev_max",
    "ks_statistic_max",
    "squared_norm_ks_statistic",
    "mmd_squared",
    "mutual_information_nats",
    "mutual_information_cap_nats",
    "marginal_kl_nats",
    "total_correlation_nats",
    "gaussian_total_correlation_nats",
    "dimension_wise_kl_nats",
}
PATHS = {"linear_interpolation_largest_step", "spherical_interpolation_largest_step"}
LABEL_METRICS = {
    "linear_probe_accuracy",
    "knn_accuracy",
    "kmeans_normalized_mutual_information",
    "kmeans_adjusted_rand_index",
}


# Absent metrics


def names(found: Evaluation) -> tuple[set[str], set[str], set[str]]:
    return set(found.metrics["dataset"]), set(found.metrics["test"]), set(found.metrics["latent"])


def test_labeled_eight_bit_images_have_every_metric():
    found = evaluate_model(make_model(), make_data(levels=256))
    everything = LATENT_METRICS | PATHS | LABEL_METRICS
    assert names(found) == (DATASET, TEST_METRICS | {"bits_per_dim"}, everything)
    assert found.metrics["dataset"] == {"name": "digits", "test_images": 123}
    # Plain JSON, with no NaN in it
    assert json.loads(json.dumps(found.metrics, allow_nan=False)) == found.metrics


def test_bits_are_absent_where_pixels_are_not_bytes():
    assert "bits_per_dim" not in evaluate_model(make_model(), make_data(levels=17)).metrics["test"]
    binary = evaluate_model(make_model(likelihood="bernoulli"), make_data(levels=256))
    assert "bits_per_dim" not in binary.metrics["test"]


def test_images_of_unknown_labels_are_left_out_of_label_metrics():
    data, model = make_data(), make_model()
    train, test = (np.arange(len(found)) % 3 > 0 for found in (data.train, data.test))
    hidden = replace(
        data,
        train_labels=np.where(train, LABELS[TRAIN], -1),
        test_labels=np.where(test, LABELS[TEST], -1),
    )
    kept = replace(
        data,
        train=ImageLoader(PIXELS[TRAIN][train], CPU),
        test=ImageLoader(PIXELS[TEST][test], CPU),
        train_labels=LABELS[TRAIN][train],
        test_labels=LABELS[TEST][test],
    )
    found, expected = (evaluate_model(model, each) for each in (hidden, kept))
    for name in ("knn_accuracy", "linear_probe_accuracy"):
        assert metric(found, f"latent.{name}") == pytest.approx(
            metric(expected, f"latent.{name}"), abs=1e-9
        )


def test_label_metrics_are_absent_without_two_classes():
    assert (
        names(evaluate_model(make_model(), make_data(labeled=False)))[2] == LATENT_METRICS | PATHS
    )
    one_class = replace(make_data(), train_labels=np.full(300, 3))
    assert names(evaluate_model(make_model(), one_class))[2] == LATENT_METRICS | PATHS


def test_one_sample_has_no_change_on_doubling():
    absent = TEST_METRICS - set(evaluate_model(make_model(), importance_samples=1).metrics["test"])
    assert absent == {"nll_change_on_doubling_nats"}


def test_one_image_has_no_standard_error():
    found = evaluate_model(make_model(), make_data(labeled=False, test=slice(0, 1)))
    left_out = TEST_METRICS - set(found.metrics["test"])
    assert left_out == {name for name in TEST_METRICS if "standard_error" in name}
    assert (LATENT_METRICS | PATHS) - set(found.metrics["latent"]) == PATHS | {"mmd_squared"}
    assert metric(found, "latent.mutual_information_cap_nats") == 0


def test_a_model_without_an_encoder_gets_no_encoder_metrics():
    settings = ModelSettings(network="mlp", hidden=(8,), latent_dim=3)
    generator = build_model(settings, (1, 8, 8), ["decoder", "discriminator"]).eval()
    found = evaluate_model(generator)
    assert found.metrics == {
        "dataset": {"name": "digits", "test_images": 123},
        "latent": {"dimensions": 3},
    }
    assert found.latents is None


# Reproducibility


def test_the_seed_determines_the_result():
    model = make_model()
    torch.manual_seed(1)
    first = evaluate_model(model, seed=3)
    torch.manual_seed(2)
    second = evaluate_model(model, seed=3)
    assert first.metrics == second.metrics
    assert metric(evaluate_model(model, seed=4), "test.nll_nats") != metric(first, "test.nll_nats")


def test_the_model_and_the_global_random_state_are_unchanged():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate_model(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_latents_are_in_the_order_of_the_files():
    found = evaluate_model(make_model(), batch_size=50)
    assert found.latents is not None
    assert found.latents.means.dtype == found.latents.stddevs.dtype == np.float32
    assert found.latents.means.shape == found.latents.stddevs.shape == (123, 3)
    last = gaussian_posterior(make_model(), digit_images()[-1:])
    np.testing.assert_allclose(found.latents.means[-1:], last.mean.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.latents.stddevs[-1:], last.stddev.detach(), rtol=1e-4)


def test_quadratic_metrics_use_at_most_max_pairs_images():
    found = evaluate_model(make_model(), max_pairs_images=10)
    assert metric(found, "latent.mutual_information_cap_nats") == math.log(10)


def test_probes_are_fitted_on_at_most_max_train_images(monkeypatch):
    fitted = []

    def remember(train: Any, labels: Any, test: Any, truth: Any) -> float:
        fitted.append((train, labels))
        return 0.5

    monkeypatch.setattr("vaelab.evaluation.training_latents.MAX_TRAIN_IMAGES", 40)
    monkeypatch.setattr("vaelab.estimators.probes.linear_probe_accuracy", remember)
    model = make_model()
    evaluate_model(model, batch_size=16)
    ((train, labels),) = fitted
    assert train.shape == (40, 3)
    # Each mean stands beside its own image's label.
    means = model.encode(torch.from_numpy(PIXELS[TRAIN]).float() / 255).mean.detach().numpy()
    nearest = np.abs(means[:, None] - train).sum(2).argmin(0)
    assert len(set(nearest)) == 40
    assert labels.tolist() == LABELS[TRAIN][nearest].tolist()


# Refusals


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\)"):
        evaluate_model(make_model().train())


def test_an_empty_test_split_is_refused():
    with pytest.raises(ValueError, match="digits: the test split has no images"):
        evaluate_model(make_model(), make_data(test=slice(0, 0)))


def test_a_metric_that_is_not_finite_is_refused_by_name():
    broken = make_model()
    with torch.no_grad():
        next(broken.networks["decoder"].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"test\.mean_squared_error is nan"):
        evaluate_model(broken, make_data(labeled=False))
    with torch.no_grad():
        next(broken.networks["encoder"].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="is nan: the model's outputs are not finite"):
        evaluate_model(broken)
