"""ln p(x) from fitted proposals: closed forms, grids with one mode and two, and the fit itself."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation import test_ais_metrics
from tests.evaluation.test_ais_metrics import log_likelihood_by_grid, make_model
from tests.objectives.factories import digits
from tests.oracles import layer, linear_vae_optimum, randn, set_linear
from vaelab.estimators import posterior_fit
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.posterior_fit import fit_normals, fit_proposal
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

SAMPLES = 400
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


# Nats: published likelihoods have tenths
CLOSE = 0.05


def estimate(
    model: Model, images: Tensor, samples: int = SAMPLES, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return ln p(x) and the share of effective samples, of each image."""
    noise = rng_stream(seed, "test")
    proposal = fit_proposal(model, images, noise)
    found = importance_weighted_log_likelihood(model, images, proposal, samples, noise)
    return found.log_likelihood, found.effective_sample_size / samples


# The fit

COVARIANCE = torch.tensor([[4.0, 1.8, 0.0], [1.8, 1.0, 0.02], [0.0, 0.02, 0.01]])


def normal_samples(count: int) -> tuple[Tensor, Tensor]:
    """Samples [count, images, 3] of a normal density around 1, and the gradients of its log."""
    latents = 1 + randn(count, 2, 3) @ torch.linalg.cholesky(COVARIANCE).T
    return latents, -(latents - 1) @ torch.linalg.inv(COVARIANCE)


def test_repeated_fits_to_few_samples_find_a_normal_density():
    latents, gradients = normal_samples(8)
    fitted, covariance = None, torch.eye(3).expand(2, -1, -1)
    for _ in range(30):
        fitted, _ = fit_normals(latents, gradients, covariance)
        covariance = fitted.covariance
    assert fitted is not None
    torch.testing.assert_close(fitted.mean, torch.ones(2, 3), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        fitted.covariance, COVARIANCE.expand(2, -1, -1), rtol=0.01, atol=1e-4
    )


def test_the_moments_are_those_of_the_samples_shrunk_to_the_former():
    latents, gradients = normal_samples(500)
    former = torch.eye(3).expand(2, -1, -1)
    _, moments = fit_normals(latents, gradients, former)
    torch.testing.assert_close(moments.mean, latents.mean(0))
    own = torch.cov(latents[:, 0].T, correction=0)
    torch.testing.assert_close(moments.covariance[0], (500 * own + 3 * torch.eye(3)) / 503)


# Closed forms


def linear_log_likelihood(model: Model, images: Tensor, variance: float) -> Tensor:
    """ln N(x; b, W W^T + s2 I) of a linear decoder."""
    decoder = layer(model, "decoder")
    weight, bias = decoder.weight.double(), decoder.bias.double()
    covariance = weight @ weight.T + variance * torch.eye(len(bias)).double()
    normal = torch.distributions.MultivariateNormal(bias, covariance)
    found: Tensor = normal.log_prob(images.flatten(1).double())  # type: ignore[no-untyped-call]
    return found


def linear_data(count: int, size: int) -> Tensor:
    mixing = randn(size, size, seed=1) / math.sqrt(size)
    return randn(count, size) @ mixing


@pytest.mark.parametrize("variance", [0.3, 0.001])
def test_a_correlated_posterior_is_exact_in_a_linear_model(variance):
    """The decoder is turned, so that no posterior has independent dimensions."""
    data = linear_data(200, 8)
    model = linear_vae_optimum(data, 4, variance, 1.0)
    decoder = layer(model, "decoder")
    turn, _ = torch.linalg.qr(randn(4, 4, seed=2))
    set_linear(decoder, decoder.weight @ turn, decoder.bias.clone())
    images = data[:6].reshape(6, 1, 1, 8)
    found, effective = estimate(model, images)
    truth = linear_log_likelihood(model, images, variance)
    torch.testing.assert_close(found, truth, rtol=0, atol=CLOSE)
    assert effective.min() > 0.6


def test_the_encoder_may_be_wrong_in_every_way():
    data = linear_data(200, 8)
    model = linear_vae_optimum(data, 4, 0.01, 1.0)
    encoder = layer(model, "encoder")
    bias = torch.cat([encoder.bias[:4] + 3, encoder.bias[4:] - 4])
    set_linear(encoder, encoder.weight * 0.5, bias)
    images = data[:6].reshape(6, 1, 1, 8)
    found, effective = estimate(model, images)
    truth = linear_log_likelihood(model, images, 0.01)
    torch.testing.assert_close(found, truth, rtol=0, atol=CLOSE)
    assert effective.min() > 0.5
    bound = importance_weighted_log_likelihood(
        model, images, model.encode(images), SAMPLES, rng_stream(0, "test")
    )
    assert (truth - bound.log_likelihood).min() > 1, "the encoder's own bound is not tight"


def test_the_estimate_is_a_lower_bound_that_rises_with_the_samples():
    model, images = make_model(), digits(3)
    truth = log_likelihood_by_grid(model, images)
    few = torch.stack([estimate(model, images, 2, seed)[0] for seed in range(30)])
    errors = few.std(0) / math.sqrt(len(few))
    assert (few.mean(0) <= truth + 6 * errors).all()
    assert (few.mean(0) < truth).any()


# Grids over two latents


@pytest.fixture
def fine_grid(monkeypatch):
    """For posteriors that are narrower than those that the grid was made for."""
    monkeypatch.setattr(test_ais_metrics, "SPACING", 0.04)


@pytest.mark.parametrize(
    "more",
    [
        {"likelihood": "gaussian"},
        {"likelihood": "bernoulli"},
        {"likelihood": "continuous_bernoulli"},
        {"likelihood": "discretized_logistic"},
        {"prior": "flow"},
        {"prior": "vamp"},
    ],
    ids=lambda more: next(iter(more.values())),
)
@pytest.mark.usefixtures("fine_grid")
def test_every_likelihood_and_prior_matches_a_grid(more):
    model, images = make_model(**more), digits(4)
    found, effective = estimate(model, images)
    torch.testing.assert_close(found, log_likelihood_by_grid(model, images), rtol=0, atol=CLOSE)
    assert effective.min() > 0.2


class Mirrored(nn.Module):
    """A decoder d(z) + d(-z): the posterior is the same at z and at -z."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        total: Tensor = self.decoder(latents) + self.decoder(-latents)
        return total


@pytest.mark.usefixtures("fine_grid")
def test_two_modes_match_a_grid():
    model = make_model(gaussian_variance=0.01)
    model.networks["decoder"] = Mirrored(model.networks["decoder"])
    images = model.decode(model.prior(8, rng_stream(1, "test"))).mean
    found, effective = estimate(model, images, 4_000)
    errors = found - log_likelihood_by_grid(model, images)
    assert errors.mean().abs() < CLOSE
    assert errors.abs().max() < 0.15, "one of the modes alone would be ln 2 off"
    assert effective.mean() > 0.3


def test_an_image_that_no_proposal_fits_shows_a_small_effective_sample_size(monkeypatch):
    """Without transitions the proposal stays where the encoder is."""
    monkeypatch.setattr(posterior_fit, "TRANSITIONS", ())
    data = linear_data(200, 30)
    model = linear_vae_optimum(data, 20, 1e-4, 1.0)
    encoder = layer(model, "encoder")
    set_linear(encoder, encoder.weight * 0, encoder.bias.clone())
    _, effective = estimate(model, data[:4].reshape(4, 1, 1, 30))
    assert effective.max() < 0.05
