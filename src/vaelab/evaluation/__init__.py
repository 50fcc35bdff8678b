"""The report on a trained model: bounds in nats per image, the latent space, the samples.

Values are kept for each image and averaged once, in float64, by image count. A metric that
does not apply to a model or a data set is absent, never zero or NaN.
"""

import math
from collections.abc import Collection

import numpy as np
import torch

from vaelab.config import EvaluateSettings, UserError
from vaelab.evaluation import bounds, latent
from vaelab.evaluation.ais_metrics import annealing_metrics
from vaelab.evaluation.classifier import Classifier
from vaelab.evaluation.factors import factor_report
from vaelab.evaluation.samples import sample_metrics
from vaelab.evaluation.training_latents import encode_training_images
from vaelab.evaluation.types import Arrays, Evaluation, EvaluationData, LatentPosteriors, Metrics
from vaelab.models.model import Model

__all__ = ["GROUPS", "Evaluation", "EvaluationData", "LatentPosteriors", "Metrics", "evaluate"]

WITH_ENCODER = {"test", "latent", "disentanglement"}
# What can be measured.
GROUPS = (*sorted(WITH_ENCODER), "annealing", "samples")


def evaluate(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
    classifier: Classifier | None = None,
    groups: Collection[str] = GROUPS,
) -> Evaluation:
    """Measure a model in evaluation mode, a fitted variance already frozen.

    The same seed, batch size and device give the same metrics. `classifier` gives features for
    `samples`; `groups` names what is measured. Raises ValueError for a model in training mode, an
    empty test split or another group, UserError for a metric that is not finite and a classifier of
    images of another shape.
    """
    if unknown := set(groups) - set(GROUPS):
        raise ValueError(f"{sorted(unknown)} are none of the groups {', '.join(GROUPS)}")
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before evaluating it")
    if not len(data.test):
        raise ValueError(f"{data.name}: the test split has no images to evaluate on")
    if classifier and classifier.image_shape != model.image_shape:
        raise UserError(
            f"the classifier is one of images of {list(classifier.image_shape)}, the model one of "
            f"{list(model.image_shape)}"
        )
    found = _encoded(model, data, settings, device, groups)
    metrics, arrays = found.metrics, dict(found.arrays)
    if "annealing" in groups:
        annealed = annealing_metrics(model, data.test, data.train, settings, device)
        metrics |= {"annealing": dict(annealed)} if annealed else {}
    if "samples" in groups:
        drawn, pictures = sample_metrics(model, data, classifier, settings, device)
        metrics |= {"samples": drawn} if drawn else {}
        arrays |= pictures
    _check_finite(metrics)
    return Evaluation(metrics, found.latents, arrays)


def _encoded(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
    groups: Collection[str],
) -> Evaluation:
    """Measure what needs an encoder."""
    metrics: Metrics = {
        "dataset": {"name": data.name, "test_images": len(data.test)},
        "latent": {"dimensions": model.latent_dim},
    }
    if not (model.has("encoder") and WITH_ENCODER & set(groups)):
        return Evaluation(metrics, None)
    # The latents are the same with one sample an image.
    few = settings if "test" in groups else settings.model_copy(update={"importance_samples": 1})
    with torch.inference_mode():
        scores = bounds.score_test_images(model, data.test, few, device)
        if "test" in groups:
            bits = bounds.bits(scores, model, data.levels)
            metrics["test"] = {**bounds.average_scores(scores, few), **bits}
        codes, described = latent.describe_latents(model, scores, settings, device)
        metrics["latent"] |= described
        _check_finite(metrics)
        smoothness, ways = latent.interpolation_metrics(model, codes, settings, device)
        metrics["latent"] |= smoothness
        known, matrices = _supervised_metrics(model, data, codes, settings, groups)
    metrics["latent"] |= known.pop("latent", {})
    return Evaluation(metrics | known, codes, bounds.per_image(scores) | ways | matrices)


def _supervised_metrics(
    model: Model,
    data: EvaluationData,
    codes: LatentPosteriors,
    settings: EvaluateSettings,
    groups: Collection[str],
) -> tuple[Metrics, Arrays]:
    """Measure what the latents say of known labels and factors."""
    if data.train_labels is None and data.train_factors is None:
        return {}, {}
    training = encode_training_images(model, data.train, settings)
    metrics: Metrics = {"latent": dict(latent.label_metrics(data, training, codes, settings))}
    report = factor_report(data, training, codes, settings) if "disentanglement" in groups else None
    if not (report and report.metrics):
        return metrics, {}
    matrices = {
        "factor_mutual_information": report.mutual_information,
        "dci_importance": report.importance,
        "factor_columns": np.array(report.factors),
    }
    return metrics | {"disentanglement": dict(report.metrics)}, matrices


def _check_finite(metrics: Metrics) -> None:
    for group, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{name} is {value}: the model's outputs are not finite")
