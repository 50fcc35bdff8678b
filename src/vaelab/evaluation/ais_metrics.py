"""Likelihoods by annealed importance sampling: the group `annealing` of the metrics.

A model with a bound is measured with its own likelihood. Any other generator, such as that of a
GAN, is given Gaussian noise around its images, as Wu et al. 2017 do, with the variance at which
training images are likeliest: on one data set all of these stand on one scale.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from tqdm import tqdm

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import mean_over_images
from vaelab.estimators.ais import (
    FITTED_TRANSITIONS,
    AnnealingPath,
    InitialDistribution,
    forward_log_weights,
    lower_bound,
    reverse_log_weights,
    sigmoidal_schedule,
    tune_step_sizes,
    upper_bound,
    with_fitted_initial,
)
from vaelab.estimators.hmc import (
    INITIAL_STEP_SIZE,
    HamiltonianMonteCarlo,
    Scale,
    adapt_step_size,
    evaluate_terms,
)
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.models.distributions import DiagonalGaussian, Gaussian, PixelDistribution
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Chains an image of the preliminary runs, which find where to start and how far to step
PRELIMINARY_CHAINS = 4
# Where to start is found twice: from what is known first, then from what was found.
FITTED_STARTS = 2
# Numbers (chains x images x channels x height x width) that are differentiated at a time; an
# image's chains are not parted.
MAX_DIFFERENTIATED_NUMBERS = 2**20
# Training images that the variance of a generator's noise is fitted to: fewer of large images
FITTING_IMAGES, MIN_FITTING_IMAGES = 100, 16
# Of the fit: transitions between two variances, variances at most, and the change that ends it
FITTING_TRANSITIONS = 10
FITTING_ROUNDS = 20
FITTING_TOLERANCE = 0.01
# Around the point that an encoder gives, as a share of the prior's standard deviation
POINT_WIDTH = 0.1

Images = Float[Tensor, "images channel height width"]
Latents = Float[Tensor, "images latent"]


def annealing_metrics(
    model: Model,
    test: ImageLoader,
    train: ImageLoader,
    settings: EvaluateSettings,
    device: torch.device,
) -> dict[str, float | int]:
    """Bound ln p(x) of `annealing_images` simulated images, and of as many of the test split.

    Empty for none, and for a model of discrete codes, which nothing differentiates. Upper and
    lower are the bounds' means, so by chance the gap of close bounds may be below 0.
    """
    if model.is_discrete or not settings.annealing_images or not len(test):
        return {}
    # Tensors that were made in inference mode could not be differentiated.
    with torch.inference_mode(False), torch.no_grad():
        variance = None if model.has_bound else fitted_variance(model, train, settings, device)
        rows = sample_rows(len(test), settings.annealing_images, settings.seed, "annealing")
        images = test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
        noise = rng_stream(settings.seed, "evaluation/annealing", device)
        with _progress_bar(settings, len(images)) as bar:
            annealed = AisEvaluator(model, variance, settings, noise, bar.update)
            metrics = _simulated_image_metrics(annealed) | _test_image_metrics(annealed, images)
    return metrics if variance is None else metrics | {"observation_variance": variance}


@dataclass(frozen=True)
class AisEvaluator:
    """A generator whose likelihood is annealed: with noise of a variance, or its own likelihood."""

    model: Model
    variance: float | None
    settings: EvaluateSettings
    noise: torch.Generator
    progress: Callable[[int], object] = lambda chains: None

    def conditional(self, latents: Tensor) -> PixelDistribution:
        """p(x|z) for latents [*batch, latent]."""
        decoded = self.model.decode(latents)
        if self.variance is None:
            return decoded
        return Gaussian(decoded.mean, latents.new_tensor(self.variance))

    def bounds(
        self, images: Images, latents: Latents | None = None
    ) -> Float64[Tensor, "bounds images"]:
        """Bound ln p(x) in nats from below and, given the latents that made images, from above."""
        numbers = images[0].numel() * self.settings.annealing_chains
        size, parts = max(1, MAX_DIFFERENTIATED_NUMBERS // numbers), []
        for start in range(0, len(images), size):
            some = slice(start, start + size)
            parts.append(self._bounds(images[some], None if latents is None else latents[some]))
        return torch.cat(parts, dim=1)

    def _bounds(self, images: Images, latents: Latents | None) -> Float64[Tensor, "bounds images"]:
        chains, noise = self.settings.annealing_chains, self.noise
        schedule = sigmoidal_schedule(self.settings.annealing_temperatures)
        initial, scale = initial_distribution(self.model, images)
        path = AnnealingPath(initial, lambda z: self._log_joint(images, z), scale, self.progress)
        for _ in range(FITTED_STARTS):
            path = with_fitted_initial(path, schedule, PRELIMINARY_CHAINS, noise)
        steps = tune_step_sizes(path, schedule, PRELIMINARY_CHAINS, noise)
        lower = lower_bound(forward_log_weights(path, schedule, steps, chains, noise))
        if latents is None:
            return lower[None]
        reverse = reverse_log_weights(path, schedule, steps, latents, chains, noise)
        return torch.stack([lower, upper_bound(reverse)])

    def _log_joint(self, images: Images, latents: Tensor) -> Tensor:
        return self.conditional(latents).log_prob(images) + self.model.log_prior(latents)


@dataclass(frozen=True)
class PriorInitial:
    """A model's prior as the initial distribution of a number of images."""

    model: Model
    images: int

    def rsample(self, generator: torch.Generator, samples: int) -> Tensor:
        """Draw latents [samples, images, latent]."""
        drawn = self.model.prior(samples * self.images, generator)
        return drawn.reshape(samples, self.images, -1)

    def log_prob(self, latents: Tensor) -> Tensor:
        """ln p(z) in nats."""
        return self.model.log_prior(latents)


