"""The two-stage likelihood, on a linear model whose aggregate posterior is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.factories import CPU, PIXELS, TEST, make_data
from tests.oracles import (
    STANDARD_ERRORS,
    layer,
    linear_model,
    linear_vae_optimum,
    pca_log_likelihood,
    set_linear,
    spectrum,
)
from vaelab.config import EvaluateSettings, Section
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.likelihood import fit_test_images
from vaelab.evaluation.two_stage import sampler_log_prior
from vaelab.evaluation.two_stage import two_stage_metrics as measured
from vaelab.evaluation.types import EvaluationData
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.samplers import Sampler

# The posterior of a pixel x is N(GAIN x, SPREAD^2), and pixels are N(CENTER, PIXEL_SPREAD^2), so
# that the aggregate posterior is N(GAIN CENTER, GAIN^2 PIXEL_SPREAD^2 + SPREAD^2).
GAIN, SPREAD, CENTER, PIXEL_SPREAD = 3.0, 0.2, 0.5, 0.1
MEAN, STDDEV = GAIN * CENTER, math.hypot(GAIN * PIXEL_SPREAD, SPREAD)
SETTINGS = EvaluateSettings(likelihood_images=400, sampler_importance_samples=50)


def two_stage_metrics(
    model: Model, sampler: Sampler, data: EvaluationData, settings: EvaluateSettings
) -> dict[str, Any]:
    fitted = fit_test_images(model, data.test, settings, CPU)
    assert fitted is not None
    return dict(measured(fitted, sampler, settings, CPU))


class Known(Sampler):
    """A Gaussian, by default the aggregate posterior; with labels, one for each of them."""

    conditional = True

    def __init__(self, mean: float = MEAN, stddev: float = STDDEV, classes: int = 0) -> None:
        super().__init__(Section(), 1, classes)
        self.centered, self.stddev = mean, stddev

    def log_prob(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        ones = torch.ones_like(latents)
        log_prob = DiagonalGaussian(self.centered * ones, self.stddev * ones).log_prob(latents)
        return log_prob if labels is None else log_prob + 0 * labels


def model() -> Model:
    made = linear_model(1, 1, variance=0.01).eval()
    # softplus of the raw value, with its offset, is the standard deviation
    raw = math.log(math.expm1(SPREAD)) - math.log(math.expm1(1))
    with torch.no_grad():
        set_linear(layer(made, "encoder"), torch.tensor([[GAIN], [0.0]]), torch.tensor([0.0, raw]))
        set_linear(layer(made, "decoder"), torch.tensor([[1 / GAIN]]), torch.zeros(1))
    return made


def data(**changes: Any) -> EvaluationData:
    pixels = np.random.default_rng(0).normal(CENTER, PIXEL_SPREAD, (500, 1, 1, 1))
    images = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    loader = ImageLoader(images, CPU, **changes)
    return EvaluationData("known", 256, loader, loader)


def number(metrics: dict[str, Any], name: str) -> float:
    return float(metrics[name])


def test_the_aggregate_posterior_gains_its_divergence_from_the_prior() -> None:
    metrics = two_stage_metrics(model(), Known(), data(), SETTINGS)
    # KL(N(m, s^2) || N(0, 1))
    divergence = 0.5 * (MEAN**2 + STDDEV**2 - 1) - math.log(STDDEV)
    error = number(metrics, "neg_elbo_gain_standard_error_nats")
    assert error < 0.05
    gain = number(metrics, "neg_elbo_gain_nats")
    assert gain == pytest.approx(divergence, abs=STANDARD_ERRORS * error)
    assert metrics["likelihood_images"] == 400
    assert metrics["nll_importance_samples"] == 50


def test_bounds_are_in_order_and_agree_with_the_terms() -> None:
    metrics = two_stage_metrics(model(), Known(), data(), SETTINGS)
    assert number(metrics, "nll_nats") < number(metrics, "neg_elbo_nats")
    assert 1 <= number(metrics, "nll_effective_sample_size") <= 50
    # KL(q(z|x) || q(z)), averaged over x: the mutual information of x and z
    information = 0.5 * math.log(STDDEV**2 / SPREAD**2)
    assert number(metrics, "kl_loss_nats") == pytest.approx(information, abs=0.05)


def test_the_prior_as_sampler_gains_nothing() -> None:
    metrics = two_stage_metrics(model(), Known(0, 1), data(), SETTINGS)
    for name in ("neg_elbo_gain_nats", "nll_gain_nats"):
        assert number(metrics, name) == pytest.approx(0, abs=1e-5)


def test_a_label_adds_its_probability() -> None:
    labels = np.arange(500) % 2
    sampler = Known(classes=2)
    sampler.label_log_frequencies.copy_(torch.tensor([0.25, 0.75]).log())
    conditional = two_stage_metrics(model(), sampler, data(labels=labels, classes=2), SETTINGS)
    alone = two_stage_metrics(model(), Known(), data(), SETTINGS)
    # The labels are of rows that are chosen at random.
    loss = number(conditional, "neg_elbo_nats") - number(alone, "neg_elbo_nats")
    mean = -(math.log(0.25) + math.log(0.75)) / 2
    assert loss == pytest.approx(mean, abs=0.1)


def test_unknown_labels_are_summed_over() -> None:
    sampler, latents = Known(classes=2), torch.randn(3, 4, 1)
    found = sampler_log_prior(model(), sampler, latents, torch.tensor([0, 1, -1, 0]))
    torch.testing.assert_close(found, sampler.log_prob(latents).double())


def test_models_without_a_bound_have_none() -> None:
    without = model()
    without.posterior = "point"
    assert fit_test_images(without, data().test, SETTINGS, CPU) is None


def test_the_encoder_of_these_tests_is_the_one_meant() -> None:
    posterior = model().encode(torch.full((1, 1, 1, 1), 0.4))
    assert isinstance(posterior, DiagonalGaussian)
    assert posterior.mean.item() == pytest.approx(GAIN * 0.4)
    assert posterior.stddev.item() == pytest.approx(SPREAD)


def test_with_exact_posteriors_the_likelihood_is_exact() -> None:
    pca, log_likelihood = wide_pca(scale=3.0)
    settings = EvaluateSettings(likelihood_images=10_000, sampler_importance_samples=100)
    found = two_stage_metrics(pca, Known(0.0, 3.0), make_data(), settings)
    # Each weight of the bound is p(x). Of the NLL, at least half the proposal is the posterior, so
    # that a weight is at most 2 p(x).
    assert number(found, "neg_elbo_nats") == pytest.approx(-log_likelihood, abs=2e-3)
    assert number(found, "nll_nats") == pytest.approx(-log_likelihood, abs=0.05)
    assert 50 < number(found, "nll_effective_sample_size") < 100
    with_prior = two_stage_metrics(pca, Known(0.0, 1.0), make_data(), settings)
    assert number(with_prior, "nll_effective_sample_size") < 90
    assert -log_likelihood < number(with_prior, "nll_nats") < number(with_prior, "neg_elbo_nats")


def wide_pca(scale: float, latents: int = 5) -> tuple[Model, float]:
    """Probabilistic PCA of the test images, and its mean ln p(x); its latents are scaled.

    The aggregate posterior is N(0, scale^2 I), the prior N(0, I).
    """
    flat = torch.from_numpy(PIXELS[TEST].reshape(-1, 64)).double() / 255
    eigenvalues, _ = spectrum(flat)
    variance = eigenvalues[latents:].mean().item()
    made = linear_vae_optimum(flat, latents, variance, kl_weight=1.0)
    made.image_shape, made.output_offset = (1, 8, 8), torch.zeros(1, 8, 8)
    made.networks["decoder"][1].unflattened_size = (1, 8, 8)  # type: ignore[index]
    encoder, offset = layer(made, "encoder"), math.log(math.expm1(1))
    with torch.no_grad():
        layer(made, "decoder").weight /= scale
        stddevs = torch.nn.functional.softplus(encoder.bias[latents:] + offset)
        encoder.weight *= scale
        encoder.bias[:latents] *= scale
        encoder.bias[latents:] = (scale * stddevs).expm1().log() - offset
    return made.eval(), pca_log_likelihood(eigenvalues, latents, variance)


@pytest.mark.parametrize("frequencies", [(0.0, 1.0), (1.0,)])
def test_labels_that_no_training_image_has_get_the_sum(frequencies: tuple[float, ...]) -> None:
    sampler, latents = Known(classes=len(frequencies)), torch.randn(3, 4, 1)
    sampler.label_log_frequencies.copy_(torch.tensor(frequencies).log())
    found = sampler_log_prior(model(), sampler, latents, torch.tensor([0, 1, 1, 0]))
    torch.testing.assert_close(found, sampler.log_prob(latents).double())
