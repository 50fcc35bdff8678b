"""Distributions against torch's, scipy's, and numerical integrals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import kl_divergence

from tests.oracles import STANDARD_ERRORS, assert_mean, integral
from vaelab.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretizedLogistic,
    Gaussian,
    ProfiledGaussian,
    standard_normal,
)
from vaelab.randomness import stream

# The oracles; without types, as torch leaves their methods.
TorchBernoulli: Any = torch.distributions.Bernoulli
TorchContinuousBernoulli: Any = torch.distributions.ContinuousBernoulli
Normal: Any = torch.distributions.Normal

# On both sides of the switch between series and closed form at 0.3, and where float32 saturates
LOGITS = [0.0, 1e-8, -1e-3, 0.1, 0.299, -0.299, 0.301, -0.301, 1.0, -5.0, 16.0, 50.0, -50.0]


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=stream(0, "test"), dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64)


def posterior() -> DiagonalGaussian:
    return DiagonalGaussian(randn(4, 3, 5, seed=1), randn(4, 3, 5, seed=2).exp())


def one_pixel(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


# The posterior


def test_gaussian_log_prob_is_torchs_sum_over_latents():
    q, z = posterior(), randn(4, 3, 5, seed=3)
    torch.testing.assert_close(q.log_prob(z), Normal(q.mean, q.stddev).log_prob(z).sum(-1))


def test_kl_is_torchs():
    q = posterior()
    expected = kl_divergence(Normal(q.mean, q.stddev), Normal(0.0, 1.0))
    torch.testing.assert_close(q.kl_per_dimension(), expected)
    torch.testing.assert_close(q.kl(), expected.sum(-1))


def test_kl_of_the_prior_is_zero():
    assert standard_normal(torch.empty(2, 3)).kl().tolist() == [0.0, 0.0]


def test_kl_is_its_monte_carlo_estimate():
    q = DiagonalGaussian(torch.tensor([0.7, -1.5]), torch.tensor([0.4, 2.0]))
    z = q.rsample(stream(0, "test"), 20_000)
    assert_mean(q.log_prob(z) - standard_normal(z).log_prob(z), q.kl())


def test_kl_gradients_are_mean_and_half_of_variance_less_one():
    mean = randn(6).requires_grad_()
    log_variance = randn(6, seed=1).requires_grad_()
    kl = DiagonalGaussian(mean, (log_variance / 2).exp()).kl()
    by_mean, by_log_variance = torch.autograd.grad(kl, [mean, log_variance])
    torch.testing.assert_close(by_mean, mean.detach())
    torch.testing.assert_close(by_log_variance, (log_variance.detach().exp() - 1) / 2)


def test_rsample_differentiates_expectations():
    count, mean, stddev = 20_000, 0.8, 1.7
    means = torch.full((count, 1), mean, requires_grad=True)
    stddevs = torch.full((count, 1), stddev, requires_grad=True)
    z = DiagonalGaussian(means, stddevs).rsample(stream(0, "test"))
    by_mean, by_stddev = torch.autograd.grad((z**2).sum(), [means, stddevs])
    # E z^2 = mean^2 + stddev^2
    assert_mean(by_mean[:, 0], 2 * mean)
    assert_mean(by_stddev[:, 0], 2 * stddev)


def test_rsample_has_the_stated_moments_and_shape():
    q = posterior()
    z = q.rsample(stream(0, "test"), 5_000)
    assert z.shape == (5_000, 4, 3, 5)
    assert_mean(z, q.mean)
    assert_mean((z - q.mean) ** 2, q.stddev**2)
    assert q.rsample(stream(0, "test")).shape == (4, 3, 5)


def test_rsample_repeats_with_its_generator_alone():
    q = posterior()
    first = q.rsample(stream(3, "noise"))
    torch.rand(7)
    assert torch.equal(first, q.rsample(stream(3, "noise")))
    assert not torch.equal(first, q.rsample(stream(4, "noise")))


# Bernoulli


def test_bernoulli_is_torchs_on_binary_pixels():
    logits = 5 * randn(2, 3, 1, 4, 4)
    images = (randn(3, 1, 4, 4, seed=1) > 0).double()
    expected = TorchBernoulli(logits=logits).log_prob(images.expand_as(logits))
    torch.testing.assert_close(Bernoulli(logits).log_prob(images), expected.flatten(-3).sum(-1))


def test_bernoulli_is_the_cross_entropy_on_grey_pixels():
    # 0.3 ln 0.9 + 0.7 ln 0.1
    logits = one_pixel(math.log(9), torch.float64)
    log_prob = Bernoulli(logits).log_prob(one_pixel(0.3, torch.float64)).item()
    assert log_prob == pytest.approx(0.3 * math.log(0.9) + 0.7 * math.log(0.1), rel=1e-12)


def test_bernoulli_samples_its_mean():
    logits = randn(1, 1, 3, 3).float().expand(5_000, 1, 3, 3)
    drawn = Bernoulli(logits).sample(stream(0, "test"))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    assert_mean(drawn, logits[0].sigmoid())


# Continuous Bernoulli


def continuous_density(logit: float, x: float) -> float:
    # p^x (1 - p)^(1 - x), up to its normaliser, is e^(l x); the larger end is made 1
    return math.exp(logit * x - max(logit, 0.0))


def continuous_moment(logit: float, power: int) -> float:
    total = integral(lambda x: continuous_density(logit, x), 0, 1)
    return integral(lambda x: x**power * continuous_density(logit, x), 0, 1) / total


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one(logit):
    pixels = ContinuousBernoulli(one_pixel(logit, torch.float64))

    def density(x: float) -> float:
        return math.exp(pixels.log_prob(one_pixel(x, torch.float64)).item())

    # At |logit| = 0.3 the series is cut at 127 l^8 / 4838400 = 2e-9.
    assert integral(density, 0, 1) == pytest.approx(1, abs=3e-9)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_mean_is_its_integral(logit):
    mean = ContinuousBernoulli(one_pixel(logit, torch.float64)).mean.item()
    # At |logit| = 0.3 the series is cut at l^7 / 1209600 = 2e-10.
    assert mean == pytest.approx(continuous_moment(logit, 1), abs=3e-10)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_is_accurate_in_float32(logit):
    narrow, exact = ContinuousBernoulli(one_pixel(logit)), continuous_moment(logit, 1)
    wide = ContinuousBernoulli(one_pixel(logit, torch.float64))
    # The closed form of the mean is a difference of two numbers near 1 / 0.3, each good to 2e-7.
    assert narrow.mean.item() == pytest.approx(exact, abs=2e-6)
    assert narrow.log_normaliser().item() == pytest.approx(wide.log_normaliser().item(), abs=2e-6)


def test_continuous_bernoulli_log_prob_is_torchs():
    logits, images = 3 * randn(2, 3, 1, 4, 4), rand(3, 1, 4, 4)
    # torch's own series, used for p in (0.499, 0.501), is not tried here
    expected = TorchContinuousBernoulli(logits=logits).log_prob(images.expand_as(logits))
    log_prob = ContinuousBernoulli(logits).log_prob(images)
    # 16 pixels, each up to 2e-9 off by the series at |logit| < 0.3
    torch.testing.assert_close(log_prob, expected.flatten(-3).sum(-1), rtol=0, atol=16 * 2e-9)


def test_continuous_bernoulli_normaliser_near_one_half():
    assert ContinuousBernoulli(one_pixel(0)).log_normaliser().exp().item() == pytest.approx(2)
    for epsilon in (1e-3, 1e-2, -0.03):
        p = 0.5 + epsilon
        logit = one_pixel(math.log(p / (1 - p)), torch.float64)
        # ln C(1/2 + e) = ln 2 + 4/3 e^2 + 104/45 e^4 + O(e^6)
        expected = math.log(2) + 4 / 3 * epsilon**2 + 104 / 45 * epsilon**4
        value = ContinuousBernoulli(logit).log_normaliser().item()
        assert value == pytest.approx(expected, abs=10 * epsilon**6 + 1e-15)


@pytest.mark.parametrize("logit", [*LOGITS, 100.0, -100.0, 1e4, -1e4])
def test_continuous_bernoulli_gradients(logit):
    logits = one_pixel(logit).requires_grad_()
    pixels = ContinuousBernoulli(logits)
    (gradient,) = torch.autograd.grad(pixels.log_prob(one_pixel(0.25)).sum(), logits)
    # An exponential family: d ln p / d logit = x - E x
    assert gradient.item() == pytest.approx(0.25 - pixels.mean.item(), abs=5e-6)
    (slope,) = torch.autograd.grad(pixels.mean.sum(), logits)
    # ... and d E x / d logit = Var x, between 0 and that of the uniform distribution
    assert -1e-6 <= slope.item() <= 1 / 12 + 1e-5


@pytest.mark.parametrize("logit", [0.0, 1e-8, 0.29, -0.29, 0.31, -2.0, 5.0, -50.0, 1e4])
def test_continuous_bernoulli_samples_its_density(logit):
    logits = one_pixel(logit).expand(40_000, 1, 1, 1)
    drawn = ContinuousBernoulli(logits).sample(stream(0, "test"))
    assert 0 <= drawn.min().item() <= drawn.max().item() <= 1
    # The mean of 1e4's density is 1 - 1e-4, too steep for the integral.
    moments = [continuous_moment(logit, power) for power in (1, 2)] if logit < 1e3 else [1 - 1e-4]
    for power, expected in enumerate(moments, start=1):
        assert_mean(drawn.flatten() ** power, expected, rounding=1e-6)


# Gaussian


def test_gaussian_pixels_are_scipys():
    mean, images, variance = randn(2, 3, 1, 4, 5), randn(3, 1, 4, 5, seed=1), 0.37
    log_prob = Gaussian(mean, torch.tensor(variance, dtype=torch.float64)).log_prob(images)
    expected = np.asarray(stats.norm.logpdf(images.numpy(), mean.numpy(), math.sqrt(variance)))
    np.testing.assert_allclose(log_prob.numpy(), expected.sum((-3, -2, -1)), rtol=1e-12)


def test_gaussian_pixels_are_drawn_with_their_variance():
    mean = randn(1, 1, 2, 2).float().expand(5_000, 1, 2, 2)
    drawn = Gaussian(mean, torch.tensor(0.3)).sample(stream(0, "test"))
    assert_mean(drawn, mean[0])
    assert_mean((drawn - mean) ** 2, torch.full((1, 2, 2), 0.3))


def test_profiled_gaussian_is_half_p_log_sse():
    images, mean = randn(3, 1, 4, 4), randn(3, 1, 4, 4, seed=1).requires_grad_()
    loss = -ProfiledGaussian(mean).log_prob(images).sum()
    (gradient,) = torch.autograd.grad(loss, mean)
    numbers = images.numel()
    # At s2 = SSE / P: -log p = (P / 2) (ln(2 pi SSE / P) + 1)
    squared = ((images - mean) ** 2).sum()
    profiled = numbers / 2 * (torch.log(2 * math.pi * squared / numbers) + 1)
    (expected,) = torch.autograd.grad(profiled, mean)
    torch.testing.assert_close(loss, profiled)
    torch.testing.assert_close(gradient, expected)


def test_profiled_gaussian_is_the_best_fixed_variance():
    images, mean = randn(3, 1, 4, 4), randn(3, 1, 4, 4, seed=1)
    best = ProfiledGaussian(mean).log_prob(images).sum()
    variance = ((images - mean) ** 2).mean()
    for factor in (0.9, 1.1):
        assert Gaussian(mean, factor * variance).log_prob(images).sum() < best


def test_profiled_gaussian_survives_a_perfect_fit():
    mean = rand(2, 1, 3, 3).requires_grad_()
    loss = -ProfiledGaussian(mean).log_prob(mean.detach()).sum()
    (gradient,) = torch.autograd.grad(loss, mean)
    assert loss.isfinite()
    assert gradient.eq(0).all()


# Discretised logistic

LEVELS = (torch.arange(256, dtype=torch.float64) / 255).reshape(256, 1, 1, 1)
LOCATIONS = [0.0, 0.123, 0.5, 254.4 / 255, 1.0]


def logistic(mean: float, log_scale: float, dtype: torch.dtype) -> DiscretizedLogistic:
    shape = (256, 1, 1, 1)
    return DiscretizedLogistic(
        torch.full(shape, mean, dtype=dtype), torch.full(shape, log_scale, dtype=dtype)
    )


@pytest.mark.parametrize("mean", LOCATIONS)
@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.5, 0.0, 5.0])
def test_discretized_logistic_sums_to_one(mean, log_scale):
    log_prob = logistic(mean, log_scale, torch.float64).log_prob(LEVELS)
    # float64 places a level to 1e-16, 5e-8 of the sharpest scale tried.
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-7)
    if log_scale >= -7:
        # The likelihood's sharpest: float32 places a level to 3e-8, 3e-5 of its scale.
        log_prob = logistic(mean, log_scale, torch.float32).log_prob(LEVELS.float())
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=3e-5)


@pytest.mark.parametrize("mean", LOCATIONS)
def test_discretized_logistic_is_a_difference_of_scipys_distribution_function(mean):
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    expected = np.diff(stats.logistic.cdf(edges, mean, math.exp(-3)))
    log_prob = logistic(mean, -3.0, torch.float64).log_prob(LEVELS)
    np.testing.assert_allclose(log_prob.exp().numpy(), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("mean", LOCATIONS)
@pytest.mark.parametrize("log_scale", [-20.0, -7.0, 0.0, 5.0])
def test_discretized_logistic_gradients_are_finite(mean, log_scale):
    pixels = logistic(mean, log_scale, torch.float32)
    pixels.mean.requires_grad_()
    pixels.log_scale.requires_grad_()
    log_prob = pixels.log_prob(LEVELS.float())
    gradients = torch.autograd.grad(log_prob.sum(), [pixels.mean, pixels.log_scale])
    assert log_prob.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_discretized_logistic_samples_its_levels():
    count, mean, log_scale = 40_000, 0.02, -4.0
    parameters = torch.full((count, 1, 1, 1), mean), torch.full((count, 1, 1, 1), log_scale)
    drawn = DiscretizedLogistic(*parameters).sample(stream(0, "test")).flatten()
    levels = (drawn * 255).round().long()
    torch.testing.assert_close(drawn, levels / 255)
    expected = logistic(mean, log_scale, torch.float64).log_prob(LEVELS).exp()
    errors = (expected * (1 - expected) / count).sqrt()
    frequent = expected * count > 50
    assert frequent.sum() > 20
    distance = (torch.bincount(levels, minlength=256) / count - expected).abs()
    assert (distance < STANDARD_ERRORS * errors)[frequent].all()


# What all pixel distributions share

PIXELS = [
    Bernoulli(randn(7, 2, 3, 4, 5).float()),
    ContinuousBernoulli(randn(7, 2, 3, 4, 5).float()),
    Gaussian(randn(7, 2, 3, 4, 5).float(), torch.tensor(0.1)),
    DiscretizedLogistic(randn(7, 2, 3, 4, 5).float(), randn(7, 2, 3, 4, 5, seed=1).float()),
]


@pytest.mark.parametrize("pixels", PIXELS, ids=lambda pixels: type(pixels).__name__)
def test_pixels_broadcast_over_samples(pixels):
    images = rand(2, 3, 4, 5).float()
    log_prob = pixels.log_prob(images)
    assert log_prob.shape == (7, 2)
    torch.testing.assert_close(log_prob, pixels.log_prob(images.expand(7, 2, 3, 4, 5)))
    assert pixels.mean.shape == pixels.sample(stream(0, "test")).shape == (7, 2, 3, 4, 5)
    assert torch.equal(pixels.sample(stream(5, "a")), pixels.sample(stream(5, "a")))
