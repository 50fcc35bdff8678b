"""The separated attribute predictability score: Kumar et al. 2018, section 3."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from vaelab.estimators.disentanglement.mig import top_two_gap

TrainCodes = Float[np.ndarray, "train latent"]
TrainFactors = Int64[np.ndarray, "train factors"]
TestCodes = Float[np.ndarray, "test latent"]
TestFactors = Int64[np.ndarray, "test factors"]


def sap_score(
    train_codes: TrainCodes,
    train_factors: TrainFactors,
    test_codes: TestCodes,
    test_factors: TestFactors,
) -> float:
    """Mean over factors of (accuracy by the best dimension alone - by the next).

    From 0, where two dimensions tell as much, to 1 - 1 / V for a factor of V values, as guessing
    is right once in V: 1/2 for two-valued attributes, 0.88 for the factors of dSprites. By chance
    it is above 0 by about a standard error of an accuracy. One dimension may hold several factors.
    Raises ValueError for fewer than two dimensions.
    """
    accuracies = single_code_accuracies(train_codes, train_factors, test_codes, test_factors)
    return float(np.mean(top_two_gap(accuracies)))


def single_code_accuracies(
    train_codes: TrainCodes,
    train_factors: TrainFactors,
    test_codes: TestCodes,
    test_factors: TestFactors,
) -> Float64[np.ndarray, "factors latent"]:
    """Balanced accuracy on test of thresholds on one dimension, V - 1 for a factor of V values.

    As in the paper for categorical factors, with all factors taken for such, as which of them are
    ordered is not known and orientation is neither. A decision tree of V leaves sets the
    thresholds. The linear machines of Locatello et al. 2019, one a value, read 2 of 32 values off
    a perfect code, as those in the middle lie on no side of a threshold alone. A code of noise
    guesses, and a constant one: 1 / V.
    """
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    rows = []
    for known, asked in zip(train_factors.T, test_factors.T, strict=True):
        weights = compute_sample_weight("balanced", known)
        tree = DecisionTreeClassifier(max_leaf_nodes=len(np.unique(known)), random_state=0)
        guesses = [
            tree.fit(train[:, None], known, weights).predict(test[:, None])
            for train, test in zip(train_codes.T, test_codes.T, strict=True)
        ]
        rows.append([_balanced_accuracy(guess, asked) for guess in guesses])
    return np.array(rows)


def _balanced_accuracy(guess: Int64[np.ndarray, "test"], truth: Int64[np.ndarray, "test"]) -> float:
    """Give the share of right guesses, each value weighing the same however often it occurs."""
    return float(np.mean([np.mean(guess[truth == value] == value) for value in np.unique(truth)]))
