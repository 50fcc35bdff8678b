"""Likelihoods: the meaning of each setting, and losses in nats of a normalized distribution."""

import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.oracles import gaussian_posterior
from vaelab.config import DENSITIES, ModelSettings
from vaelab.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretizedLogistic,
    Gaussian,
    ProfiledGaussian,
)
from vaelab.models.likelihoods import GaussianLikelihood, Likelihood, build_likelihood
from vaelab.models.model import build_model
from vaelab.objectives.vae import Vae
from vaelab.runtime.random_streams import rng_stream

SHAPE = (1, 4, 5)
PIXELS = math.prod(SHAPE)


def build(**settings: object) -> Likelihood:
    return build_likelihood(ModelSettings.model_validate(settings), PIXELS)


def gaussian(**settings: object) -> GaussianLikelihood:
    likelihood = build(likelihood="gaussian", **settings)
    assert isinstance(likelihood, GaussianLikelihood)
    return likelihood


def images(count: int = 3) -> Tensor:
    return torch.rand(count, *SHAPE, generator=rng_stream(0, "images"))


@pytest.mark.parametrize(
    ("name", "distribution", "outputs"),
    [
        ("bernoulli", Bernoulli, 1),
        ("continuous_bernoulli", ContinuousBernoulli, 1),
        ("discretized_logistic", DiscretizedLogistic, 2),
        ("gaussian", ProfiledGaussian, 1),
    ],
)
def test_each_name_is_its_distribution(name, distribution, outputs):
    likelihood = build(likelihood=name)
    assert likelihood.outputs_per_channel == outputs
    pixels = likelihood(torch.randn(2, outputs * 3, 4, 5, generator=rng_stream(0, "outputs")))
    assert type(pixels) is distribution
    assert pixels.log_prob(torch.rand(2, 3, 4, 5, generator=rng_stream(0, "images"))).shape == (2,)
    assert likelihood.fitted == (name == "gaussian")


def test_logistic_has_a_location_and_a_scale_for_each_channel():
    outputs = torch.zeros(1, 6, 1, 1)
    outputs[0, 1], outputs[0, 4] = 2.0, -30.0
    pixels = build(likelihood="discretized_logistic")(outputs)
    expected = torch.tensor([0.5, torch.tensor(2.0).sigmoid(), 0.5])
    torch.testing.assert_close(pixels.mean.flatten(), expected)
    torch.testing.assert_close(pixels.log_scale.flatten(), torch.tensor([-3.5, 0.0, -3.5]))


def test_gaussian_mean_is_set():
    outputs = torch.tensor([-20.0, 0.0, 3.0]).reshape(1, 3, 1, 1)
    assert gaussian(gaussian_mean="linear")(outputs).mean.equal(outputs)
    assert gaussian(gaussian_mean="sigmoid")(outputs).mean.equal(outputs.sigmoid())


def test_a_set_variance_is_used_in_training_and_evaluation():
    likelihood = gaussian(gaussian_variance=0.3)
    for training in (True, False):
        pixels = likelihood.train(training)(torch.zeros(1, *SHAPE))
        assert type(pixels) is Gaussian
        assert pixels.variance.item() == pytest.approx(0.3)


def test_a_fitted_variance_is_profiled_in_training_and_frozen_in_evaluation():
    likelihood = gaussian(gaussian_variance="fitted", gaussian_mean="linear")
    outputs = torch.zeros(3, *SHAPE)
    assert type(likelihood.train()(outputs)) is ProfiledGaussian
    mean_squared_error = (images() - outputs).square().mean()
    likelihood.fit(mean_squared_error)
    frozen = likelihood.eval()(outputs)
    assert type(frozen) is Gaussian
    # The closed form is the maximum: both score the batch that was fitted alike.
    expected = likelihood.train()(outputs).log_prob(images())
    torch.testing.assert_close(frozen.log_prob(images()), expected)
    other = gaussian(gaussian_variance="fitted")
    other.load_state_dict(likelihood.state_dict())
    assert other.variance.equal(mean_squared_error)


def test_a_perfect_fit_keeps_a_finite_variance():
    likelihood = gaussian(gaussian_variance="fitted")
    likelihood.fit(torch.tensor(0.0))
    assert likelihood.eval()(torch.zeros(1, *SHAPE)).log_prob(images(1)).isfinite()


def test_mean_squared_error_is_the_generation_loss_up_to_a_constant():
    likelihood = gaussian(gaussian_variance="mean_squared_error", gaussian_mean="linear")
    outputs = torch.randn(3, *SHAPE, generator=rng_stream(0, "outputs"))
    loss = -likelihood(outputs).log_prob(images())
    # s2 = P / 2: SSE / (2 s2) = SSE / P, and (P / 2) ln(2 pi s2) = (P / 2) ln(pi P)
    constant = PIXELS / 2 * math.log(math.pi * PIXELS)
    expected = (outputs - images()).square().flatten(1).mean(1) + constant
    torch.testing.assert_close(loss, expected)


