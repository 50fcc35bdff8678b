"""The latent space of the test split: dimensions, information, distance from the prior."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.config import EvaluateSettings
from vaelab.estimators import latent_statistics, probes
from vaelab.estimators.clusters import kmeans_agreement
from vaelab.estimators.interpolation import largest_step_ratio
from vaelab.evaluation.bounds import Scores
from vaelab.evaluation.training_latents import TrainingLatents
from vaelab.evaluation.types import EvaluationData, LatentPosteriors
from vaelab.inference.decoding import Path, decode_means, interpolate
from vaelab.models.distributions import DiagonalGaussian, PointMass, Posterior
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

PATHS: tuple[Path, ...] = ("linear", "spherical")
# Images on the way between two, both included; every other one is shown, of the first four ways,
# and so many ways are decoded at a time.
PATH_STEPS, SHOWN_STRIDE, SHOWN_PATHS = 19, 2, 4


def describe_latents(
    model: Model, scores: Scores, settings: EvaluateSettings, device: torch.device
) -> tuple[LatentPosteriors, dict[str, float | int]]:
    """Give the codes with their table of dimensions, and the metrics that apply."""
    posterior = _posterior(scores)
    # One latent of each image: together a sample of the aggregate posterior.
    drawn = posterior.rsample(rng_stream(settings.seed, "evaluation/aggregate", device))
    standard, noise = (
        model.has_standard_prior,
        rng_stream(settings.seed, "evaluation/prior", device),
    )
    threshold = settings.active_unit_threshold
    table = latent_statistics.dimension_table(posterior, drawn, threshold, standard_prior=standard)
    metrics = latent_statistics.dimension_metrics(table)
    if isinstance(posterior, DiagonalGaussian):
        # Of the draws that the information is measured on: their noise cancels.
        rate = model.kl(posterior, drawn)
        metrics |= latent_statistics.information_metrics(
            posterior, drawn, rate, settings, standard_prior=standard
        )
    prior = None if standard else model.prior(latent_statistics.MMD_POINTS, noise)
    metrics |= latent_statistics.prior_metrics(drawn, prior, settings)
    return _codes(posterior, scores, table), metrics


def _posterior(scores: Scores) -> Posterior:
    if "stddev" in scores:
        return DiagonalGaussian(scores["mean"], scores["stddev"])
    return PointMass(scores["mean"])


def _codes(
    posterior: Posterior, scores: Scores, table: dict[str, NDArray[Any]]
) -> LatentPosteriors:
    stddevs = scores.get("stddev", torch.zeros_like(posterior.mean))
    return LatentPosteriors(
        latent_statistics.to_numpy(posterior.mean), latent_statistics.to_numpy(stddevs), table
    )


def label_metrics(
    data: EvaluationData,
    training: TrainingLatents,
    codes: LatentPosteriors,
    settings: EvaluateSettings,
) -> dict[str, float]:
    """Measure how much of the labels the latents hold; nothing without two classes."""
    if data.train_labels is None or data.test_labels is None:
        return {}
    labels = data.train_labels[training.rows]
    if len(np.unique(labels)) < 2:
        return {}
    fitted_on, scored_on = (training.means, labels), (codes.means, data.test_labels)
    metrics = {
        "linear_probe_accuracy": probes.linear_probe_accuracy(*fitted_on, *scored_on),
        "knn_accuracy": probes.knn_accuracy(*fitted_on, *scored_on, settings.neighbours),
    }
    if len(np.unique(data.test_labels)) > 1:
        clusters = kmeans_agreement(
            training.means, *scored_on, len(np.unique(labels)), settings.seed
        )
        metrics |= {f"kmeans_{name}": value for name, value in vars(clusters).items()}
    return metrics


def interpolation_metrics(
    model: Model, codes: LatentPosteriors, settings: EvaluateSettings, device: torch.device
) -> tuple[dict[str, float], dict[str, NDArray[np.uint8]]]:
    """Measure how evenly images change between test images' latents, and give some of the ways.

    Nothing for codes, between which there are no latents, and for a single image.
    """
    order = torch.randperm(len(codes.means), generator=rng_stream(settings.seed, "evaluation/ways"))
    pairs = min(settings.interpolation_pairs, len(order) // 2)
    if model.is_discrete or not pairs:
        return {}, {}
    means = torch.from_numpy(codes.means).to(device)
    first, second = means[order[:pairs]], means[order[pairs : 2 * pairs]]
    metrics: dict[str, float] = {}
    pictures: dict[str, NDArray[np.uint8]] = {}
    for path in PATHS:
        steps = []
        ends = torch.split(first, SHOWN_PATHS), torch.split(second, SHOWN_PATHS)
        for start, end in zip(*ends, strict=True):
            way = decode_means(model, interpolate(start, end, PATH_STEPS, path))
            steps.append(largest_step_ratio(way))
            shown = (way[:, ::SHOWN_STRIDE] * 255).round().byte()
            pictures.setdefault(f"{path}_interpolation", latent_statistics.to_numpy(shown))
        metrics[f"{path}_interpolation_largest_step"] = torch.cat(steps).mean().item()
    return metrics, pictures
