"""The importance-weighted bound against closed forms, and bits per dimension."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    data_with_eigenvalues,
    gaussian_posterior,
    integral,
    layer,
    linear_model,
    linear_vae_optimum,
    pca_log_likelihood,
    rand,
    randn,
    set_linear,
)
from vaelab.config import ModelSettings
from vaelab.estimators import mean_over_images
from vaelab.estimators.importance import (
    bits_per_dim,
    importance_weighted_log_likelihood,
    log_importance_weights,
)
from vaelab.models.distributions import DiagonalGaussian, standard_normal
from vaelab.models.likelihoods import build_likelihood
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Importance weighting. p(x|z) = N(z, 1), so p(x) = N(0, 2), and the posterior of x is N(x/2, 1/2).

TRUE_STDDEV = math.sqrt(0.5)


def one_dimensional_model() -> Model:
    model = linear_model(1, 1, variance=1.0)
    with torch.no_grad():
        set_linear(layer(model, "decoder"), torch.ones(1, 1), torch.zeros(1))
    return model


def copies(x: float, count: int) -> Tensor:
    return torch.full((count, 1, 1, 1), x)


def gaussian(count: int, mean: float, stddev: float) -> DiagonalGaussian:
    return DiagonalGaussian(torch.full((count, 1), mean), torch.full((count, 1), stddev))


def log_evidence(x: float) -> float:
    return float(stats.norm.logpdf(x, 0, math.sqrt(2)))


@torch.inference_mode()
def estimate(mean: float, stddev: float, x: float, samples: int, count: int) -> Tensor:
    return importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(x, count),
        gaussian(count, mean, stddev),
        samples,
        rng_stream(samples, "test"),
    ).log_likelihood


@pytest.mark.parametrize("samples", [1, 2, 64])
def test_the_exact_posterior_has_no_variance(samples):
    result = importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(1.3, 5),
        gaussian(5, 0.65, TRUE_STDDEV),
        samples,
        rng_stream(0, "test"),
    )
    expected = torch.full((5,), log_evidence(1.3), dtype=torch.float64)
    torch.testing.assert_close(result.log_likelihood, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(
        result.effective_sample_size, torch.full_like(expected, samples), rtol=1e-6, atol=0
    )
    if samples > 1:
        assert result.log_likelihood_at_half is not None
        torch.testing.assert_close(result.log_likelihood_at_half, expected, rtol=0, atol=2e-6)
    else:
        assert result.log_likelihood_at_half is None


def test_the_estimate_at_the_probabilistic_pca_optimum_is_exact():
    eigenvalues, latents, variance = [9.0, 4.0, 2.0, 1.0, 0.5], 2, 0.8
    data = data_with_eigenvalues(eigenvalues, 30)
    model, images = linear_vae_optimum(data, latents, variance, 1.0), data[:, None, None]
    with torch.inference_mode():
        result = importance_weighted_log_likelihood(
            model, images, model.encode(images), 10, rng_stream(0, "test")
        )
    expected = pca_log_likelihood(torch.tensor(eigenvalues), latents, variance)
    assert mean_over_images(result.log_likelihood) == pytest.approx(expected, abs=1e-5)
    assert result.effective_sample_size.min() > 10 - 1e-3


def test_one_sample_underestimates_by_the_kl_to_the_posterior():
    mean, stddev, x = 0.2, 1.1, 1.3
    values = estimate(mean, stddev, x, 1, 20_000)
    # KL(N(m, s^2) || N(x/2, 1/2))
    ratio = (stddev / TRUE_STDDEV) ** 2
    shift = ((mean - x / 2) / TRUE_STDDEV) ** 2
    kl = 0.5 * (ratio + shift - 1 - math.log(ratio))
    assert_mean(values, log_evidence(x) - kl)


def test_more_samples_tighten_the_lower_bound():
    means = {}
    for samples in (1, 2, 3, 8, 32):
        values = estimate(-0.5, 1.2, 1.3, samples, 10_000)
        error = (values.std() / math.sqrt(len(values))).item()
        means[samples] = values.mean().item(), error
    ordered = list(means.values())
    for (low, low_error), (high, high_error) in pairwise(ordered):
        assert high - low > STANDARD_ERRORS * math.hypot(low_error, high_error)
    last, error = ordered[-1]
    assert last < log_evidence(1.3) + STANDARD_ERRORS * error


def test_the_gap_is_the_variance_of_the_weights_over_2k():
    mean, stddev, x, samples = 0.2, 0.9, 1.3, 10
    posterior, q = stats.norm(x / 2, TRUE_STDDEV), stats.norm(mean, stddev)
    # w / p(x) = p(z|x) / q(z), of mean 1 under q
    second = integral(lambda z: float(posterior.pdf(z) ** 2 / q.pdf(z)), -9, 9)
    gap = log_evidence(x) - estimate(mean, stddev, x, samples, 100_000)
    expected = (second - 1) / (2 * samples)
    # The next term of the expansion is of order 1 / K^2, and no larger than the first here.
    assert_mean(gap, expected, rounding=expected / samples)
    assert expected > 20 * (gap.std() / math.sqrt(len(gap))).item()


def test_one_sample_is_the_sampled_elbo():
    model, images = linear_model(6, 3, variance=0.5, seed=4), rand(9, 1, 1, 6)
    posterior = model.encode(images)
    result = importance_weighted_log_likelihood(model, images, posterior, 1, rng_stream(7, "noise"))
    latents = posterior.rsample(rng_stream(7, "noise"), 1)[0]
    bound = (
        model.decode(latents).log_prob(images)
        + standard_normal(latents).log_prob(latents)
        - posterior.log_prob(latents)
    )
    torch.testing.assert_close(result.log_likelihood, bound.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(result.effective_sample_size, torch.ones(9).double())


class Replayed(DiagonalGaussian):
    """Returns noise from a list, so that chunks do not change the samples."""

    draws: Iterator[Tensor]

    def rsample(
        self, generator: torch.Generator | None = None, samples: int | None = None
    ) -> Tensor:
        noise = torch.stack([next(self.draws) for _ in range(samples or 1)])
        return self.mean + self.stddev * noise


@pytest.mark.parametrize("at_a_time", [1, 3, 8, 1000])
@pytest.mark.parametrize("samples", [7, 8])
def test_streaming_matches_all_weights_at_once(at_a_time, samples):
    model, images = linear_model(6, 3, variance=1e-3, seed=4), rand(4, 1, 1, 6)
    posterior, noise = gaussian_posterior(model, images), randn(samples, 4, 3)
    replayed = Replayed(posterior.mean, posterior.stddev)
    object.__setattr__(replayed, "draws", iter(noise))
    decoded: list[int] = []
    result = importance_weighted_log_likelihood(
        model,
        images,
        replayed,
        samples,
        rng_stream(0, "unused"),
        decoded_pixels=at_a_time * images.numel(),
        progress=decoded.append,
    )
    latents = posterior.mean + posterior.stddev * noise
    weights = log_importance_weights(model, images, posterior, latents)
    assert weights.min() < -1000  # e^-745 is 0 in float64: only logarithms survive
    half = weights[: samples // 2].logsumexp(0) - math.log(samples // 2)
    relative = (weights - weights.max(0).values).exp()
    torch.testing.assert_close(
        result.log_likelihood, weights.logsumexp(0) - math.log(samples), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(result.log_likelihood_at_half, half, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        result.effective_sample_size,
        relative.sum(0) ** 2 / (relative**2).sum(0),
        rtol=1e-3,  # float32 log-likelihoods of size 1e3 are good to 1e-4
        atol=0,
    )
    assert sum(decoded) == samples * 4
    assert max(decoded) <= at_a_time * 4


# Halves of 1 and 2 samples, each above the budget; halves of 65, of which 2^20 numbers hold 64
@pytest.mark.parametrize(
    ("count", "samples", "budget", "expected"),
    [(50, 3, 10, [50] * 3), (2**14, 130, None, [2**20, 2**14] * 2)],
)
def test_chunks_fit_the_budget_or_have_one_sample_of_each_image(count, samples, budget, expected):
    decoded: list[int] = []
    importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(0.0, count),
        gaussian(count, 0.0, 1.0),
        samples,
        rng_stream(0, "test"),
        decoded_pixels=budget,
        progress=decoded.append,
    )
    assert decoded == expected


def test_no_graph_of_gradients_grows_with_the_samples():
    images, model = copies(0.0, 2), one_dimensional_model()
    estimate = importance_weighted_log_likelihood(
        model, images, model.encode(images), 4, rng_stream(0, "test")
    )
    assert not estimate.log_likelihood.requires_grad


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="needs at least 1 sample, got 0"):
        estimate(0.0, 1.0, 0.0, 0, 2)


# Bits per dimension


def bits(nll: float, levels: int = 256, **settings: object) -> float | None:
    likelihood = build_likelihood(ModelSettings.model_validate(settings), 10)
    return bits_per_dim(nll, likelihood, 10, levels)


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli"])
def test_the_uniform_density_has_eight_bits_per_dim(likelihood):
    assert bits(0.0, likelihood=likelihood) == pytest.approx(8)
    # One nat a pixel is 1 / ln 2 bits.
    assert bits(10.0, likelihood=likelihood) == pytest.approx(8 + 1 / math.log(2))


def test_the_uniform_probability_has_eight_bits_per_dim():
    assert bits(10 * math.log(256), likelihood="discretized_logistic") == pytest.approx(8)


def test_bits_per_dim_need_eight_bit_pixels():
    assert bits(1.0, likelihood="bernoulli") is None
    assert bits(1.0, levels=17, likelihood="gaussian") is None
