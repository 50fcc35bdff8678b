"""The evaluation of models whose metrics are known, and that its parts add up."""

import math

import numpy as np
import pytest
import torch

from tests.evaluation.factories import (
    LABELS,
    PIXELS,
    TEST,
    digit_images,
    evaluate_model,
    make_data,
    make_model,
    metric,
)
from tests.oracles import (
    STANDARD_ERRORS,
    gaussian_posterior,
    layer,
    linear_vae_optimum,
    pca_log_likelihood,
    spectrum,
)
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream


def test_probabilistic_pca_on_digits_matches_its_formulas():
    flat = torch.from_numpy(PIXELS[TEST].reshape(-1, 64)).double() / 255
    eigenvalues, _ = spectrum(flat)
    size, latents = 64, 5
    variance = eigenvalues[latents:].mean().item()
    optimum = linear_vae_optimum(flat, latents, variance, kl_weight=1.0)
    optimum.image_shape = (1, 8, 8)
    optimum.output_offset = torch.zeros(1, 8, 8)
    optimum.networks["decoder"][1].unflattened_size = (1, 8, 8)  # type: ignore[index]
    found = evaluate_model(optimum, importance_samples=8)
    log_likelihood = pca_log_likelihood(eigenvalues, latents, variance)
    assert metric(found, "test.nll_nats") == pytest.approx(-log_likelihood, abs=1e-3)
    # The encoder's posterior is the exact one: every weight is p(x).
    assert metric(found, "test.nll_effective_sample_size") == pytest.approx(8, abs=1e-4)
    assert metric(found, "test.nll_change_on_doubling_nats") == pytest.approx(0, abs=1e-4)
    rate = 0.5 * (eigenvalues[:latents] / variance).log().sum().item()
    assert metric(found, "test.kl_loss_nats") == pytest.approx(rate, rel=1e-4)
    # SSE = sum_{i<=k} s2 + sum_{i>k} l_i = D s2, the posterior's noise included; that noise
    # is k of the D chi-squared terms of each of N images.
    error = variance * math.sqrt(2 * latents) / size / math.sqrt(len(flat))
    squared = metric(found, "test.mean_squared_error")
    assert abs(squared - variance) < STANDARD_ERRORS * error
    half_precision = 64 / (2 * variance)
    assert abs(metric(found, "test.neg_elbo_nats") + log_likelihood) < (
        STANDARD_ERRORS * half_precision * error + 1e-3
    )
    assert metric(found, "latent.aggregate_mean_norm") == pytest.approx(0, abs=1e-4)
    assert metric(found, "latent.aggregate_stddev_min") == pytest.approx(1, abs=1e-4)
    assert metric(found, "latent.aggregate_stddev_max") == pytest.approx(1, abs=1e-4)
    assert metric(found, "latent.active_units") == latents


def linear_encoder(raw_stddev: float, scale: float) -> Model:
    """A linear encoder whose means are three random projections of the pixels, scaled."""
    model = make_model(hidden=[])
    encoder = layer(model, "encoder")
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
        encoder.weight[:3] = scale * torch.randn(3, 64, generator=rng_stream(0, "rows"))
        encoder.bias[3:] = raw_stddev
    return model


def test_a_collapsed_posterior_has_no_information():
    # softplus(0 + c) = 1: the posterior is the prior
    found = evaluate_model(linear_encoder(0.0, 0.0))
    assert metric(found, "test.kl_loss_nats") == pytest.approx(0, abs=1e-6)
    assert metric(found, "latent.mutual_information_nats") == pytest.approx(0, abs=1e-9)
    assert metric(found, "latent.marginal_kl_nats") == pytest.approx(0, abs=1e-6)
    assert metric(found, "latent.active_units") == 0
    assert metric(found, "latent.aggregate_stddev_max") == pytest.approx(1, abs=1e-6)
    share = np.bincount(LABELS[TEST]).max() / 123
    assert metric(found, "latent.linear_probe_accuracy") <= share


def test_standard_errors_match_the_losses_of_the_images():
    # The latent has no information and the decoder ignores it: each image's loss is known.
    model = linear_encoder(0.0, 0.0)
    with torch.no_grad():
        layer(model, "decoder").weight.zero_()
    found = evaluate_model(model)
    mean = layer(model, "decoder").bias.sigmoid().reshape(1, 8, 8)
    # -log p = SSE / (2 s2) + constant
    losses = (digit_images() - mean).square().flatten(1).sum(1).detach().numpy() / (2 * 0.05)
    expected = float(losses.std(ddof=1)) / math.sqrt(len(losses))
    for name in ("neg_elbo", "nll"):
        error = metric(found, f"test.{name}_standard_error_nats")
        assert error == pytest.approx(expected, rel=1e-5)
    assert metric(found, "test.nll_nats") == pytest.approx(metric(found, "test.neg_elbo_nats"))


