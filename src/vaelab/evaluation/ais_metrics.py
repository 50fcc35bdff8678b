"""Likelihoods by annealed importance sampling: the group `annealing` of the metrics.

A model with a bound is measured with its own likelihood. Any other generator, such as that of a
GAN, gets Gaussian observation noise, as in Wu et al. 2017, with the variance that maximizes the
likelihood of training images, so that such models can be compared on one data set.

Chains start from a Gaussian fitted to each image's posterior. Where a posterior has several modes
the Gaussian may miss some, and the bounds stay apart. If they are more than `MAX_GAP_NATS` apart on
simulated images, half of these are annealed from the prior as well, and the start with the smaller
mean gap there is taken for all images of the model. A bound holds in expectation for a start that
was chosen without its chains and latents: what is then reported is measured anew, on other
simulated images, and test images decide nothing. A gap that was small at once is reported as it is.
That condition lowers the expectation of the mean gap by at most 0.4 of its standard errors (the
normal density's maximum), and by almost nothing where it is far from the limit.
"""

import math
import statistics
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import mean_over_images
from vaelab.estimators.hmc import (
    INITIAL_STEP_SIZE,
    MAX_DIFFERENTIATED_PIXELS,
    HamiltonianMonteCarlo,
    adapt_step_size,
    evaluate_terms,
)
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.ais_evaluator import (
    AisEvaluator,
    Images,
    Latents,
    initial_distribution,
)
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Bounds that are farther apart are tried from the prior too; Wu et al. 2017 call 1 nat accurate.
MAX_GAP_NATS = 1.0
# Training images to which the variance of a generator's noise is fitted; fewer if they are large
FITTING_IMAGES, MIN_FITTING_IMAGES = 100, 16
# The fit of the variance: transitions a round, maximal rounds, relative change at which it stops
FITTING_TRANSITIONS = 10
FITTING_ROUNDS = 20
FITTING_TOLERANCE = 0.01


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
        evaluator = AisEvaluator(model, variance, settings, noise)
        evaluator, metrics = _simulated_image_metrics(evaluator)
        given = replace(evaluator, model=model.given(test.labels_at(rows)))
        metrics |= _test_image_metrics(given, images)
    return metrics if variance is None else metrics | {"observation_variance": variance}


def fitted_variance(
    model: Model, train: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> float:
    """Fit the variance s2 of N(mean of p(x|z), s2 I) to training images by maximum likelihood.

    Monte Carlo EM (Wei & Tanner 1990): s2 is the mean squared error of posterior samples, one
    chain an image, which continues from one variance to the next until they converge. The first
    variance is the error of samples of `initial_distribution`, which is too large, so the chains
    are annealed as well.
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


@dataclass(frozen=True)
class _Simulated:
    """Images sampled from an evaluator's model, and the bounds on ln p(x) of each."""

    evaluator: AisEvaluator
    images: Images
    latents: Latents
    bounds: Float64[Tensor, "bounds images"]

    @classmethod
    def sample(cls, evaluator: AisEvaluator) -> "_Simulated":
        """Simulate images, of sampled labels where the model sees them, and bound them."""
        count, noise = evaluator.settings.annealing_images, evaluator.noise
        model = evaluator.model.with_sampled_labels(count, noise)
        labelled = replace(evaluator, model=model)
        latents = model.prior(count, noise)
        images = labelled.conditional(latents).sample(noise)
        return cls(labelled, images, latents, labelled.bounds(images, latents))

    def first(self, count: int) -> "_Simulated":
        """Return the first images, with their latents, labels and bounds."""
        rows = slice(count)
        evaluator = replace(self.evaluator, model=self.evaluator.model.given_rows(rows))
        return _Simulated(evaluator, self.images[rows], self.latents[rows], self.bounds[:, rows])

    @property
    def gap(self) -> float:
        """The mean of the upper minus the lower bound, in nats."""
        return mean_over_images(self.bounds[1] - self.bounds[0])


def _simulated_image_metrics(
    evaluator: AisEvaluator,
) -> tuple[AisEvaluator, dict[str, float | int]]:
    """Return the evaluator with the better start, and the metrics of simulated images."""
    simulated = _Simulated.sample(evaluator)
    if simulated.gap > MAX_GAP_NATS:
        evaluator = replace(evaluator, initial_fits=_better_fits(simulated))
        # The images and chains that the choice was made on do not count.
        simulated = _Simulated.sample(evaluator)
    return evaluator, _bound_metrics(simulated)


def _better_fits(simulated: _Simulated) -> int:
    """Return `initial_fits` of the smaller gap: that of the start that was used, or the prior's."""
    half = simulated.first(math.ceil(len(simulated.images) / 2))
    prior = replace(half.evaluator, initial_fits=0)
    bounds = prior.bounds(half.images, half.latents)
    is_better = replace(half, bounds=bounds).gap < half.gap
    return 0 if is_better else simulated.evaluator.initial_fits


def _bound_metrics(simulated: _Simulated) -> dict[str, float | int]:
    evaluator, settings = simulated.evaluator, simulated.evaluator.settings
    lower, upper = (mean_over_images(bound) for bound in simulated.bounds)
    metrics = {
        "simulated_images": len(simulated.images),
        "temperatures": settings.annealing_temperatures,
        "chains": settings.annealing_chains,
        "initial_fits": evaluator.initial_fits,
        "simulated_nll_upper_nats": -lower,
        "simulated_nll_lower_nats": -upper,
        "gap_nats": upper - lower,
    }
    if evaluator.variance is not None:
        return metrics
    nll = _importance_weighted_nll(evaluator, simulated.images)
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
