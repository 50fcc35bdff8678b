"""Of the group `latent`: classes in the latent space, and interpolations through it."""

from collections.abc import Mapping

from vaelab.metrics.spec import MetricSpec, Rating, Thresholds

ABOVE_CHANCE = Thresholds(0.8, 0.4, "share of the distance from chance to 1")
CLUSTERS: Mapping[Rating, str] = {
    "good": "The clusters of k-means match the classes.",
    "fair": "The clusters of k-means match the classes partly.",
    "poor": "The clusters of k-means do not match the classes.",
}
STEPS: Mapping[Rating, str] = {
    "good": "The largest step is {value:.2g} times the mean step: changes are even.",
    "fair": "The largest step is {value:.2g} times the mean step: changes are uneven.",
    "poor": "The largest step is {value:.2g} times the mean step: images change abruptly.",
}

METRICS = (
    MetricSpec(
        names=("latent.linear_probe_accuracy",),
        title="Linear probe accuracy",
        unit="share of test images",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.probes.linear_probe_accuracy",
        what="Accuracy of a logistic regression from the latent mean to the class, fitted on the "
        "training split.",
        good="Near 1: the classes are linearly separable.",
        caveat="Information that is not linearly accessible is not measured.",
        source="Alain & Bengio 2016, arXiv:1610.01644",
        thresholds=ABOVE_CHANCE,
    ),
    MetricSpec(
        names=("latent.knn_accuracy",),
        title="Nearest-neighbor accuracy",
        unit="share of test images",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.probes.knn_accuracy",
        what="Accuracy of a majority vote among the nearest training latents.",
        good="Near 1: images of one class have similar latents.",
        caveat="Distances are Euclidean: dimensions with a large variance have more influence.",
        source="Cover & Hart 1967, IEEE Transactions on Information Theory 13",
        thresholds=ABOVE_CHANCE,
    ),
    MetricSpec(
        names=("latent.kmeans_normalized_mutual_information",),
        title="Clusters and classes, normalized mutual information",
        unit="share",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.clusters.kmeans_agreement",
        what="Mutual information of k-means clusters and classes, over the mean of their "
        "entropies.",
        good="Near 1: clusters found without labels are the classes.",
        caveat="Above 0 even by chance if there are many small clusters.",
        source="Vinh et al. 2010, Journal of Machine Learning Research 11",
        thresholds=Thresholds(0.7, 0.4, "1 is perfect"),
        interpretation=CLUSTERS,
    ),
    MetricSpec(
        names=("latent.kmeans_adjusted_rand_index",),
        title="Clusters and classes, adjusted Rand index",
        unit="share",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.clusters.kmeans_agreement",
        what="Share of pairs of images on which k-means clusters and classes agree, corrected for "
        "chance.",
        good="Near 1; 0 is chance.",
        caveat="Large clusters contribute most pairs.",
        source="Hubert & Arabie 1985, Journal of Classification 2",
        thresholds=Thresholds(0.7, 0.4, "1 is perfect, 0 chance"),
        interpretation=CLUSTERS,
    ),
    MetricSpec(
        names=("latent.linear_interpolation_largest_step",),
        title="Evenness of linear interpolations",
        unit="times the mean step",
        direction="lower",
        section="structure",
        computed_by="vaelab.estimators.interpolation.largest_step_ratio",
        what="Largest change between neighboring images of an interpolation over the mean change, "
        "averaged over pairs of test images: along the straight line between two latents.",
        good="Near 1: every step changes the image by the same amount.",
        caveat="Even steps do not imply plausible images.",
        thresholds=Thresholds(1.5, 2.5, "times the mean step"),
        interpretation=STEPS,
    ),
    MetricSpec(
        names=("latent.spherical_interpolation_largest_step",),
        title="Evenness of spherical interpolations",
        unit="times the mean step",
        direction="lower",
        section="structure",
        computed_by="vaelab.estimators.interpolation.largest_step_ratio",
        what="Largest change between neighboring images of an interpolation over the mean change, "
        "averaged over pairs of test images: along the arc between two latents.",
        good="Near 1: every step changes the image by the same amount.",
        caveat="The arc preserves the norm of latents, which matters in many dimensions.",
        source="White 2016, arXiv:1609.04468",
        thresholds=Thresholds(1.5, 2.5, "times the mean step"),
        interpretation=STEPS,
    ),
)
