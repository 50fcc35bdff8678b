"""The group `latent`: dimensions, information, distance from the prior, labels, interpolations."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import latent_statistics, probes
from vaelab.estimators.clusters import kmeans_agreement
from vaelab.estimators.interpolation import largest_step_ratio
from vaelab.estimators.latent_statistics import to_numpy
from vaelab.evaluation.bounds import Scores
from vaelab.evaluation.training_latents import TrainingLatents
from vaelab.evaluation.types import Arrays, EvaluationData, LatentPosteriors
from vaelab.inference.decoding import Path, decode_means, interpolate
from vaelab.models.distributions import DiagonalGaussian, PointMass, Posterior
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

PATHS: tuple[Path, ...] = ("linear", "spherical")
# Images of an interpolation path, its ends included. Every second one of the first four paths is
# kept for figures; as many paths are decoded at a time.
PATH_STEPS, SHOWN_STRIDE, SHOWN_PATHS = 19, 2, 4


def describe_latents(
    model: Model, scores: Scores, settings: EvaluateSettings, device: torch.device
) -> tuple[LatentPosteriors, dict[str, float | int]]:
    """Return the posteriors with their table of dimensions, and the metrics that apply."""
    posterior = _posterior(scores)
    # One sample of each image's posterior: a sample of the aggregate posterior.
    samples = posterior.rsample(rng_stream(settings.seed, "evaluation/aggregate", device))
    standard = model.has_standard_prior
    threshold = settings.active_unit_threshold
    table = latent_statistics.dimension_table(
        posterior, samples, threshold, standard_prior=standard
    )
    metrics = latent_statistics.dimension_metrics(table)
    if isinstance(posterior, DiagonalGaussian):
        # At the samples that the information is measured on, so that their noise cancels.
        rate = _rate(model, posterior, samples)
        metrics |= latent_statistics.information_metrics(
            posterior, samples, rate, settings, standard_prior=standard
        )
    noise = rng_stream(settings.seed, "evaluation/prior", device)
    points = latent_statistics.MMD_POINTS
    prior = None if standard else model.with_sampled_labels(points, noise).prior(points, noise)
    metrics |= latent_statistics.prior_metrics(samples, prior, settings)
    stddevs = scores.get("stddev", torch.zeros_like(posterior.mean))
    return LatentPosteriors(to_numpy(posterior.mean), to_numpy(stddevs), table), metrics


def _rate(model: Model, posterior: DiagonalGaussian, samples: Tensor) -> Tensor:
    """Return the KL to the prior, which is averaged over labels if it depends on them."""
    if not model.prior_sees_labels:
        return model.kl(posterior, samples)
    return posterior.log_prob(samples) - model.marginal_log_prior(samples)


def _posterior(scores: Scores) -> Posterior:
    if "stddev" in scores:
        return DiagonalGaussian(scores["mean"], scores["stddev"])
    return PointMass(scores["mean"])


def label_metrics(
    data: EvaluationData,
    training: TrainingLatents,
    latents: LatentPosteriors,
    settings: EvaluateSettings,
) -> dict[str, float]:
    """Compute how well the latents predict the labels that are known; empty without two classes.

    Test images of classes that no training image has are left out.
    """
    if data.train_labels is None or data.test_labels is None:
        return {}
    train = _labeled(training.means, data.train_labels[training.rows])
    labels = train[1]
    trained_on = np.where(np.isin(data.test_labels, labels), data.test_labels, -1)
    test = _labeled(latents.means, trained_on)
    if len(np.unique(labels)) < 2 or not len(test[1]):
        return {}
    metrics = {
        "linear_probe_accuracy": probes.linear_probe_accuracy(*train, *test),
        "knn_accuracy": probes.knn_accuracy(*train, *test, settings.neighbours),
    }
    if len(np.unique(test[1])) > 1:
        clusters = kmeans_agreement(train[0], *test, len(np.unique(labels)), settings.seed)
        metrics |= {f"kmeans_{name}": value for name, value in vars(clusters).items()}
    return metrics


def _labeled(
    means: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    known = labels >= 0
    return means[known], labels[known]


def interpolation_metrics(
    model: Model,
    latents: LatentPosteriors,
    test: ImageLoader,
    settings: EvaluateSettings,
    device: torch.device,
) -> tuple[dict[str, float], Arrays]:
    """Compute how evenly images change along interpolation paths; return some of the images.

    Paths are between the posterior means of test images, decoded under the first one's label where
    the model sees labels. Empty for discrete latents, and for a single image.
    """
    order = torch.randperm(
        len(latents.means), generator=rng_stream(settings.seed, "evaluation/ways")
    )
    pairs = min(settings.interpolation_pairs, len(order) // 2)
    if model.is_discrete or not pairs:
        return {}, {}
    means = torch.from_numpy(latents.means).to(device)
    first, second = means[order[:pairs]], means[order[pairs : 2 * pairs]]
    rows = torch.split(order[:pairs], SHOWN_PATHS)
    metrics: dict[str, float] = {}
    arrays: Arrays = {}
    for path in PATHS:
        ratios = []
        ends = torch.split(first, SHOWN_PATHS), torch.split(second, SHOWN_PATHS)
        for own, start, end in zip(rows, *ends, strict=True):
            given = model.given(test.labels_at(own)).with_columns()
            images = decode_means(given, interpolate(start, end, PATH_STEPS, path))
            ratios.append(largest_step_ratio(images))
            shown = (images[:, ::SHOWN_STRIDE] * 255).round().byte()
            arrays.setdefault(f"{path}_interpolation", to_numpy(shown))
        metrics[f"{path}_interpolation_largest_step"] = torch.cat(ratios).mean().item()
    return metrics, arrays
