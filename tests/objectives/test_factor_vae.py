"""FactorVAE: what is shuffled, and what the discriminator's logit says at its optimum."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.objectives.factories import build, digits, gradients, settings, with_posteriors
from tests.oracles import assert_mean, randn
from vaelab.models.model import Model
from vaelab.objectives.factor_vae import FactorVae, shuffle_dimensions
from vaelab.runtime.random_streams import rng_stream

CORRELATION = 0.8
COUNT = 20_000


def test_shuffling_keeps_each_columns_values_and_breaks_the_rows():
    latents = torch.arange(40.0).reshape(10, 4)
    shuffled = shuffle_dimensions(latents, rng_stream(0, "noise"))
    assert torch.equal(shuffled.sort(0).values, latents)
    # Where a row stayed together, all its entries would be of one row of `latents`.
    rows = shuffled.div(4, rounding_mode="floor")
    assert (rows != rows[:, :1]).any(1).sum() >= 7
    assert not torch.equal(shuffled[:, 0], latents[:, 0])


def test_every_place_is_as_likely_as_any_other():
    places = torch.stack(
        [
            shuffle_dimensions(torch.arange(4.0).repeat(2, 1).T, rng_stream(seed, "shuffle"))
            for seed in range(3000)
        ]
    )
    for value in range(4):
        assert_mean((places == value).double().flatten(1), 0.25)
    together = (places[:, :, 0] == places[:, :, 1]).double()
    assert_mean(together, 0.25)


class LogRatio(nn.Module):
    """ln q(z) / (q(z_0) q(z_1)) for a Gaussian of unit variances, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, latents: Tensor) -> Tensor:
        r = CORRELATION
        x, y = latents[:, 0], latents[:, 1]
        # ln N(z; 0, S) - ln N(z; 0, I), ln det S = ln (1 - r^2)
        square = (x**2 - 2 * r * x * y + y**2) / (1 - r**2)
        ratio = -0.5 * math.log(1 - r**2) - 0.5 * square + 0.5 * (x**2 + y**2)
        return self.factor * ratio[:, None]


def optimal(**train: Any) -> tuple[FactorVae, Model]:
    """Latents of N(0, S), and the discriminator that knows it."""
    chosen = settings("factor_vae", model={"latent_dim": 2}, **train)
    objective, model = build(chosen)
    assert isinstance(objective, FactorVae)
    noise = 0.3
    covariance = torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]]) - noise**2 * torch.eye(2)
    means = randn(COUNT, 2) @ torch.linalg.cholesky(covariance).T
    with_posteriors(model, means, torch.full((COUNT, 2), noise))
    model.networks["latent_discriminator"] = LogRatio()
    return objective, model


def test_the_optimal_logit_is_the_total_correlation_and_is_paid_for():
    objective, model = optimal(kl_weight=2.0)
    images = torch.zeros(COUNT, 1, 8, 8)
    output = objective.losses(model, images, rng_stream(0, "noise"))["vae"]
    correlation = output.terms["total_correlation_nats"]
    # TC = -ln(1 - r^2) / 2 = 0.51 nats
    assert_mean(correlation, -0.5 * math.log(1 - CORRELATION**2))
    rest = output.terms["generation_loss_nats"] + 2.0 * output.terms["kl_loss_nats"]
    torch.testing.assert_close(output.loss, rest + 10.0 * correlation, rtol=1e-4, atol=1e-3)


def test_the_discriminators_loss_is_least_where_it_knows_the_ratio():
    objective, model = optimal()
    images = torch.zeros(COUNT, 1, 8, 8)
    output = objective.losses(model, images, rng_stream(0, "noise"))["latent_discriminator"]
    ratio = model.networks["latent_discriminator"]
    (slope,) = torch.autograd.grad(output.loss.mean(), list(ratio.parameters()))
    # d/da of the cross-entropy at a = 1 has mean 0; one image's is at most |ratio|.
    latents = model.encode(images).rsample(rng_stream(0, "noise"))
    bound = ratio(latents).std().item() / math.sqrt(COUNT)
    assert abs(slope.item()) < 6 * bound
    best = output.loss.mean()
    for factor in (0.0, 0.4, 2.5, -1.0):
        model.networks["latent_discriminator"] = LogRatio(factor)
        worse = objective.losses(model, images, rng_stream(0, "noise"))["latent_discriminator"]
        assert worse.loss.mean() > best + 0.01
        if factor == 0:
            torch.testing.assert_close(worse.loss.mean().item(), math.log(2))


def test_the_discriminators_loss_is_the_cross_entropy_of_the_two_sorts():
    objective, model = build(settings("factor_vae"))
    found = objective.losses(model, digits(9), rng_stream(0, "noise"))["latent_discriminator"].loss
    noise = rng_stream(0, "noise")
    latents = model.encode(digits(9)).rsample(noise)
    discriminator = model.networks["latent_discriminator"]
    real, fake = (
        discriminator(latents)[:, 0],
        discriminator(shuffle_dimensions(latents, noise))[:, 0],
    )
    ones, zeros = torch.ones(9), torch.zeros(9)
    cross_entropy = functional.binary_cross_entropy_with_logits
    expected = cross_entropy(real, ones, reduction="none") + cross_entropy(
        fake, zeros, reduction="none"
    )
    torch.testing.assert_close(found, expected / 2)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_without_weight_on_the_total_correlation_it_is_the_vae(weight):
    plain, model = build(settings("vae", kl_weight=weight))
    objective, other = build(
        settings("factor_vae", {"total_correlation_weight": 0.0}, kl_weight=weight)
    )
    other.load_state_dict(model.state_dict(), strict=False)
    expected = plain.losses(model, digits(5), rng_stream(0, "noise"))["vae"]
    found = objective.losses(other, digits(5), rng_stream(0, "noise"))["vae"]
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(gradients(found, other), gradients(expected, model))
