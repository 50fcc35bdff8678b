"""Factors, and latents that represent them with known disentanglement."""

import numpy as np


def grid(*sizes: int, repeats: int = 1) -> np.ndarray:
    """Every combination of factors' values equally often: [images, factors]."""
    combinations = np.indices(sizes).reshape(len(sizes), -1).T
    return np.tile(combinations, (repeats, 1)).astype(np.int64)


def random_factors(count: int, *sizes: int, seed: int = 0) -> np.ndarray:
    """Independent factors, each value equally likely: [images, factors]."""
    return np.random.default_rng(seed).integers(0, sizes, (count, len(sizes)))


def perfect(factors: np.ndarray) -> np.ndarray:
    """One dimension a factor, of mean 0 and variance 1 over the grid."""
    wide = factors.astype(np.float64)
    latents: np.ndarray = (wide - wide.mean(0)) / wide.std(0)
    return latents


def noise(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Dimensions independent of the factors."""
    return np.random.default_rng([seed, 1]).normal(size=(count, dimensions))


def duplicated(factors: np.ndarray) -> np.ndarray:
    """Two dimensions a factor."""
    return np.concatenate([perfect(factors), perfect(factors)], axis=1)


def rotated(latents: np.ndarray, first: int = 0, second: int = 1) -> np.ndarray:
    """Rotate two dimensions by 45 degrees."""
    result = latents.copy()
    result[:, first] = (latents[:, first] - latents[:, second]) / np.sqrt(2)
    result[:, second] = (latents[:, first] + latents[:, second]) / np.sqrt(2)
    return result
