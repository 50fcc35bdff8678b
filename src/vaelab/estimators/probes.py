"""How much of the labels simple classifiers read from the latents; fitted on train only."""

import numpy as np
from jaxtyping import Float, Int64

Latents = Float[np.ndarray, "count latent"]
OtherLatents = Float[np.ndarray, "others latent"]
Labels = Int64[np.ndarray, "count"]
OtherLabels = Int64[np.ndarray, "others"]


def linear_probe_accuracy(
    train: Latents, train_labels: Labels, test: OtherLatents, test_labels: OtherLabels
) -> float:
    """Accuracy on test of multinomial logistic regression on standardised latents.

    Alain & Bengio 2016. Raises ValueError where train has fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # L-BFGS stops at its tolerance, far below this many steps.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    classifier.fit(train.astype(np.float64), train_labels)
    return float(classifier.score(test.astype(np.float64), test_labels))


def knn_accuracy(
    train: Latents,
    train_labels: Labels,
    test: OtherLatents,
    test_labels: OtherLabels,
    neighbours: int,
) -> float:
    """Accuracy on test of a vote among the nearest train latents, by Euclidean distance.

    At most as many neighbours vote as train has points.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(min(neighbours, len(train)), algorithm="brute")
    classifier.fit(train, train_labels)
    return float(classifier.score(test, test_labels))
