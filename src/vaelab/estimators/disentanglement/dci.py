"""Disentanglement, completeness and informativeness: Eastwood & Williams 2018.

The scores are the paper's, the importances are not, so papers' values are not comparable. Here
they are those of 20 extremely randomized trees a factor (Geurts et al. 2006), measured on held-out
images. The paper has lasso and random forests, disentanglement_lib gradient boosted trees, all
measured on training images. There dimensions of pure noise get an importance that grows as a
factor is harder to predict: for dSprites' factors, each encoded by one of ten dimensions with
noise of half its standard deviation, disentanglement would be 0.4, where it should be 1.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import entr

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.tree._tree import Tree

TrainLatents = Float[np.ndarray, "train latent"]
TrainFactors = Int64[np.ndarray, "train factors"]
TestLatents = Float[np.ndarray, "test latent"]
TestFactors = Int64[np.ndarray, "test factors"]
Importance = Float64[np.ndarray, "latent factors"]
Gains = Float64[np.ndarray, "test latent"]

TREES = 20
# Importances within so many standard errors of 0 are set to 0; noise exceeds that about once in
# 3 million.
STANDARD_ERRORS = 5


def disentanglement(importance: Importance) -> float:
    """Compute how far each dimension encodes one factor only: D of section 2.

    The mean over dimensions, weighted by their importance, of 1 - H(factors) / ln(number of
    factors). From 0, where every dimension is equally important to all factors, or none to any,
    to 1. Several dimensions may share a factor. Raises ValueError for fewer than two factors.
    """
    return _concentration(importance)


def completeness(importance: Importance) -> float:
    """Compute how far each factor is encoded by one dimension only: C of section 2.

    The mean over the factors that are predicted at all, equally weighted, of 1 - H(dimensions) /
    ln(number of dimensions). From 0, where all dimensions are equally important, or none is, to
    1. One dimension may encode several factors. Raises ValueError for fewer than two dimensions.
    """
    return _concentration(importance.T)


def _concentration(importance: Float64[np.ndarray, "rows columns"]) -> float:
    if importance.shape[1] < 2:
        raise ValueError("needs at least two factors and two latent dimensions")
    if not importance.any():
        return 0.0
    joint = importance / importance.sum()
    # The weighted mean of rows' entropies: H(column | row) = H(row, column) - H(row)
    conditional = entr(joint).sum() - entr(joint.sum(axis=1)).sum()
    return float(np.clip(1 - conditional / np.log(importance.shape[1]), 0, 1))


def dci_importance(
    train_latents: TrainLatents,
    train_factors: TrainFactors,
    test_latents: TestLatents,
    test_factors: TestFactors,
    rng: np.random.Generator,
) -> tuple[Importance, float]:
    """Compute the importance of each dimension to each factor, and the mean accuracy on test.

    An importance is the decrease of Gini impurity by the splits on a dimension, for held-out
    images (Li et al. 2019, whose MDI-oob uses those out of the bag), so it is 0 on average for
    noise; copies of one dimension share theirs. One within 5 standard errors of 0 is set to 0,
    and those of a factor are divided by their sum: a column sums to 1, or to 0 where a factor
    cannot be predicted. With few images weak importances are lost, which raises both scores: use
    1,000 or more.

    The accuracy, informativeness in the paper, is from 0 to 1, and by chance at most
    `majority_accuracy`.
    """
    columns, accuracies = [], []
    for train, test in zip(train_factors.T, test_factors.T, strict=True):
        _, values = np.unique(np.concatenate([train, test]), return_inverse=True)
        train_values, test_values = values[: len(train)], values[len(train) :]
        forest = _fit(train_latents, train_values, rng)
        accuracies.append(float(forest.score(test_latents, test_values)))
        columns.append(_shares(_gains(forest, test_latents, test_values)))
    return np.stack(columns, axis=1), float(np.mean(accuracies))


def majority_accuracy(factors: TestFactors) -> float:
    """Compute the accuracy of predicting each factor's most common value, mean over factors."""
    most_common = [np.unique(values, return_counts=True)[1].max() for values in factors.T]
    return float(np.mean(most_common) / len(factors))


def _fit(
    latents: TrainLatents, values: Int64[np.ndarray, "train"], rng: np.random.Generator
) -> "ExtraTreesClassifier":
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        TREES,
        max_features=None,  # with a random subset of features, noise would be split on as well
        min_samples_leaf=5,
        n_jobs=-1,
        random_state=int(rng.integers(2**32)),
    )
    forest.fit(latents, values)
    # Threads sum probabilities in no fixed order, so ties would not be reproducible.
    return forest.set_params(n_jobs=1)


def _shares(gains: Gains) -> Float64[np.ndarray, "latent"]:
    errors = gains.std(axis=0) / np.sqrt(len(gains))
    means = gains.mean(axis=0)
    significant = np.where(means > STANDARD_ERRORS * errors, means, 0)
    return significant / significant.sum() if significant.any() else significant


def _gains(
    forest: "ExtraTreesClassifier", latents: TestLatents, values: Int64[np.ndarray, "test"]
) -> Gains:
    """Compute how much the splits on each dimension raise the probability of each image's value.

    The mean over the images that a tree was fitted on is the decrease of Gini impurity.
    """
    total, count = np.zeros(latents.shape), 1 + max(values.max(), forest.classes_.max())
    for tree, leaves in zip(forest.estimators_, forest.apply(latents).T, strict=True):
        # A value that is not in train has frequency 0 in every node.
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
    """Add the gains on the path from each image's leaf to the root."""
    parents = _parents(tree)
    images = np.arange(len(nodes))
    while len(images):
        below = parents[nodes] >= 0
        images, nodes = images[below], nodes[below]
        above, value = parents[nodes], values[images]
        gain = frequencies[nodes, value] - frequencies[above, value]
        total[images, tree.feature[above]] += gain
        nodes = above


def _parents(tree: "Tree") -> Int64[np.ndarray, "nodes"]:
    parents = np.full(tree.node_count, -1)
    splits = np.flatnonzero(tree.children_left >= 0)
    parents[tree.children_left[splits]] = splits
    parents[tree.children_right[splits]] = splits
    return parents
