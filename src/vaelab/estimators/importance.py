"""The log-likelihood ln p(x) by importance sampling from a proposal, such as the encoder's."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.models.distributions import LatentDistribution
from vaelab.models.likelihoods import Likelihood
from vaelab.models.model import Model
from vaelab.runtime.matmul import fast_matmul

Images = Float[Tensor, "batch channel height width"]

# Pixels (images x channels x height x width) decoded at a time, 4 bytes each. With more, a CPU's
# allocator returns the layers' memory after each chunk, and a third of the time is page faults.
DECODED_PIXELS = 2**22
DECODED_PIXELS_CPU = 2**20


@dataclass(frozen=True)
class ImportanceEstimate:
    """Estimates of ln p(x) of each image from K weighted samples.

    `log_likelihood` is ln of the mean weight, in nats: a lower bound in expectation, which
    rises with K and whose gap tends to Var(w / p(x)) / (2 K). `log_likelihood_at_half` is the
    same from the first K // 2 samples, None at K = 1. `effective_sample_size` is between 1 and K.
    """

    log_likelihood: Float64[Tensor, "batch"]
    effective_sample_size: Float64[Tensor, "batch"]
    log_likelihood_at_half: Float64[Tensor, "batch"] | None


def log_importance_weights(
    model: Model,
    images: Images,
    proposal: LatentDistribution,
    latents: Float[Tensor, "*any latent"],
) -> Float64[Tensor, "samples batch"]:
    """Compute ln w in nats for latents [samples, batch, latent] sampled from the proposal.

    Burda et al. 2016, equation 8.
    """
    # w = p(x|z) p(z) / q(z)
    return (
        as_float64(model.decode(latents).log_prob(images))
        + as_float64(model.log_prior(latents))
        - as_float64(proposal.log_prob(latents))
    )


def samples_at_a_time(images: Images, decoded_pixels: int | None = None) -> int:
    """Return how many samples of each image are decoded together; None: a default for the device.

    At least one, whatever `decoded_pixels` is.
    """
    if decoded_pixels is None:
        on_cpu = images.device.type == "cpu"
        decoded_pixels = DECODED_PIXELS_CPU if on_cpu else DECODED_PIXELS
    return max(1, decoded_pixels // images.numel())


@torch.no_grad()
@fast_matmul()
def importance_weighted_log_likelihood(
    model: Model,
    images: Images,
    proposal: LatentDistribution,
    samples: int,
    generator: torch.Generator,
    *,
    decoded_pixels: int | None = None,
    progress: Callable[[int], object] = lambda decoded_images: None,
) -> ImportanceEstimate:
    """Estimate ln p(x) in nats from K = `samples` samples of q(z): Burda et al. 2016, eq. 8.

    Memory does not grow with K: samples are decoded in chunks, of at most `decoded_pixels`
    pixels (None: a default for the device) or one sample of each image, and only two running
    sums are kept, without gradients. `progress` is called with the number of images that each
    chunk decoded. Raises ValueError for fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"importance sampling needs at least 1 sample, got {samples}")
    sums, chunk = _LogSums(images), samples_at_a_time(images, decoded_pixels)

    def add_samples(count: int) -> None:
        for start in range(0, count, chunk):
            latents = proposal.rsample(generator, min(chunk, count - start))
            sums.add(log_importance_weights(model, images, proposal, latents))
            progress(len(latents) * len(images))

    add_samples(samples // 2)
    at_half = sums.log_mean() if sums.count else None
    add_samples(samples - samples // 2)
    return ImportanceEstimate(sums.log_mean(), sums.effective_sample_size(), at_half)


class _LogSums:
    """Running ln sum w and ln sum w^2 of each image, in float64."""

    def __init__(self, images: Images) -> None:
        empty = as_float64(torch.full((len(images),), -math.inf, device=images.device))
        self.log_sum, self.log_sum_of_squares, self.count = empty, empty, 0

    def add(self, log_weights: Float64[Tensor, "samples batch"]) -> None:
        self.log_sum = torch.logaddexp(self.log_sum, log_weights.logsumexp(0))
        squares = (2 * log_weights).logsumexp(0)
        self.log_sum_of_squares = torch.logaddexp(self.log_sum_of_squares, squares)
        self.count += len(log_weights)

    def log_mean(self) -> Float64[Tensor, "batch"]:
        return self.log_sum - math.log(self.count)

    def effective_sample_size(self) -> Float64[Tensor, "batch"]:
        # (sum w)^2 / sum w^2: Kong 1992
        return (2 * self.log_sum - self.log_sum_of_squares).exp()


def bits_per_dim(
    nll_nats: float, likelihood: Likelihood, pixels: float, levels: int
) -> float | None:
    """Compute bits for each of P pixels of an 8-bit image: Theis et al. 2016, section 3.1.

    A density on [0, 1] is 1/256 of one on 0..255 a pixel; the discretized logistic has
    probabilities already. None where pixels are not 8-bit or the likelihood is for binary ones.
    """
    if levels != 256:
        return None
    if likelihood.pixels == "density":
        # bits = (NLL on [0, 1] + P ln 256) / (P ln 2)
        return (nll_nats + pixels * math.log(256)) / (pixels * math.log(2))
    if likelihood.pixels == "levels":
        return nll_nats / (pixels * math.log(2))
    return None
