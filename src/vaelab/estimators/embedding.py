"""Latents in a plane by t-SNE: van der Maaten & Hinton 2008."""

import numpy as np
from jaxtyping import Float, Int

Means = Float[np.ndarray, "count latent"]
Points = Float[np.ndarray, "shown 2"]
Rows = Int[np.ndarray, "shown"]

# Images of a map at most, and the fewest that are mapped
MAX_IMAGES, FEWEST = 2_000, 10
# Of MNIST's latents twice as many, scikit-learn's default, lower the divergence by 7 % only.
ITERATIONS = 500


def t_sne(means: Means, seed: int) -> tuple[Points, Rows] | None:
    """Map images, chosen by the seed, so that those with close latents stay close.

    Returns the points and the rows of the images. Distances far apart mean little. None for latents
    of one or two dimensions, for fewer than ten images and for equal ones.
    """
    from sklearn.manifold import TSNE

    rows = np.random.default_rng(seed).permutation(len(means))[:MAX_IMAGES]
    chosen = means[rows]
    if means.shape[1] < 3 or len(rows) < FEWEST or not np.ptp(chosen, axis=0).any():
        return None
    perplexity = min(30.0, (len(rows) - 1) / 3)
    mapping = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=ITERATIONS)
    points: Points = mapping.fit_transform(chosen)
    return points, rows
