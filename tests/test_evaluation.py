"""The whole report: known answers, absent metrics, and what must not change it."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tests.oracles import STANDARD_ERRORS, layer, linear_vae_optimum, pca_log_likelihood, spectrum
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.batches import ImageBatches
from vaelab.evaluation import Evaluation, EvaluationData, evaluate
from vaelab.models import Model, build_model
from vaelab.randomness import stream

CPU = torch.device("cpu")
DIGITS = load_digits()
PIXELS = (DIGITS.images * 255 / 16).round().astype(np.uint8)[:, None]
LABELS = DIGITS.target.astype(np.int64)
TRAIN, TEST = slice(0, 300), slice(300, 423)

DATASET = {"name", "test_images"}
TEST_METRICS = {
    "neg_elbo_nats",
    "generation_loss_nats",
    "kl_loss_nats",
    "nll_nats",
    "nll_importance_samples",
    "nll_effective_sample_size",
    "nll_change_on_doubling_nats",
    "neg_elbo_standard_error_nats",
    "nll_standard_error_nats",
    "mean_squared_error",
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
}
LABEL_METRICS = {"linear_probe_accuracy", "knn_accuracy"}


def data(levels: int = 17, labelled: bool = True, test: slice = TEST) -> EvaluationData:
    return EvaluationData(
        name="digits",
        levels=levels,
        train=ImageBatches(PIXELS[TRAIN], CPU),
        test=ImageBatches(PIXELS[test], CPU),
        train_labels=LABELS[TRAIN] if labelled else None,
        test_labels=LABELS[test] if labelled else None,
    )


def model(**settings: object) -> Model:
    small: dict[str, object] = {"network": "mlp", "hidden": [8], "latent_dim": 3}
    if settings.get("likelihood", "gaussian") == "gaussian":
        small["gaussian_variance"] = 0.05
    chosen = ModelSettings.model_validate(small | settings)
    return build_model(chosen, (1, 8, 8), seed=1).eval()


def run(
    subject: Model, subjects_data: EvaluationData | None = None, **settings: object
) -> Evaluation:
    chosen = EvaluateSettings.model_validate({"importance_samples": 4} | settings)
    return evaluate(subject, subjects_data or data(), chosen, CPU)


def number(evaluation: Evaluation, name: str) -> float:
    group, key = name.split(".")
    return float(evaluation.metrics[group][key])


def images() -> Tensor:
    return torch.from_numpy(PIXELS[TEST]).float() / 255


# Known answers


def test_probabilistic_pca_on_digits_has_the_likelihood_of_its_formula():
    flat = torch.from_numpy(PIXELS[TEST].reshape(-1, 64)).double() / 255
    eigenvalues, _ = spectrum(flat)
    size, latents = 64, 5
    variance = eigenvalues[latents:].mean().item()
    optimum = linear_vae_optimum(flat, latents, variance, kl_weight=1.0)
    optimum.image_shape = (1, 8, 8)
    optimum.networks["decoder"][1].unflattened_size = (1, 8, 8)  # type: ignore[index]
    found = run(optimum, importance_samples=8)
    log_likelihood = pca_log_likelihood(eigenvalues, latents, variance)
    assert number(found, "test.nll_nats") == pytest.approx(-log_likelihood, abs=1e-3)
    # The encoder's posterior is the exact one: every weight is p(x).
    assert number(found, "test.nll_effective_sample_size") == pytest.approx(8, abs=1e-4)
    assert number(found, "test.nll_change_on_doubling_nats") == pytest.approx(0, abs=1e-4)
    rate = 0.5 * (eigenvalues[:latents] / variance).log().sum().item()
    assert number(found, "test.kl_loss_nats") == pytest.approx(rate, rel=1e-4)
    # SSE = sum_{i<=k} s2 + sum_{i>k} l_i = D s2, the posterior's noise included; that noise
    # is k of the D chi-squared terms of each of N images.
    error = variance * math.sqrt(2 * latents) / size / math.sqrt(len(flat))
    squared = number(found, "test.mean_squared_error")
    assert abs(squared - variance) < STANDARD_ERRORS * error
    half_precision = 64 / (2 * variance)
    assert abs(number(found, "test.neg_elbo_nats") + log_likelihood) < (
        STANDARD_ERRORS * half_precision * error + 1e-3
    )
    assert number(found, "latent.aggregate_mean_norm") == pytest.approx(0, abs=1e-4)
    assert number(found, "latent.aggregate_stddev_min") == pytest.approx(1, abs=1e-4)
    assert number(found, "latent.aggregate_stddev_max") == pytest.approx(1, abs=1e-4)
    assert number(found, "latent.active_units") == latents


def encoder_giving(raw_stddev: float, scale: float) -> Model:
    """A linear encoder whose means are three random projections of the pixels, scaled."""
    subject = model(hidden=[])
    encoder = layer(subject, "encoder")
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
        encoder.weight[:3] = scale * torch.randn(3, 64, generator=stream(0, "rows"))
        encoder.bias[3:] = raw_stddev
    return subject


def test_a_collapsed_posterior_says_nothing():
    # softplus(0 + c) = 1: the encoder gives the prior
    found = run(encoder_giving(0.0, 0.0))
    assert number(found, "test.kl_loss_nats") == pytest.approx(0, abs=1e-6)
    assert number(found, "latent.mutual_information_nats") == pytest.approx(0, abs=1e-9)
    assert number(found, "latent.marginal_kl_nats") == pytest.approx(0, abs=1e-6)
    assert number(found, "latent.active_units") == 0
    assert number(found, "latent.aggregate_stddev_max") == pytest.approx(1, abs=1e-6)
    share = np.bincount(LABELS[TEST]).max() / 123
    assert number(found, "latent.linear_probe_accuracy") <= share


def test_an_identity_fills_the_cap_and_reads_the_labels():
    # softplus(-12) is 6e-6, far below the distance of two images' means
    found = run(encoder_giving(-12.0, 1.0))
    cap = math.log(123)
    assert number(found, "latent.mutual_information_cap_nats") == cap
    assert number(found, "latent.mutual_information_nats") == pytest.approx(cap, abs=1e-3)
    assert number(found, "latent.active_units") == 3
    # Three random projections of the pixels tell far more than the 10 % of a guess.
    assert number(found, "latent.knn_accuracy") > 0.3


def test_metrics_are_averages_of_what_each_image_shows():
    subject = model()
    found = run(subject, batch_size=50)  # 50, 50 and 23 images
    posteriors = [subject.encode(image[None]) for image in images()]
    kl = np.mean([posterior.kl().item() for posterior in posteriors])
    assert number(found, "test.kl_loss_nats") == pytest.approx(float(kl), rel=1e-6)
    assert found.latents is not None
    means = torch.cat([posterior.mean for posterior in posteriors]).detach().numpy()
    np.testing.assert_allclose(found.latents.means, means, rtol=1e-4, atol=1e-5)
    variances = means.astype(np.float64).var(0)
    table = found.latents.dimensions
    np.testing.assert_allclose(table["mean_variance"], variances, rtol=1e-4)
    assert table["kl_nats"].sum() == pytest.approx(kl, rel=1e-6)
    assert table["active"].tolist() == (variances > 0.01).tolist()
    assert number(found, "latent.active_units") == table["active"].sum()


def test_deterministic_metrics_do_not_depend_on_the_batch_size():
    whole, ragged = run(model(), batch_size=500), run(model(), batch_size=7)
    for name in ("test.kl_loss_nats", "latent.aggregate_mean_norm", "latent.knn_accuracy"):
        assert number(whole, name) == pytest.approx(number(ragged, name), rel=1e-5)
    # Sampled ones differ by chance alone.
    for name in ("neg_elbo", "nll"):
        error = number(whole, f"test.{name}_standard_error_nats")
        distance = number(whole, f"test.{name}_nats") - number(ragged, f"test.{name}_nats")
        assert 0 < abs(distance) < STANDARD_ERRORS * error


def test_the_parts_add_up():
    found = run(model())
    parts = number(found, "test.generation_loss_nats") + number(found, "test.kl_loss_nats")
    assert number(found, "test.neg_elbo_nats") == pytest.approx(parts, rel=1e-12)
    rate = number(found, "latent.mutual_information_nats") + number(
        found, "latent.marginal_kl_nats"
    )
    assert number(found, "test.kl_loss_nats") == pytest.approx(rate, rel=1e-6)
    variance = 0.05
    squared = number(found, "test.mean_squared_error")
    # -log p = SSE / (2 s2) + (P / 2) ln(2 pi s2)
    expected = 64 * squared / (2 * variance) + 32 * math.log(2 * math.pi * variance)
    assert number(found, "test.generation_loss_nats") == pytest.approx(expected, rel=1e-5)
    assert number(found, "test.nll_nats") < number(found, "test.neg_elbo_nats")
    assert 1 <= number(found, "test.nll_effective_sample_size") <= 4


def test_more_importance_samples_come_nearer():
    few, many = run(model(), importance_samples=2), run(model(), importance_samples=200)
    assert number(many, "test.nll_nats") < number(few, "test.nll_nats")
    assert -0.5 < number(many, "test.nll_change_on_doubling_nats") < 0
    assert number(many, "test.nll_importance_samples") == 200


@pytest.mark.parametrize(
    ("likelihood", "offset"),
    [("gaussian", 8), ("continuous_bernoulli", 8), ("discretized_logistic", 0)],
)
def test_bits_are_those_of_the_likelihood(likelihood, offset):
    found = run(model(likelihood=likelihood), data(levels=256))
    expected = number(found, "test.nll_nats") / (64 * math.log(2)) + offset
    assert number(found, "test.bits_per_dim") == pytest.approx(expected, rel=1e-12)


# Absent metrics


def names(found: Evaluation) -> tuple[set[str], set[str], set[str]]:
    return set(found.metrics["dataset"]), set(found.metrics["test"]), set(found.metrics["latent"])


def test_every_metric_of_labelled_eight_bit_images_is_there():
    found = run(model(), data(levels=256))
    everything = LATENT_METRICS | LABEL_METRICS
    assert names(found) == (DATASET, TEST_METRICS | {"bits_per_dim"}, everything)
    assert found.metrics["dataset"] == {"name": "digits", "test_images": 123}
    # Plain JSON, with no NaN in it
    assert json.loads(json.dumps(found.metrics, allow_nan=False)) == found.metrics


def test_bits_are_absent_where_pixels_are_not_bytes():
    assert "bits_per_dim" not in run(model(), data(levels=17)).metrics["test"]
    binary = run(model(likelihood="bernoulli"), data(levels=256))
    assert "bits_per_dim" not in binary.metrics["test"]


def test_label_metrics_are_absent_without_two_classes():
    assert names(run(model(), data(labelled=False)))[2] == LATENT_METRICS
    one_class = replace(data(), train_labels=np.full(300, 3))
    assert names(run(model(), one_class))[2] == LATENT_METRICS


def test_one_sample_cannot_be_halved():
    absent = TEST_METRICS - set(run(model(), importance_samples=1).metrics["test"])
    assert absent == {"nll_change_on_doubling_nats"}


def test_one_image_has_no_standard_error():
    found = run(model(), data(labelled=False, test=slice(0, 1)))
    assert {"neg_elbo_standard_error_nats", "nll_standard_error_nats"} == TEST_METRICS - set(
        found.metrics["test"]
    )
    assert LATENT_METRICS - set(found.metrics["latent"]) == {"mmd_squared"}
    assert number(found, "latent.mutual_information_cap_nats") == 0


def test_a_model_without_an_encoder_gets_no_encoder_metrics():
    settings = ModelSettings(network="mlp", hidden=(8,), latent_dim=3)
    generator = build_model(settings, (1, 8, 8), ["decoder", "discriminator"]).eval()
    found = run(generator)
    assert found.metrics == {
        "dataset": {"name": "digits", "test_images": 123},
        "latent": {"dimensions": 3},
    }
    assert found.latents is None


# What must not change the report


def test_the_seed_alone_decides():
    subject = model()
    torch.manual_seed(1)
    first = run(subject, seed=3)
    torch.manual_seed(2)
    second = run(subject, seed=3)
    assert first.metrics == second.metrics
    assert number(run(subject, seed=4), "test.nll_nats") != number(first, "test.nll_nats")


def test_the_model_and_the_global_random_state_are_left_alone():
    subject = model()
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    state = torch.get_rng_state()
    run(subject)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in subject.state_dict().items())
    assert not subject.training


def test_latents_are_in_the_order_of_the_files():
    found = run(model(), batch_size=50)
    assert found.latents is not None
    assert found.latents.means.dtype == found.latents.stddevs.dtype == np.float32
    assert found.latents.means.shape == found.latents.stddevs.shape == (123, 3)
    last = model().encode(images()[-1:])
    np.testing.assert_allclose(found.latents.means[-1:], last.mean.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.latents.stddevs[-1:], last.stddev.detach(), rtol=1e-4)


def test_quadratic_metrics_use_at_most_so_many_images():
    found = run(model(), max_pairs_images=10)
    assert number(found, "latent.mutual_information_cap_nats") == math.log(10)


def test_probes_are_fitted_on_at_most_so_many_images(monkeypatch):
    fitted = []

    def remember(train: Any, labels: Any, test: Any, truth: Any) -> float:
        fitted.append((train, labels))
        return 0.5

    monkeypatch.setattr("vaelab.evaluation.PROBE_TRAIN_IMAGES", 40)
    monkeypatch.setattr("vaelab.estimators.probes.linear_probe_accuracy", remember)
    subject = model()
    run(subject, batch_size=16)
    ((train, labels),) = fitted
    assert train.shape == (40, 3)
    # Each mean stands beside its own image's label.
    means = subject.encode(torch.from_numpy(PIXELS[TRAIN]).float() / 255).mean.detach().numpy()
    nearest = np.abs(means[:, None] - train).sum(2).argmin(0)
    assert len(set(nearest)) == 40
    assert labels.tolist() == LABELS[TRAIN][nearest].tolist()


# Refusals


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match=r"training mode; call model\.eval\(\)"):
        run(model().train())


def test_an_empty_test_split_is_refused():
    with pytest.raises(ValueError, match="digits: the test split has no images"):
        run(model(), data(test=slice(0, 0)))


def test_a_metric_that_is_not_finite_is_refused_by_name():
    broken = model()
    with torch.no_grad():
        next(broken.networks["decoder"].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"test\.neg_elbo_nats is nan"):
        run(broken, data(labelled=False))
    with torch.no_grad():
        next(broken.networks["encoder"].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="is nan: the model's outputs are not finite"):
        run(broken)
