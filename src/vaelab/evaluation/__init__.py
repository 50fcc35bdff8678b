"""Evaluation of a trained model: likelihood bounds in nats per image, latent space, samples.

`evaluate` measures groups of metrics, one module a group: `bounds` and `reconstructions` (test),
`latent` and `factors` (latent, disentanglement), `likelihood`, `ais_metrics` (annealing), `samples`
(samples, sampler), and for the latter `label_samples` and `two_stage`. Values are kept for each
image and averaged once, in float64. A metric that does not apply to a model or a data set is
absent, never zero or NaN.
"""

import math
from collections.abc import Collection

import torch

from vaelab.config import EvaluateSettings, UserError
from vaelab.evaluation import bounds, latent, reconstructions
from vaelab.evaluation.ais_metrics import annealing_metrics
from vaelab.evaluation.classifier import Classifier
from vaelab.evaluation.factors import factor_metrics
from vaelab.evaluation.image_counts import for_images
from vaelab.evaluation.label_samples import label_sample_metrics
from vaelab.evaluation.likelihood import fit_test_images, likelihood_metrics
from vaelab.evaluation.samples import sample_metrics
from vaelab.evaluation.training_latents import encode_training_images
from vaelab.evaluation.two_stage import two_stage_metrics
from vaelab.evaluation.types import Evaluation, EvaluationData, LatentPosteriors, Metrics
from vaelab.models.model import Model
from vaelab.samplers import Sampler

__all__ = ["GROUPS", "Evaluation", "EvaluationData", "LatentPosteriors", "Metrics", "evaluate"]

ENCODER_GROUPS = {"test", "latent", "disentanglement"}
GROUPS = (*sorted(ENCODER_GROUPS), "likelihood", "annealing", "samples")


def evaluate(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
    classifier: Classifier | None = None,
    groups: Collection[str] = GROUPS,
    sampler: Sampler | None = None,
) -> Evaluation:
    """Measure a model, which is in evaluation mode, its fitted variance frozen.

    The same seed, batch size and device give the same metrics. `classifier` provides features for
    the group `samples`, and `sampler` latents for the group `sampler`; `groups` selects what is
    measured, `sampler` with `samples`. Of large images some settings that are `auto` are lower
    (`image_counts`). Raises ValueError for a model in training mode, an empty
    test split or an unknown group, UserError for a metric that is not finite and for a classifier
    of images of another shape.
    """
    _check_arguments(model, data, classifier, groups)
    settings = for_images(settings, model.image_shape)
    encoded = _encoder_groups(model, data, settings, device, groups)
    metrics, arrays = encoded.metrics, dict(encoded.arrays)
    if "annealing" in groups:
        annealing = annealing_metrics(model, data.test, data.train, settings, device)
        metrics |= {"annealing": dict(annealing)} if annealing else {}
    if "samples" in groups:
        found, more = sample_metrics(model, data, classifier, settings, device, sampler)
        for group, source in (("samples", None), ("sampler", sampler)):
            if group in found:
                found[group] |= label_sample_metrics(
                    model, source, data, classifier, settings, device
                )
        metrics, arrays = metrics | found, arrays | more
    for group, values in _likelihoods(model, data, settings, device, groups, sampler).items():
        metrics.setdefault(group, {}).update(values)
    _check_finite(metrics)
    return Evaluation(metrics, encoded.latents, arrays)


def _check_arguments(
    model: Model, data: EvaluationData, classifier: Classifier | None, groups: Collection[str]
) -> None:
    if unknown := set(groups) - set(GROUPS):
        raise ValueError(f"unknown groups {sorted(unknown)}; valid: {', '.join(GROUPS)}")
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before evaluating it")
    if not len(data.test):
        raise ValueError(f"{data.name}: the test split has no images to evaluate on")
    if classifier and classifier.image_shape != model.image_shape:
        raise UserError(
            f"the classifier was trained on images of shape {list(classifier.image_shape)}, the "
            f"model on {list(model.image_shape)}"
        )


def _likelihoods(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
    groups: Collection[str],
    sampler: Sampler | None,
) -> Metrics:
    """Measure what is computed from fitted proposals, for the model and with a sampler as prior."""
    two_stage = sampler is not None and {"samples", "test"} <= set(groups)
    if not two_stage and "likelihood" not in groups:
        return {}
    fitted = fit_test_images(model, data.test, settings, device)
    if fitted is None:
        return {}
    metrics: Metrics = {}
    if "likelihood" in groups:
        metrics["likelihood"] = likelihood_metrics(fitted, settings, device)
    if sampler is not None and two_stage:
        found = two_stage_metrics(fitted, sampler, settings, device)
        metrics["sampler"] = {"name": sampler.name, **found}
    return metrics


def _encoder_groups(
    model: Model,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
    groups: Collection[str],
) -> Evaluation:
    """Measure the groups that need an encoder; without one, return the sizes only."""
    metrics: Metrics = {
        "dataset": {"name": data.name, "test_images": len(data.test)},
        "latent": {"dimensions": model.latent_dim},
    }
    if not (model.has("encoder") and ENCODER_GROUPS & set(groups)):
        return Evaluation(metrics, None)
    if "test" not in groups:
        # The latents do not depend on the number of importance samples.
        settings = settings.model_copy(update={"importance_samples": 1})
    with torch.inference_mode():
        scores = bounds.score_test_images(model, data.test, settings, device)
        per_image = bounds.per_image(scores)
        if "test" in groups:
            metrics["test"] = bounds.bound_metrics(scores, model, data.levels, settings)
            quality = reconstructions.score_reconstructions(model, data, settings, device)
            metrics["test"] |= reconstructions.reconstruction_metrics(quality)
            per_image |= reconstructions.per_image(quality)
        latents, latent_metrics = latent.describe_latents(model, scores, settings, device)
        metrics["latent"] |= latent_metrics
        _check_finite(metrics)  # before latents that are not finite reach scikit-learn
        path_metrics, arrays = latent.interpolation_metrics(
            model, latents, data.test, settings, device
        )
        metrics["latent"] |= path_metrics
        if data.train_labels is not None or data.train_factors is not None:
            training = encode_training_images(model, data.train, settings)
            metrics["latent"] |= latent.label_metrics(data, training, latents, settings)
            if "disentanglement" in groups:
                disentanglement, matrices = factor_metrics(data, training, latents, settings)
                metrics |= {"disentanglement": disentanglement} if disentanglement else {}
                arrays |= matrices
    return Evaluation(metrics, latents, per_image | arrays)


def _check_finite(metrics: Metrics) -> None:
    for group, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{name} is {value}: the model's outputs are not finite")
