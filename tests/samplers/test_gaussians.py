"""One Gaussian and a mixture of them, against closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from tests.samplers.factories import (
    fitted,
    gaussian_posteriors,
    generator,
    log_density,
    two_clusters,
)
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Posteriors

NAMES = ("gaussian", "mixture")


def test_gaussian_is_the_aggregate_posterior() -> None:
    posteriors, aggregate = gaussian_posteriors(20_000, 3)
    sampler = fitted(posteriors, "gaussian")
    torch.manual_seed(0)
    latents = aggregate.sample((5_000,))
    difference = log_density(aggregate, latents) - sampler.log_prob(latents)
    # Of d + d (d + 1) / 2 = 9 estimated numbers, the KL is about 9 / (2 images).
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(5_000) + 4 * 9 / 40_000
    assert difference.std() < 0.1


def test_gaussian_has_the_moments_of_one_latent_of_each_image() -> None:
    posteriors, _ = gaussian_posteriors(500, 3)
    latents = posteriors.rsample(rng_stream(0, "sampler/latents")).double()
    density = MultivariateNormal(latents.mean(0), latents.T.cov(correction=0))
    sampler = fitted(posteriors, "gaussian")
    expected = log_density(density, latents)
    torch.testing.assert_close(
        sampler.log_prob(latents.float()).double(), expected, atol=1e-3, rtol=0
    )


def test_mixture_is_scikit_learns() -> None:
    posteriors = two_clusters(1_000)
    noise = rng_stream(0, "sampler/latents")
    latents = posteriors.rsample(noise).double().numpy()
    seed = noise.initial_seed() % 2**32
    floor = 1e-6 * latents.var() + 1e-12
    expected = GaussianMixture(2, random_state=seed, reg_covar=floor).fit(latents)
    sampler = fitted(posteriors, "mixture", components=2)
    values = torch.linspace(-4, 4, 50)[:, None]
    np.testing.assert_allclose(
        sampler.log_prob(values), expected.score_samples(values.double().numpy()), atol=2e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_density_agree(name: str) -> None:
    sampler = fitted(two_clusters(1_000), name, **{"components": 2} if name == "mixture" else {})
    grid = torch.linspace(-12, 12, 4_001)[:, None]
    density = sampler.log_prob(grid).exp()
    width = 24 / 4_000
    assert density.sum().item() * width == pytest.approx(1, abs=1e-4)
    entropy = -torch.xlogy(density, density).sum() * width
    values = -sampler.log_prob(sampler.sample(20_000, generator()))
    assert (values.mean() - entropy).abs() < 4 * values.std() / math.sqrt(20_000)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_refused(name: str) -> None:
    sampler = fitted(two_clusters(100), name)
    labels = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="is not conditional: it cannot sample a label"):
        sampler.sample(2, generator(), labels)
    with pytest.raises(ValueError, match="is not conditional: it cannot sample a label"):
        sampler.log_prob(torch.zeros(2, 1), labels)


@pytest.mark.parametrize("name", NAMES)
def test_constant_dimensions(name: str) -> None:
    means = torch.randn(400, 3, generator=generator())
    means[:, 1] = 5
    sampler = fitted(Posteriors(means, torch.zeros_like(means)), name)
    samples = sampler.sample(100, generator())
    assert (samples[:, 1] - 5).abs().max() < 0.02
    assert sampler.log_prob(samples).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images", [2, 3])
def test_very_few_images(name: str, images: int) -> None:
    means = torch.randn(images, 2, generator=generator())
    sampler = fitted(Posteriors(means, torch.ones_like(means)), name)
    assert sampler.log_prob(sampler.sample(4, generator())).isfinite().all()
