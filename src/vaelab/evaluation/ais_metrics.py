"""Likelihoods by evaluator importance sampling: the group `annealing` of the metrics.

A model with a bound is measured with its own likelihood. Any other generator, such as that of a
GAN, gets Gaussian observation noise, as in Wu et al. 2017, with the variance that maximizes the
likelihood of training images, so that such models can be compared on one data set.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from vaelab.estimators.statistics import standard_error
from vaelab.models.distributions import DiagonalGaussian, Gaussian, PixelDistribution
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Chains an image of the preliminary runs, which fit the initial distribution and the step sizes
PRELIMINARY_CHAINS = 4
# The initial distribution is fitted twice: annealing from the encoder's, then from the fitted one.
INITIAL_FITS = 2
# Limit on the pixels (chains x images x channels x height x width) that are differentiated at a
# time; the chains of one image are not split.
MAX_DIFFERENTIATED_PIXELS = 2**20
# Training images to which the variance of a generator's noise is fitted; fewer if they are large
FITTING_IMAGES, MIN_FITTING_IMAGES = 100, 16
# The fit of the variance: transitions a round, maximal rounds, relative change at which it stops
FITTING_TRANSITIONS = 10
FITTING_ROUNDS = 20
FITTING_TOLERANCE = 0.01
# Width of the initial distribution of a point-mass encoder, in standard deviations of the prior
POINT_MASS_WIDTH = 0.1

Images = Float[Tensor, "images channel height width"]
Latents = Float[Tensor, "images latent"]


def annealing_metrics(
    model: Model,
    test: ImageLoader,
    train: ImageLoader,
    settings: EvaluateSettings,
    device: torch.device,
) -> dict[str, float | int]:
    """Bound ln p(x) of `annealing_images` simulated images, and of as many test images.

    Empty for zero images, and for discrete latents, which have no gradient. Upper and lower bound
    are means of samples, so the gap of close bounds may be below 0 by chance.
    """
    if model.is_discrete or not settings.annealing_images or not len(test):
        return {}
    # Tensors created in inference mode cannot be differentiated.
    with torch.inference_mode(False), torch.no_grad():
        variance = None if model.has_bound else fitted_variance(model, train, settings, device)
        rows = sample_rows(len(test), settings.annealing_images, settings.seed, "annealing")
        images = test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
        noise = rng_stream(settings.seed, "evaluation/annealing", device)
        with _progress_bar(settings, len(images)) as bar:
            evaluator = AisEvaluator(model, variance, settings, noise, bar.update)
            metrics = _simulated_image_metrics(evaluator)
            given = replace(evaluator, model=model.given(test.labels_at(rows)))
            metrics |= _test_image_metrics(given, images)
    return metrics if variance is None else metrics | {"observation_variance": variance}


@dataclass(frozen=True)
class AisEvaluator:
    """Bounds ln p(x) of a model, by its own likelihood or with Gaussian noise of a variance.

    For a conditional model it is ln p(x|y), with the labels y that the model is given.
    """

    model: Model
    variance: float | None
    settings: EvaluateSettings
    noise: torch.Generator
    progress: Callable[[int], object] = lambda chains: None

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
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            part = replace(self, model=self.model.given_rows(rows))
            parts.append(part._bounds(images[rows], None if latents is None else latents[rows]))
        return torch.cat(parts, dim=1)

    def _bounds(self, images: Images, latents: Latents | None) -> Float64[Tensor, "bounds images"]:
        chains, noise = self.settings.annealing_chains, self.noise
        schedule = sigmoidal_schedule(self.settings.annealing_temperatures)
        initial, scale = initial_distribution(self.model, images)
        path = AnnealingPath(initial, lambda z: self._log_joint(images, z), scale, self.progress)
        for _ in range(INITIAL_FITS):
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
        """Sample latents [samples, images, latent]."""
        latents = self.model.prior(samples * self.images, generator)
        return latents.reshape(samples, self.images, -1)

    def log_prob(self, latents: Tensor) -> Tensor:
        """Compute ln p(z) in nats."""
        return self.model.log_prior(latents)


def initial_distribution(model: Model, images: Images) -> tuple[InitialDistribution, Scale]:
    """Return the best available initial distribution and its stddevs [images, latent].

    The encoder's posterior, a Gaussian around the point of a deterministic encoder, or the prior.
    """
    if model.has("encoder") and isinstance(posterior := model.encode(images), DiagonalGaussian):
        return posterior, posterior.stddev
    samples = model.prior(1_000, rng_stream(0, "evaluation/prior-stddev", images.device))
    stddev = samples.std(0).clamp_min(1e-6).expand(len(images), -1)
    if not model.has("encoder"):
        return PriorInitial(model, len(images)), stddev
    gaussian = DiagonalGaussian(model.encode(images).mean, POINT_MASS_WIDTH * stddev)
    return gaussian, gaussian.stddev


def fitted_variance(
    model: Model, train: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> float:
    """Fit the variance s2 of N(mean of p(x|z), s2 I) to training images by maximum likelihood.

    Monte Carlo EM (Wei & Tanner 1990): s2 is the mean squared error of posterior samples, one
    chain an image, which continues from one variance to the next until they converge. The first
    variance is the error of samples of `initial_distribution`, which is too large, so the chains
    are evaluator as well.
    """
    in_memory = MAX_DIFFERENTIATED_PIXELS // math.prod(model.image_shape)
    count = min(FITTING_IMAGES, max(MIN_FITTING_IMAGES, in_memory))
    rows = sample_rows(len(train), count, settings.seed, "annealing-variance")
    noise = rng_stream(settings.seed, "evaluation/annealing-variance", device)
    images, model = train.gather(rows, noise), model.given(train.labels_at(rows))
    initial, scale = initial_distribution(model, images)

    def mean_squares(latents: Tensor) -> Tensor:
        return (model.decode(latents).mean - images).square().flatten(-3).mean(-1)

    kernel = HamiltonianMonteCarlo((model.log_prior, mean_squares), scale)
    state = evaluate_terms(initial.rsample(noise, 1), kernel.terms)
    sizes = torch.full_like(scale[..., 0], INITIAL_STEP_SIZE)
    errors = [mean_over_images(state.values[1, 0])]
    variance = 0.0
    for _ in range(FITTING_ROUNDS):
        previous, variance = variance, max(statistics.fmean(errors), 1e-6)
        if abs(previous / variance - 1) < FITTING_TOLERANCE:
            break
        # ln p(z) - SSE / (2 s2)
        weights = torch.tensor([1, -images[0].numel() / (2 * variance)], device=device)
        errors = []
        for _ in range(FITTING_TRANSITIONS):
            state, acceptance = kernel.transition(state, weights, sizes, noise)
            sizes = adapt_step_size(sizes, acceptance)
            errors.append(mean_over_images(state.values[1, 0]))
    return variance


def _simulated_image_metrics(evaluator: AisEvaluator) -> dict[str, float | int]:
    settings, noise = evaluator.settings, evaluator.noise
    model = evaluator.model.with_sampled_labels(settings.annealing_images, noise)
    evaluator = replace(evaluator, model=model)
    latents = model.prior(settings.annealing_images, noise)
    images = evaluator.conditional(latents).sample(noise)
    lower, upper = (mean_over_images(bound) for bound in evaluator.bounds(images, latents))
    metrics = {
        "simulated_images": len(images),
        "temperatures": settings.annealing_temperatures,
        "chains": settings.annealing_chains,
        "simulated_nll_upper_nats": -lower,
        "simulated_nll_lower_nats": -upper,
        "gap_nats": upper - lower,
    }
    if evaluator.variance is not None:
        return metrics
    nll = _importance_weighted_nll(evaluator, images)
    return metrics | {
        "simulated_importance_weighted_nll_nats": nll,
        "importance_weighted_excess_nats": nll + upper,
    }


def _importance_weighted_nll(evaluator: AisEvaluator, images: Images) -> float:
    """Estimate the mean NLL in nats by importance sampling, as the group `test` does."""
    model, settings = evaluator.model, evaluator.settings
    estimates = []
    for rows in torch.split(torch.arange(len(images)), settings.batch_size):
        given, batch = model.given_rows(rows), images[rows]
        estimates.append(
            importance_weighted_log_likelihood(
                given, batch, given.encode(batch), settings.importance_samples, evaluator.noise
            )
        )
    return -mean_over_images(torch.cat([estimate.log_likelihood for estimate in estimates]))


def _test_image_metrics(evaluator: AisEvaluator, images: Images) -> dict[str, float | int]:
    (lower,) = evaluator.bounds(images)
    metrics = {"test_images": len(images), "nll_nats": -mean_over_images(lower)}
    if len(images) > 1:
        metrics["nll_standard_error_nats"] = standard_error(lower)
    return metrics


def _progress_bar(settings: EvaluateSettings, test_images: int) -> "tqdm[Any]":
    """Count transitions of chains: preliminary, forward and, of simulated images, reverse."""
    temperatures, simulated = settings.annealing_temperatures, settings.annealing_images
    fits = INITIAL_FITS * (temperatures + FITTED_TRANSITIONS)
    preliminary = PRELIMINARY_CHAINS * (fits + temperatures) * (simulated + test_images)
    weighted = settings.annealing_chains * temperatures * (2 * simulated + test_images)
    return tqdm(total=preliminary + weighted, desc="annealing", unit_scale=True, disable=None)
