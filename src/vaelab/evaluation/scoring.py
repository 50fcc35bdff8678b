"""Scores of a trained model on held-out images that do not depend on its KL weight.

The weighted loss cannot compare weights: it is lowest at the smallest one. These scores are in
nats per image at weight 1, of a normalized likelihood: a Gaussian's variance, set or fitted, is
replaced by its best value on the training split, s2 = SSE / (N P) (Rybkin et al. 2021,
sigma-VAE), because a fixed variance would favor the weight that it corresponds to.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vaelab.data.loader import ImageLoader
from vaelab.estimators import as_float64
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.models.likelihoods import GaussianLikelihood, Likelihood
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

BATCH = 500
# Images to which the variance is fitted; the training loop uses as many between epochs.
FIT_IMAGES = 5_000


@dataclass(frozen=True)
class ImageScores:
    """Nats of each image, lower is better: the importance-weighted NLL and the two losses.

    `effective_sample_size`, between 1 and K, tells how far the NLL can be trusted: near 1, one
    sample decides it, and the NLL is too high, by less for wider posteriors.
    """

    nll: Float64[Tensor, "images"]
    effective_sample_size: Float64[Tensor, "images"]
    generation_loss: Float64[Tensor, "images"]
    kl_loss: Float64[Tensor, "images"]

    @property
    def neg_elbo(self) -> Float64[Tensor, "images"]:
        """The negative evidence lower bound, at weight 1."""
        return self.generation_loss + self.kl_loss

    def mean_losses(self) -> dict[str, float]:
        """Return the means over images of the two losses and of their sum, the negative ELBO."""
        generation, kl = self.generation_loss.mean().item(), self.kl_loss.mean().item()
        return {
            "neg_elbo_nats": generation + kl,
            "generation_loss_nats": generation,
            "kl_loss_nats": kl,
        }

    def means(self) -> dict[str, float]:
        """Return all means over images."""
        return self.mean_losses() | {
            "nll_nats": self.nll.mean().item(),
            "nll_effective_sample_size": self.effective_sample_size.mean().item(),
        }


@contextmanager
def with_fitted_variance(model: Model, train: ImageLoader, seed: int) -> Iterator[float | None]:
    """Replace a Gaussian likelihood's variance by the best one for train, within the context.

    Yields that variance, the mean squared error of a pixel; None for other likelihoods.
    """
    likelihood, variance = model.likelihood, None
    try:
        if isinstance(likelihood, GaussianLikelihood):
            fitted = GaussianLikelihood(None, linear=likelihood.linear)
            model.likelihood = fitted.to(train.device).eval()
            noise = rng_stream(seed, "scoring/fit", train.device)
            model.fit_likelihood(train.subsample(BATCH, noise, FIT_IMAGES), noise)
            variance = fitted.variance.item()
        yield variance
    finally:
        model.likelihood = likelihood


@torch.inference_mode()
def score_images(model: Model, images: ImageLoader, samples: int, seed: int) -> ImageScores:
    """Score every image with K = `samples` importance samples; a seed fixes the noise.

    The model must be in evaluation mode and its likelihood normalized. Burda et al. 2016,
    equation 8; Kingma & Welling 2014, equation 3.
    """
    noise = rng_stream(seed, "scoring/noise", images.device)
    pixels = rng_stream(seed, "scoring/pixels", images.device)
    parts = [
        _score(model.given(labels), part, samples, noise)
        for part, labels in images.sequential(BATCH, pixels)
    ]
    return ImageScores(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@torch.inference_mode()
def mean_effective_sample_size(model: Model, images: ImageLoader, samples: int, seed: int) -> float:
    """Return the effective sample size of K = `samples`, the mean over the first 500 images."""
    noise = rng_stream(seed, "scoring/effective-sample-size", images.device)
    pixels = rng_stream(seed, "scoring/pixels", images.device)
    part, labels = next(iter(images.sequential(BATCH, pixels)))
    given = model.given(labels)
    posterior = given.encode(part)
    estimate = importance_weighted_log_likelihood(given, part, posterior, samples, noise)
    return estimate.effective_sample_size.mean().item()


def _score(
    model: Model, images: Tensor, samples: int, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    posterior = model.encode(images)
    estimate = importance_weighted_log_likelihood(model, images, posterior, samples, noise)
    latents = posterior.rsample(noise)
    generation = -model.decode(latents).log_prob(images)
    kl = model.kl(posterior, latents)
    sizes = estimate.effective_sample_size
    return -estimate.log_likelihood, sizes, as_float64(generation), as_float64(kl)


def normalized_bound(
    validation: Mapping[str, float], likelihood: Likelihood, pixels: float
) -> float | None:
    """Compute the negative bound in nats at weight 1 from an epoch's validation metrics.

    `pixels` is the mean number of pixels of an image that are not missing.
    For a Gaussian: at the variance that is best for the validation split itself, which needs no
    further pass. It serves to compare trials during training. None for an objective without a
    bound.
    """
    if "validation.neg_elbo_nats" not in validation:
        return None
    if not isinstance(likelihood, GaussianLikelihood):
        return validation["validation.neg_elbo_nats"]
    # min over s2 of SSE / (2 s2) + (P / 2) ln(2 pi s2), at s2 = SSE / P
    variance = max(validation["validation.mean_squared_error"], 1e-6)
    generation = pixels / 2 * (math.log(2 * math.pi * variance) + 1)
    return generation + validation["validation.kl_loss_nats"]


def closed_form_weight(trained: Likelihood, variance: float | None) -> float:
    """Compute the KL weight at which the trained likelihood's variance would be optimal.

    Training with a fixed variance s0 at weight w is training with variance w s0 at weight 1, so
    the best weight is s2 / s0 with the best variance s2: 2 MSE for the sum of squared errors,
    where s0 = 1/2. It is 1 where the variance is fitted, and for every other likelihood.
    """
    if variance is None or not isinstance(trained, GaussianLikelihood) or trained.fitted:
        return 1.0
    return variance / trained.variance.item()
