"""Attribute directions in the latent space, from labels, and images edited along them.

An attribute, such as glasses, is present in an image or not; a class is one of several. Functions
that take a model need one with an encoder.
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
"""Least number of latents with an attribute, and without it, to measure its effect size."""


def attribute_direction(latents: Latents, present: Bool[Tensor, "count"]) -> Direction:
    """Compute the mean of the latents with an attribute minus the mean of those without it.

    Larsen et al. 2016, section 4.1.1; White 2016, section 3. Correlated attributes, such as
    earrings with lipstick, are mixed in the direction. Raises ValueError where no latent has the
    attribute or every one has.
    """
    if present.all() or not present.any():
        counts = f"{int(present.sum())} of {len(present)} latents have it"
        raise ValueError(f"a direction needs latents with and without the attribute: {counts}")
    return latents[present].mean(0) - latents[~present].mean(0)


def class_directions(
    latents: Latents, labels: Labels, source: Sequence[int], target: Sequence[int]
) -> Float[Tensor, "source target latent"]:
    """Compute, at [i, k], the mean latent of class target[k] minus that of class source[i].

    Raises ValueError where a class has no latent.
    """
    return class_means(latents, labels, target) - class_means(latents, labels, source)[:, None]


def class_direction(latents: Latents, labels: Labels, source: int, target: int) -> Direction:
    """Compute the difference of the mean latents of two classes, target minus source.

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
    """Decode images' posterior means shifted along a direction: [i, j] is shifted by steps[j].

    A step of 0 reconstructs, 1 adds the attribute, -1 removes it.
    """
    latents = shift(encode_means(model, images), direction, steps)
    return decode_means(model.with_columns(), latents)


def edit_each(
    model: Model, images: Images, directions: Float[Tensor, "count directions latent"]
) -> ImageGrid:
    """Decode each image's posterior mean shifted by each of its own directions."""
    means = encode_means(model, images)
    return decode_means(model.with_columns(), means[:, None] + directions.to(means))


def effect_size(latents: Latents, present: Bool[Tensor, "count"]) -> float:
    """Compute the effect size of an attribute along its direction: Cohen's d.

    Cohen 1988, section 2.5: the difference of the projected means over the pooled standard
    deviation. The direction is fitted to every second latent of each group and measured on the
    others, because in many dimensions a few latents lie far out along their own mean. Raises
    ValueError where a group has fewer than 4 latents.
    """
    groups = latents[present].double(), latents[~present].double()
    if min(map(len, groups)) < MIN_COUNT:
        counts = " and ".join(str(len(group)) for group in groups)
        raise ValueError(f"needs {MIN_COUNT} latents with and without the attribute, got {counts}")
    direction = groups[0][::2].mean(0) - groups[1][::2].mean(0)
    with_it, without = (group[1::2] @ direction for group in groups)
    squares = (with_it - with_it.mean()).square().sum() + (without - without.mean()).square().sum()
    gap = with_it.mean() - without.mean()
    # 0 also where both the gap and the deviation are 0
    return float(gap / (squares / (len(with_it) + len(without) - 2)).sqrt()) if gap else 0.0


def strongest_attributes(
    latents: Latents, factors: Int64[Tensor, "count factor"], count: int
) -> dict[int, float]:
    """Return the columns of the attributes of largest effect size, and that size, largest first.

    An attribute is a column of zeros and ones, at least 4 of each; other columns are skipped.
    Ties are in the order of columns.
    """
    sizes = {
        column: effect_size(latents, values == 1)
        for column, values in enumerate(factors.T)
        if is_attribute(values)
    }
    order = sorted(sizes, key=lambda column: -sizes[column])
    return {column: sizes[column] for column in order[:count]}


def is_attribute(values: Labels) -> bool:
    """Check that a factor has only the values 0 and 1, each often enough to measure."""
    ones, zeros = int((values == 1).sum()), int((values == 0).sum())
    return ones + zeros == len(values) and min(ones, zeros) >= MIN_COUNT


def most_frequent(labels: Labels, count: int) -> list[int]:
    """Return at most `count` classes of most images, in ascending order; ties by lower label.

    Labels of -1, which are unknown, do not count.
    """
    counts = torch.bincount(labels[labels >= 0])
    order = counts.sort(descending=True, stable=True).indices[:count]
    return sorted(int(label) for label in order if counts[label])


def subsample_rows(count: int, limit: int = 10_000) -> Rows:
    """Return `limit` of `count` rows, or all, evenly spaced because files may be sorted."""
    chosen = min(count, limit)
    return torch.arange(chosen) * count // chosen


def encode_rows(
    model: Model, batches: ImageLoader, rows: Rows, noise: torch.Generator
) -> Float[Tensor, "rows latent"]:
    """Compute the posterior means of rows, on the CPU; `noise` as in `ImageLoader.gather`."""
    parts = torch.split(rows, 500)
    return torch.cat(
        [
            encode_means(model.given(batches.labels_at(part)), batches.gather(part, noise)).cpu()
            for part in parts
        ]
    )


def class_means(
    latents: Latents, labels: Labels, classes: Sequence[int]
) -> Float[Tensor, "classes latent"]:
    """Compute the mean latent of each class; raises ValueError where one has none."""
    missing = [label for label in classes if not (labels == label).any()]
    if missing:
        raise ValueError(f"no latent is of class {', '.join(map(str, missing))}")
    return torch.stack([latents[labels == label].mean(0) for label in classes])
