"""Restored images: the conditional of a linear model, and grids over two latents with two modes."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation import test_ais_metrics
from tests.evaluation.test_ais_metrics import SPACING, log_likelihood_by_grid, make_model
from tests.objectives.factories import SHAPE, digits
from tests.oracles import STANDARD_ERRORS, layer, linear_vae_optimum, rand, randn, set_linear
from vaelab.inference import restoration
from vaelab.inference.restoration import Restoration, Sampling, restore
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

SIZE, LATENTS, VARIANCE, COUNT = 8, 3, 0.05, 5
SAMPLES = 4_000
Moments = tuple[Tensor, Tensor]


def restored(
    model: Model, images: Tensor, observed: Tensor, noise: bool = True, draws: int = SAMPLES
) -> Restoration:
    hidden = images.masked_fill(~observed, torch.nan)
    sampling = Sampling(draws, SAMPLES, pixel_noise=noise)
    return restore(model, hidden, sampling, rng_stream(0, "test"), truth=images)


# A linear model: x = W z + b + noise, whose conditionals are known normal distributions


@pytest.fixture(scope="module")
def linear() -> tuple[Model, Tensor, Tensor]:
    """A model whose posteriors are correlated, images, and their observed pixels.

    Of the first image nothing is observed, of the last one everything.
    """
    data = randn(200, SIZE) @ randn(SIZE, SIZE, seed=1) / math.sqrt(SIZE)
    model = linear_vae_optimum(data, LATENTS, VARIANCE, 1.0)
    decoder = layer(model, "decoder")
    turn, _ = torch.linalg.qr(randn(LATENTS, LATENTS, seed=2))
    with torch.no_grad():
        set_linear(decoder, decoder.weight @ turn, decoder.bias.clone())
    observed = rand(COUNT, 1, 1, SIZE) < 0.5
    observed[0], observed[-1] = False, True
    return model, data[:COUNT].reshape(COUNT, 1, 1, SIZE), observed


def conditional(model: Model, image: Tensor, seen: Tensor) -> Moments:
    """The mean and covariance of the missing pixels given the others."""
    decoder = layer(model, "decoder")
    weight, bias = decoder.weight.double().detach(), decoder.bias.double().detach()
    covariance = weight @ weight.T + VARIANCE * torch.eye(SIZE).double()
    gain = covariance[~seen][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = bias[~seen] + gain @ (image.double() - bias)[seen]
    return mean, covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]


def test_the_moments_are_those_of_the_conditional(linear):
    model, images, observed = linear
    found = restored(model, images, observed)
    for row in range(COUNT - 1):
        seen = observed[row].flatten()
        mean, covariance = conditional(model, images[row].flatten(), seen)
        allowed = STANDARD_ERRORS / found.effective_sample_size[row].sqrt()
        spread = covariance.diagonal().sqrt()
        errors = found.mean[row].flatten()[~seen] - mean
        assert (errors.abs() < allowed * spread).all()
        # The standard error of a normal variable's deviation is s / sqrt(2 n)
        errors = found.stddev[row].flatten()[~seen] - spread
        assert (errors.abs() < allowed * spread / math.sqrt(2)).all()


def test_draws_have_the_covariance_of_the_conditional(linear):
    model, images, observed = linear
    found = restored(model, images, observed)
    for row in range(COUNT - 1):
        seen = observed[row].flatten()
        mean, covariance = conditional(model, images[row].flatten(), seen)
        drawn = found.draws[row].flatten(1)[:, ~seen].double()
        allowed = STANDARD_ERRORS / found.effective_sample_size[row].sqrt()
        spread = covariance.diagonal().sqrt()
        assert ((drawn.mean(0) - mean).abs() < 2 * allowed * spread).all()
        errors = (torch.cov(drawn.T) - covariance).abs() / torch.outer(spread, spread)
        assert (errors < 2 * allowed * math.sqrt(2)).all()


def test_without_pixel_noise_the_spread_is_that_of_the_latents(linear):
    model, images, observed = linear
    found = restored(model, images, observed, noise=False)
    _, covariance = conditional(model, images[1].flatten(), observed[1].flatten())
    expected = (covariance.diagonal() - VARIANCE).sqrt().float()
    torch.testing.assert_close(
        found.stddev[1][~observed[1]], expected, rtol=STANDARD_ERRORS / 60, atol=0
    )
    drawn = found.draws[1][:, ~observed[1]].std(0)
    torch.testing.assert_close(drawn, expected, rtol=STANDARD_ERRORS / 40, atol=0)


def test_the_log_likelihood_is_that_of_the_conditional(linear):
    model, images, observed = linear
    found = restored(model, images, observed).log_likelihood
    assert found is not None
    for row in range(COUNT - 1):
        seen = observed[row].flatten()
        mean, covariance = conditional(model, images[row].flatten(), seen)
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        missing = images[row].flatten()[~seen].double()
        expected = float(normal.log_prob(missing))  # type: ignore[no-untyped-call]
        assert float(found[row]) == pytest.approx(expected, abs=0.1)
    assert float(found[-1]) == pytest.approx(0, abs=0.1)


def test_observed_pixels_stay_as_they_are(linear):
    model, images, observed = linear
    found = restored(model, images, observed, draws=3)
    assert torch.equal(found.mean[observed], images[observed])
    assert (found.stddev[observed] == 0).all()
    assert (found.stddev[~observed] > 0).all()
    assert found.draws.shape == (COUNT, 3, 1, 1, SIZE)
    for draw in found.draws.unbind(1):
        assert torch.equal(draw[observed], images[observed])


def test_parts_are_restored_as_one(linear, monkeypatch):
    model, images, observed = linear
    whole, hidden = restored(model, images, observed), images.masked_fill(~observed, torch.nan)
    monkeypatch.setattr(
        restoration, "differentiable_parts", lambda _: torch.split(torch.arange(5), 2)
    )
    sampling = Sampling(3, SAMPLES, pixel_noise=True)
    parts = restore(model, hidden, sampling, rng_stream(1, "test"))
    assert parts.log_likelihood is None
    torch.testing.assert_close(parts.mean, whole.mean, rtol=0, atol=0.1)
    torch.testing.assert_close(parts.stddev, whole.stddev, rtol=0, atol=0.1)


# Two modes: the upper half is the same at z and -z, the lower half is not


class Folded(nn.Module):
    """A decoder d(z) + d(-z) of the upper half, and d(z) of the lower one."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        one, other = self.decoder(latents), self.decoder(-latents)
        return torch.cat([(one + other)[:, :, :4], one[:, :, 4:]], dim=2)


