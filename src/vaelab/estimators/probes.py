"""Accuracy of simple classifiers of the latents, fitted on train only."""

import numpy as np
from jaxtyping import Float, Int64

TrainLatents = Float[np.ndarray, "count latent"]
TestLatents = Float[np.ndarray, "others latent"]
TrainLabels = Int64[np.ndarray, "count"]
TestLabels = Int64[np.ndarray, "others"]


def linear_probe_accuracy(
    train: TrainLatents, train_labels: TrainLabels, test: TestLatents, test_labels: TestLabels
) -> float:
    """Compute the test accuracy of multinomial logistic regression on standardized latents.

    Alain & Bengio 2016. Raises ValueError where train has fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # L-BFGS converges far below this many steps.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    classifier.fit(train.astype(np.float64), train_labels)
    return float(classifier.score(test.astype(np.float64), test_labels))


def knn_accuracy(
    train: TrainLatents,
    train_labels: TrainLabels,
    test: TestLatents,
    test_labels: TestLabels,
    neighbors: int,
) -> float:
    """Compute the test accuracy of k nearest neighbors in train, by Euclidean distance.

    At most as many neighbors vote as train has points.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(min(neighbors, len(train)), algorithm="brute")
    classifier.fit(train, train_labels)
    return float(classifier.score(test, test_labels))
