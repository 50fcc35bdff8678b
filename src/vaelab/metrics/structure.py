"""Of the group `latent`: labels in the latents, and the ways between them."""

from vaelab.metrics.spec import Metric

STEPS = "The largest of the decoded steps over their mean, averaged over pairs of test images: "

METRICS = (
    Metric(
        group="latent",
        name="linear_probe_accuracy",
        title="Linear probe",
        unit="share of test images",
        direction="higher",
        what="Accuracy of a logistic regression that reads the class from the latent mean, fitted "
        "on the training split.",
        good="Near 1: classes part along straight lines.",
        caveat="It measures what is easy to read, not all that is there.",
        source="Alain & Bengio 2016, arXiv:1610.01644",
    ),
    Metric(
        group="latent",
        name="knn_accuracy",
        title="Nearest neighbours",
        unit="share of test images",
        direction="higher",
        what="Accuracy of a vote among the nearest training latents.",
        good="Near 1: images of one class lie together.",
        caveat="Euclidean distance: a dimension that varies much counts much.",
        source="Cover & Hart 1967, IEEE Transactions on Information Theory 13",
    ),
    Metric(
        group="latent",
        name="kmeans_normalized_mutual_information",
        title="Clusters against classes, information",
        unit="share",
        direction="higher",
        what="Mutual information of k-means clusters and classes, over the mean of their "
        "entropies.",
        good="Near 1: the classes are clusters, found without labels.",
        caveat="Above 0 for many small clusters even by chance.",
        source="Vinh et al. 2010, Journal of Machine Learning Research 11",
    ),
    Metric(
        group="latent",
        name="kmeans_adjusted_rand_index",
        title="Clusters against classes, pairs",
        unit="share",
        direction="higher",
        what="Share of pairs of images on which k-means clusters and classes agree, less what "
        "chance would give.",
        good="Near 1; 0 is chance.",
        caveat="Large clusters decide most pairs.",
        source="Hubert & Arabie 1985, Journal of Classification 2",
    ),
    Metric(
        group="latent",
        name="linear_interpolation_largest_step",
        title="Evenness of straight interpolations",
        unit="times the mean step",
        direction="lower",
        what=STEPS + "along the straight line between two latents.",
        good="Near 1: every step changes the image as much.",
        caveat="Even steps need not be plausible images.",
        source="",
    ),
    Metric(
        group="latent",
        name="spherical_interpolation_largest_step",
        title="Evenness of spherical interpolations",
        unit="times the mean step",
        direction="lower",
        what=STEPS + "along the arc between two latents.",
        good="Near 1: every step changes the image as much.",
        caveat="The arc keeps the length of latents, which matters in many dimensions.",
        source="White 2016, arXiv:1609.04468",
    ),
)
