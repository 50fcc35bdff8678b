"""The group `likelihood`: ln p(x) of some test images, from a proposal fitted to each of them."""

import math
from collections.abc import Iterator

import torch
from tqdm import tqdm

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import mean_over_images
from vaelab.estimators.importance import ImportanceEstimate, importance_weighted_log_likelihood
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.estimators.posterior_fit import CHAINS, MAX_DIMENSIONS, fitted_log_likelihood
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.types import GroupMetrics
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# An image whose effective sample size is a smaller share of K is counted as not settled.
ENOUGH = 0.05
# Limit on the pixels (chains x images x channels x height x width) that are differentiated at a
# time; the chains of one image are not split.
MAX_DIFFERENTIATED_PIXELS = 2**20


def likelihood_metrics(
    model: Model, test: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> GroupMetrics:
    """Estimate -ln p(x) in nats of `likelihood_images` test images, with K = `importance_samples`.

    Beside the estimate from the fitted proposals stands by how much the bound of as many samples of
    the encoder exceeds it, on the same images. Empty for zero images, for models without a
    Gaussian encoder and a bound, and for latents of more than `MAX_DIMENSIONS` dimensions. The
    images are the first of those that are annealed.
    """
    if not settings.likelihood_images or not applies_to(model):
        return {}
    # Tensors created in inference mode cannot be differentiated.
    with torch.inference_mode(False), torch.no_grad():
        pairs = list(_estimates(model, test, settings, device))
    fitted = torch.cat([fit.log_likelihood for fit, _ in pairs])
    effective = torch.cat([fit.effective_sample_size for fit, _ in pairs])
    encoded = torch.cat([bound.log_likelihood for _, bound in pairs])
    samples = settings.importance_samples
    metrics: GroupMetrics = {
        "nll_nats": -mean_over_images(fitted),
        "images": len(fitted),
        "importance_samples": samples,
        "effective_sample_size": mean_over_images(effective),
        "uneven_share": mean_over_images((effective < ENOUGH * samples).float()),
        "bound_excess_nats": mean_over_images(fitted - encoded),
    }
    if len(fitted) > 1:
        metrics["nll_standard_error_nats"] = standard_error(fitted)
    return metrics


def applies_to(model: Model) -> bool:
    """Whether proposals can be fitted to the posteriors of a model."""
    gaussian = model.has_bound and model.posterior == "gaussian" and not model.is_discrete
    return gaussian and model.latent_dim <= MAX_DIMENSIONS


def _estimates(
    model: Model, test: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> Iterator[tuple[ImportanceEstimate, ImportanceEstimate]]:
    """Yield the estimates from fitted proposals and from the encoder, for parts of the images."""
    rows = sample_rows(len(test), settings.likelihood_images, settings.seed, "annealing")
    images = test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
    given, noise = (
        model.given(test.labels_at(rows)),
        rng_stream(settings.seed, "likelihood", device),
    )
    size = max(1, MAX_DIFFERENTIATED_PIXELS // (CHAINS * math.prod(model.image_shape)))
    samples = settings.importance_samples
    with tqdm(total=len(rows), desc="likelihood", disable=None) as bar:
        for part in torch.split(torch.arange(len(images), device=device), size):
            own, batch = given.given_rows(part), images[part]
            fitted = fitted_log_likelihood(own, batch, samples, noise)
            encoder = own.encode(batch)
            yield (
                fitted,
                importance_weighted_log_likelihood(own, batch, encoder, samples, noise),
            )
            bar.update(len(part))
