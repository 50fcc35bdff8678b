"""The group `likelihood`: ln p(x) of some test images, from a proposal fitted to each of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import mean_over_images
from vaelab.estimators.importance import (
    ImportanceEstimate,
    importance_weighted_log_likelihood,
)
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.estimators.posterior_fit import can_be_fitted, differentiable_parts, fit_proposal
from vaelab.estimators.statistics import standard_error
from vaelab.estimators.student_mixture import StudentMixture
from vaelab.evaluation.types import GroupMetrics
from vaelab.models.distributions import LatentDistribution
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# An image whose effective sample size is a smaller share of K is counted as not settled.
ENOUGH = 0.05


@dataclass(frozen=True)
class FittedImages:
    """Test images with a proposal fitted to the posterior of each.

    `model` is given the images' labels.
    """

    model: Model
    images: Float[Tensor, "images channel height width"]
    labels: Int64[Tensor, "images"] | None
    proposal: StudentMixture


def fit_test_images(
    model: Model, test: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> FittedImages | None:
    """Fit proposals to `likelihood_images` test images, the first of those that are annealed.

    None for zero images, and where `can_be_fitted` is false.
    """
    if not (settings.likelihood_images and can_be_fitted(model)):
        return None
    rows = sample_rows(len(test), settings.likelihood_images, settings.seed, "annealing")
    noise = rng_stream(settings.seed, "evaluation/fitted-proposals", device)
    # Tensors created in inference mode cannot be differentiated.
    with torch.inference_mode(False):
        images = test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
        given = model.given(test.labels_at(rows))
        proposal = fit_proposals(given, images, noise)
    return FittedImages(given, images, test.labels_at(rows), proposal)


@torch.no_grad()
def fit_proposals(
    model: Model, images: Float[Tensor, "images channel height width"], noise: torch.Generator
) -> StudentMixture:
    """Fit a proposal to the posterior of each image, of labels that the model is given."""
    fitted = []
    with tqdm(total=len(images), desc="fitted proposals", disable=None) as bar:
        for part in differentiable_parts(images):
            fitted.append(fit_proposal(model.given_rows(part), images[part], noise))
            bar.update(len(part))
    return StudentMixture.concatenated(fitted)


def likelihood_metrics(
    fitted: FittedImages, settings: EvaluateSettings, device: torch.device
) -> GroupMetrics:
    """Estimate -ln p(x) in nats of the images, with K = `importance_samples` of each proposal.

    Beside it stands by how much the bound of as many samples of the encoder exceeds it, on the same
    images.
    """
    noise, samples = rng_stream(settings.seed, "likelihood", device), settings.importance_samples

    def estimate(proposal: LatentDistribution) -> ImportanceEstimate:
        return importance_weighted_log_likelihood(
            fitted.model, fitted.images, proposal, samples, noise
        )

    found, encoded = estimate(fitted.proposal), estimate(fitted.model.encode(fitted.images))
    effective, log_likelihood = found.effective_sample_size, found.log_likelihood
    metrics: GroupMetrics = {
        "nll_nats": -mean_over_images(log_likelihood),
        "images": len(log_likelihood),
        "importance_samples": samples,
        "effective_sample_size": mean_over_images(effective),
        "uneven_share": mean_over_images((effective < ENOUGH * samples).float()),
        "bound_excess_nats": mean_over_images(log_likelihood - encoded.log_likelihood),
    }
    if len(log_likelihood) > 1:
        metrics["nll_standard_error_nats"] = standard_error(log_likelihood)
    return metrics
