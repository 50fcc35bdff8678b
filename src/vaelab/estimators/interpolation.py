"""How evenly decoded images change along an interpolation path."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64


def largest_step_ratio(
    images: Float[Tensor, "pairs steps channel height width"],
) -> Float64[Tensor, "pairs"]:
    """Compute the largest over the mean Euclidean distance of consecutive images of each path.

    1 where every step changes the image equally, or none changes it; steps - 1 where the image
    changes in one step only. More steps resolve jumps better: compare only paths with the same
    number of steps. Raises ValueError for fewer than two images a path.
    """
    if images.shape[1] < 2:
        raise ValueError(f"an interpolation path needs at least 2 images, got {images.shape[1]}")
    steps = torch.stack([_step_distances(path) for path in images])
    mean = steps.mean(1)
    return torch.where(mean == 0, torch.ones_like(mean), steps.amax(1) / mean)


def _step_distances(
    path: Float[Tensor, "steps channel height width"],
) -> Float64[Tensor, "between"]:
    pixels = as_float64(path).flatten(1)
    distances: Tensor = torch.linalg.vector_norm(pixels[1:] - pixels[:-1], dim=1)
    return distances
