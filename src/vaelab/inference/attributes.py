"""Asking for a feature: directions in the latent space that labels give, and images moved along.

An attribute is what an image has or lacks, such as glasses; of the classes it has exactly one.
What takes a model needs one with an encoder.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vaelab.data.loader import ImageLoader
from vaelab.inference.decoding import ImageGrid, Images, decode_means, encode_means
from vaelab.models.model import Model

Latents = Float[Tensor, "count latent"]
Direction = Float[Tensor, "latent"]
Labels = Int64[Tensor, "count"]
Rows = Int64[Tensor, "rows"]

MIN_COUNT = 4
"""Latents with an attribute, and without it, from which on its effect size can be measured."""


def attribute_direction(latents: Latents, present: Bool[Tensor, "count"]) -> Direction:
    """Give the mean of the latents with an attribute minus the mean of those without it.

    Larsen et al. 2016, section 4.1.1; White 2016, section 3. What goes along with the attribute
    in the images, as earrings with lipstick, goes along in the direction too. Raises ValueError
    where no latent has the attribute or every one has.
    """
    if present.all() or not present.any():
        some = f"{int(present.sum())} of {len(present)} latents have the attribute"
        raise ValueError(f"a direction needs latents with and without its attribute: {some}")
    return latents[present].mean(0) - latents[~present].mean(0)


def class_directions(
    latents: Latents, labels: Labels, source: Sequence[int], target: Sequence[int]
) -> Float[Tensor, "own asked latent"]:
    """Give, at [i, k], the mean latent of class asked[k] minus that of class own[i].

    As `attribute_direction`, between two classes. Raises ValueError where a class has no latent.
    """
    return _class_means(latents, labels, target) - _class_means(latents, labels, source)[:, None]


def class_direction(latents: Latents, labels: Labels, source: int, target: int) -> Direction:
    """Give the way from one class to another: a step of 1 takes the one's mean to the other's.

    Raises ValueError where a class has no latent.
    """
    return class_directions(latents, labels, [source], [target])[0, 0]


def shift(
    latents: Latents, direction: Direction, steps: Sequence[float]
) -> Float[Tensor, "count steps latent"]:
    """Add multiples of a direction to each latent: z + step * direction."""
    direction = direction.to(latents)
    return latents[:, None] + torch.tensor(steps).to(latents)[:, None] * direction


def edit(model: Model, images: Images, direction: Direction, steps: Sequence[float]) -> ImageGrid:
    """Move images' posterior means along a direction and decode them: [i, j] is moved by steps[j].

    A step of 0 reconstructs, 1 asks for the attribute, -1 takes it away.
    """
    return decode_means(model, shift(encode_means(model, images), direction, steps))


def edit_each(
    model: Model, images: Images, directions: Float[Tensor, "count moves latent"]
) -> ImageGrid:
    """Move each image's posterior mean once along each of its own directions and decode it."""
    means = encode_means(model, images)
    return decode_means(model, means[:, None] + directions.to(means))


def effect_size(latents: Latents, present: Bool[Tensor, "count"]) -> float:
    """Tell how far apart an attribute's latents lie along its direction, in standard deviations.

    Cohen's d (Cohen 1988, section 2.5): the difference of the projected means over the pooled
    standard deviation. The direction is that of every second latent of either side, and the
    others are measured: any few latents in many dimensions lie far out along their own mean.
    Raises ValueError where a side has fewer than 4 latents.
    """
    sides = latents[present].double(), latents[~present].double()
    if min(map(len, sides)) < MIN_COUNT:
        counts = " and ".join(str(len(side)) for side in sides)
        raise ValueError(f"needs {MIN_COUNT} latents with and without the attribute, got {counts}")
    direction = sides[0][::2].mean(0) - sides[1][::2].mean(0)
    having, lacking = (side[1::2] @ direction for side in sides)
    squares = (having - having.mean()).square().sum() + (lacking - lacking.mean()).square().sum()
    gap = having.mean() - lacking.mean()
    # Without a gap there is no effect, even where there is no deviation either.
    return float(gap / (squares / (len(having) + len(lacking) - 2)).sqrt()) if gap else 0.0


def strongest_attributes(
    latents: Latents, factors: Int64[Tensor, "count factor"], count: int
) -> dict[int, float]:
    """Name the attributes of largest effect size, largest first: their column and that size.

    An attribute is a column of zeros and ones, at least 4 of each; other columns are none.
    Of equal ones the lower column comes first.
    """
    sizes = {
        column: effect_size(latents, values == 1)
        for column, values in enumerate(factors.T)
        if is_attribute(values)
    }
    order = sorted(sizes, key=lambda column: -sizes[column])
    return {column: sizes[column] for column in order[:count]}


def is_attribute(values: Labels) -> bool:
    """Tell whether a factor has the values 0 and 1 only, and each often enough to measure."""
    ones, zeros = int((values == 1).sum()), int((values == 0).sum())
    return ones + zeros == len(values) and min(ones, zeros) >= MIN_COUNT


def most_frequent(labels: Labels, count: int) -> list[int]:
    """Name the classes of most images, at most `count`, rising; of equal ones the lower first."""
    images = torch.bincount(labels)
    order = images.sort(descending=True, stable=True).indices[:count]
    return sorted(int(label) for label in order if images[label])


def subsample_rows(count: int, limit: int = 10_000) -> Rows:
    """Choose `limit` of `count` rows, or all, spread evenly: files may be sorted."""
    chosen = min(count, limit)
    return torch.arange(chosen) * count // chosen


def encode_rows(
    model: Model, batches: ImageLoader, rows: Rows, noise: torch.Generator
) -> Float[Tensor, "rows latent"]:
    """Give chosen images' posterior means, on the CPU; `noise` as in `ImageBatches.take`."""
    parts = torch.split(rows, 500)
    return torch.cat([encode_means(model, batches.gather(part, noise)).cpu() for part in parts])


def _class_means(
    latents: Latents, labels: Labels, classes: Sequence[int]
) -> Float[Tensor, "classes latent"]:
    """Average the latents of each class; raises ValueError where one has none."""
    missing = [label for label in classes if not (labels == label).any()]
    if missing:
        raise ValueError(f"no latent is of class {', '.join(map(str, missing))}")
    return torch.stack([latents[labels == label].mean(0) for label in classes])
