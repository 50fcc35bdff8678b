"""How evenly decoded images change along a way through the latent space."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64


def largest_step(
    images: Float[Tensor, "pairs steps channel height width"],
) -> Float64[Tensor, "pairs"]:
    """Largest over mean Euclidean distance between neighbours on each way, 1 to steps - 1.

    1 where every step changes the image as much as every other; steps - 1 where the image jumps
    once and stands still else. A way on which nothing changes is even. The more steps, the
    sharper the eye for jumps: compare ways of the same number only. Raises ValueError for fewer
    than two images on a way, between which there is no step.
    """
    if images.shape[1] < 2:
        raise ValueError(f"a way needs 2 images or more, not {images.shape[1]}")
    steps = torch.stack([_distances(way) for way in images])
    mean = steps.mean(1)
    return torch.where(mean == 0, torch.ones_like(mean), steps.amax(1) / mean)


def _distances(way: Float[Tensor, "steps channel height width"]) -> Float64[Tensor, "between"]:
    wide = as_float64(way).flatten(1)
    distances: Tensor = torch.linalg.vector_norm(wide[1:] - wide[:-1], dim=1)
    return distances
