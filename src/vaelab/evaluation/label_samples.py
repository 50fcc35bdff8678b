"""Samples of given labels: whether the classifier reads them as asked, and how they vary."""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.estimators import as_float64
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation.classifier import Classifier, features_and_classes
from vaelab.evaluation.samples import decoded_batches
from vaelab.evaluation.types import EvaluationData, GroupMetrics
from vaelab.inference.sampling import sample_latents_of_labels
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler

Features = Float64[Tensor, "count feature"]
Labels = Int64[Tensor, "count"]


@torch.inference_mode()
def label_sample_metrics(
    model: Model,
    sampler: Sampler | None,
    data: EvaluationData,
    classifier: Classifier | None,
    settings: EvaluateSettings,
    device: torch.device,
) -> GroupMetrics:
    """Measure samples of given labels, equally many of each label that both splits have.

    `label_accuracy` is the share of samples that the classifier reads as asked. `label_diversity`
    is the mean over labels of the variance of the classifier's features within a label, relative
    to that of the test images: 1 is as diverse as these. Samples are of the sampler, or without
    one of the prior; nothing is measured where that is not conditional, or without a classifier.
    """
    conditional = model.classes if sampler is None else sampler.classes
    if classifier is None or not conditional or data.test_labels is None:
        return {}
    rows = sample_rows(len(data.test), settings.samples, settings.seed, "label-samples")
    real_labels = torch.from_numpy(data.test_labels[rows.numpy()]).to(device)
    shares = model.label_frequencies if sampler is None else sampler.label_frequencies
    known = torch.unique(real_labels[torch.isin(real_labels, shares.nonzero().to(device))])
    if not len(known):
        return {}
    asked = known.repeat(math.ceil(len(rows) / len(known)))
    noise = rng_stream(settings.seed, "evaluation/label-samples", device)
    given, latents = sample_latents_of_labels(model, sampler, asked, noise)
    images = torch.cat(list(decoded_batches(given, latents, data, settings)))
    features, predicted = features_and_classes(classifier, images)
    real = data.test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
    real_features, _ = features_and_classes(classifier, real)
    metrics: GroupMetrics = {"label_accuracy": (predicted == asked).double().mean().item()}
    variances = [
        (_variance(features[asked == label]), _variance(real_features[real_labels == label]))
        for label in known
        if (real_labels == label).sum() > 1
    ]
    if variances and min(of_real for _, of_real in variances) > 0:
        ratios = [sampled / of_real for sampled, of_real in variances]
        metrics["label_diversity"] = sum(ratios) / len(ratios)
    return metrics


def _variance(features: Tensor) -> float:
    """Return the variance of points around their mean, summed over features."""
    return as_float64(features).var(0).sum().item()