def initial_distribution(model: Model, images: Images) -> tuple[InitialDistribution, Scale]:
    """Give what is known of the latents at once, and its standard deviations [images, latent].

    That is the encoder's posterior, a Gaussian around the encoder's point, or the prior.
    """
    if model.has("encoder") and isinstance(posterior := model.encode(images), DiagonalGaussian):
        return posterior, posterior.stddev
    drawn = model.prior(1_000, rng_stream(0, "evaluation/prior-stddev", images.device))
    stddev = drawn.std(0).clamp_min(1e-6).expand(len(images), -1)
    if not model.has("encoder"):
        return PriorInitial(model, len(images)), stddev
    around = DiagonalGaussian(model.encode(images).mean, POINT_WIDTH * stddev)
    return around, around.stddev


def fitted_variance(
    model: Model, train: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> float:
    """Give the s2 at which training images are likeliest under N(mean of p(x|z), s2 I).

    Monte Carlo EM (Wei & Tanner 1990): the mean squared error of draws of the posterior, one chain
    an image, which goes on from one variance to the next until these settle. The first is the
    error of what `initial_distribution` draws, too large, so that the chains are annealed as well.
    """
    fitting = MAX_DIFFERENTIATED_NUMBERS // math.prod(model.image_shape)
    fitting = min(FITTING_IMAGES, max(MIN_FITTING_IMAGES, fitting))
    rows = sample_rows(len(train), fitting, settings.seed, "annealing-variance")
    noise = rng_stream(settings.seed, "evaluation/annealing-variance", device)
    images = train.gather(rows, noise)
    initial, scale = initial_distribution(model, images)

    def mean_squares(latents: Tensor) -> Tensor:
        return (model.decode(latents).mean - images).square().flatten(-3).mean(-1)

    hamiltonian = HamiltonianMonteCarlo((model.log_prior, mean_squares), scale)
    here = evaluate_terms(initial.rsample(noise, 1), hamiltonian.terms)
    sizes = torch.full_like(scale[..., 0], INITIAL_STEP_SIZE)
    errors = [mean_over_images(here.values[1, 0])]
    variance = 0.0
    for _ in range(FITTING_ROUNDS):
        before, variance = variance, max(statistics.fmean(errors), 1e-6)
        if abs(before / variance - 1) < FITTING_TOLERANCE:
            break
        # ln p(z) - SSE / (2 s2)
        weights = torch.tensor([1, -images[0].numel() / (2 * variance)], device=device)
        errors = []
        for _ in range(FITTING_TRANSITIONS):
            here, acceptance = hamiltonian.transition(here, weights, sizes, noise)
            sizes = adapt_step_size(sizes, acceptance)
            errors.append(mean_over_images(here.values[1, 0]))
    return variance


def _simulated_image_metrics(annealed: AisEvaluator) -> dict[str, float | int]:
    settings, noise = annealed.settings, annealed.noise
    latents = annealed.model.prior(settings.annealing_images, noise)
    images = annealed.conditional(latents).sample(noise)
    lower, upper = (mean_over_images(bound) for bound in annealed.bounds(images, latents))
    metrics = {
        "simulated_images": len(images),
        "temperatures": settings.annealing_temperatures,
        "chains": settings.annealing_chains,
        "simulated_nll_upper_nats": -lower,
        "simulated_nll_lower_nats": -upper,
        "gap_nats": upper - lower,
    }
    if annealed.variance is not None:
        return metrics
    nll = _importance_weighted_nll(annealed, images)
    return metrics | {
        "simulated_importance_weighted_nll_nats": nll,
        "importance_weighted_excess_nats": nll + upper,
    }


def _importance_weighted_nll(annealed: AisEvaluator, images: Images) -> float:
    """Average what the evaluation's own estimate makes of images, in nats."""
    model, settings = annealed.model, annealed.settings
    estimates = [
        importance_weighted_log_likelihood(
            model, some, model.encode(some), settings.importance_samples, annealed.noise
        )
        for some in torch.split(images, settings.batch_size)
    ]
    return -mean_over_images(torch.cat([each.log_likelihood for each in estimates]))


def _test_image_metrics(annealed: AisEvaluator, images: Images) -> dict[str, float | int]:
    (lower,) = annealed.bounds(images)
    metrics = {"test_images": len(images), "nll_nats": -mean_over_images(lower)}
    if len(images) > 1:
        metrics["nll_standard_error_nats"] = (lower.std() / math.sqrt(len(lower))).item()
    return metrics


def _progress_bar(settings: EvaluateSettings, test_images: int) -> "tqdm[Any]":
    """Count moves of chains: preliminary, forward and, of simulated images, reverse."""
    temperatures, simulated = settings.annealing_temperatures, settings.annealing_images
    fits = FITTED_STARTS * (temperatures + FITTED_TRANSITIONS)
    preliminary = PRELIMINARY_CHAINS * (fits + temperatures) * (simulated + test_images)
    weighed = settings.annealing_chains * temperatures * (2 * simulated + test_images)
    return tqdm(total=preliminary + weighed, desc="annealing", unit_scale=True, disable=None)
