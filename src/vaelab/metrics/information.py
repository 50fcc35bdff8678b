"""Of the group `latent`: the decomposition of the KL loss."""

from vaelab.metrics.spec import NATS, MetricSpec, Thresholds

HOFFMAN = "Hoffman & Johnson 2016, ELBO surgery, NIPS workshop"
CHEN = "Chen et al. 2018, equation 2, arXiv:1802.04942"

METRICS = (
    MetricSpec(
        names=("latent.mutual_information_nats",),
        title="Mutual information of image and latent",
        unit=NATS,
        direction="higher",
        section="latent",
        computed_by="vaelab.estimators.decomposition.decompose_rate",
        what="How much information a latent carries about which test image it was encoded from.",
        good="Well above 0, and clearly below its upper limit, where the estimate is reliable.",
        caveat="An estimate from N images never exceeds ln N, whatever the true value.",
        source=HOFFMAN,
        thresholds=Thresholds(1.0, 0.1, "nats, and at best fair near the upper limit"),
    ),
    MetricSpec(
        names=("latent.mutual_information_cap_nats",),
        title="Upper limit of the mutual information",
        unit=NATS,
        direction="neither",
        section="latent",
        computed_by="vaelab.estimators.latent_statistics.information_metrics",
        what="The logarithm of the number of test images that the mutual information is estimated "
        "from, ln N: no estimate can exceed it.",
        source=HOFFMAN,
    ),
    MetricSpec(
        names=("latent.marginal_kl_nats",),
        title="KL of the aggregate posterior from the prior",
        unit=NATS,
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.latent_statistics.information_metrics",
        what="The KL loss minus the mutual information: KL(q(z) ‖ p(z)).",
        good="Near 0: latents of images are distributed like samples of the prior.",
        caveat="It is too high by as much as the estimate of the mutual information is too low "
        "near its upper limit.",
        source=HOFFMAN,
        thresholds=Thresholds(1.0, 5.0, "nats"),
    ),
    MetricSpec(
        names=("latent.total_correlation_nats",),
        title="Total correlation",
        unit=NATS,
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.decomposition.decompose_rate",
        what="How much the dimensions of the aggregate posterior depend on one another.",
        good="Near 0: the dimensions are independent.",
        caveat="Mutual information above its upper limit is counted here: if the KL loss is far "
        "above ln N, most of this value is that. The Gaussian total correlation has no such limit.",
        source=CHEN,
        thresholds=Thresholds(0.5, 3.0, "nats"),
    ),
    MetricSpec(
        names=("latent.dimension_wise_kl_nats",),
        title="Dimension-wise KL",
        unit=NATS,
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.decomposition.decompose_rate",
        what="The KL divergence of each single dimension of the aggregate posterior from the "
        "prior, summed over dimensions.",
        good="Near 0.",
        caveat="A dimension may be far from N(0, 1) and still be useful.",
        source=CHEN,
        thresholds=Thresholds(0.05, 0.25, "nats per dimension"),
    ),
    MetricSpec(
        names=("latent.gaussian_total_correlation_nats",),
        title="Total correlation, Gaussian",
        unit=NATS,
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.decomposition.gaussian_total_correlation",
        what="The total correlation of a Gaussian with the aggregate posterior's covariance.",
        good="Near 0: the dimensions are uncorrelated.",
        caveat="Only linear dependence is detected.",
        source="Watanabe 1960, IBM Journal of Research and Development 4",
        thresholds=Thresholds(0.5, 3.0, "nats"),
    ),
)
