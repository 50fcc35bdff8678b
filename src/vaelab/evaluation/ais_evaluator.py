"""Bounds on ln p(x) by annealed importance sampling, from fitted Gaussians or from the prior."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from vaelab.config import EvaluateSettings
from vaelab.estimators.ais import (
    FITTED_TRANSITIONS,
    AnnealingPath,
    forward_log_weights,
    lower_bound,
    reverse_log_weights,
    sigmoidal_schedule,
    tune_step_sizes,
    upper_bound,
    with_fitted_initial,
)
from vaelab.estimators.hmc import MAX_DIFFERENTIATED_PIXELS, Scale
from vaelab.models.distributions import (
    DiagonalGaussian,
    Gaussian,
    LatentDistribution,
    PixelDistribution,
)
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Chains an image of the preliminary runs, which fit the initial distribution and the step sizes
PRELIMINARY_CHAINS = 4
# The initial distribution is fitted twice: annealing from the encoder's, then from the fitted one.
INITIAL_FITS = 2
# Width of the initial distribution of a point-mass encoder, in standard deviations of the prior
POINT_MASS_WIDTH = 0.1

Images = Float[Tensor, "images channel height width"]
Latents = Float[Tensor, "images latent"]


@dataclass(frozen=True)
class AisEvaluator:
    """Bounds ln p(x) of a model, by its own likelihood or with Gaussian noise of a variance.

    For a conditional model it is ln p(x|y), with the labels y that the model is given. Chains
    start from a Gaussian that is fitted `initial_fits` times, or from the prior if that is 0.
    """

    model: Model
    variance: float | None
    settings: EvaluateSettings
    noise: torch.Generator
    initial_fits: int = INITIAL_FITS

    def conditional(self, latents: Tensor) -> PixelDistribution:
        """Return p(x|z) for latents [*batch, latent]."""
        decoded = self.model.decode(latents)
        if self.variance is None:
            return decoded
        return Gaussian(decoded.mean, latents.new_tensor(self.variance))

    def bounds(
        self, images: Images, latents: Latents | None = None
    ) -> Float64[Tensor, "bounds images"]:
        """Bound ln p(x) in nats from below and, if the generating latents are given, from above."""
        pixels = images[0].numel() * self.settings.annealing_chains
        size, parts = max(1, MAX_DIFFERENTIATED_PIXELS // pixels), []
        with self._progress_bar(len(images), 1 if latents is None else 2) as bar:
            for start in range(0, len(images), size):
                rows = slice(start, start + size)
                part = replace(self, model=self.model.given_rows(rows))
                own = None if latents is None else latents[rows]
                parts.append(part._bounds(images[rows], own, bar.update))
        return torch.cat(parts, dim=1)

    def _bounds(
        self, images: Images, latents: Latents | None, progress: Callable[[int], object]
    ) -> Float64[Tensor, "bounds images"]:
        chains, noise = self.settings.annealing_chains, self.noise
        schedule = sigmoidal_schedule(self.settings.annealing_temperatures)
        path = self._path(images, progress)
        for _ in range(self.initial_fits):
            path = with_fitted_initial(path, schedule, PRELIMINARY_CHAINS, noise)
        steps = tune_step_sizes(path, schedule, PRELIMINARY_CHAINS, noise)
        lower = lower_bound(forward_log_weights(path, schedule, steps, chains, noise))
        if latents is None:
            return lower[None]
        reverse = reverse_log_weights(path, schedule, steps, latents, chains, noise)
        return torch.stack([lower, upper_bound(reverse)])

    def _path(self, images: Images, progress: Callable[[int], object]) -> AnnealingPath:
        start = initial_distribution if self.initial_fits else prior_distribution
        initial, scale = start(self.model, images)
        return AnnealingPath(initial, lambda z: self._log_joint(images, z), scale, progress)

    def _progress_bar(self, images: int, directions: int) -> "tqdm[Any]":
        """Count transitions of chains: preliminary, forward and, of simulated images, reverse."""
        temperatures = self.settings.annealing_temperatures
        fits = self.initial_fits * (temperatures + FITTED_TRANSITIONS)
        chains = self.settings.annealing_chains * temperatures * directions
        total = images * (PRELIMINARY_CHAINS * (fits + temperatures) + chains)
        name = "test" if directions == 1 else "simulated"
        start = "" if self.initial_fits else ", from the prior"
        description = f"annealing {name} images{start}"
        return tqdm(total=total, desc=description, unit_scale=True, disable=None)

    def _log_joint(self, images: Images, latents: Tensor) -> Tensor:
        return self.conditional(latents).log_prob(images) + self.model.log_prior(latents)


@dataclass(frozen=True)
class PriorInitial:
    """A model's prior as the initial distribution of a number of images."""

    model: Model
    images: int

    def rsample(self, generator: torch.Generator, samples: int) -> Tensor:
        """Sample latents [samples, images, latent]."""
        latents = self.model.prior(samples * self.images, generator)
        return latents.reshape(samples, self.images, -1)

    def log_prob(self, latents: Tensor) -> Tensor:
        """Compute ln p(z) in nats."""
        return self.model.log_prior(latents)


def initial_distribution(model: Model, images: Images) -> tuple[LatentDistribution, Scale]:
    """Return the best available initial distribution and its stddevs [images, latent].

    The encoder's posterior, a Gaussian around the point of a deterministic encoder, or the prior.
    """
    if not model.has("encoder"):
        return prior_distribution(model, images)
    posterior = model.encode(images)
    if isinstance(posterior, DiagonalGaussian):
        return posterior, posterior.stddev
    _, stddev = prior_distribution(model, images)
    gaussian = DiagonalGaussian(posterior.mean, POINT_MASS_WIDTH * stddev)
    return gaussian, gaussian.stddev


def prior_distribution(model: Model, images: Images) -> tuple[PriorInitial, Scale]:
    """Return the prior as the initial distribution, and its stddevs [images, latent]."""
    samples = model.prior(1_000, rng_stream(0, "evaluation/prior-stddev", images.device))
    stddev = samples.std(0).clamp_min(1e-6).expand(len(images), -1)
    return PriorInitial(model, len(images)), stddev
