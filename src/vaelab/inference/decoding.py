"""Decoded images of a model: reconstructions, samples, interpolations, traversals.

All are means of p(x|z), without the likelihood's noise, in [0, 1]. `reconstructions`,
`interpolations` and traversals around an image need an encoder; check `model.has("encoder")`. A
conditional model encodes and decodes with the labels that it is given, `model.given(labels)`, and
as images of unknown labels without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vaelab.models.model import Model

Images = Float[Tensor, "count channel height width"]
ImageGrid = Float[Tensor, "rows columns channel height width"]
LatentGrid = Float[Tensor, "rows columns latent"]
Path = Literal["spherical", "linear"]


@dataclass(frozen=True)
class LatentFrame:
    """Center and scale of the latents, for priors other than N(0, I): z = center + scale * c."""

    center: Float[Tensor, "latent"]
    scale: Float[Tensor, "latent"]


def _in_batches(
    function: Callable[[Model, Tensor], Tensor],
    model: Model,
    items: Tensor,
    item_dims: int,
    batch_size: int = 500,
) -> Tensor:
    """Apply a function to a bounded number of items at a time, without gradients."""
    leading = items.shape[: items.dim() - item_dims]
    parts = torch.split(items.flatten(0, len(leading) - 1), batch_size)
    with torch.no_grad():
        models = [model] * len(parts)
        if model.labels is not None:
            labels = model.labels.expand(leading).flatten()
            models = [model.given(part) for part in torch.split(labels, batch_size)]
        results = torch.cat([function(*pair) for pair in zip(models, parts, strict=True)])
    return results.reshape(*leading, *results.shape[1:])


def encode_means(model: Model, images: Images) -> Float[Tensor, "count latent"]:
    """Compute the mean of q(z|x) for each image."""
    return _in_batches(lambda given, part: given.encode(part).mean, model, images, 3)


def decode_means(
    model: Model, latents: Float[Tensor, "*batch latent"]
) -> Float[Tensor, "*batch channel height width"]:
    """Compute the mean of p(x|z) for each latent, clipped to [0, 1]."""
    return _in_batches(lambda given, part: given.decode(part).mean, model, latents, 1).clamp(0, 1)


def reconstructions(model: Model, images: Images) -> Images:
    """Decode each image's posterior mean."""
    return decode_means(model, encode_means(model, images))


def prior_samples(model: Model, count: int, generator: torch.Generator) -> Images:
    """Decode latents sampled from the prior, of the model's labels or else of sampled ones."""
    with torch.no_grad():
        given = model.with_sampled_labels(count, generator)
        latents = given.prior(count, generator)
    return decode_means(given, latents)


def counterfactuals(model: Model, images: Images, labels: Sequence[int]) -> ImageGrid:
    """Decode each image's posterior mean under each of some labels: [i, j] is under labels[j].

    The model is given the labels of the images. Of a prior that sees labels, the latents are those
    of the same noise under each label.
    """
    columns = torch.tensor(labels)
    means = encode_means(model, images)[:, None]
    with torch.no_grad():
        latents = model.with_columns().transfer(means, columns)
    return decode_means(model.given(columns), latents)


def interpolate(
    first: Float[Tensor, "pairs latent"],
    second: Float[Tensor, "pairs latent"],
    steps: int,
    path: Path = "spherical",
) -> Float[Tensor, "pairs steps latent"]:
    """Interpolate from each first latent to its second one; both ends are exact.

    The spherical path (Shoemake 1985; for latents: White 2016, section 2.1) keeps the norm typical
    of Gaussian samples, which a straight line does not. Where the two vectors are parallel or one
    is zero, the spherical path is undefined, and the straight line is used.
    """
    fraction = torch.linspace(0, 1, steps, device=first.device, dtype=first.dtype)[:, None]
    first, second = first[:, None], second[:, None]
    line = (1 - fraction) * first + fraction * second
    if path == "linear":
        return line
    start, end = functional.normalize(first, dim=-1), functional.normalize(second, dim=-1)
    # Kahan's formula is exact for small angles too, where acos(<start, end>) is not.
    difference, total = (start - end).norm(dim=-1), (start + end).norm(dim=-1)
    angle = 2 * torch.atan2(difference, total)[..., None]
    zero = (first.norm(dim=-1) * second.norm(dim=-1) == 0)[..., None]
    straight = zero | (angle.sin() < 1e-4)
    sine = angle.sin().masked_fill(straight, 1)
    # sin((1 - t) a) / sin(a) first + sin(t a) / sin(a) second, exact where a weight is 0 or 1
    before, after = torch.sin((1 - fraction) * angle) / sine, torch.sin(fraction * angle) / sine
    return torch.where(straight, line, before * first + after * second)


