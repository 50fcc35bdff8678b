"""The discretized logistic against scipy's distribution function and its own sum."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.oracles import STANDARD_ERRORS
from vaelab.models.distributions import DiscretizedLogistic
from vaelab.runtime.random_streams import rng_stream

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
    drawn = DiscretizedLogistic(*parameters).sample(rng_stream(0, "test")).flatten()
    levels = (drawn * 255).round().long()
    torch.testing.assert_close(drawn, levels / 255)
    expected = logistic(mean, log_scale, torch.float64).log_prob(LEVELS).exp()
    errors = (expected * (1 - expected) / count).sqrt()
    frequent = expected * count > 50
    assert frequent.sum() > 20
    distance = (torch.bincount(levels, minlength=256) / count - expected).abs()
    assert (distance < STANDARD_ERRORS * errors)[frequent].all()
