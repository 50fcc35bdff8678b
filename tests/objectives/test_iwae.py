"""The importance-weighted bound and its two gradients, on p(x|z) = N(z, 1) of one dimension."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.objectives.factories import (
    Table,
    build,
    digits,
    gradients,
    linear_gaussian,
    parameters,
    randomise,
    settings,
)
from tests.oracles import STANDARD_ERRORS, assert_mean, gaussian_posterior, log_normal
from vaelab.models.model import Model
from vaelab.objectives.iwae import Iwae
from vaelab.objectives.vae import Vae
from vaelab.runtime.random_streams import rng_stream

X = 1.3
POSTERIOR = X / 2, math.sqrt(0.5)
OTHER = 0.2, 0.9
FAR = -0.5, 1.2


def images(count: int) -> Tensor:
    return torch.full((count, 1, 1, 1), X)


def losses(objective: Iwae | Vae, model: Model, count: int, seed: int = 0) -> Tensor:
    (output,) = objective.losses(model, images(count), rng_stream(seed, "noise")).values()
    return output.loss


def own_gradients(objective: Iwae | Vae, q: tuple[float, float], count: int, seed: int) -> Tensor:
    """Every image's gradient by its own posterior's mean and raw standard deviation."""
    model = linear_gaussian(*q, count)
    encoder = model.networks["encoder"]
    assert isinstance(encoder, Table)
    total = losses(objective, model, count, seed).sum()
    (gradient,) = torch.autograd.grad(total, encoder.rows)
    return gradient


def sampled_bound(model: Model, images_: Tensor, seed: int) -> Tensor:
    """-(ln p(x|z) + ln p(z) - ln q(z|x)), by the Gaussians' formulas."""
    posterior = gaussian_posterior(model, images_)
    latents = posterior.rsample(rng_stream(seed, "noise"))
    own = log_normal(latents, posterior.mean, posterior.stddev)
    bound: Tensor = model.decode(latents).log_prob(images_) + log_normal(latents) - own
    return -bound


def test_one_sample_is_the_sampled_bound_with_its_gradient():
    objective, model = build(settings("iwae", {"importance_samples": 1}))
    found = objective.losses(model, digits(7), rng_stream(3, "noise"))["iwae"]
    expected = sampled_bound(model, digits(7), 3)
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=1e-4)
    slopes = torch.autograd.grad(expected.mean(), parameters(model, ("encoder", "decoder")))
    torch.testing.assert_close(gradients(found, model), list(slopes), rtol=1e-4, atol=1e-4)


def test_one_sample_has_the_vaes_loss_and_gradient_in_expectation():
    count = 20_000
    sampled = losses(Iwae(importance_samples=1), linear_gaussian(*OTHER, count), count)
    mean, stddev = OTHER
    # generation loss (x - z)^2 / 2 + ln(2 pi) / 2 on average, and the KL in closed form
    generation = 0.5 * ((X - mean) ** 2 + stddev**2 + math.log(2 * math.pi))
    kl = 0.5 * (mean**2 + stddev**2 - 1) - math.log(stddev)
    assert_mean(sampled, generation + kl)
    mine = own_gradients(Iwae(importance_samples=1), OTHER, count, seed=1)
    vaes = own_gradients(Vae(), OTHER, count, seed=2)
    assert_mean(mine - vaes, 0.0)
    # d/dm of the closed form: m - (x - m)
    assert_mean(mine[:, 0], 2 * mean - X)


def test_it_is_the_mean_of_the_weights_and_not_of_their_logarithms():
    fixed, model = build(
        settings("iwae", {"importance_samples": 4}, model={"gaussian_variance": 0.5})
    )
    found = fixed.losses(model, digits(3), rng_stream(0, "noise"))["iwae"].loss
    posterior = gaussian_posterior(model, digits(3))
    draws = posterior.rsample(rng_stream(0, "noise"), 4)
    for i in range(3):
        total = 0.0
        for z in draws[:, i]:
            pixels = model.decode(z[None]).log_prob(digits(3)[i : i + 1]).item()
            mean, stddev = posterior.mean[i].tolist(), posterior.stddev[i].tolist()
            prior = sum(float(stats.norm.logpdf(v)) for v in z.tolist())
            own = sum(map(float, map(stats.norm.logpdf, z.tolist(), mean, stddev)))
            total += math.exp(pixels + prior - own) / 4
        assert found[i].item() == pytest.approx(-math.log(total), rel=1e-4)


def test_more_samples_bound_tighter():
    means = []
    for samples in (1, 2, 3, 8):
        values = losses(Iwae(importance_samples=samples), linear_gaussian(*FAR, 8000), 8000)
        means.append((values.mean().item(), (values.std() / 8000**0.5).item()))
    for (high, high_error), (low, low_error) in pairwise(means):
        assert high - low > STANDARD_ERRORS * math.hypot(high_error, low_error)
    last, error = means[-1]
    evidence = float(stats.norm.logpdf(X, 0, math.sqrt(2)))
    assert last > -evidence - STANDARD_ERRORS * error


def test_the_doubly_reparameterised_loss_has_the_same_value():
    plain, double = (Iwae(importance_samples=6, doubly_reparameterised=d) for d in (False, True))
    model = linear_gaussian(*OTHER, 50)
    assert torch.equal(losses(plain, model, 50), losses(double, model, 50))


def test_the_doubly_reparameterised_gradient_has_the_same_mean_and_less_noise():
    count = 60_000
    plain, double = (
        own_gradients(Iwae(importance_samples=5, doubly_reparameterised=d), FAR, count, seed=int(d))
        for d in (False, True)
    )
    assert_mean(plain - double, 0.0)
    # Far enough from 0 that the mean of another estimator would be detected
    assert (plain.mean(0).abs() > 20 * (plain - double).std(0) / count**0.5).all()
    assert (double.std(0) < 0.7 * plain.std(0)).all()


def test_the_decoders_gradient_is_left_alone():
    """And so is a flow's: only what reaches the encoder is estimated in another way."""
    found = []
    for doubly in (False, True):
        own = {"importance_samples": 5, "doubly_reparameterised": doubly}
        objective, model = build(settings("iwae", own, model={"prior": "flow"}))
        randomise(model)
        output = objective.losses(model, digits(6), rng_stream(0, "noise"))["iwae"]
        found.append(gradients(output, model, ("decoder", "prior")))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 5])
def test_at_the_exact_posterior_every_gradient_is_nothing(samples):
    double = Iwae(importance_samples=samples, doubly_reparameterised=True)
    gradient = own_gradients(double, POSTERIOR, 200, seed=0)
    assert gradient.abs().max() < 1e-5
    plain = own_gradients(Iwae(importance_samples=samples), POSTERIOR, 200, seed=0)
    assert plain.abs().max() > 0.1
    value = losses(double, linear_gaussian(*POSTERIOR, 200), 200)
    expected = -float(stats.norm.logpdf(X, 0, math.sqrt(2)))
    torch.testing.assert_close(value, torch.full((200,), expected), rtol=0, atol=2e-6)


def test_validation_measures_both_bounds():
    objective, model = build(settings("iwae", {"importance_samples": 20}))
    with torch.inference_mode():
        measured = objective.validate_batch(model.eval(), digits(300), rng_stream(0, "noise"))
    assert measured["loss"].mean() < measured["neg_elbo_nats"].mean()
    parts = measured["generation_loss_nats"] + measured["kl_loss_nats"]
    torch.testing.assert_close(measured["neg_elbo_nats"], parts)
