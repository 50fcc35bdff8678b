"""The FactorVAE score: Kim & Mnih 2018, section 4."""

import numpy as np
from jaxtyping import Float, Int64

Latents = Float[np.ndarray, "count latent"]
Factors = Int64[np.ndarray, "count factors"]
Votes = Int64[np.ndarray, "latent factors"]
# For each factor, the rows of the images that share a value of it, value by value
Groups = list[list[Int64[np.ndarray, "_"]]]

IMAGES_IN_A_GROUP = 64
FITTED_VOTES, SCORED_VOTES = 800, 5_000
# Dimensions whose standard deviation is below this share of the largest one are ignored. For a
# prior N(0, I) that is the threshold of Locatello et al. 2019.
MIN_RELATIVE_STDDEV = 0.05


def factor_vae_score(
    train_latents: Latents,
    train_factors: Factors,
    test_latents: Float[np.ndarray, "others latent"],
    test_factors: Int64[np.ndarray, "others factors"],
    rng: np.random.Generator,
) -> float | None:
    """Compute the accuracy of predicting the fixed factor from the dimension that varies least.

    A vote fixes a factor and one of its values, both uniformly, samples 64 different images that
    have it, and takes the dimension of the least variance relative to that over all training
    images. Each dimension predicts the factor that it most often had the vote of: 800 votes of
    training images decide that, and 5,000 of test images are scored, so that other random votes
    change the score by about 0.01. By chance it is about 1 over the number of factors, at most 1.
    It does not fall where dimensions share a factor, or where one encodes a little of others:
    compare it with the gaps.

    Groups are sampled from the data set, not rendered, so a value that fewer than 64 images have,
    in train or in test, is not fixed. None where that leaves a factor without values, because the
    score of fewer factors does not compare, and where every dimension is constant.
    """
    deviations = train_latents.std(axis=0, dtype=np.float64)
    # Rounding gives a constant dimension a small deviation.
    varying = (deviations > MIN_RELATIVE_STDDEV * deviations.max()) & (
        np.ptp(train_latents, axis=0) > 0
    )
    fitted_on, scored_on = _groups(train_factors, test_factors)
    if not varying.any() or not all(fitted_on):
        return None
    scale = deviations[varying]
    fitted = _votes(train_latents[:, varying] / scale, fitted_on, FITTED_VOTES, rng)
    scored = _votes(test_latents[:, varying] / scale, scored_on, SCORED_VOTES, rng)
    predicted = fitted.argmax(axis=1)
    return float(scored[np.arange(len(scored)), predicted].sum() / scored.sum())


def _groups(train: Factors, test: Int64[np.ndarray, "others factors"]) -> tuple[Groups, Groups]:
    """Group the rows by value, for values that are frequent enough in both splits."""
    train_groups: Groups = []
    test_groups: Groups = []
    for first, second in zip(train.T, test.T, strict=True):
        pairs = [
            (np.flatnonzero(first == v), np.flatnonzero(second == v)) for v in np.unique(first)
        ]
        enough = [pair for pair in pairs if min(map(len, pair)) >= IMAGES_IN_A_GROUP]
        train_groups.append([rows for rows, _ in enough])
        test_groups.append([rows for _, rows in enough])
    return train_groups, test_groups


def _votes(latents: Latents, groups: Groups, count: int, rng: np.random.Generator) -> Votes:
    """Count how often each dimension varied least while each factor was fixed."""
    votes = np.zeros((latents.shape[1], len(groups)), np.int64)
    for factor in rng.integers(len(groups), size=count):
        values = groups[factor]
        rows = rng.choice(
            values[rng.integers(len(values))], IMAGES_IN_A_GROUP, replace=False, shuffle=False
        )
        votes[latents[rows].var(axis=0).argmin(), factor] += 1
    return votes
