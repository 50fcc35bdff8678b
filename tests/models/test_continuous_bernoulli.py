"""The continuous Bernoulli against integrals, torch's, and its exponential family."""

import math
from functools import partial
from typing import Any

import pytest
import torch

from tests import oracles
from tests.oracles import assert_mean, integral, one_pixel
from vaelab.models.distributions import ContinuousBernoulli
from vaelab.runtime.random_streams import rng_stream

rand = partial(oracles.rand, dtype=torch.float64)
randn = partial(oracles.randn, dtype=torch.float64)

# The oracle; without types, as torch leaves its methods.
TorchContinuousBernoulli: Any = torch.distributions.ContinuousBernoulli

# On both sides of the switch between series and closed form at 0.3, and where float32 saturates
LOGITS = [0.0, 1e-8, -1e-3, 0.1, 0.299, -0.299, 0.301, -0.301, 1.0, -5.0, 16.0, 50.0, -50.0]


def continuous_density(logit: float, x: float) -> float:
    # p^x (1 - p)^(1 - x), up to its normalizer, is e^(l x); the larger end is made 1
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
    assert narrow.log_normalizer().item() == pytest.approx(wide.log_normalizer().item(), abs=2e-6)


def test_continuous_bernoulli_log_prob_is_torchs():
    logits, images = 3 * randn(2, 3, 1, 4, 4), rand(3, 1, 4, 4)
    # torch's own series, used for p in (0.499, 0.501), is not tried here
    expected = TorchContinuousBernoulli(logits=logits).log_prob(images.expand_as(logits))
    log_prob = ContinuousBernoulli(logits).log_prob(images)
    # 16 pixels, each up to 2e-9 off by the series at |logit| < 0.3
    torch.testing.assert_close(log_prob, expected.flatten(-3).sum(-1), rtol=0, atol=16 * 2e-9)


def test_continuous_bernoulli_normalizer_near_one_half():
    assert ContinuousBernoulli(one_pixel(0)).log_normalizer().exp().item() == pytest.approx(2)
    for epsilon in (1e-3, 1e-2, -0.03):
        p = 0.5 + epsilon
        logit = one_pixel(math.log(p / (1 - p)), torch.float64)
        # ln C(1/2 + e) = ln 2 + 4/3 e^2 + 104/45 e^4 + O(e^6)
        expected = math.log(2) + 4 / 3 * epsilon**2 + 104 / 45 * epsilon**4
        value = ContinuousBernoulli(logit).log_normalizer().item()
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
    drawn = ContinuousBernoulli(logits).sample(rng_stream(0, "test"))
    assert 0 <= drawn.min().item() <= drawn.max().item() <= 1
    # The mean of 1e4's density is 1 - 1e-4, too steep for the integral.
    moments = [continuous_moment(logit, power) for power in (1, 2)] if logit < 1e3 else [1 - 1e-4]
    for power, expected in enumerate(moments, start=1):
        assert_mean(drawn.flatten() ** power, expected, rounding=1e-6)
