"""Disentanglement, completeness and informativeness: Eastwood & Williams 2018.

Importances are of forests, as in the paper, but measured on held-out images. Those of the training
images give codes of pure noise a share that grows as a factor is harder to read: for dSprites'
factors, each held by one of ten codes with noise of half its standard deviation, disentanglement
is 0.4 by them, where it should be 1.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import entr

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.tree._tree import Tree

TrainCodes = Float[np.ndarray, "train latent"]
TrainFactors = Int64[np.ndarray, "train factors"]
TestCodes = Float[np.ndarray, "test latent"]
TestFactors = Int64[np.ndarray, "test factors"]
Importance = Float64[np.ndarray, "latent factors"]
Gains = Float64[np.ndarray, "test latent"]

TREES = 20
# An importance nearer to 0 is noise: one of pure noise is farther about once in 3 million.
STANDARD_ERRORS = 5


def disentanglement(importance: Importance) -> float:
    """Tell how far each dimension is about one factor only: D of section 2.

    The mean over dimensions, weighted by their importance, of 1 - H(factors) / ln(number of
    factors). From 0, where every dimension is as important to all factors, or none to any, to 1.
    Several dimensions may share a factor. Raises ValueError for fewer than two factors.
    """
    return _concentration(importance)


def completeness(importance: Importance) -> float:
    """Tell how far each factor is held by one dimension only: C of section 2.

    The mean over factors, each that is read at all weighing the same, of 1 - H(dimensions) /
    ln(number of dimensions). From 0, where every dimension is as important, or none is, to 1.
    One dimension may hold several factors. Raises ValueError for fewer than two dimensions.
    """
    return _concentration(importance.T)


def _concentration(importance: Float64[np.ndarray, "owners shares"]) -> float:
    if importance.shape[1] < 2:
        raise ValueError("an entropy needs two factors and two latent dimensions or more")
    if not importance.any():
        return 0.0
    joint = importance / importance.sum()
    # The weighted mean of rows' entropies: H(share | owner) = H(owner, share) - H(owner)
    conditional = entr(joint).sum() - entr(joint.sum(axis=1)).sum()
    return float(np.clip(1 - conditional / np.log(importance.shape[1]), 0, 1))


def dci_importance(
    train_codes: TrainCodes,
    train_factors: TrainFactors,
    test_codes: TestCodes,
    test_factors: TestFactors,
    random: np.random.Generator,
) -> tuple[Importance, float]:
    """Give the importance of each dimension to each factor, and the forests' mean accuracy on test.

    An importance is the decrease of Gini impurity by the splits on a dimension, for held-out images
    (Li et al. 2019, whose MDI-oob takes those out of the bag), so that of noise is 0 on average;
    copies of one code share theirs. One within 5 standard errors of 0 is set to 0, and those of a
    factor are divided by their sum: a column sums to 1, or to 0 where a factor cannot be read.
    What is weak is lost in few images, which raises both scores: use 1,000 or more.

    The accuracy, informativeness in the paper, is from 0 to 1, and by chance at most
    `guessing_accuracy`.
    """
    columns, accuracies = [], []
    for known, asked in zip(train_factors.T, test_factors.T, strict=True):
        _, values = np.unique(np.concatenate([known, asked]), return_inverse=True)
        train_values, test_values = values[: len(known)], values[len(known) :]
        forest = _fit(train_codes, train_values, random)
        accuracies.append(float(forest.score(test_codes, test_values)))
        columns.append(_shares(_gains(forest, test_codes, test_values)))
    return np.stack(columns, axis=1), float(np.mean(accuracies))


def guessing_accuracy(factors: TestFactors) -> float:
    """Mean over factors of their commonest value's share: what a guess without codes reaches."""
    commonest = [np.unique(values, return_counts=True)[1].max() for values in factors.T]
    return float(np.mean(commonest) / len(factors))


def _fit(
    codes: TrainCodes, values: Int64[np.ndarray, "train"], random: np.random.Generator
) -> "ExtraTreesClassifier":
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        TREES,
        max_features=None,  # where a few are chosen by chance, noise among them splits as well
        min_samples_leaf=5,
        n_jobs=-1,
        random_state=int(random.integers(2**32)),
    )
    forest.fit(codes, values)
    # Threads add up probabilities in no fixed order, which would decide between equal ones.
    return forest.set_params(n_jobs=1)


def _shares(gains: Gains) -> Float64[np.ndarray, "latent"]:
    errors = gains.std(axis=0) / np.sqrt(len(gains))
    means = gains.mean(axis=0)
    sure = np.where(means > STANDARD_ERRORS * errors, means, 0)
    return sure / sure.sum() if sure.any() else sure


def _gains(
    forest: "ExtraTreesClassifier", codes: TestCodes, values: Int64[np.ndarray, "test"]
) -> Gains:
    """Give what the splits on each dimension add to the probability of each image's own value.

    Their mean over the images that a tree was fitted on is the decrease of Gini impurity.
    """
    total, count = np.zeros(codes.shape), 1 + max(values.max(), forest.classes_.max())
    for tree, leaves in zip(forest.estimators_, forest.apply(codes).T, strict=True):
        # A value that train lacks has frequency 0 in every node.
        frequencies = np.zeros((tree.tree_.node_count, count))
        frequencies[:, forest.classes_] = tree.tree_.value[:, 0]
        _add_gains(total, tree.tree_, leaves, frequencies, values)
    return total / len(forest.estimators_)


def _add_gains(
    total: Gains,
    tree: "Tree",
    nodes: Int64[np.ndarray, "test"],
    frequencies: Float64[np.ndarray, "nodes values"],
    values: Int64[np.ndarray, "test"],
) -> None:
    """Go up from each image's leaf to the root."""
    parents = _parents(tree)
    images = np.arange(len(nodes))
    while len(images):
        below = parents[nodes] >= 0
        images, nodes = images[below], nodes[below]
        above, own = parents[nodes], values[images]
        total[images, tree.feature[above]] += frequencies[nodes, own] - frequencies[above, own]
        nodes = above


def _parents(tree: "Tree") -> Int64[np.ndarray, "nodes"]:
    parents = np.full(tree.node_count, -1)
    splits = np.flatnonzero(tree.children_left >= 0)
    parents[tree.children_left[splits]] = splits
    parents[tree.children_right[splits]] = splits
    return parents
