"""The FactorVAE score: Kim & Mnih 2018, section 4."""

import numpy as np
from jaxtyping import Float, Int64

Codes = Float[np.ndarray, "count latent"]
Factors = Int64[np.ndarray, "count factors"]
Votes = Int64[np.ndarray, "latent factors"]
# For each factor, the rows of the images that share a value of it, value by value
Groups = list[list[Int64[np.ndarray, "_"]]]

IMAGES_IN_A_GROUP = 64
FITTED_VOTES, SCORED_VOTES = 800, 5_000
# A dimension of a smaller standard deviation, the largest of all being 1, is dead. That is
# Locatello et al. 2019's threshold where the prior N(0, I) sets the scale.
DEAD = 0.05


def factor_vae_score(
    train_codes: Codes,
    train_factors: Factors,
    test_codes: Float[np.ndarray, "others latent"],
    test_factors: Int64[np.ndarray, "others factors"],
    random: np.random.Generator,
) -> float | None:
    """Accuracy, from 0 to 1, of telling the fixed factor from the dimension that varies least.

    A vote fixes a factor and one of its values, both uniformly, draws 64 different images that
    have it, and takes the dimension of the least variance over that of all training images, dead
    ones apart. A dimension stands for the factor that it is most often the vote of. 800 votes of
    training images settle that and 5,000 of test images are counted, so that votes drawn anew
    change the score by about 0.01. By chance it is about 1 over the number of factors. It falls
    neither where dimensions share a factor nor where one also holds a little of others: read it
    beside the gaps.

    Groups come from the images at hand, not from a renderer, so a value that fewer than 64 images
    have, in train or in test, is not fixed. None where that leaves a factor no value, as the score
    of the other factors would be another one, and where every dimension is constant.
    """
    deviations = train_codes.std(axis=0, dtype=np.float64)
    # Rounding gives a constant a deviation.
    alive = (deviations > DEAD * deviations.max()) & (np.ptp(train_codes, axis=0) > 0)
    fitted_on, scored_on = _groups(train_factors, test_factors)
    if not alive.any() or not all(fitted_on):
        return None
    scale = deviations[alive]
    fitted = _votes(train_codes[:, alive] / scale, fitted_on, FITTED_VOTES, random)
    scored = _votes(test_codes[:, alive] / scale, scored_on, SCORED_VOTES, random)
    stands_for = fitted.argmax(axis=1)
    return float(scored[np.arange(len(scored)), stands_for].sum() / scored.sum())


def _groups(train: Factors, test: Int64[np.ndarray, "others factors"]) -> tuple[Groups, Groups]:
    """Find the images to draw from, for values that are frequent enough in both."""
    in_train: Groups = []
    in_test: Groups = []
    for known, asked in zip(train.T, test.T, strict=True):
        rows = [(np.flatnonzero(known == v), np.flatnonzero(asked == v)) for v in np.unique(known)]
        enough = [pair for pair in rows if min(map(len, pair)) >= IMAGES_IN_A_GROUP]
        in_train.append([first for first, _ in enough])
        in_test.append([second for _, second in enough])
    return in_train, in_test


def _votes(codes: Codes, groups: Groups, count: int, random: np.random.Generator) -> Votes:
    """Count how often each dimension varied least while each factor was fixed."""
    votes = np.zeros((codes.shape[1], len(groups)), np.int64)
    for factor in random.integers(len(groups), size=count):
        values = groups[factor]
        rows = random.choice(
            values[random.integers(len(values))], IMAGES_IN_A_GROUP, replace=False, shuffle=False
        )
        votes[codes[rows].var(axis=0).argmin(), factor] += 1
    return votes
