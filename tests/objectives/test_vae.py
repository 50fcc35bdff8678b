"""The VAE's own settings: its weight, the warm-up, free bits."""

import math

import pytest
import torch

from tests.objectives.factories import build, digits, settings
from tests.oracles import layer, linear_model
from vaelab.models.model import Model
from vaelab.objectives.vae import Vae
from vaelab.runtime.random_streams import rng_stream


def test_vae_loss_is_the_weighted_sum_of_its_terms():
    for weight in (0.0, 0.25, 4.0):
        objective, model = build(settings("vae", kl_weight=weight))
        output = objective.losses(model, digits(5), rng_stream(0, "noise"))["vae"]
        generation, kl = output.terms["generation_loss_nats"], output.terms["kl_loss_nats"]
        torch.testing.assert_close(output.loss, generation + weight * kl)
        assert (kl > 0).all()


def test_vae_weight_may_be_a_tensor_that_changes():
    objective, model = build(settings("vae"))
    weight = torch.tensor(0.5, requires_grad=True)
    live = objective.model_copy(update={"kl_weight": weight})
    output = live.losses(model, digits(5), rng_stream(0, "noise"))["vae"]
    (gradient,) = torch.autograd.grad(output.loss.sum(), weight)
    torch.testing.assert_close(gradient, output.terms["kl_loss_nats"].sum())


def test_vae_warm_up_is_linear_and_ends_at_the_weight():
    objective = Vae(kl_weight=3.0, kl_warmup_epochs=10)
    weights = [objective.schedule_at(epoch)["kl_weight"] for epoch in (0, 2.5, 5, 10, 50)]
    assert weights == pytest.approx([0, 0.75, 1.5, 3, 3])
    assert Vae(kl_weight=3.0).schedule_at(0) == {"kl_weight": 3.0}


def encoder_with(mean: list[float], stddev: list[float]) -> Model:
    """A model whose posterior is the same for every image."""
    model = linear_model(4, len(mean), variance=1.0)
    last = layer(model, "encoder")
    raw_stddev = torch.tensor(stddev).expm1().log() - math.log(math.e - 1)
    torch.nn.init.zeros_(last.weight.data)
    last.bias.data.copy_(torch.cat([torch.tensor(mean), raw_stddev]))
    return model


def test_free_bits_charge_each_dimension_at_least_their_nats():
    # KL of N(m, 1) is m^2 / 2: 0.02, 0.5 and 2 nats
    model = encoder_with([0.2, 1.0, 2.0], [1.0, 1.0, 1.0])
    images = torch.rand(3, 1, 1, 4, generator=rng_stream(0, "images"))
    free = Vae(free_bits_nats=0.6, kl_weight=2.0)
    output = free.losses(model, images, rng_stream(0, "noise"))["vae"]
    latent_loss = output.loss - output.terms["generation_loss_nats"]
    torch.testing.assert_close(latent_loss, torch.full((3,), 2 * (0.6 + 0.6 + 2.0)))
    torch.testing.assert_close(output.terms["kl_loss_nats"], torch.full((3,), 0.02 + 0.5 + 2.0))
    bias = layer(model, "encoder").bias
    (gradient,) = torch.autograd.grad(latent_loss.mean(), bias)
    # Only the third dimension's KL is pushed down: 2 dKL/dm = 2 m.
    torch.testing.assert_close(gradient[:3], torch.tensor([0.0, 0.0, 2 * 2.0]))


def test_free_bits_are_of_the_batch_mean():
    model = linear_model(1, 1, variance=1.0)
    encoder = layer(model, "encoder")
    encoder.weight.data.copy_(torch.tensor([[1.0], [0.0]]))
    torch.nn.init.zeros_(encoder.bias.data)
    images = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    output = Vae(free_bits_nats=0.6).losses(model, images, rng_stream(0, "noise"))["vae"]
    latent_loss = output.loss - output.terms["generation_loss_nats"]
    # The images' KL are 0 and 2 nats, and max(0.6, mean) = 1, not the mean of 0.6 and 2.
    assert latent_loss.mean().item() == pytest.approx(1.0, abs=1e-5)


def test_vae_validates_the_bound_without_weight_or_free_bits():
    _, model = build(settings("vae"))
    plain = Vae()
    weighted = Vae(kl_weight=7.0, free_bits_nats=5.0, kl_warmup_epochs=1000)
    expected = plain.validate_batch(model.eval(), digits(5), rng_stream(0, "noise"))
    measured = weighted.validate_batch(model, digits(5), rng_stream(0, "noise"))
    for name, values in expected.items():
        assert name == "loss" or torch.equal(measured[name], values)
    full = measured["generation_loss_nats"] + 7.0 * measured["kl_loss_nats"]
    torch.testing.assert_close(measured["loss"], full)
    bound = measured["generation_loss_nats"] + measured["kl_per_dimension_nats"].sum(1)
    torch.testing.assert_close(measured["neg_elbo_nats"], bound)


def test_a_learned_prior_is_charged_with_one_draw_of_its_kl():
    # A mixture of one posterior, of the image itself: ln q(z|x) - ln p(z) = 0 at each z.
    objective, model = build(settings("vae", model={"prior": "vamp", "pseudo_inputs": 1}))
    images = digits(1)
    model.networks["prior"].initialize_from(images)  # type: ignore[operator]
    output = objective.losses(model, images.repeat(6, 1, 1, 1), rng_stream(0, "noise"))["vae"]
    torch.testing.assert_close(output.terms["kl_loss_nats"], torch.zeros(6), rtol=0, atol=1e-5)
    # The flow's is that of its log density, here the unit Gaussian's.
    objective, model = build(settings("vae", model={"prior": "flow"}))
    found = objective.losses(model, digits(5), rng_stream(0, "noise"))["vae"].terms["kl_loss_nats"]
    posterior = model.encode(digits(5))
    latents = posterior.rsample(rng_stream(0, "noise"))
    unit = -0.5 * (latents**2 + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(found, posterior.log_prob(latents) - unit)
