"""Memorization: distances of generated images to the training images."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.data.loader import ImageLoader
from vaelab.estimators import as_float64

# Limit on the pixels (images x channels x height x width) of each of two compared blocks.
COMPARED_NUMBERS = 2**22


@dataclass(frozen=True)
class NearestImages:
    """The nearest training image of each query image.

    `distances` are root mean squares over pixels and channels, 0 for a copy; `indices` count
    training images in the order of the files.
    """

    distances: Float64[Tensor, "count"]
    indices: Int64[Tensor, "count"]


def nearest_images(
    images: Float[Tensor, "count channel height width"],
    train: ImageLoader,
    noise: torch.Generator,
    batch_size: int = 1_000,
) -> NearestImages:
    """Find the nearest training image of each image, by Euclidean distance over pixels.

    Exact, in float64: a matrix product finds the nearest of a batch, up to ties within 1e-13 of
    the squared distance, and its distance is then recomputed from differences. `noise` is for
    training images that are sampled at each access (`ImageLoader`). Memory does not grow with the
    training split. Raises ValueError for an empty one.
    """
    if not len(train):
        raise ValueError("the training split is empty: no nearest images")
    block_size = max(1, COMPARED_NUMBERS // images[0].numel())
    nearest = [_RunningNearest(block) for block in torch.split(images, block_size)]
    for batch, _ in train.sequential(min(batch_size, block_size), noise):
        flat = as_float64(batch).flatten(1)
        for block in nearest:
            block.compare(flat)
    return NearestImages(
        torch.cat([block.squared for block in nearest]).sqrt(),
        torch.cat([block.indices for block in nearest]),
    )


class _RunningNearest:
    """The nearest training image so far of each image of a block."""

    def __init__(self, images: Float[Tensor, "count channel height width"]) -> None:
        self.images = images
        self.squared = as_float64(torch.full((len(images),), math.inf, device=images.device))
        self.indices = torch.zeros(len(images), dtype=torch.int64, device=self.squared.device)
        self.seen = 0

    def compare(self, train: Float64[Tensor, "batch pixel"]) -> None:
        images = as_float64(self.images).flatten(1)
        # |x - y|^2 = |x|^2 - 2 x y + |y|^2, where |x|^2 is the same for all y
        best = (train.square().sum(1) - 2 * images @ train.T).argmin(1)
        squared = (images - train[best]).square().mean(1)
        nearer = squared < self.squared
        self.squared = torch.where(nearer, squared, self.squared)
        self.indices = torch.where(nearer, best + self.seen, self.indices)
        self.seen += len(train)


def data_copying_z(
    test_distances: Float[Tensor, "test"] | Float64[Tensor, "test"],
    generated_distances: Float[Tensor, "generated"] | Float64[Tensor, "generated"],
) -> float:
    """Test whether generated images are nearer to training images than test images are.

    Meehan, Chaudhuri & Dasgupta 2020, the statistic Z_U without partitioning the space: the
    z-score of Mann & Whitney's U, the number of pairs in which the generated image is farther,
    ties counted half. For equally distributed distances it is about N(0, 1); far below 0 means
    that the model copies training images, far above 0 that it misses the data. It grows with the
    square root of the number of images: compare only z of equal set sizes. 0 where all distances
    are equal. Other faults change it too: blur can bring images nearer to all others, and noise
    of the likelihood takes them farther away. Raises ValueError for an empty set.
    """
    from scipy.stats import rankdata

    m, n = len(generated_distances), len(test_distances)
    if not m or not n:
        raise ValueError(
            f"needs distances of both sets, got {n} of test and {m} of generated images"
        )
    distances = torch.cat([as_float64(generated_distances), as_float64(test_distances)])
    ranks = rankdata(distances.cpu().numpy())
    u = ranks[:m].sum() - m * (m + 1) / 2
    # Var U = m n / 12 (m + n + 1 - sum (t^3 - t) / ((m + n) (m + n - 1))) for ties of t each
    ties = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    tied = (ties**3 - ties).sum() / ((m + n) * (m + n - 1))
    variance = m * n / 12 * (m + n + 1 - tied)
    return float((u - m * n / 2) / math.sqrt(variance)) if variance > 0 else 0.0
