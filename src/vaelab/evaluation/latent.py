"""The latent space of the test split: dimensions, information, distance from the prior."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.distributions import DiagonalGaussian, PointMass, Posterior
from vaelab.estimators import probes, summary
from vaelab.evaluation.bounds import Scores
from vaelab.evaluation.subjects import EvaluationData, LatentCodes
from vaelab.models import Model
from vaelab.randomness import stream

# Probes are fitted on at most this many training images, chosen by the seed.
PROBE_TRAIN_IMAGES = 10_000


def describe_latents(
    model: Model, scores: Scores, settings: EvaluateSettings, device: torch.device
) -> tuple[LatentCodes, dict[str, float | int]]:
    """Give the codes with their table of dimensions, and the metrics that apply."""
    posterior = _posterior(scores)
    # One latent of each image: together a sample of the aggregate posterior.
    drawn = posterior.rsample(stream(settings.seed, "evaluation/aggregate", device))
    standard, noise = model.has_standard_prior, stream(settings.seed, "evaluation/prior", device)
    threshold = settings.active_unit_threshold
    table = summary.dimension_table(posterior, drawn, threshold, standard_prior=standard)
    metrics = summary.dimension_metrics(table)
    if isinstance(posterior, DiagonalGaussian):
        rate = scores["kl_loss"] if model.has_bound else model.kl(posterior, drawn)
        metrics |= summary.information_metrics(posterior, drawn, rate, settings)
    prior = None if standard else model.prior(summary.MMD_POINTS, noise)
    metrics |= summary.prior_metrics(drawn, prior, settings)
    return _codes(posterior, scores, table), metrics


def _posterior(scores: Scores) -> Posterior:
    if "stddev" in scores:
        return DiagonalGaussian(scores["mean"], scores["stddev"])
    return PointMass(scores["mean"])


def _codes(posterior: Posterior, scores: Scores, table: dict[str, NDArray[Any]]) -> LatentCodes:
    stddevs = scores.get("stddev", torch.zeros_like(posterior.mean))
    return LatentCodes(summary.array(posterior.mean), summary.array(stddevs), table)


def label_metrics(
    model: Model, data: EvaluationData, test_means: Tensor, settings: EvaluateSettings
) -> dict[str, float]:
    """Measure how much of the labels the latents hold; nothing without two classes."""
    if data.train_labels is None or data.test_labels is None:
        return {}
    rows = summary.choose(len(data.train), PROBE_TRAIN_IMAGES, settings.seed, "probe")
    labels = data.train_labels[rows.numpy()]
    if len(np.unique(labels)) < 2:
        return {}
    pixels = stream(settings.seed, "evaluation/train-pixels", test_means.device)
    batches = torch.split(rows, settings.batch_size)
    means = torch.cat([model.encode(data.train.take(some, pixels)).mean for some in batches])
    fitted_on = (summary.array(means), labels)
    scored_on = (summary.array(test_means), data.test_labels)
    return {
        "linear_probe_accuracy": probes.linear_probe_accuracy(*fitted_on, *scored_on),
        "knn_accuracy": probes.knn_accuracy(*fitted_on, *scored_on, settings.neighbours),
    }
