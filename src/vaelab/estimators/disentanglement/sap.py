"""The separated attribute predictability score: Kumar et al. 2018, section 3."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from vaelab.estimators.disentanglement.mig import top_two_gap

TrainLatents = Float[np.ndarray, "train latent"]
TrainFactors = Int64[np.ndarray, "train factors"]
TestLatents = Float[np.ndarray, "test latent"]
TestFactors = Int64[np.ndarray, "test factors"]


def sap_score(
    train_latents: TrainLatents,
    train_factors: TrainFactors,
    test_latents: TestLatents,
    test_factors: TestFactors,
) -> float:
    """Compute the mean over factors of (accuracy of the best single dimension - of the next).

    From 0, where two dimensions predict equally well, to 1 - 1 / V for a factor of V values,
    because chance accuracy is 1 / V: 1/2 for binary attributes, 0.88 for the factors of dSprites.
    By chance it is above 0 by about a standard error of an accuracy. One dimension may encode
    several factors.
    Raises ValueError for fewer than two dimensions.
    """
    accuracies = single_dimension_accuracies(
        train_latents, train_factors, test_latents, test_factors
    )
    return float(np.mean(top_two_gap(accuracies)))


def single_dimension_accuracies(
    train_latents: TrainLatents,
    train_factors: TrainFactors,
    test_latents: TestLatents,
    test_factors: TestFactors,
) -> Float64[np.ndarray, "factors latent"]:
    """Compute the balanced test accuracy of V - 1 thresholds on one dimension, for V values.

    As in the paper for categorical factors; all factors are treated as categorical, because it is
    not known which of them are ordered, and orientation is periodic. A decision tree of V leaves
    fits the thresholds. The linear classifiers of Locatello et al. 2019, one a value, predict
    only 2 of 32 values from a perfect dimension, because the values in the middle are not
    separated by one threshold. A dimension of noise, or a constant one, is at chance: 1 / V.
    """
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    rows = []
    for train_values, test_values in zip(train_factors.T, test_factors.T, strict=True):
        weights = compute_sample_weight("balanced", train_values)
        tree = DecisionTreeClassifier(max_leaf_nodes=len(np.unique(train_values)), random_state=0)
        predictions = [
            tree.fit(train[:, None], train_values, weights).predict(test[:, None])
            for train, test in zip(train_latents.T, test_latents.T, strict=True)
        ]
        rows.append([_balanced_accuracy(predicted, test_values) for predicted in predictions])
    return np.array(rows)


def _balanced_accuracy(
    predicted: Int64[np.ndarray, "test"], truth: Int64[np.ndarray, "test"]
) -> float:
    """Compute the accuracy for each true value and average over values."""
    return float(
        np.mean([np.mean(predicted[truth == value] == value) for value in np.unique(truth)])
    )
