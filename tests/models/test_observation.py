"""Models of images with missing pixels, against the same pixels as images of their own."""

import pytest
import torch
from torch import Tensor

from tests.evaluation.test_ais_metrics import make_model
from tests.objectives.factories import SHAPE, digits
from tests.oracles import rand, randn
from vaelab.distributed.process_group import SINGLE_GROUP
from vaelab.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    PixelDistribution,
    ProfiledGaussian,
)
from vaelab.models.observation import ObservedPixels
from vaelab.runtime.random_streams import rng_stream

IMAGES, PIXELS = 3, (2, 4, 5)
SEEN = torch.zeros(PIXELS, dtype=torch.bool)
SEEN[:, 1:3, 2:] = True


def distribution(name: str, outputs: Tensor) -> PixelDistribution:
    found: dict[str, PixelDistribution] = {
        "bernoulli": Bernoulli(outputs),
        "continuous_bernoulli": ContinuousBernoulli(outputs),
        "gaussian": Gaussian(outputs.sigmoid(), torch.tensor(0.07)),
        "profiled": ProfiledGaussian(outputs.sigmoid(), SINGLE_GROUP),
        "discretized_logistic": DiscretizedLogistic(outputs.sigmoid(), outputs - 2),
    }
    return found[name]


EVERY = pytest.mark.parametrize(
    "name", ["bernoulli", "continuous_bernoulli", "gaussian", "profiled", "discretized_logistic"]
)


def images() -> Tensor:
    return (rand(IMAGES, *PIXELS) * 255).round() / 255


@EVERY
def test_the_log_probability_is_the_sum_over_pixels(name):
    found = distribution(name, 3 * randn(IMAGES, *PIXELS))
    each = found.pixel_log_prob(images())
    assert each.shape == (IMAGES, *PIXELS)
    torch.testing.assert_close(each.sum((1, 2, 3)), found.log_prob(images()))


@EVERY
def test_observed_pixels_count_as_an_image_of_their_own_would(name):
    outputs = 3 * randn(IMAGES, *PIXELS)
    hidden = images().masked_fill(~SEEN, torch.nan)
    found = ObservedPixels(distribution(name, outputs), SEEN).log_prob(hidden)
    alone = distribution(name, outputs[:, :, 1:3, 2:])
    torch.testing.assert_close(found, alone.log_prob(images()[:, :, 1:3, 2:]))


@EVERY
def test_missing_pixels_have_no_gradient_even_if_they_are_nan(name):
    outputs = randn(IMAGES, *PIXELS).requires_grad_()
    hidden = images().masked_fill(~SEEN, torch.nan)
    found = ObservedPixels(distribution(name, outputs), SEEN).log_prob(hidden)
    (gradient,) = torch.autograd.grad(found.sum(), outputs)
    assert (gradient[:, ~SEEN] == 0).all()
    assert (gradient[:, SEEN] != 0).all()


def test_each_image_has_its_own_observed_pixels():
    model, pixels = make_model(), digits(3)
    observed = rand(3, *SHAPE) < 0.5
    given = model.observing(observed)
    latents = randn(7, 3, 2)
    with torch.no_grad():
        found = given.decode(latents).log_prob(pixels)
        each = model.decode(latents).pixel_log_prob(pixels) * observed
        torch.testing.assert_close(found, each.sum((-3, -2, -1)))
        part = given.given_rows(torch.tensor([2, 0])).decode(latents[:, [2, 0]])
        torch.testing.assert_close(part.log_prob(pixels[[2, 0]]), found[:, [2, 0]])
        torch.testing.assert_close(part.mean, model.decode(latents[:, [2, 0]]).mean)


def test_the_encoder_sees_zeros_in_place_of_missing_pixels():
    model, pixels = make_model(), digits(3)
    observed = rand(3, *SHAPE) < 0.5
    found = model.observing(observed).encode(pixels.masked_fill(~observed, torch.nan))
    torch.testing.assert_close(found.mean, model.encode(pixels * observed).mean)
    assert model.observed is None, "the model itself is unchanged"
    assert model.observing(observed).observing(None).encode(pixels).mean.isfinite().all()


@pytest.mark.parametrize("prior", ["vamp", "flow"])
def test_the_prior_has_all_pixels(prior):
    model, latents = make_model(prior=prior), randn(3, 2)
    given = model.observing(rand(3, *SHAPE) < 0.5)
    with torch.no_grad():
        torch.testing.assert_close(given.log_prior(latents), model.log_prior(latents))
        drawn = [each.prior(4, rng_stream(0, "test")) for each in (given, model)]
    torch.testing.assert_close(*drawn)