def test_disjoint_posteriors_reach_the_cap_and_predict_the_labels():
    # softplus(-12) is 6e-6, far below the distance of two images' means
    found = evaluate_model(linear_encoder(-12.0, 1.0))
    cap = math.log(123)
    assert metric(found, "latent.mutual_information_cap_nats") == cap
    assert metric(found, "latent.mutual_information_nats") == pytest.approx(cap, abs=1e-3)
    assert metric(found, "latent.active_units") == 3
    # Three random projections of the pixels predict far better than the 10 % of chance.
    assert metric(found, "latent.knn_accuracy") > 0.3


def test_metrics_are_averages_over_images():
    model = make_model()
    found = evaluate_model(model, batch_size=50)  # 50, 50 and 23 images
    posteriors = [gaussian_posterior(model, image[None]) for image in digit_images()]
    kl = np.mean([posterior.kl().item() for posterior in posteriors])
    assert metric(found, "test.kl_loss_nats") == pytest.approx(float(kl), rel=1e-6)
    assert found.latents is not None
    means = torch.cat([posterior.mean for posterior in posteriors]).detach().numpy()
    np.testing.assert_allclose(found.latents.means, means, rtol=1e-4, atol=1e-5)
    variances = means.astype(np.float64).var(0)
    table = found.latents.dimension_table
    np.testing.assert_allclose(table["mean_variance"], variances, rtol=1e-4)
    assert table["kl_nats"].sum() == pytest.approx(kl, rel=1e-6)
    assert table["active"].tolist() == (variances > 0.01).tolist()
    assert metric(found, "latent.active_units") == table["active"].sum()


def test_deterministic_metrics_do_not_depend_on_the_batch_size():
    whole, ragged = (
        evaluate_model(make_model(), batch_size=500),
        evaluate_model(make_model(), batch_size=7),
    )
    for name in ("test.kl_loss_nats", "latent.aggregate_mean_norm", "latent.knn_accuracy"):
        assert metric(whole, name) == pytest.approx(metric(ragged, name), rel=1e-5)
    # Sampled ones differ by sampling noise only.
    for name in ("neg_elbo", "nll"):
        error = metric(whole, f"test.{name}_standard_error_nats")
        distance = metric(whole, f"test.{name}_nats") - metric(ragged, f"test.{name}_nats")
        assert 0 < abs(distance) < STANDARD_ERRORS * error


def test_the_parts_add_up():
    found = evaluate_model(make_model())
    parts = metric(found, "test.generation_loss_nats") + metric(found, "test.kl_loss_nats")
    assert metric(found, "test.neg_elbo_nats") == pytest.approx(parts, rel=1e-12)
    rate = metric(found, "latent.mutual_information_nats") + metric(
        found, "latent.marginal_kl_nats"
    )
    assert metric(found, "test.kl_loss_nats") == pytest.approx(rate, rel=1e-6)
    variance = 0.05
    squared = metric(found, "test.mean_squared_error")
    # -log p = SSE / (2 s2) + (P / 2) ln(2 pi s2)
    expected = 64 * squared / (2 * variance) + 32 * math.log(2 * math.pi * variance)
    assert metric(found, "test.generation_loss_nats") == pytest.approx(expected, rel=1e-5)
    assert metric(found, "test.nll_nats") < metric(found, "test.neg_elbo_nats")
    assert 1 <= metric(found, "test.nll_effective_sample_size") <= 4


def test_more_importance_samples_lower_the_nll():
    few, many = (
        evaluate_model(make_model(), importance_samples=2),
        evaluate_model(make_model(), importance_samples=200),
    )
    assert metric(many, "test.nll_nats") < metric(few, "test.nll_nats")
    assert -0.5 < metric(many, "test.nll_change_on_doubling_nats") < 0
    assert metric(many, "test.nll_importance_samples") == 200


@pytest.mark.parametrize(
    ("likelihood", "offset"),
    [("gaussian", 8), ("continuous_bernoulli", 8), ("discretized_logistic", 0)],
)
def test_bits_per_dim_match_the_nll(likelihood, offset):
    found = evaluate_model(make_model(likelihood=likelihood), make_data(levels=256))
    expected = metric(found, "test.nll_nats") / (64 * math.log(2)) + offset
    assert metric(found, "test.bits_per_dim") == pytest.approx(expected, rel=1e-12)
