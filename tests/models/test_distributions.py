"""Distributions against torch's, scipy's, and numerical integrals."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence

from tests import oracles
from tests.oracles import assert_mean, one_pixel
from vaelab.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretizedLogistic,
    Gaussian,
    ProfiledGaussian,
    standard_normal,
)
from vaelab.runtime.random_streams import rng_stream

rand = partial(oracles.rand, dtype=torch.float64)
randn = partial(oracles.randn, dtype=torch.float64)

# The oracles; without types, as torch leaves their methods.
TorchBernoulli: Any = torch.distributions.Bernoulli
Normal: Any = torch.distributions.Normal


def posterior() -> DiagonalGaussian:
    return DiagonalGaussian(randn(4, 3, 5, seed=1), randn(4, 3, 5, seed=2).exp())


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
    z = q.rsample(rng_stream(0, "test"), 20_000)
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
    z = DiagonalGaussian(means, stddevs).rsample(rng_stream(0, "test"))
    by_mean, by_stddev = torch.autograd.grad((z**2).sum(), [means, stddevs])
    # E z^2 = mean^2 + stddev^2
    assert_mean(by_mean[:, 0], 2 * mean)
    assert_mean(by_stddev[:, 0], 2 * stddev)


def test_rsample_has_the_stated_moments_and_shape():
    q = posterior()
    z = q.rsample(rng_stream(0, "test"), 5_000)
    assert z.shape == (5_000, 4, 3, 5)
    assert_mean(z, q.mean)
    assert_mean((z - q.mean) ** 2, q.stddev**2)
    assert q.rsample(rng_stream(0, "test")).shape == (4, 3, 5)


def test_rsample_depends_on_its_generator_only():
    q = posterior()
    first = q.rsample(rng_stream(3, "noise"))
    torch.rand(7)
    assert torch.equal(first, q.rsample(rng_stream(3, "noise")))
    assert not torch.equal(first, q.rsample(rng_stream(4, "noise")))


# Bernoulli


def test_bernoulli_is_torchs_on_binary_pixels():
    logits = 5 * randn(2, 3, 1, 4, 4)
    images = (randn(3, 1, 4, 4, seed=1) > 0).double()
    expected = TorchBernoulli(logits=logits).log_prob(images.expand_as(logits))
    torch.testing.assert_close(Bernoulli(logits).log_prob(images), expected.flatten(-3).sum(-1))


def test_bernoulli_is_the_cross_entropy_on_gray_pixels():
    # 0.3 ln 0.9 + 0.7 ln 0.1
    logits = one_pixel(math.log(9), torch.float64)
    log_prob = Bernoulli(logits).log_prob(one_pixel(0.3, torch.float64)).item()
    assert log_prob == pytest.approx(0.3 * math.log(0.9) + 0.7 * math.log(0.1), rel=1e-12)


def test_bernoulli_keeps_its_precision_and_gradient_in_float32_at_any_logit():
    logits = torch.tensor([-1e4, -90.0, -17.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 17.0, 90.0, 1e4])
    for gray in (0.0, 0.3, 1.0):
        leaf = logits[:, None, None, None].requires_grad_()
        log_prob = Bernoulli(leaf).log_prob(torch.full_like(leaf, gray))
        (gradient,) = torch.autograd.grad(log_prob.sum(), leaf)
        wide = logits.double()
        # x l - ln(1 + e^l), of slope x - S(l); float32 rounds by 2^-24 of a term
        expected = gray * wide - torch.nn.functional.softplus(wide)
        rounding = 2**-23 * (1 + wide.abs())
        assert ((log_prob.double() - expected).abs() <= rounding).all()
        slope = gray - wide.sigmoid()
        assert ((gradient.flatten().double() - slope).abs() <= 2**-22).all()


def test_bernoulli_samples_its_mean():
    logits = randn(1, 1, 3, 3).float().expand(5_000, 1, 3, 3)
    drawn = Bernoulli(logits).sample(rng_stream(0, "test"))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    assert_mean(drawn, logits[0].sigmoid())


# Gaussian


def test_gaussian_pixels_are_scipys():
    mean, images, variance = randn(2, 3, 1, 4, 5), randn(3, 1, 4, 5, seed=1), 0.37
    log_prob = Gaussian(mean, torch.tensor(variance, dtype=torch.float64)).log_prob(images)
    expected = np.asarray(stats.norm.logpdf(images.numpy(), mean.numpy(), math.sqrt(variance)))
    np.testing.assert_allclose(log_prob.numpy(), expected.sum((-3, -2, -1)), rtol=1e-12)


def test_gaussian_pixels_are_sampled_with_their_variance():
    mean = randn(1, 1, 2, 2).float().expand(5_000, 1, 2, 2)
    drawn = Gaussian(mean, torch.tensor(0.3)).sample(rng_stream(0, "test"))
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


def test_profiled_gaussian_is_finite_for_a_perfect_fit():
    mean = rand(2, 1, 3, 3).requires_grad_()
    loss = -ProfiledGaussian(mean).log_prob(mean.detach()).sum()
    (gradient,) = torch.autograd.grad(loss, mean)
    assert loss.isfinite()
    assert gradient.eq(0).all()


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
    assert pixels.mean.shape == pixels.sample(rng_stream(0, "test")).shape == (7, 2, 3, 4, 5)
    assert torch.equal(pixels.sample(rng_stream(5, "a")), pixels.sample(rng_stream(5, "a")))