def moments_by_grid(model: Model, images: Tensor, observed: Tensor) -> Moments:
    """The mean and the standard deviation of E[x|z] over p(z|x_observed), by a grid."""
    line = torch.arange(-7, 7, test_ais_metrics.SPACING)
    grid = torch.cartesian_prod(line, line)
    decoded, means, stddevs = model.decode(grid), [], []
    for image in images:
        joint = (decoded.pixel_log_prob(image) * observed).flatten(1).sum(1).double()
        shares = (joint + model.log_prior(grid).double()).softmax(0).float()
        means.append(torch.einsum("g,gchw->chw", shares, decoded.mean))
        squares = torch.einsum("g,gchw->chw", shares, (decoded.mean - means[-1]).square())
        stddevs.append(squares.sqrt())
    return torch.stack(means), torch.stack(stddevs)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_two_modes_match_a_grid(likelihood, monkeypatch):
    monkeypatch.setattr(test_ais_metrics, "SPACING", SPACING / 2)
    model = make_model(gaussian_variance=0.02, likelihood=likelihood)
    model.networks["decoder"] = Folded(model.networks["decoder"])
    with torch.no_grad():
        images = model.decode(model.prior(6, rng_stream(1, "test"))).mean
        observed = torch.zeros(SHAPE, dtype=torch.bool)
        observed[:, :4] = True
        found = restored(model, images, observed.expand(6, *SHAPE), noise=False)
        mean, stddev = moments_by_grid(model, images, observed)
        whole = log_likelihood_by_grid(model, images)
        seen = log_likelihood_by_grid(model.observing(observed), images)
    torch.testing.assert_close(found.mean[:, :, 4:], mean[:, :, 4:], rtol=0, atol=0.03)
    torch.testing.assert_close(found.stddev[:, :, 4:], stddev[:, :, 4:], rtol=0, atol=0.03)
    assert stddev[:, :, 4:].amax((1, 2, 3)).max() > 0.1, "the modes differ"
    torch.testing.assert_close(found.log_likelihood, whole - seen, rtol=0, atol=0.15)


@pytest.mark.parametrize("prior", ["flow", "vamp"])
def test_other_priors_match_a_grid(prior):
    model, images = make_model(prior=prior), digits(4)
    observed = rand(4, *SHAPE) < 0.3
    observed[0] = False
    with torch.no_grad():
        found = restored(model, images, observed, noise=False)
        whole = log_likelihood_by_grid(model, images)
        for row in range(4):
            mean, stddev = moments_by_grid(model, images[row, None], observed[row])
            hidden = ~observed[row]
            torch.testing.assert_close(found.mean[row][hidden], mean[0][hidden], rtol=0, atol=0.02)
            torch.testing.assert_close(
                found.stddev[row][hidden], stddev[0][hidden], rtol=0, atol=0.02
            )
        assert found.log_likelihood is not None
        torch.testing.assert_close(found.log_likelihood[0], whole[0], rtol=0, atol=0.1)
