"""The likelihood of the two-stage model: decoder and a sampler's density as prior.

Dai & Wipf 2019, section 4: the second stage learns the aggregate posterior of the first, so that
p(x) = E[p(x|z)] over z of the sampler is a model of its own, whose bounds compare with the first's.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.estimators import as_float64, mean_over_images
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.types import EvaluationData, GroupMetrics
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler

Latents = Float[Tensor, "samples images latent"]
LogDensities = Float64[Tensor, "samples images"]


@torch.inference_mode()
def two_stage_metrics(
    model: Model,
    sampler: Sampler,
    data: EvaluationData,
    settings: EvaluateSettings,
    device: torch.device,
) -> GroupMetrics:
    """Bound -ln p(x) of the two-stage model on `settings.sampler_images` test images, in nats.

    `neg_elbo_nats`, `kl_loss_nats` and, from K = `settings.sampler_importance_samples` samples of
    each posterior, `nll_nats`; the gains are how much lower bound and NLL are than with the model's
    own prior, on the same samples. Empty for models without a bound, and for discrete latents.
    """
    if not model.has_bound or model.is_discrete:
        return {}
    rows = sample_rows(len(data.test), settings.sampler_images, settings.seed, "two-stage")
    images = data.test.gather(rows, rng_stream(settings.seed, "evaluation/test-pixels", device))
    labels = data.test.labels_at(rows)
    given, samples = model.given(labels), settings.sampler_importance_samples
    posterior = given.encode(images)
    assert isinstance(posterior, DiagonalGaussian)
    latents = posterior.rsample(rng_stream(settings.seed, "evaluation/two-stage", device), samples)
    log_q = as_float64(posterior.log_prob(latents))
    # One sample of each image at a time: decoded images are large
    rest = torch.stack([as_float64(given.decode(z).log_prob(images)) for z in latents]) - log_q
    own = as_float64(given.log_prior(latents))
    fitted = sampler_log_prior(model, sampler, latents, labels)
    gain, nll_gain = (fitted - own).mean(0), _log_mean(rest + fitted) - _log_mean(rest + own)
    weights = rest + fitted
    effective = (2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp()
    metrics: GroupMetrics = {
        "likelihood_images": len(rows),
        "neg_elbo_nats": -mean_over_images(weights.mean(0)),
        "kl_loss_nats": mean_over_images((log_q - fitted).mean(0)),
        "nll_nats": -mean_over_images(_log_mean(weights)),
        "nll_importance_samples": samples,
        "nll_effective_sample_size": mean_over_images(effective),
        "neg_elbo_gain_nats": mean_over_images(gain),
        "nll_gain_nats": mean_over_images(nll_gain),
    }
    if len(rows) > 1:
        metrics["neg_elbo_gain_standard_error_nats"] = standard_error(gain)
        metrics["nll_gain_standard_error_nats"] = standard_error(nll_gain)
    return metrics


def sampler_log_prior(
    model: Model, sampler: Sampler, latents: Latents, labels: Int64[Tensor, "images"] | None
) -> LogDensities:
    """Return the sampler's ln p(z) in nats, or ln p(z|y) for a model that sees the label y.

    Of an unconditional model and a conditional sampler it is ln p(z|y) + ln p(y), a term of the sum
    over labels that is p(z): a lower bound of ln p(z), close for latents of images with label y,
    that takes one evaluation of the density instead of one a label. The likelihood of the two-stage
    model is then bounded from below as well. Where a label is unknown, or not in the training
    split, all images get the sum.
    """
    if labels is None or not sampler.seen(labels).all():
        return as_float64(sampler.log_prob(latents))
    found = as_float64(sampler.log_prob(latents, labels))
    return found if model.classes else found + sampler.label_log_frequencies[labels].double()


def _log_mean(log_weights: LogDensities) -> Float64[Tensor, "images"]:
    return log_weights.logsumexp(0) - math.log(len(log_weights))
