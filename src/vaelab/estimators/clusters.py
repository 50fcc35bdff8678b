"""Agreement of k-means clusters of the latents, found without labels, with the labels."""

import warnings
from dataclasses import dataclass

import numpy as np

from vaelab.estimators.probes import TestLabels, TestLatents, TrainLatents

# Random starts of k-means; the clustering of least inertia is kept.
KMEANS_STARTS = 5


@dataclass(frozen=True)
class ClusterAgreement:
    """Two measures of agreement between clusters and classes: 1 where they are the same.

    `normalized_mutual_information` is their mutual information over the mean of their entropies,
    0 to 1 (Vinh et al. 2010, NMI_sum); random clusters score above 0, the more so the fewer
    points there are. `adjusted_rand_index` counts the pairs of points on which both partitions
    agree, corrected for chance (Hubert & Arabie 1985, equation 5): 0 on average for random
    clusters, and it may be negative.
    """

    normalized_mutual_information: float
    adjusted_rand_index: float


def kmeans_agreement(
    train: TrainLatents, test: TestLatents, test_labels: TestLabels, clusters: int, seed: int
) -> ClusterAgreement:
    """Compute how well k-means clusters, fitted to train, agree with the test labels.

    Lloyd 1982, the best of a few starts by k-means++ (Arthur & Vassilvitskii 2007), by Euclidean
    distance on unscaled latents: a dimension counts by its variance, so inactive ones hardly
    count. There are at most as many clusters as train has points. Raises ValueError for fewer
    than two classes among the test labels.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(np.unique(test_labels)) < 2:
        raise ValueError("cluster agreement needs test labels of at least two classes")
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    kmeans = KMeans(min(clusters, len(train)), n_init=KMEANS_STARTS, random_state=state)
    with warnings.catch_warnings():
        # Identical latents form fewer clusters than requested.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(train.astype(np.float64))
    predicted = kmeans.predict(test.astype(np.float64))
    return ClusterAgreement(
        normalized_mutual_information=float(normalized_mutual_info_score(test_labels, predicted)),
        adjusted_rand_index=float(adjusted_rand_score(test_labels, predicted)),
    )
