"""Of the group `latent`: the rate, split into what it pays for."""

from vaelab.metrics.spec import NATS, Metric

HOFFMAN = "Hoffman & Johnson 2016, ELBO surgery, NIPS workshop"
CHEN = "Chen et al. 2018, equation 2, arXiv:1802.04942"
CAP = "It is too high by as much as the mutual information is held down by its cap."

METRICS = (
    Metric(
        group="latent",
        name="mutual_information_nats",
        title="Mutual information of image and latent",
        unit=NATS,
        direction="higher",
        what="How much a latent tells about which of the test images it came from.",
        good="Well above 0, and clearly below its cap, where it can be trusted.",
        caveat="An estimate from N images never exceeds ln N, however much the latents hold.",
        source=HOFFMAN,
    ),
    Metric(
        group="latent",
        name="mutual_information_cap_nats",
        title="Cap of the mutual information",
        unit=NATS,
        direction="neither",
        what="The logarithm of the number of test images that were held against one another, ln N: "
        "no estimate can be higher.",
        good="",
        caveat="",
        source=HOFFMAN,
    ),
    Metric(
        group="latent",
        name="marginal_kl_nats",
        title="KL of the aggregate posterior from the prior",
        unit=NATS,
        direction="lower",
        what="What is left of the rate after the mutual information: KL(q(z) ‖ p(z)).",
        good="Near 0: latents of images and draws of the prior lie in the same places.",
        caveat=CAP,
        source=HOFFMAN,
    ),
    Metric(
        group="latent",
        name="total_correlation_nats",
        title="Total correlation",
        unit=NATS,
        direction="lower",
        what="How much the dimensions of the aggregate posterior depend on one another.",
        good="Near 0: the dimensions are independent.",
        caveat="What the mutual information exceeds its cap by appears here: with a rate far above "
        "ln N this is mostly that. The Gaussian total correlation has no cap.",
        source=CHEN,
    ),
    Metric(
        group="latent",
        name="dimension_wise_kl_nats",
        title="Dimension-wise KL",
        unit=NATS,
        direction="lower",
        what="How far each single dimension of the aggregate posterior is from the prior's, added "
        "up.",
        good="Near 0.",
        caveat="A dimension may be far from N(0, 1) and useful all the same.",
        source=CHEN,
    ),
    Metric(
        group="latent",
        name="gaussian_total_correlation_nats",
        title="Total correlation, Gaussian",
        unit=NATS,
        direction="lower",
        what="The total correlation of the Gaussian with the aggregate posterior's covariance.",
        good="Near 0: the dimensions are uncorrelated.",
        caveat="It sees linear dependence alone.",
        source="Watanabe 1960, IBM Journal of Research and Development 4",
    ),
)
