"""The group `test`: losses, bounds and likelihood of every test image, in nats."""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import as_float64
from vaelab.estimators import mean_over_images as mean
from vaelab.estimators.importance import bits_per_dim, importance_weighted_log_likelihood
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.decoding_precision import ROUNDING, in_bfloat16, rounding_of_bound
from vaelab.evaluation.types import Arrays, GroupMetrics
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.models.observation import mean_squared_error
from vaelab.runtime.random_streams import rng_stream

Scores = Mapping[str, Tensor]
BOUNDS = ("nll", "effective_sample_size", "nll_at_half", "pixels")
"""What K samples are needed for, and the pixels of the same images."""


def score_test_images(
    model: Model, test: ImageLoader, settings: EvaluateSettings, device: torch.device
) -> Scores:
    """Compute the values of every test image, [images] or [images, latent], by name.

    The K-sample bound and what belongs to it are those of `bound_images` of them, if that is less.
    `nll_rounding` is of some images, and only where the bound is decoded in bfloat16.
    """
    # A point mass has equal samples, and without a bound there is nothing to estimate.
    importance_sampled = model.has_bound and model.posterior == "gaussian"
    samples = settings.importance_samples if importance_sampled else 1
    rows = sample_rows(len(test), settings.bound_images or len(test), settings.seed, "bound")
    is_part = importance_sampled and len(rows) < len(test)
    rounding = rounding_of_bound(model, test, rows, settings, device) if importance_sampled else {}
    noise = rng_stream(settings.seed, "evaluation/noise", device)
    pixels = rng_stream(settings.seed, "evaluation/test-pixels", device)
    with tqdm(total=samples * len(rows), desc="evaluation", unit_scale=True, disable=None) as bar:
        scores = _joined(
            score_batch(
                model.given(labels),
                images,
                0 if is_part else samples,
                noise,
                bar.update,
                is_rounded=bool(rounding),
            )
            for images, labels in test.sequential(settings.batch_size, pixels)
        )
        if is_part:
            bounds = _joined(
                score_batch(
                    model.given(test.labels_at(part)),
                    test.gather(part, pixels),
                    samples,
                    noise,
                    bar.update,
                    is_rounded=bool(rounding),
                )
                for part in torch.split(rows, settings.batch_size)
            )
            scores |= {name: bounds[name] for name in BOUNDS if name in bounds}
    return {**scores, **rounding}


def _joined(batches: Iterable[Scores]) -> dict[str, Tensor]:
    scored = list(batches)
    return {name: torch.cat([batch[name] for batch in scored]) for name in scored[0]}


def score_batch(
    model: Model,
    images: Float[Tensor, "batch channel height width"],
    samples: int,
    noise: torch.Generator,
    progress: Callable[[int], object],
    *,
    is_rounded: bool = False,
) -> Scores:
    """Compute the values of each image of a batch, of labels that the model is given.

    Without `samples` there is no K-sample bound among them; it alone is decoded in bfloat16 if it
    `is_rounded`.
    """
    posterior = model.encode(images)
    latents = posterior.rsample(noise)
    decoded = model.decode(latents)
    scores = {
        "mean": posterior.mean,
        "mean_squared_error": mean_squared_error(decoded.mean, images),
        "pixels": (~images.isnan()).flatten(1).sum(1),
    }
    if not model.has("discriminator"):
        scores["generation_loss"] = -decoded.log_prob(images)
    if isinstance(posterior, DiagonalGaussian):
        scores["stddev"] = posterior.stddev
    if not model.has_bound:
        progress(len(images))
        return scores
    scores["kl_loss"] = model.kl(posterior, latents)
    if not samples:
        return scores
    decoder = in_bfloat16(model) if is_rounded else model
    estimate = importance_weighted_log_likelihood(
        decoder, images, posterior, samples, noise, progress=progress
    )
    scores["nll"] = -estimate.log_likelihood
    scores["effective_sample_size"] = estimate.effective_sample_size
    if estimate.log_likelihood_at_half is not None:
        scores["nll_at_half"] = -estimate.log_likelihood_at_half
    return scores


def bound_metrics(
    scores: Scores, model: Model, levels: int, settings: EvaluateSettings
) -> GroupMetrics:
    """Average the scores over images; pixels have `levels` gray levels."""
    metrics: GroupMetrics = {"mean_squared_error": mean(scores["mean_squared_error"])}
    if "generation_loss" in scores:
        metrics["generation_loss_nats"] = mean(scores["generation_loss"])
    if "kl_loss" not in scores:
        return metrics
    # negative ELBO = generation loss + KL loss: Kingma & Welling 2014, equation 3
    neg_elbo = as_float64(scores["generation_loss"]) + as_float64(scores["kl_loss"])
    metrics |= {
        "neg_elbo_nats": mean(neg_elbo),
        "kl_loss_nats": mean(scores["kl_loss"]),
        "nll_nats": mean(scores["nll"]),
        "nll_images": len(scores["nll"]),
        "nll_importance_samples": settings.importance_samples if "stddev" in scores else 1,
        "nll_effective_sample_size": mean(scores["effective_sample_size"]),
    }
    if "nll_at_half" in scores:
        # NLL at K minus NLL at K // 2 samples: rarely above 0, and near 0 if K is large enough
        metrics["nll_change_on_doubling_nats"] = mean(scores["nll"] - scores["nll_at_half"])
    if ROUNDING in scores:
        metrics["nll_rounding_nats"] = mean(scores[ROUNDING])
        metrics["nll_rounding_standard_error_nats"] = standard_error(scores[ROUNDING])
    if len(neg_elbo) > 1:
        metrics["neg_elbo_standard_error_nats"] = standard_error(neg_elbo)
    if len(scores["nll"]) > 1:
        metrics["nll_standard_error_nats"] = standard_error(scores["nll"])
    pixels = mean(scores["pixels"].double())
    bits = bits_per_dim(mean(scores["nll"]), model.likelihood, pixels, levels)
    return metrics if bits is None else metrics | {"bits_per_dim": bits}


def per_image(scores: Scores) -> Arrays:
    """Return the NLL in nats and the effective sample size of each test image, for figures."""
    names = {"nll", "effective_sample_size"} & scores.keys()
    return {name: scores[name].cpu().numpy() for name in sorted(names)}
