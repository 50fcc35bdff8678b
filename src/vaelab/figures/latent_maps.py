"""Latents of images as points in a plane: as they are, by t-SNE, by principal components."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vaelab.figures.style import dimension_name

Means = Float[np.ndarray, "count latent"]
Points = Float[np.ndarray, "count 2"]
Labels = Int[np.ndarray, "count"]
Rows = Int[np.ndarray, "shown"]

Embedded = tuple[Points, Rows]
"""Points that are found elsewhere, by t-SNE, and the rows of the images that they are."""


@dataclass(frozen=True)
class LatentMap:
    """Points in a plane, the rows of the images that they are, and the names of the axes."""

    points: Points
    rows: Rows
    x_name: str = ""
    y_name: str = ""
    title: str = ""

    @property
    def has_axes(self) -> bool:
        """Whether the axes mean something by themselves, unlike those of t-SNE."""
        return bool(self.x_name)


def latent_maps(
    means: Means, seed: int = 0, limit: int = 10_000, embedded: Embedded | None = None
) -> list[LatentMap]:
    """Map latents of two dimensions or more into a plane, the best map first.

    Two dimensions are mapped as they are, more as they are `embedded` by t-SNE, if they are, and on
    their first two principal components. Of more than `limit` images a random sample of that size
    is mapped.
    """
    rows = sampled_rows(len(means), seed, limit)
    if means.shape[1] == 2:
        names = (f"mean of {dimension_name(0)}", f"mean of {dimension_name(1)}")
        return [LatentMap(means[rows], rows, *names)]
    points, shares = principal_components(means)
    x_name, y_name = (f"component {k} ({share:.0%})" for k, share in enumerate(shares, 1))
    title = "Principal components (share of variance)"
    plane = LatentMap(points[rows], rows, x_name, y_name, title)
    if embedded is None:
        return [plane]
    return [LatentMap(*embedded, title="t-SNE: neighbors stay close"), plane]


def embedded_latents(arrays: Mapping[str, np.ndarray], images: int) -> Embedded | None:
    """Return the points among the evaluation's arrays, if there are any.

    Raises ValueError where they are not of so many images.
    """
    if "map_points" not in arrays or "map_rows" not in arrays:
        return None
    points, rows = arrays["map_points"], arrays["map_rows"]
    fit = points.shape == (rows.size, 2) and rows.ndim == 1 and rows.dtype.kind in "iu"
    if not fit or not np.isin(rows, np.arange(images)).all():
        raise ValueError(f"map_points and map_rows are not of the {images} test images")
    return points, rows


def strip_map(means: Means, labels: Labels | None, seed: int, limit: int) -> LatentMap:
    """Add a second coordinate to one-dimensional means: the class, with jitter."""
    rows = sampled_rows(len(means), seed, limit)
    jitter = np.random.default_rng(seed).uniform(-0.32, 0.32, len(means))
    heights = jitter + (0 if labels is None else labels)
    points = np.stack([means[:, 0], heights], axis=1).astype(np.float32)
    names = f"mean of {dimension_name(0)}", "" if labels is None else "class"
    return LatentMap(points[rows], rows, *names)


def sampled_rows(count: int, seed: int, limit: int) -> Rows:
    """Return at most `limit` rows in random order."""
    return np.random.default_rng(seed).permutation(count)[:limit]


def principal_components(means: Means) -> tuple[Points, tuple[float, float]]:
    """Project on the two directions of most variance; return the share that each explains.

    The largest weight of each direction is positive.
    """
    if len(means) < 2 or not np.ptp(means, axis=0).any():
        return np.zeros((len(means), 2), np.float32), (0.0, 0.0)
    centered = means.astype(np.float64) - means.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(np.cov(centered.T))
    axes = directions[:, :-3:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    first, second = variances[:-3:-1].clip(0) / variances.sum()
    return (centered @ axes).astype(np.float32), (float(first), float(second))


def spread_out(points: Points, width: float, height: float) -> list[int]:
    """Return indices of points so far apart that boxes of that size around them do not overlap.

    The first of points that are too close to each other is kept.
    """
    chosen: list[int] = []
    for index, point in enumerate(points):
        apart = np.abs(points[chosen] - point) >= (width, height)
        if apart.any(axis=1).all():
            chosen.append(index)
    return chosen
