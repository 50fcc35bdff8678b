"""InfoVAE and the Wasserstein autoencoder: the discrepancy from the prior and its weight."""

import pytest
import torch
from torch import Tensor

from tests.objectives.factories import LATENTS, build, digits, gradients, parameters, settings
from tests.oracles import assert_mean, randn
from vaelab.objectives.info_vae import prior_mmd_squared
from vaelab.runtime.random_streams import rng_stream

PAIRS = [("info_vae", "vae"), ("wae", "autoencoder")]


def slow_mmd_squared(first: Tensor, second: Tensor) -> Tensor:
    """A loop over pairs: Gretton et al. 2012, equation 3, seven inverse multiquadrics."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        scales = [2 * len(x) * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        return torch.stack([c / (c + (x - y).square().sum()) for c in scales]).sum()

    def among(points: Tensor) -> Tensor:
        n = len(points)
        pairs = [kernel(points[i], points[j]) for i in range(n) for j in range(n) if i != j]
        return torch.stack(pairs).mean()

    across = torch.stack([kernel(x, y) for x in first for y in second]).mean()
    return among(first) + among(second) - 2 * across


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_without_weight_it_is_the_plain_one(pair):
    name, plain = pair
    expected_objective, model = build(settings(plain))
    objective, _ = build(settings(name, {"mmd_weight": 0.0}))
    (found,) = objective.losses(model, digits(6), rng_stream(0, "noise")).values()
    (expected,) = expected_objective.losses(model, digits(6), rng_stream(0, "noise")).values()
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(gradients(found, model), gradients(expected, model))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_weight_is_that_of_the_discrepancy(pair):
    name, plain = pair
    expected_objective, model = build(settings(plain))
    objective, other = build(settings(name, {"mmd_weight": 40.0}))
    same = zip(*(parameters(each, ("encoder",)) for each in (model, other)), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    (found,) = objective.losses(other, digits(6), rng_stream(0, "noise")).values()
    (expected,) = expected_objective.losses(model, digits(6), rng_stream(0, "noise")).values()
    mmd = found.terms["mmd_squared"]
    assert (mmd == mmd[0]).all()
    assert mmd[0] != 0
    torch.testing.assert_close(found.loss, expected.loss + 40.0 * mmd)


def test_value_and_gradient_are_those_of_a_loop():
    _, model = build(settings("wae"))
    latents = (0.5 + randn(5, LATENTS)).requires_grad_()
    found = prior_mmd_squared(model, latents, rng_stream(0, "noise"))
    expected = slow_mmd_squared(latents.double(), model.prior(5, rng_stream(0, "noise")).double())
    torch.testing.assert_close(found, expected.float().expand(5))
    (slope,) = torch.autograd.grad(found.mean(), latents)
    (slow_slope,) = torch.autograd.grad(expected, latents)
    torch.testing.assert_close(slope, slow_slope, rtol=1e-4, atol=1e-7)


def test_latents_of_the_prior_are_at_no_distance_on_average():
    _, model = build(settings("wae"))
    values = torch.stack(
        [
            prior_mmd_squared(model, randn(20, LATENTS, seed=seed), rng_stream(seed, "prior"))[0]
            for seed in range(1, 400)
        ]
    )
    assert_mean(values, 0.0)
    shifted = prior_mmd_squared(model, 2 + randn(20, LATENTS, seed=1), rng_stream(1, "prior"))
    assert shifted[0] > values.max()


def test_a_part_of_a_batch_has_the_whole_ones_discrepancy_on_average():
    """Not in each draw: it compares images with each other, without bias at any batch size."""
    _, model = build(settings("wae"))
    latents = 0.7 * randn(12, LATENTS)
    wholes, parts = [], []
    for seed in range(400):
        chosen = latents[torch.randperm(12, generator=rng_stream(seed, "parts"))[:6]]
        wholes.append(prior_mmd_squared(model, latents, rng_stream(seed, "whole"))[0])
        parts.append(prior_mmd_squared(model, chosen, rng_stream(seed, "part"))[0])
    assert_mean(torch.stack(wholes) - torch.stack(parts), 0.0)


def test_one_image_has_no_discrepancy_and_points_that_coincide_have_slopes():
    _, model = build(settings("wae"))
    assert prior_mmd_squared(model, randn(1, LATENTS), rng_stream(0, "noise")).tolist() == [0.0]
    latents = torch.ones(4, LATENTS, requires_grad=True)
    found = prior_mmd_squared(model, latents, rng_stream(0, "noise"))
    (slope,) = torch.autograd.grad(found.mean(), latents)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0


def test_a_wae_gives_points():
    objective, model = build(settings("wae"))
    posterior = model.encode(digits(3))
    assert objective.posterior == "point"
    assert torch.equal(posterior.rsample(rng_stream(0, "noise")), posterior.mean)
