"""The beta-VAE with a capacity, against the VAE and against the capacity's own closed form."""

import pytest
import torch

from tests.objectives.factories import build, digits, gradients, settings, with_posteriors
from vaelab.objectives.beta_vae import BetaVae
from vaelab.runtime.random_streams import rng_stream


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_at_capacity_0_it_is_the_vae(weight):
    """Value and gradient of the mean loss; a single image's differs, as the KL is the batch's."""
    plain, model = build(settings("vae", kl_weight=weight))
    capacity, _ = build(settings("beta_vae", kl_weight=weight))
    expected = plain.losses(model, digits(9), rng_stream(0, "noise"))["vae"]
    found = capacity.losses(model, digits(9), rng_stream(0, "noise"))["vae"]
    torch.testing.assert_close(found.loss.mean(), expected.loss.mean())
    torch.testing.assert_close(gradients(found, model), gradients(expected, model))


@pytest.mark.parametrize("capacity", [0.5, 6.0])
def test_it_pulls_the_mean_kl_to_the_capacity_from_both_sides(capacity):
    # KL of N(m, 1) is m^2 / 2 in each of 4 dimensions: 2 and 4 nats, 3 on average
    means = torch.ones(2, 4) * torch.tensor([[1.0], [2**0.5]])
    objective, model = build(settings("beta_vae", {"capacity_nats": capacity}, kl_weight=5.0))
    with_posteriors(model, means, torch.ones(2, 4))
    output = objective.losses(model, digits(2), rng_stream(0, "noise"))["vae"]
    latent_loss = output.loss - output.terms["generation_loss_nats"]
    torch.testing.assert_close(latent_loss, torch.full((2,), 5 * abs(3.0 - capacity)))
    rows = next(model.networks["encoder"].parameters())
    (gradient,) = torch.autograd.grad(latent_loss.mean(), rows)
    # d/dm of 5 |mean KL - C|: 5 m / 2 images, down to the capacity or up to it
    sign = 1 if capacity < 3 else -1
    torch.testing.assert_close(gradient[:, :4], sign * 5 * means / 2)


def test_the_capacity_grows_linearly_beside_the_weight():
    objective = BetaVae(capacity_nats=8.0, capacity_epochs=4, kl_weight=2.0, kl_warmup_epochs=2)
    times = (0, 1, 2, 3, 4, 9)
    assert [objective.schedule_at(t)["capacity_nats"] for t in times] == [0, 2, 4, 6, 8, 8]
    assert [objective.schedule_at(t)["kl_weight"] for t in times] == [0, 1, 2, 2, 2, 2]
    assert BetaVae(capacity_nats=8.0).schedule_at(0)["capacity_nats"] == 8.0


def test_validation_uses_the_final_capacity():
    chosen = BetaVae(capacity_nats=7.0, capacity_epochs=5, kl_weight=3.0)
    _, model = build(settings("beta_vae"))
    measured = chosen.validate_batch(model.eval(), digits(6), rng_stream(0, "noise"))
    distance = (measured["kl_loss_nats"].mean() - 7.0).abs()
    torch.testing.assert_close(measured["loss"], measured["generation_loss_nats"] + 3 * distance)
