"""The vector-quantised VAE: nearest codes, whose gradient goes where, and the codes' length."""

import math

import torch
from torch import Tensor

from tests.objectives.factories import Table, build, digits, parameters, settings
from tests.oracles import randn
from vaelab.models.model import Model
from vaelab.models.priors.codebook import Codebook
from vaelab.objectives import Objective
from vaelab.runtime.random_streams import rng_stream

CODES, DIMENSIONS, PLACES = 8, 2, 2


def build_vq_vae(**own: float) -> tuple[Objective, Model, Codebook]:
    """A model whose encoder says a row of numbers for each of 6 images."""
    chosen = settings("vq_vae", own, model={"gaussian_variance": 0.5})
    objective, model = build(chosen)
    model.networks["encoder"] = Table(randn(6, PLACES * DIMENSIONS))
    codebook = model.networks["prior"]
    assert isinstance(codebook, Codebook)
    return objective, model, codebook


def nearest(codebook: Codebook, row: Tensor) -> list[int]:
    """Compare with every entry, a place at a time."""
    entries = codebook.entries.detach()
    parts = row.detach().reshape(-1, DIMENSIONS)
    return [
        min(range(CODES), key=lambda k: float((part - entries[k]).square().sum())) for part in parts
    ]


def test_each_place_gets_its_nearest_code():
    _, model, codebook = build_vq_vae()
    outputs = randn(3, 50, PLACES * DIMENSIONS, seed=5)
    found, quantised = codebook.codes(outputs), codebook.quantize(outputs)
    for i in range(3):
        for j in range(50):
            expected = nearest(codebook, outputs[i, j])
            assert found[i, j].tolist() == expected
            assert torch.equal(quantised[i, j], codebook.entries[expected].flatten())
    # What the encoder gives is codes already, and they are their own nearest ones.
    latents = model.encode(digits(6)).mean
    assert torch.equal(codebook.quantize(latents), latents)


def test_the_loss_is_generation_and_both_distances():
    objective, model, codebook = build_vq_vae(commitment_weight=0.7)
    output = objective.losses(model, digits(6), rng_stream(0, "noise"))["vq_vae"]
    rows = model.apply_network("encoder", digits(6), 3)
    for i in range(6):
        code = codebook.entries[nearest(codebook, rows[i])].flatten()
        generation = -model.decode(code[None]).log_prob(digits(6)[i : i + 1])
        expected = generation + 1.7 * (rows[i] - code).square().sum()
        torch.testing.assert_close(output.loss[i : i + 1], expected, rtol=1e-5, atol=1e-4)


def test_the_encoder_gets_the_decoders_gradient_at_the_code():
    objective, model, codebook = build_vq_vae(commitment_weight=0.0)
    encoder = model.networks["encoder"]
    assert isinstance(encoder, Table)
    output = objective.losses(model, digits(6), rng_stream(0, "noise"))["vq_vae"]
    (found,) = torch.autograd.grad(output.loss.sum(), encoder.rows)
    codes = codebook.quantize(encoder.rows).detach().requires_grad_()
    generation = -model.decode(codes).log_prob(digits(6))
    (expected,) = torch.autograd.grad(generation.sum(), codes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_commitment_pulls_the_encoder_alone():
    def encoder_gradient(weight: float) -> Tensor:
        objective, model, _ = build_vq_vae(commitment_weight=weight)
        output = objective.losses(model, digits(6), rng_stream(0, "noise"))["vq_vae"]
        (gradient,) = torch.autograd.grad(output.loss.sum(), parameters(model, ("encoder",)))
        return gradient

    _, model, codebook = build_vq_vae()
    rows = model.apply_network("encoder", digits(6), 3).detach()
    pull = encoder_gradient(0.7) - encoder_gradient(0.0)
    torch.testing.assert_close(pull, 0.7 * 2 * (rows - codebook.quantize(rows)), atol=1e-4, rtol=0)


def test_codes_move_to_the_outputs_that_chose_them_and_by_nothing_else():
    for weight in (0.0, 5.0):
        objective, model, codebook = build_vq_vae(commitment_weight=weight)
        output = objective.losses(model, digits(6), rng_stream(0, "noise"))["vq_vae"]
        (found,) = torch.autograd.grad(output.loss.sum(), codebook.entries)
        expected = torch.zeros(CODES, DIMENSIONS)
        for row in model.apply_network("encoder", digits(6), 3).detach():
            parts = row.reshape(-1, DIMENSIONS)
            for k, part in zip(nearest(codebook, row), parts, strict=True):
                # d/de |z - e|^2 = 2 (e - z)
                expected[k] += 2 * (codebook.entries[k].detach() - part)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert (expected == 0).all(1).any(), "no code was left out"


def test_the_code_length_is_that_of_the_frequencies():
    objective, model, codebook = build_vq_vae()
    posterior = model.encode(digits(6))
    uniform = model.kl(posterior, posterior.mean)
    torch.testing.assert_close(uniform, torch.full((6,), PLACES * math.log(CODES)))
    shares = torch.softmax(randn(PLACES, CODES), 1)
    codebook.log_frequencies.copy_(shares.log())
    lengths = model.kl(posterior, posterior.mean)
    for i, row in enumerate(codebook.codes(posterior.mean).tolist()):
        expected = sum(-math.log(shares[place, k]) for place, k in enumerate(row))
        assert abs(lengths[i].item() - expected) < 1e-5
    measured = objective.validate_batch(model.eval(), digits(6), rng_stream(0, "noise"))
    torch.testing.assert_close(measured["kl_loss_nats"], lengths)
    bound = measured["generation_loss_nats"] + lengths
    torch.testing.assert_close(measured["neg_elbo_nats"], bound)
    assert torch.equal(measured["loss"], measured["generation_loss_nats"])
