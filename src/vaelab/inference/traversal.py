"""Latents where the data's are: traversals around an image, and a map of latents, decoded.

Around the prior's mean a model of many dimensions decodes images that resemble none of the data.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.inference.decoding import (
    ImageGrid,
    LatentFrame,
    decode_means,
    encode_means,
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


def map_manifold(
    model: Model,
    latents: Float[Tensor, "count latent"],
    points: Float[Tensor, "count 2"],
    size: int,
) -> ImageGrid:
    """Decode `size` x `size` places of a map of latents, upwards along the second axis.

    A place is decoded from the mean of the latents near it, weighted by a Gaussian whose standard
    deviation is half a place's width. Places with no latent nearer than their diagonal are NaN.
    """
    low, high = points.amin(0), points.amax(0)
    width = ((high - low) / size).clamp(min=1e-6)
    steps = torch.arange(size, device=points.device) + 0.5
    across, up = low[:, None] + width[:, None] * steps
    places = torch.stack(torch.meshgrid(up.flip(0), across, indexing="ij")[::-1], dim=-1)
    distances = torch.cdist(places.flatten(0, 1) / width, points / width)
    # w_i = exp(-d_i^2 / (2 * 0.5^2)), normalized; the softmax also holds where all are tiny
    weights = (-2 * distances.square()).softmax(dim=1)
    means = (weights @ latents).reshape(size, size, -1)
    images = decode_means(model, means)
    images[(distances.amin(1) > math.sqrt(0.5)).reshape(size, size)] = torch.nan
    return images
