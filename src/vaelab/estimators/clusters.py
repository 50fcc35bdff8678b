"""How well clusters of the latents, found without labels, agree with the labels."""

import warnings
from dataclasses import dataclass

import numpy as np

from vaelab.estimators.probes import Latents, OtherLabels, OtherLatents

# Starts of k-means, of which the tightest clusters are kept.
STARTS = 5


@dataclass(frozen=True)
class ClusterAgreement:
    """Two measures of how well clusters and classes agree: 1 where they are the same.

    `normalized_mutual_information` is the information that they share over the mean of their
    entropies, 0 to 1 (Vinh et al. 2010, NMI_sum): clusters drawn by chance get more than 0, the
    more the fewer points there are. `adjusted_rand_index` counts the pairs of points that both
    put together or both apart, less those to be expected by chance (Hubert & Arabie 1985,
    equation 5): 0 on average for clusters drawn by chance, and it may fall below.
    """

    normalized_mutual_information: float
    adjusted_rand_index: float


def kmeans_agreement(
    train: Latents, test: OtherLatents, test_labels: OtherLabels, clusters: int, seed: int
) -> ClusterAgreement:
    """Put test latents into the clusters that k-means finds in train, and compare with labels.

    Lloyd 1982, from the best of a few starts by k-means++ (Arthur & Vassilvitskii 2007), by
    Euclidean distance on latents as they are: a dimension counts by its variance, so that those
    that are switched off do not. There are at most as many clusters as train has points. Raises
    ValueError for fewer than two classes among the test labels, with which nothing can agree.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(np.unique(test_labels)) < 2:
        raise ValueError("clusters are compared with two classes or more; the labels have fewer")
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    kmeans = KMeans(min(clusters, len(train)), n_init=STARTS, random_state=state)
    with warnings.catch_warnings():
        # Codes that are all alike have fewer clusters than were asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(train.astype(np.float64))
    found = kmeans.predict(test.astype(np.float64))
    return ClusterAgreement(
        normalized_mutual_information=float(normalized_mutual_info_score(test_labels, found)),
        adjusted_rand_index=float(adjusted_rand_score(test_labels, found)),
    )
