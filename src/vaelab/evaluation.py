"""The report on a trained model: test bounds in nats per image, and its latent space.

Values are kept for each image and averaged once, in float64, by image count. A metric that
does not apply to a model or a data set is absent, never zero or NaN.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from vaelab.config import EvaluateSettings, UserError
from vaelab.data.batches import ImageBatches
from vaelab.distributions import DiagonalGaussian, PointMass, Posterior
from vaelab.estimators import as_float64, probes, summary
from vaelab.estimators import mean_over_images as mean
from vaelab.estimators.importance import bits_per_dim, importance_weighted_log_likelihood
from vaelab.models import Model
from vaelab.randomness import stream

Metrics = dict[str, dict[str, float | int | str]]
Scores = Mapping[str, Tensor]

# Probes are fitted on at most this many training images, chosen by the seed.
PROBE_TRAIN_IMAGES = 10_000


@dataclass(frozen=True)
class EvaluationData:
    """What a model is measured on; the test split's images must be the same at each access.

    `levels` is how many grey levels a pixel can have: 256 for 8-bit images, 2 for binary ones.
    """

    name: str
    levels: int
    train: ImageBatches
    test: ImageBatches
    train_labels: NDArray[np.int64] | None = None
    test_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class LatentCodes:
    """The posterior of every test image, in the order of the files, and a table by dimension.

    `means` and `stddevs` are [images, latent]; `dimensions` has the columns, of length
    `latent`, that `estimators.summary.dimension_table` names.
    """

    means: NDArray[np.float32]
    stddevs: NDArray[np.float32]
    dimensions: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Evaluation:
    """Metrics by group and name, and the latents where the model has an encoder."""

    metrics: Metrics
    latents: LatentCodes | None


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
        scores = _score(model, data.test, settings, device)
        metrics["test"] = {**_test_metrics(scores, settings), **_bits(scores, model, data.levels)}
        posterior = _posterior(scores)
        table, described = _describe_latents(model, posterior, scores, settings, device)
        metrics["latent"] |= described
        _check_finite(metrics)
        metrics["latent"] |= _label_metrics(model, data, scores["mean"], settings)
    stddevs = scores.get("stddev", torch.zeros_like(posterior.mean))
    codes = LatentCodes(summary.array(posterior.mean), summary.array(stddevs), table)
    return Evaluation(metrics, codes)


def _posterior(scores: Scores) -> Posterior:
    if "stddev" in scores:
        return DiagonalGaussian(scores["mean"], scores["stddev"])
    return PointMass(scores["mean"])


def _describe_latents(
    model: Model,
    posterior: Posterior,
    scores: Scores,
    settings: EvaluateSettings,
    device: torch.device,
) -> tuple[dict[str, NDArray[Any]], dict[str, float | int]]:
    """Give the table of dimensions, and the metrics of the latent space that apply."""
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
    return table, metrics | summary.prior_metrics(drawn, prior, settings)


def _score(
    model: Model, test: ImageBatches, settings: EvaluateSettings, device: torch.device
) -> Scores:
    """Give every test image's values, [images] or [images, latent], by name."""
    # Codes are the same at each draw; without a bound there is nothing to draw for.
    drawn = model.has_bound and model.posterior == "gaussian"
    samples = settings.importance_samples if drawn else 1
    noise = stream(settings.seed, "evaluation/noise", device)
    pixels = stream(settings.seed, "evaluation/test-pixels", device)
    with tqdm(total=samples * len(test), desc="evaluation", unit_scale=True, disable=None) as bar:
        batches = [
            _score_batch(model, images, samples, noise, bar.update)
            for images in test.ordered(settings.batch_size, pixels)
        ]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _score_batch(
    model: Model,
    images: Float[Tensor, "batch channel height width"],
    samples: int,
    noise: torch.Generator,
    progress: Callable[[int], object],
) -> Scores:
    posterior = model.encode(images)
    latents = posterior.rsample(noise)
    decoded = model.decode(latents)
    scores = {
        "mean": posterior.mean,
        "mean_squared_error": (decoded.mean - images).square().flatten(1).mean(1),
    }
    if not model.has("discriminator"):
        scores["generation_loss"] = -decoded.log_prob(images)
    if isinstance(posterior, DiagonalGaussian):
        scores["stddev"] = posterior.stddev
    if not model.has_bound:
        progress(len(images))
        return scores
    scores["kl_loss"] = model.kl(posterior, latents)
    estimate = importance_weighted_log_likelihood(
        model, images, posterior, samples, noise, progress=progress
    )
    scores["nll"] = -estimate.log_likelihood
    scores["effective_sample_size"] = estimate.effective_sample_size
    if estimate.log_likelihood_at_half is not None:
        scores["nll_at_half"] = -estimate.log_likelihood_at_half
    return scores


def _test_metrics(scores: Scores, settings: EvaluateSettings) -> dict[str, float | int]:
    metrics: dict[str, float | int] = {"mean_squared_error": mean(scores["mean_squared_error"])}
    if "generation_loss" in scores:
        metrics["generation_loss_nats"] = mean(scores["generation_loss"])
    if "nll" not in scores:
        return metrics
    # negative ELBO = generation loss + KL loss: Kingma & Welling 2014, equation 3
    neg_elbo = as_float64(scores["generation_loss"]) + as_float64(scores["kl_loss"])
    metrics |= {
        "neg_elbo_nats": mean(neg_elbo),
        "kl_loss_nats": mean(scores["kl_loss"]),
        "nll_nats": mean(scores["nll"]),
        "nll_importance_samples": settings.importance_samples if "stddev" in scores else 1,
        "nll_effective_sample_size": mean(scores["effective_sample_size"]),
    }
    if "nll_at_half" in scores:
        # NLL at K samples less that at K // 2: seldom above 0, and near it where K is enough
        metrics["nll_change_on_doubling_nats"] = mean(scores["nll"] - scores["nll_at_half"])
    if len(neg_elbo) > 1:
        metrics["neg_elbo_standard_error_nats"] = _standard_error(neg_elbo)
        metrics["nll_standard_error_nats"] = _standard_error(scores["nll"])
    return metrics


def _bits(scores: Scores, model: Model, levels: int) -> dict[str, float]:
    pixels = math.prod(model.image_shape)
    if "nll" not in scores:
        return {}
    bits = bits_per_dim(mean(scores["nll"]), model.likelihood, pixels, levels)
    return {} if bits is None else {"bits_per_dim": bits}


def _label_metrics(
    model: Model, data: EvaluationData, test_means: Tensor, settings: EvaluateSettings
) -> dict[str, float]:
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


def _standard_error(values: Float[Tensor, "images"]) -> float:
    """Give the standard error of the mean over images."""
    return (as_float64(values).std() / math.sqrt(len(values))).item()


def _check_finite(metrics: Metrics) -> None:
    for group, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group}.{name} is {value}: the model's outputs are not finite")
