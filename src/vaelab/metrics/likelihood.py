"""The group `likelihood`: ln p(x) of test images, from proposals fitted to their posteriors."""

from vaelab.metrics.spec import NATS, MetricSpec, Thresholds

FITTED = "vaelab.evaluation.likelihood.likelihood_metrics"

NLL = MetricSpec(
    names=("likelihood.nll_nats",),
    standard_error="likelihood.nll_standard_error_nats",
    title="Negative log-likelihood",
    unit=NATS,
    direction="lower",
    section="likelihood",
    computed_by="vaelab.estimators.posterior_fit.fit_proposal",
    what="−ln p(x) of a test image, from K importance-weighted samples of a proposal that is "
    "fitted to the image's own posterior; −ln p(x|y), given its label y, of a model that sees "
    "labels.",
    good="Lower. Between models of the same data with the same kind of likelihood, a difference "
    "of several standard errors is meaningful.",
    caveat="Measured on some of the test images, as is its standard error. A density may exceed 1, "
    "so values below 0 are possible. Do not compare it between likelihoods of different kinds of "
    "pixels (binary, gray levels, densities).",
    source="Burda et al. 2016, equation 8; the proposal: Seyboldt et al. 2026, arXiv:2603.18845",
)
TIGHTNESS = (
    MetricSpec(
        names=("likelihood.bound_excess_nats",),
        title="Excess of the K-sample bound",
        unit=NATS,
        direction="lower",
        section="bound",
        computed_by=FITTED,
        what="By how much the bound from K samples of the encoder exceeds the negative "
        "log-likelihood from fitted proposals, on the same test images.",
        good="Near 0: the bound of the whole test split can be quoted as the likelihood.",
        caveat="At least this much: the estimate from fitted proposals is an upper bound in "
        "expectation too.",
        thresholds=Thresholds(1.0, 5.0, "nats; at best fair where proposals fit poorly"),
    ),
    MetricSpec(
        names=("likelihood.uneven_share",),
        title="Images without a fitting proposal",
        unit="share of the images",
        direction="lower",
        section="bound",
        computed_by=FITTED,
        what="The share of the images whose fitted proposal has an effective sample size below 5 % "
        "of K.",
        good="0: the likelihood is known. These images' values are too high by an unknown amount.",
        source="Kong 1992, University of Chicago, technical report 348",
        thresholds=Thresholds(0.05, 0.25, "share"),
        interpretation={
            "good": "The proposals fit.",
            "fair": "Some images' likelihoods may be higher than estimated.",
            "poor": "Quote the annealed value, or the K-sample bound as a bound.",
        },
    ),
    MetricSpec(
        names=("likelihood.effective_sample_size",),
        title="Effective sample size, fitted proposals",
        unit="of K samples",
        direction="higher",
        section="bound",
        computed_by=FITTED,
        what="The number of equally weighted samples that K samples of an image's fitted proposal "
        "are worth, averaged over images.",
        good="A large share of K.",
        source="Kong 1992, University of Chicago, technical report 348",
    ),
    MetricSpec(
        names=("likelihood.importance_samples",),
        title="Samples of a fitted proposal",
        unit="samples per image",
        direction="neither",
        section="bound",
        computed_by=FITTED,
        what="The number K of samples of each proposal whose weights are averaged.",
        interpretation={"none": "As many as the bound has."},
    ),
    MetricSpec(
        names=("likelihood.images",),
        title="Images with a fitted proposal",
        unit="images",
        direction="neither",
        section="bound",
        computed_by=FITTED,
        what="The number of test images to which proposals were fitted.",
        interpretation={"none": "Among them are those that are annealed."},
    ),
)
