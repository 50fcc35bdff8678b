"""Latents where the data's are: traversals around an image, and a plane through the latents.

Around the prior's mean a model of many dimensions decodes images that resemble none of the data.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.inference.decoding import (
    ImageGrid,
    LatentFrame,
    decode_means,
    encode_means,
    gaussian_quantiles,
)
from vaelab.models.model import Model


def image_traversals(
    model: Model,
    image: Float[Tensor, "channel height width"],
    dimensions: list[int],
    frame: LatentFrame,
    steps: int,
    radius: float,
) -> ImageGrid:
    """Decode a traversal of each dimension around an image's posterior mean, a row a dimension.

    The dimension takes values up to `radius` of the frame's scales around its center, the others
    stay as the image has them. A conditional model is given the image's label.
    """
    latents = encode_means(model, image[None])[0].repeat(len(dimensions), steps, 1)
    offsets = torch.linspace(-radius, radius, steps, device=latents.device)
    for row, j in enumerate(dimensions):
        latents[row, :, j] = frame.center[j] + frame.scale[j] * offsets
    return decode_means(model, latents)


def plane_manifold(
    model: Model,
    origin: Float[Tensor, "latent"],
    axes: Float[Tensor, "2 latent"],
    size: int,
) -> ImageGrid:
    """Decode a plane through latents at the Gaussian's quantiles, upwards along the second axis.

    An axis is a direction times the standard deviation of the latents along it.
    """
    quantiles = gaussian_quantiles(size).to(origin)
    across = quantiles[:, None] * axes[0]
    up = quantiles.flip(0)[:, None] * axes[1]
    return decode_means(model, origin + up[:, None] + across)
