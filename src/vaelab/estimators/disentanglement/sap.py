"""The separated attribute predictability score: Kumar et al. 2018, section 3."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from vaelab.estimators.disentanglement.mig import top_two_gap

TrainLatents = Float[np.ndarray, "train latent"]
TrainFactors = Int64[np.ndarray, "train factors"]
TestLatents = Float[np.ndarray, "test latent"]
TestFactors = Int64[np.ndarray, "test factors"]

# The penalty C of the support vector machines: disentanglement_lib
PENALTY = 0.01


def sap_score(
    train_latents: TrainLatents,
    train_factors: TrainFactors,
    test_latents: TestLatents,
    test_factors: TestFactors,
) -> float:
    """Compute the mean over factors of (accuracy of the best single dimension - of the next).

    From 0, where two dimensions predict equally well. The largest value depends on the factors,
    because chance accuracy is 1 / V for V values, and because linear classifiers of one dimension
    predict only some of many ordered values: perfect latents score 1/2 for binary attributes and
    0.25 for the factors of dSprites. By chance it is above 0 by about a standard error of an
    accuracy. One dimension may encode several factors.
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
    """Compute the test accuracy of a linear support vector machine on one dimension.

    As disentanglement_lib for discrete factors (Locatello et al. 2019), so that values compare
    with papers that used it: one classifier a value against the rest, squared hinge loss, values
    weighted equally, latents as they are. The penalty makes it depend on a dimension's scale, so
    that one that hardly varies predicts little, and below some thousand images on their number.
    All factors are treated as discrete, because it is not
    known which of them are ordered, and orientation is periodic.
    """
    from sklearn.svm import LinearSVC

    rows = []
    for train_values, test_values in zip(train_factors.T, test_factors.T, strict=True):
        # The primal problem's solution is the dual's, but draws no random numbers.
        classifier = LinearSVC(C=PENALTY, class_weight="balanced", dual=False)
        rows.append(
            [
                classifier.fit(train[:, None], train_values).score(test[:, None], test_values)
                for train, test in zip(train_latents.T, test_latents.T, strict=True)
            ]
        )
    return np.array(rows)
