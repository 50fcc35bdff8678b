"""The report on a trained model: test bounds in nats per image, and its latent space.

Values are kept for each image and averaged once, in float64, by image count. A metric that
does not apply to a model or a data set is absent, never zero or NaN.
"""

import math

import torch

from vaelab.config import EvaluateSettings, UserError
from vaelab.evaluation import bounds, latent
from vaelab.evaluation.subjects import Evaluation, EvaluationData, LatentCodes, Metrics
from vaelab.models import Model

__all__ = ["Evaluation", "EvaluationData", "LatentCodes", "Metrics", "evaluate"]


def evaluate(
    model: Model, data: EvaluationData, settings: EvaluateSettings, device: torch.device
) -> Evaluation:
    """Measure a model in evaluation mode, a fitted variance already frozen.

    The same seed, batch size and device give the same metrics. Raises ValueError for a model
    in training mode or an empty test split, UserError for a metric that is not finite.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before evaluating it")
    if not len(data.test):
        raise ValueError(f"{data.name}: the test split has no images to evaluate on")
    metrics: Metrics = {
        "dataset": {"name": data.name, "test_images": len(data.test)},
        "latent": {"dimensions": model.latent_dim},
    }
    if not model.has("encoder"):
        return Evaluation(metrics, None)
    with torch.inference_mode():
        scores = bounds.score(model, data.test, settings, device)
        metrics["test"] = {
            **bounds.average(scores, settings),
            **bounds.bits(scores, model, data.levels),
        }
        codes, described = latent.describe_latents(model, scores, settings, device)
        metrics["latent"] |= described
        _check_finite(metrics)
        metrics["latent"] |= latent.label_metrics(model, data, scores["mean"], settings)
    return Evaluation(metrics, codes)


def _check_finite(metrics: Metrics) -> None:
    for group, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{name} is {value}: the model's outputs are not finite")
