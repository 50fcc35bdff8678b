"""Memorization: distances of generated images to the training images."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.data.loader import ImageLoader
from vaelab.estimators import as_float64
from vaelab.runtime.matmul import fast_matmul

# Limit on the pixels (images x channels x height x width) of each of two compared blocks.
COMPARED_NUMBERS = 2**22


# Rounding of a squared distance in float32, as a share of both squared norms: an ample bound
ROUNDING = 1e-4


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
    the squared distance, and its distance is then recomputed from differences. A product in float32
    leaves out the images for which the batch has none nearer than an earlier one. `noise` is for
    training images that are sampled at each access (`ImageLoader`). Memory does not grow with the
    training split. Raises ValueError for an empty one.
    """
    if not len(train):
        raise ValueError("the training split is empty: no nearest images")
    block_size = max(1, COMPARED_NUMBERS // images[0].numel())
    nearest = [_RunningNearest(block) for block in torch.split(images, block_size)]
    for batch, _ in train.sequential(min(batch_size, block_size), noise):
        flat = as_float64(batch).flatten(1)
        with fast_matmul():
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
        rows = self._may_be_nearer(train)
        images = as_float64(self.images[rows.to(self.images.device)]).flatten(1)
        # |x - y|^2 = |x|^2 - 2 x y + |y|^2, where |x|^2 is the same for all y
        best = (train.square().sum(1) - 2 * images @ train.T).argmin(1)
        squared = (images - train[best]).square().mean(1)
        nearer = squared < self.squared[rows]
        self.squared[rows[nearer]] = squared[nearer]
        self.indices[rows[nearer]] = best[nearer] + self.seen
        self.seen += len(train)

    def _may_be_nearer(self, train: Float64[Tensor, "batch pixel"]) -> Int64[Tensor, "rows"]:
        """Return the rows of the images that may have a nearer training image in a batch."""
        if self.seen == 0:
            return torch.arange(len(self.images), device=self.squared.device)
        images, others = self.images.flatten(1), train.to(self.images)
        norms, other_norms = images.square().sum(1), others.square().sum(1)
        least = torch.addmm(other_norms, images, others.T, alpha=-2).amin(1) + norms
        margin = ROUNDING * (norms + other_norms.max())
        farthest = (self.squared * images.shape[1]).to(least)
        return (least < farthest + margin).nonzero()[:, 0].to(self.squared.device)


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
    m, n = len(generated_distances), len(test_distances)
    if not m or not n:
        raise ValueError(
            f"needs distances of both sets, got {n} of test and {m} of generated images"
        )
    distances = torch.cat([as_float64(generated_distances), as_float64(test_distances)])
    _, places, counts = np.unique(distances.cpu().numpy(), return_inverse=True, return_counts=True)
    # Equal distances have the mean of their ranks.
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    u = ranks[:m].sum() - m * (m + 1) / 2
    # Var U = m n / 12 (m + n + 1 - sum (t^3 - t) / ((m + n) (m + n - 1))) for ties of t each
    ties = counts.astype(np.float64)
    tied = (ties**3 - ties).sum() / ((m + n) * (m + n - 1))
    variance = m * n / 12 * (m + n + 1 - tied)
    return float((u - m * n / 2) / math.sqrt(variance)) if variance > 0 else 0.0
