"""The rate of a VAE in parts: information about the image, total correlation, dimension-wise KL.

Chen et al. 2018, equation 2: the mean KL(q(z|x) || N(0, I)) over images is the index-code mutual
information, plus the total correlation of the aggregate posterior q(z), plus the KL of each of
q(z)'s dimensions from N(0, 1).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.estimators.aggregate import log_aggregate_posterior
from vaelab.models.distributions import LOG_TWO_PI, DiagonalGaussian

# Pairs of a latent and a posterior in the memory of a thread at a time: few enough to fit a core's
# cache and for PyTorch to start no threads of its own, whose synchronization would cost more than
# the arithmetic.
PAIRS = 2**15
# Limit on the one-dimensional densities that are computed: about 2 ns each on one core.
MAX_DENSITIES = 10**10


@dataclass(frozen=True)
class RateDecomposition:
    """The parts in nats, and the standard error of each over the sampled latents.

    `dimension_wise_kl` is the KL of each dimension of q(z) from N(0, 1). The errors do not cover
    the choice of images; they are NaN for a single latent.
    """

    mutual_information: Float64[Tensor, ""]
    total_correlation: Float64[Tensor, ""]
    dimension_wise_kl: Float64[Tensor, "latent"]
    mutual_information_standard_error: Float64[Tensor, ""]
    total_correlation_standard_error: Float64[Tensor, ""]
    dimension_wise_kl_standard_error: Float64[Tensor, "latent"]


def decompose_rate(
    posterior: DiagonalGaussian, latents: Float[Tensor, "images latent"], pairs: int = PAIRS
) -> RateDecomposition:
    """Decompose the rate, from one sample of each image's posterior [images, latent].

    Chen et al. 2018, equation 2; the information alone: Hoffman & Johnson 2016. q(z) is the
    mixture of all N posteriors, for which the estimates are unbiased, so each may fall below 0 by
    chance. For the distribution that the images come from they are biased, because each latent's
    own posterior is one of only N: the information is too low and never above ln N, the KL of
    each dimension a little too high, and the total correlation too high by the difference. For
    independent dimensions that is less than 0.1 nats where the information is half of ln N or
    less, about 1 nat where it is ln N, and beyond that the information minus ln N.
    `gaussian_total_correlation` has no such limit.

    Where images^2 x latent is above `MAX_DENSITIES`, an evenly spaced subset of the latents is
    used. At most `pairs` densities of one dimension are in a thread's memory at a time.
    """
    mixture = DiagonalGaussian(as_float64(posterior.mean), as_float64(posterior.stddev))
    step = math.ceil(len(latents) * mixture.mean.numel() / MAX_DENSITIES)
    conditional = DiagonalGaussian(mixture.mean[::step], mixture.stddev[::step])
    z = as_float64(latents)[::step]
    joint, marginals = log_aggregate_posterior(z, mixture), log_marginals(z, mixture, pairs)
    # ln q(z|x) - ln q(z), ln q(z) - sum_j ln q(z_j), ln q(z_j) - ln N(z_j; 0, 1)
    information = conditional.log_prob(z) - joint
    correlation = joint - marginals.sum(-1)
    dimension_wise = marginals + 0.5 * (z**2 + LOG_TWO_PI)
    terms = (information, correlation, dimension_wise)
    return RateDecomposition(*(t.mean(0) for t in terms), *(_standard_error(t) for t in terms))


def log_marginals(
    latents: Float[Tensor, "points latent"], posterior: DiagonalGaussian, pairs: int = PAIRS
) -> Float64[Tensor, "points latent"]:
    """Compute ln q(z_j) in nats for each dimension j of each latent.

    q(z_j) is the mixture of N posteriors [images, latent].

    Exact for this mixture: rounding is about 1e-14; -inf farther than 38 standard deviations from
    all posteriors. At most `pairs` densities, or those of one latent, are in a thread's memory at
    a time; the dimensions are divided among threads.
    """
    given = (latents, posterior.mean, posterior.stddev)
    columns = [as_float64(each).T.contiguous() for each in given]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        log_densities = list(threads.map(partial(_log_mixture, pairs), *columns))
    return torch.stack(log_densities, 1)


def _log_mixture(
    pairs: int,
    latents: Float64[Tensor, "points"],
    mean: Float64[Tensor, "images"],
    stddev: Float64[Tensor, "images"],
) -> Float64[Tensor, "points"]:
    # s^-1 e^(-(z - m)^2 / 2 s^2) = 2^(-log2 s - (z - m)^2 / (2 s^2 ln 2)): where most results are
    # nearly 0, PyTorch raises 2 to a power several times faster than e.
    scale, height = math.sqrt(0.5 / math.log(2)) / stddev, -stddev.log2()
    sums, block = torch.empty_like(latents), max(1, pairs // len(mean))
    for start in range(0, len(latents), block):
        distance = (latents[start : start + block, None] - mean) * scale
        densities = height.addcmul(distance, distance, value=-1).exp2()
        sums[start : start + block] = densities.sum(1)
    return sums.log() - math.log(len(mean)) - 0.5 * LOG_TWO_PI


def gaussian_total_correlation(posterior: DiagonalGaussian) -> Float64[Tensor, ""]:
    """Compute the total correlation in nats of the Gaussian with q(z)'s covariance S.

    Half of (sum of ln S_jj - ln det S), without sampling noise and without a cap; S is exact for
    the posteriors [images, latent] by the law of total variance. It measures linear dependence
    only: 0 means uncorrelated dimensions, and independent ones only where q(z) is Gaussian. For N
    images from a distribution with independent dimensions it is too high by up to d (d - 1) / 4N.
    """
    mean, stddev = as_float64(posterior.mean), as_float64(posterior.stddev)
    noise = stddev.square().mean(0)
    # S = V^1/2 (I + A^T A) V^1/2 with V = diag(noise), which cancels: what is left is
    # sum of ln (I + A^T A)_jj - ln det(I + A^T A)
    signal = (mean - mean.mean(0)) / (noise * len(mean)).sqrt()
    log_diagonal = signal.square().sum(0).log1p().sum()
    return 0.5 * (log_diagonal - _log_det_of_identity_and(signal))


def _log_det_of_identity_and(matrix: Float64[Tensor, "rows columns"]) -> Float64[Tensor, ""]:
    """Compute ln det(I + A^T A), which is ln det(I + A A^T)."""
    tall = matrix if len(matrix) >= matrix.shape[1] else matrix.T
    identity = torch.eye(tall.shape[1], dtype=tall.dtype, device=tall.device)
    # R^T R = I + A^T A for the R of A above I: A^T A, which rounds, is not formed.
    factor: Tensor = torch.linalg.qr(torch.cat([tall, identity]), mode="r").R
    return 2 * factor.diagonal().abs().log().sum()


def _standard_error(terms: Float64[Tensor, "points *shape"]) -> Float64[Tensor, "*shape"]:
    count = len(terms)
    return ((terms - terms.mean(0)).square().sum(0) / (count * (count - 1))).sqrt()
