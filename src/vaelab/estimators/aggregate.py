"""The aggregate posterior q(z) = mean over images of q(z|x), and its distance from the prior."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from scipy.special import chdtr, ndtr
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.models.distributions import LOG_TWO_PI, DiagonalGaussian, Posterior

# Scales of the inverse multiquadric kernel, in units of 2 d: Tolstikhin et al. 2018's code
MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def log_aggregate_posterior(
    latents: Float[Tensor, "points latent"], posterior: DiagonalGaussian, block: int = 64
) -> Float64[Tensor, "points"]:
    """Compute ln q(z) in nats at each latent, q(z) the mixture of N posteriors [images, latent].

    Exact for this mixture, up to rounding of about 1e-16 |z - c|^2 / stddev^2, c the mean of all
    means: the squares are expanded into matrix products. `block` latents at a time are compared
    with all posteriors.
    """
    mean, stddev = as_float64(posterior.mean), as_float64(posterior.stddev)
    center = mean.mean(0)
    mean = mean - center
    precision = stddev**-2
    # ln q(z|x) = -(z^2 s^-2 - 2 z m s^-2 + m^2 s^-2 + 2 ln s + ln 2 pi) / 2, summed over dimensions
    constant = (mean**2 * precision + 2 * stddev.log() + LOG_TWO_PI).sum(-1)
    centered = as_float64(latents) - center
    # One tensor for all results: separate small ones keep the allocator from reusing memory.
    log_sums = torch.empty_like(centered[:, 0])
    for start in range(0, len(centered), block):
        z = centered[start : start + block]
        squares = z**2 @ precision.T - 2 * z @ (mean * precision).T + constant
        log_sums[start : start + block] = (-0.5 * squares).logsumexp(1)
    return log_sums - math.log(len(mean))


def mean_variances(posterior: Posterior) -> Float64[Tensor, "latent"]:
    """Compute the variance over images of each dimension's posterior mean: Burda et al. 2016.

    A dimension is active where this exceeds a threshold, 0.01 in the paper. Depends on the
    scale of the latents, which the prior fixes only while the KL weight is above 0.
    """
    return as_float64(posterior.mean).var(0, correction=0)


def aggregate_moments(
    posterior: Posterior,
) -> tuple[Float64[Tensor, "latent"], Float64[Tensor, "latent"]]:
    """Compute mean and standard deviation of q(z) in each dimension, exact for these images."""
    # Var z = Var_x(E[z|x]) + E_x[Var(z|x)], the law of total variance
    variances = mean_variances(posterior)
    if isinstance(posterior, DiagonalGaussian):
        variances = variances + as_float64(posterior.stddev).square().mean(0)
    return as_float64(posterior.mean).mean(0), variances.sqrt()


def ks_statistics(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the Kolmogorov-Smirnov distance of each column to N(0, 1), in [0, 1].

    For n samples of N(0, 1) itself it is above 1.95 / sqrt(n) one time in a thousand.
    """
    return _ks_to_uniform(ndtr(latents.astype(np.float64)))


def squared_norm_ks_statistic(latents: NDArray[np.floating]) -> float:
    """Compute the Kolmogorov-Smirnov distance of |z|^2 to chi-squared, its law under the prior.

    In [0, 1]. It detects what no single dimension shows: latents on a shell, or dimensions that
    depend on one another.
    """
    squared_norms = (latents.astype(np.float64) ** 2).sum(1, keepdims=True)
    return float(_ks_to_uniform(chdtr(latents.shape[1], squared_norms))[0])


def _ks_to_uniform(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    sorted_values, count = np.sort(probabilities, axis=0), len(probabilities)
    steps = np.arange(count + 1)[:, None] / count
    # D = max over i of max(i / n - F(z_i), F(z_i) - (i - 1) / n)
    distances = np.maximum(steps[1:] - sorted_values, sorted_values - steps[:-1])
    result: NDArray[np.float64] = distances.max(axis=0)
    return result


def mmd_squared(
    first: Float[Tensor, "points latent"], second: Float[Tensor, "others latent"]
) -> Float64[Tensor, ""]:
    """Estimate the squared maximum mean discrepancy of two samples; unbiased, may be negative.

    Gretton et al. 2012, equation 3, with the inverse multiquadric kernel of Tolstikhin et al.
    2018, summed over seven scales: at most 14. It has little power in many dimensions. Needs memory
    for every pair. Raises ValueError for a sample of fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"MMD needs at least 2 points a sample, got {len(first)} and {len(second)}"
        )
    x, y = as_float64(first), as_float64(second)
    return _mean_over_pairs(x) + _mean_over_pairs(y) - 2 * _kernel(x, y).mean()


def _mean_over_pairs(points: Float64[Tensor, "points latent"]) -> Float64[Tensor, ""]:
    count = len(points)
    # The kernel of a point with itself is 1 at each scale.
    return (_kernel(points, points).sum() - len(MMD_SCALES) * count) / (count * (count - 1))


def _kernel(
    first: Float64[Tensor, "points latent"], second: Float64[Tensor, "others latent"]
) -> Float64[Tensor, "points others"]:
    squares = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    total = torch.zeros_like(squares)
    for scale in MMD_SCALES:
        # k(x, y) = C / (C + |x - y|^2), C = 2 d scale
        constant = 2 * first.shape[1] * scale
        total += constant / (constant + squares)
    return total
