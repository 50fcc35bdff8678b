"""The mutual information gap: Chen et al. 2018, equation 6."""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import entr, rel_entr

Latents = Float[np.ndarray, "count latent"]
Factors = Int64[np.ndarray, "count factors"]

# Bins of equal width over a dimension's range: Locatello et al. 2019
BINS = 20


def mutual_information_gap(
    information: Float64[np.ndarray, "factors latent"], factors: Factors
) -> float:
    """Compute the mean over factors of (best dimension's information - next one's) / entropy.

    From 0 to 1: 1 where one dimension determines each factor and no other is informative about
    it, 0 where two are equally informative. It is lowered where dimensions share a factor, but
    not where one dimension encodes several. About 0 by chance, because the two largest of
    similarly biased values are compared. At most about ln 20 / ln V for a factor of V > 20
    values: 0.90 for the factors of dSprites at even steps. An outlier, which widens all bins,
    lowers it.
    Raises ValueError for fewer than two dimensions, and for a factor of one value.
    """
    counts = [np.unique(column, return_counts=True)[1] for column in factors.T]
    if min(len(of_values) for of_values in counts) < 2:
        raise ValueError("a factor of one value has no entropy to divide a gap by")
    entropies = np.array([entr(of_values / of_values.sum()).sum() for of_values in counts])
    # (I(z_best; v) - I(z_next; v)) / H(v)
    return float(np.mean(top_two_gap(information) / entropies))


def factor_information(latents: Latents, factors: Factors) -> Float64[np.ndarray, "factors latent"]:
    """Compute the mutual information I(z; v) in nats of each dimension, in 20 bins, and factor.

    The plug-in estimate, biased upward by about (B - 1) (V - 1) / (2 n) for n images, V values
    and B bins that are not empty (Panzeri & Treves 1996): 0.037 nats for 40 values and 10,000
    images. At least 0, and 0 for a constant dimension; at most ln 20 and the factor's entropy.
    Of the posterior mean, as Locatello et al. 2019; Chen et al. use samples of the posterior.
    """
    binned = _bins(latents)
    return np.array([[_information(bins, factor) for bins in binned.T] for factor in factors.T])


def _bins(latents: Latents) -> Int64[np.ndarray, "count latent"]:
    values = latents.astype(np.float64)
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    shares = (values - low) / np.where(span > 0, span, 1)
    bins: np.ndarray = np.minimum((shares * BINS).astype(np.int64), BINS - 1)
    return bins


def _information(bins: Int64[np.ndarray, "count"], factor: Int64[np.ndarray, "count"]) -> float:
    values, index = np.unique(factor, return_inverse=True)
    pairs = np.bincount(bins * len(values) + index, minlength=BINS * len(values))
    joint = pairs.reshape(BINS, len(values)) / len(bins)
    # sum of p(z, v) ln (p(z, v) / (p(z) p(v)))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    return max(0.0, float(rel_entr(joint, independent).sum()))


def top_two_gap(
    scores: Float64[np.ndarray, "factors latent"],
) -> Float64[np.ndarray, "factors"]:
    """Compute, for each factor, the difference of its two highest scores over dimensions.

    Raises ValueError for fewer than two dimensions.
    """
    if scores.shape[1] < 2:
        raise ValueError("a gap needs at least two latent dimensions")
    sorted_scores = np.sort(scores, axis=1)
    gap: np.ndarray = sorted_scores[:, -1] - sorted_scores[:, -2]
    return gap
