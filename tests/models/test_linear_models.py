"""Linear models, whose optimum is known in closed form, at any weight of the KL loss."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracles import (
    assert_mean,
    data_with_eigenvalues,
    exact_losses,
    layer,
    linear_model,
    linear_vae_optimum,
    pca_log_likelihood,
    spectrum,
)
from vaelab.estimators.aggregate import aggregate_moments, mean_variances
from vaelab.models.model import Model
from vaelab.objectives.vae import Vae
from vaelab.runtime.random_streams import rng_stream

EIGENVALUES = [9.0, 4.0, 2.0, 1.0, 0.5, 0.25]


def gradient_norm(model: Model, images: Tensor, kl_weight: float) -> float:
    generation, kl = exact_losses(model, images)
    loss = (generation + kl_weight * kl).mean()
    parameters = [p for network in model.networks.values() for p in network.parameters()]
    return max(g.abs().max().item() for g in torch.autograd.grad(loss, parameters))


def test_the_oracles_data_has_the_stated_eigenvalues():
    values, _ = spectrum(data_with_eigenvalues(EIGENVALUES, 40))
    torch.testing.assert_close(values, torch.tensor(EIGENVALUES).double(), rtol=1e-5, atol=0)


def test_bound_is_tight_at_the_probabilistic_pca_solution():
    data, latents = data_with_eigenvalues(EIGENVALUES, 40), 3
    variance = sum(EIGENVALUES[latents:]) / (len(EIGENVALUES) - latents)
    model = linear_vae_optimum(data, latents, variance, kl_weight=1.0)
    generation, kl = exact_losses(model, data[:, None, None])
    # -(1/2) (sum_{i<=k} ln l_i + (D-k) ln s2 + D ln 2 pi + D)
    logs = math.log(9 * 4 * 2) + 3 * math.log(variance)
    expected = -0.5 * (logs + 6 * math.log(2 * math.pi) + 6)
    assert pca_log_likelihood(torch.tensor(EIGENVALUES), 3, variance) == pytest.approx(expected)
    assert -(generation + kl).mean().item() == pytest.approx(expected, abs=1e-5)
    assert gradient_norm(model, data[:, None, None], 1.0) < 1e-4
    with torch.no_grad():
        layer(model, "decoder").weight.mul_(1.1)
    assert gradient_norm(model, data[:, None, None], 1.0) > 1e-2


@pytest.mark.parametrize(("kl_weight", "alive"), [(0.5, 4), (1.0, 4), (3.0, 3), (8.0, 2)])
def test_the_kl_weight_sets_the_active_dimensions_by_reverse_water_filling(kl_weight, alive):
    variance, latents = 0.4, 4
    data = data_with_eigenvalues(EIGENVALUES, 40)
    model, images = linear_vae_optimum(data, latents, variance, kl_weight), data[:, None, None]
    generation, kl = exact_losses(model, images)
    s, top, rest = kl_weight * variance, EIGENVALUES[:latents], EIGENVALUES[latents:]
    # KL = sum half (ln l_i / s)+, and SSE = sum_{i<=k} min(l_i, s) + sum_{i>k} l_i
    assert kl.mean().item() == pytest.approx(
        sum(0.5 * math.log(max(value / s, 1)) for value in top), abs=1e-5
    )
    squared = sum(min(value, s) for value in top) + sum(rest)
    constant = 3 * math.log(2 * math.pi * variance)
    expected = squared / (2 * variance) + constant
    assert generation.mean().item() == pytest.approx(expected, abs=1e-4)
    assert gradient_norm(model, images, kl_weight) < 1e-4
    posterior = model.encode(images)
    assert (mean_variances(posterior) > 0.01).sum().item() == alive
    # At the optimum the aggregate posterior has the prior's moments.
    mean, stddev = aggregate_moments(posterior)
    torch.testing.assert_close(mean, torch.zeros(4).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(stddev, torch.ones(4).double(), rtol=0, atol=1e-5)


def test_minimizing_finds_the_closed_form():
    data, latents, variance, kl_weight = data_with_eigenvalues(EIGENVALUES, 40), 3, 0.4, 6.0
    images = data[:, None, None]
    optimum = linear_vae_optimum(data, latents, variance, kl_weight)
    generation, kl = exact_losses(optimum, images)
    model = linear_model(len(EIGENVALUES), latents, variance, seed=3)
    parameters = list(model.networks.parameters())
    optimizer: Any = torch.optim.LBFGS(parameters, max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> float:
        generation, kl = exact_losses(model, images)
        total = (generation + kl_weight * kl).mean()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters), strict=True
        ):
            parameter.grad = gradient
        return total.item()

    before = loss()
    optimizer.step(loss)
    expected = (generation + kl_weight * kl).mean().item()
    assert loss() == pytest.approx(expected, abs=1e-3)
    assert before > expected + 1
    # s = 2.4 lies between the second and the third eigenvalue.
    assert (mean_variances(model.encode(images)) > 0.01).sum().item() == 2


def test_sampled_losses_are_the_exact_ones_on_average():
    data = data_with_eigenvalues(EIGENVALUES, 40)[:4, :5]
    model = linear_model(5, 2, variance=0.4, seed=2)
    generation, kl = exact_losses(model, data[:, None, None])
    repeated = data.repeat(5_000, 1)[:, None, None]
    output = Vae(kl_weight=2.0).losses(model, repeated, rng_stream(0, "noise"))["vae"]
    assert_mean(output.loss.detach().reshape(5_000, 4), (generation + 2 * kl).detach(), 1e-4)
