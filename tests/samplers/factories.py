"""Posteriors whose aggregate is known, and samplers fitted to them."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaelab.samplers import Posteriors, Sampler, build_sampler

SMALL = {"width": 48, "layers": 2, "steps": 600, "batch_size": 256, "solver_steps": 40}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_posteriors(images: int, latent_dim: int) -> tuple[Posteriors, MultivariateNormal]:
    """Return posteriors N(m, S) with m ~ N(mu, A A^T), and their aggregate N(mu, A A^T + S)."""
    noise = generator(1)
    factor = torch.eye(latent_dim) + 0.6 * torch.randn(latent_dim, latent_dim, generator=noise)
    center = torch.linspace(-2, 3, latent_dim)
    stddev = torch.linspace(0.3, 0.8, latent_dim)
    means = center + torch.randn(images, latent_dim, generator=noise) @ factor.T
    aggregate = MultivariateNormal(center, factor @ factor.T + torch.diag(stddev**2))
    return Posteriors(means, stddev.expand(images, latent_dim)), aggregate


def two_clusters(images: int, distance: float = 2.0, stddev: float = 0.4) -> Posteriors:
    """Return one-dimensional posteriors around -distance (label 0) and distance (label 1)."""
    labels = (torch.rand(images, generator=generator(2)) < 0.3).long()
    means = distance * (2.0 * labels[:, None] - 1)
    return Posteriors(means, torch.full_like(means, stddev), labels, 2)


def fitted(posteriors: Posteriors, name: str = "flow_matching", **own: Any) -> Sampler:
    """Fit a sampler, of a small network if it has one."""
    settings = SMALL | own if name == "flow_matching" else own
    latent_dim = posteriors.means.shape[1]
    sampler = build_sampler(name, settings, latent_dim, posteriors.classes)
    sampler.fit(posteriors, seed=0)
    return sampler.eval()


def cell_middles(low: float, high: float, count: int) -> tuple[Tensor, float]:
    """Return the middles of equal cells of an interval, and their width."""
    width = (high - low) / count
    return low + width * (torch.arange(count) + 0.5), width


def log_density(distribution: Distribution, values: Tensor) -> Tensor:
    """Return PyTorch's own log density."""
    found: Tensor = distribution.log_prob(values)
    return found