def interpolations(
    model: Model, first: Images, second: Images, steps: int, path: Path = "spherical"
) -> ImageGrid:
    """Decode the path from each first image's posterior mean to its second image's."""
    ends = encode_means(model, first), encode_means(model, second)
    return decode_means(model, interpolate(*ends, steps, path))


def top_kl_dimensions(kl_per_dimension_nats: Float[Tensor, "latent"], count: int) -> list[int]:
    """Return the dimensions of highest KL, highest first, ties by lower index."""
    order = kl_per_dimension_nats.sort(descending=True, stable=True).indices
    return [int(index) for index in order[:count]]


def traversal_latents(
    center: Float[Tensor, "latent"], dimensions: Sequence[int], steps: int, radius: float
) -> LatentGrid:
    """Set one dimension a row to values from -radius to radius, the others as in `center`.

    The values are latent coordinates, in units of the prior's standard deviation.
    """
    latents = center.repeat(len(dimensions), steps, 1)
    for row, dimension in enumerate(dimensions):
        latents[row, :, dimension] = torch.linspace(-radius, radius, steps)
    return latents


def traversals(
    model: Model,
    dimensions: Sequence[int],
    steps: int,
    radius: float = 3.0,
    image: Float[Tensor, "channel height width"] | None = None,
    frame: LatentFrame | None = None,
) -> ImageGrid:
    """Decode a traversal of each dimension, around an image's posterior mean or the prior's.

    With a frame, `radius` is in units of its scale, and the traversal is around its center.
    """
    origin = torch.zeros(model.latent_dim, device=next(model.parameters()).device)
    center = origin if image is None else encode_means(model, image[None])[0]
    latents = traversal_latents(center, dimensions, steps, radius)
    return decode_means(model, _in_frame(latents, frame))


def _in_frame(latents: LatentGrid, frame: LatentFrame | None) -> LatentGrid:
    return latents if frame is None else frame.center + frame.scale * latents


def gaussian_quantiles(size: int) -> Float[Tensor, "size"]:
    """Compute N(0, 1)'s quantiles at the midpoints of `size` equal parts of [0, 1], ascending."""
    quantiles: Tensor = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    return quantiles.float()


def manifold_latents(size: int, latent_dim: int, dimensions: Sequence[int]) -> LatentGrid:
    """Return a grid over two dimensions at the Gaussian's quantiles; other dimensions are 0.

    Kingma & Welling 2014, figure 4. The first dimension increases to the right, the second one
    upwards, as in a plot; with one dimension there is one row.
    """
    quantiles = gaussian_quantiles(size)
    rows = size if len(dimensions) == 2 else 1
    latents = torch.zeros(rows, size, latent_dim)
    latents[..., dimensions[0]] = quantiles
    if len(dimensions) == 2:
        latents[..., dimensions[1]] = quantiles.flip(0)[:, None]
    return latents


def manifold(
    model: Model, size: int, dimensions: Sequence[int], frame: LatentFrame | None = None
) -> ImageGrid:
    """Decode the grid of `manifold_latents`, in a frame if given."""
    latents = manifold_latents(size, model.latent_dim, dimensions)
    return decode_means(model, _in_frame(latents.to(next(model.parameters()).device), frame))
