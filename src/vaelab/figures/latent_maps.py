"""Latents of images as points in a plane: as they are, by t-SNE, by principal components."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vaelab.figures.style import dimension_name

Means = Float[np.ndarray, "count latent"]
Points = Float[np.ndarray, "count 2"]
Labels = Int[np.ndarray, "count"]
Rows = Int[np.ndarray, "shown"]

_MAP_LIMIT, _FEWEST = 2000, 10  # images of a t-SNE map


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


def latent_maps(means: Means, seed: int = 0, limit: int = 10_000) -> list[LatentMap]:
    """Map latents of two dimensions or more into a plane, the best map first.

    Two dimensions are mapped as they are, more by t-SNE (van der Maaten & Hinton 2008), at most
    2,000 of the images, and on their first two principal components. Of more than `limit` images a
    random sample of that size is mapped. There is no t-SNE of fewer than ten images or equal ones.
    """
    rows = sampled_rows(len(means), seed, limit)
    if means.shape[1] == 2:
        names = (f"mean of {dimension_name(0)}", f"mean of {dimension_name(1)}")
        return [LatentMap(means[rows], rows, *names)]
    points, shares = principal_components(means, seed)
    x_name, y_name = (f"component {k} ({share:.0%})" for k, share in enumerate(shares, 1))
    title = "Principal components (share of variance)"
    plane = LatentMap(points[rows], rows, x_name, y_name, title)
    few = rows[:_MAP_LIMIT]
    if len(few) < _FEWEST or not np.ptp(means[few], axis=0).any():
        return [plane]
    return [LatentMap(_t_sne(means[few], seed), few, title="t-SNE: neighbors stay close"), plane]


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


def principal_components(means: Means, seed: int = 0) -> tuple[Points, tuple[float, float]]:
    """Project on the two directions of most variance; return the share that each explains."""
    from sklearn.decomposition import PCA

    if len(means) < 2 or not np.ptp(means, axis=0).any():
        return np.zeros((len(means), 2), np.float32), (0.0, 0.0)
    fitted = PCA(2, random_state=seed).fit(means)
    first, second = fitted.explained_variance_ratio_
    return fitted.transform(means), (float(first), float(second))


def _t_sne(means: Means, seed: int) -> Points:
    """Map images so that those with close latents stay close; distances far apart mean little."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(means) - 1) / 3)
    found: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        means
    )
    return found


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