def weighted_gradients(variance: float | str, kl_weight: float) -> list[Tensor]:
    settings = ModelSettings.model_validate(
        {"network": "mlp", "hidden": [], "latent_dim": 2, "gaussian_variance": variance}
    )
    model = build_model(settings, SHAPE, seed=1)
    loss = (
        Vae(kl_weight=kl_weight).losses(model, images(), rng_stream(0, "noise"))["vae"].loss.mean()
    )
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_mean_squared_error_plus_kl_has_the_literal_formulas_gradient():
    settings = ModelSettings(
        network="mlp", hidden=(), latent_dim=2, gaussian_variance="mean_squared_error"
    )
    model, weight = build_model(settings, SHAPE, seed=1), 0.7
    posterior = gaussian_posterior(model, images())
    reconstruction = model.decode(posterior.rsample(rng_stream(0, "noise"))).mean
    variance = posterior.stddev**2
    kl = 0.5 * (posterior.mean**2 + variance - variance.log() - 1).sum(1).mean()
    literal = torch.nn.functional.mse_loss(reconstruction, images()) + weight * kl
    expected = torch.autograd.grad(literal, list(model.parameters()))
    for gradient, other in zip(
        weighted_gradients("mean_squared_error", weight), expected, strict=True
    ):
        torch.testing.assert_close(gradient, other)


def test_mean_squared_error_is_the_summed_form_at_weight_times_pixels():
    weight = 0.3
    means = weighted_gradients("mean_squared_error", weight)
    # s2 = 1/2: SSE / (2 s2) = SSE
    sums = weighted_gradients(0.5, weight * PIXELS)
    for mean, total in zip(means, sums, strict=True):
        torch.testing.assert_close(PIXELS * mean, total)


def test_half_the_squared_error_at_a_weight_is_a_variance():
    weight = 0.2
    # SSE / 2 + w KL is w times (SSE / (2 w) + KL): the bound at s2 = w
    for at_one, weighted in zip(
        weighted_gradients(weight, 1.0), weighted_gradients(1.0, weight), strict=True
    ):
        torch.testing.assert_close(weight * at_one, weighted)


def closed_gradients(variance: float, kl_weight: float) -> list[Tensor]:
    """Gradients of a linear VAE's loss in float64, its mean over the noise taken exactly."""
    wide, size = torch.float64, 3
    encoder, decoder, raw_stddev = (
        torch.randn(shape, generator=rng_stream(seed, "weights"), dtype=wide, requires_grad=True)
        for seed, shape in enumerate([(PIXELS, size), (size, PIXELS), (size,)])
    )
    x, stddev = images().double(), raw_stddev.exp().expand(3, size)
    posterior = DiagonalGaussian(x.flatten(1) @ encoder, stddev)
    # SSE is quadratic in the noise, so points +-sqrt(d) e_i average it without error.
    points = math.sqrt(size) * torch.cat([torch.eye(size), -torch.eye(size)]).to(wide)
    latents = posterior.mean + posterior.stddev * points[:, None]
    outputs = (latents @ decoder).reshape(2 * size, 3, *SHAPE)
    pixels = GaussianLikelihood(variance, linear=True)(outputs)
    loss = -pixels.log_prob(x).mean(0) + kl_weight * posterior.kl()
    return list(torch.autograd.grad(loss.mean(), [encoder, decoder, raw_stddev]))


@pytest.mark.parametrize("variance", [0.125, 0.5, 3.0, PIXELS / 2])
def test_weights_are_the_same_where_weight_times_variance_is(variance):
    """At s2 = 1 and weight w s2 the loss is s2 times that at s2 and w, but for a constant."""
    weight = 0.7
    at_one = closed_gradients(1.0, weight * variance)
    for other, gradient in zip(closed_gradients(variance, weight), at_one, strict=True):
        # Exact but for rounding; the inverse rule, w / s2, would be off by far.
        torch.testing.assert_close(variance * other, gradient, rtol=1e-10, atol=1e-12)
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    assert "w at s² = 1/2 equals w/2 at s² = 1." in page


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "discretized_logistic"])
@pytest.mark.parametrize("gaussian_mean", ["sigmoid", "linear"])
def test_initial_outputs_have_the_mean_image_as_their_mean(likelihood, gaussian_mean):
    settings = ModelSettings(likelihood=likelihood, gaussian_mean=gaussian_mean)
    built = build_likelihood(settings, 12)
    mean_image = torch.linspace(0.02, 0.98, 12).reshape(3, 2, 2)
    torch.testing.assert_close(built(built.initial_outputs(mean_image)[None]).mean[0], mean_image)


def test_initial_outputs_are_finite_where_pixels_are_always_black_or_white():
    built = build_likelihood(ModelSettings(likelihood="bernoulli"), 2)
    assert built.initial_outputs(torch.tensor([[[0.0, 1.0]]])).isfinite().all()


def test_the_settings_know_which_likelihoods_are_densities():
    names = get_args(ModelSettings.model_fields["likelihood"].annotation)
    built = {name: build_likelihood(ModelSettings(likelihood=name), PIXELS) for name in names}
    assert {name for name, found in built.items() if found.pixels == "density"} == set(DENSITIES)
