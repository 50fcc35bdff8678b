"""Mixtures of t distributions: against scipy, and samples against the density."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, multivariate_t

from vaelab.estimators.student_mixture import DEGREES_OF_FREEDOM, StudentMixture
from vaelab.runtime.random_streams import rng_stream

WEIGHTS = torch.tensor([[0.7, 0.2], [0.3, 0.8]])
MEAN = torch.tensor([[[0.0, 1.0], [2.0, -1.0]], [[3.0, 0.5], [-2.0, 0.0]]])
FACTOR = torch.tensor([[[[1.0, 0.0], [0.5, 0.3]]] * 2, [[[0.4, 0.0], [-0.2, 2.0]]] * 2])


def make() -> StudentMixture:
    return StudentMixture(WEIGHTS.log(), MEAN, FACTOR)


def test_the_density_is_scipys():
    latents = 2 * torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
    found = make().log_prob(latents)
    for image in range(2):
        densities = [
            multivariate_t(MEAN[c, image], FACTOR[c, image] @ FACTOR[c, image].T, df=20)
            for c in range(2)
        ]
        mixed = sum(
            float(WEIGHTS[c, image]) * density.pdf(latents[:, image].numpy())
            for c, density in enumerate(densities)
        )
        np.testing.assert_allclose(found[:, image], np.log(mixed), rtol=1e-4, atol=1e-5)


def test_samples_have_the_density():
    """E[f(z) / q(z)] over samples of q is the integral of f, here of a normal density: 1."""
    latents = make().rsample(rng_stream(0, "test"), 200_000)
    normal = -0.5 * ((latents - 1) ** 2 + math.log(2 * math.pi)).sum(-1)
    ratios = (normal - make().log_prob(latents)).double().exp()
    errors = ratios.std(0) / math.sqrt(len(ratios))
    assert ((ratios.mean(0) - 1).abs() < 6 * errors).all()


def test_a_single_component_has_the_tails_of_its_degrees_of_freedom():
    alone = StudentMixture(torch.zeros(1, 2), MEAN[:1], FACTOR[:1])
    latents = alone.rsample(rng_stream(0, "test"), 100_000)
    noise = torch.linalg.solve_triangular(
        FACTOR[0], (latents - MEAN[0]).permute(1, 2, 0), upper=False
    )
    beyond = (noise.square().sum(1) > chi2.ppf(0.999, 2)).double().mean(1)
    # |noise|^2 / 2 is distributed as F(2, v)
    v = DEGREES_OF_FREEDOM
    expected = (1 + chi2.ppf(0.999, 2) / v) ** (-v / 2)
    assert expected > 0.002
    torch.testing.assert_close(beyond, torch.full_like(beyond, expected), rtol=0.2, atol=0)


def test_weights_follow_the_samples_and_no_component_is_lost():
    mixture = make()
    latents = torch.stack([MEAN[0], MEAN[0]])
    found = mixture.reweighted(latents, torch.full((2, 2), 0.5).double())
    weights = found.log_weights.exp()
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    assert (weights[0] > 0.9).all()
    assert (weights[1] >= 0.025).all()


def test_images_can_be_taken_and_replaced():
    mixture, first = make(), torch.tensor([1])
    taken = mixture.rows(first)
    assert taken.mean.shape == (2, 1, 2)
    replaced = mixture.with_rows(torch.tensor([0]), taken)
    assert replaced.mean[:, 0].equal(MEAN[:, 1])
    assert replaced.mean[:, 1].equal(MEAN[:, 1])
    assert mixture.mean.equal(MEAN), "the original is unchanged"


@pytest.mark.parametrize("image", [0, 1])
def test_the_density_integrates_to_one(image):
    line = torch.arange(-40, 40, 0.1)
    grid = torch.cartesian_prod(line, line)[:, None].expand(-1, 2, -1)
    total = make().log_prob(grid)[:, image].double().exp().sum() * 0.1**2
    assert total.item() == pytest.approx(1, abs=1e-3)
