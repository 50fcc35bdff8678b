"""The likelihood of the two-stage model: decoder and a sampler's density as prior.

Dai & Wipf 2019, section 4: the second stage learns the aggregate posterior of the first, so that
p(x) = E[p(x|z)] over z of the sampler is a model of its own, whose bounds compare with the first's.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.estimators import as_float64, mean_over_images
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.likelihood import FittedImages
from vaelab.evaluation.types import GroupMetrics
from vaelab.models.distributions import DiagonalGaussian, LatentDistribution
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler

# Samples of the bound's posteriors, as a share of those of the likelihood
BOUND_SHARE = 0.25

Latents = Float[Tensor, "samples images latent"]
LogDensities = Float64[Tensor, "samples images"]


@torch.inference_mode()
def two_stage_metrics(
    fitted: FittedImages, sampler: Sampler, settings: EvaluateSettings, device: torch.device
) -> GroupMetrics:
    """Bound -ln p(x) of the two-stage model on images with fitted proposals, in nats.

    The bound `neg_elbo_nats` and `kl_loss_nats` are from samples of the posteriors, `nll_nats` from
    K = `settings.sampler_importance_samples` samples of an equal mixture of posterior and fitted
    proposal, since neither fits where sampler and prior differ; the gains are how much lower they
    are than with the model's own prior, on the same samples. The bound is from a share of K: its
    noise is that of which images there are.
    """
    samples = settings.sampler_importance_samples
    noise = rng_stream(settings.seed, "evaluation/two-stage", device)
    posterior = fitted.model.encode(fitted.images)
    assert isinstance(posterior, DiagonalGaussian)
    bound = _log_weights(fitted, sampler, posterior, math.ceil(BOUND_SHARE * samples), noise)
    both = EqualMixture(posterior, fitted.proposal)
    weights = _log_weights(fitted, sampler, both, samples, noise)
    gain = (bound.fitted - bound.own).mean(0)
    nll_gain = _log_mean(weights.fitted) - _log_mean(weights.own)
    effective = (2 * weights.fitted.logsumexp(0) - (2 * weights.fitted).logsumexp(0)).exp()
    metrics: GroupMetrics = {
        "likelihood_images": len(fitted.images),
        "neg_elbo_nats": -mean_over_images(bound.fitted.mean(0)),
        "kl_loss_nats": mean_over_images((bound.log_likelihood - bound.fitted).mean(0)),
        "nll_nats": -mean_over_images(_log_mean(weights.fitted)),
        "nll_importance_samples": samples,
        "nll_effective_sample_size": mean_over_images(effective),
        "neg_elbo_gain_nats": mean_over_images(gain),
        "nll_gain_nats": mean_over_images(nll_gain),
    }
    if len(fitted.images) > 1:
        metrics["neg_elbo_gain_standard_error_nats"] = standard_error(gain)
        metrics["nll_gain_standard_error_nats"] = standard_error(nll_gain)
    return metrics


@dataclass(frozen=True)
class EqualMixture:
    """The mixture of two proposals with equal weights."""

    first: LatentDistribution
    second: LatentDistribution

    def rsample(self, generator: torch.Generator, samples: int) -> Latents:
        """Sample each latent from either proposal."""
        first, second = (each.rsample(generator, samples) for each in (self.first, self.second))
        device = first.device
        uniform = torch.rand((*first.shape[:2], 1), generator=generator, device=device)
        return torch.where(uniform < 0.5, first, second)

    def log_prob(self, latents: Latents) -> Float[Tensor, "samples images"]:
        """Compute the log density in nats."""
        both = torch.stack([each.log_prob(latents) for each in (self.first, self.second)])
        return both.logsumexp(0) - math.log(2)


@dataclass(frozen=True)
class _LogWeights:
    """ln p(x|z), and ln p(x, z) / q(z) with the sampler's density and with the model's prior."""

    log_likelihood: LogDensities
    fitted: LogDensities
    own: LogDensities


def _log_weights(
    fitted: FittedImages,
    sampler: Sampler,
    proposal: LatentDistribution,
    samples: int,
    noise: torch.Generator,
) -> _LogWeights:
    model, images = fitted.model, fitted.images
    latents = proposal.rsample(noise, samples)
    # One sample of each image at a time: decoded images are large
    decoded = [as_float64(model.decode(z).log_prob(images)) for z in latents]
    log_likelihood, log_q = torch.stack(decoded), as_float64(proposal.log_prob(latents))
    own = as_float64(model.log_prior(latents))
    density = sampler_log_prior(model, sampler, latents, fitted.labels)
    rest = log_likelihood - log_q
    return _LogWeights(log_likelihood, rest + density, rest + own)


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
