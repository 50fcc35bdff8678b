"""The group `annealing`: bounds on the log-likelihood from annealed importance sampling (AIS)."""

from vaelab.metrics.spec import NATS, MetricSpec, Thresholds

GROSSE = "Grosse et al. 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273"
NEAL = "Neal 2001, arXiv:physics/9803008; Wu et al. 2017, arXiv:1611.04273"

METRICS = (
    MetricSpec(
        names=("annealing.gap_nats",),
        title="Gap between the two bounds",
        unit=NATS,
        direction="lower",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="Upper minus lower bound on the negative log-likelihood of images sampled from the "
        "model.",
        good="Near 0: the annealing has converged, and its results can be quoted.",
        caveat="Known only for images sampled from the model; it is assumed to hold for test "
        "images too. A noisy gap may be below 0 by chance.",
        source=GROSSE,
        # Wu et al. 2017 call a gap below 1 nat accurate.
        thresholds=Thresholds(1.0, 5.0, "nats; at best fair below −1"),
    ),
    MetricSpec(
        names=("annealing.importance_weighted_excess_nats",),
        title="Excess of the importance-weighted bound",
        unit=NATS,
        direction="lower",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="By how much the importance-weighted bound exceeds the lower bound from annealing, "
        "and so at most the true value, on images sampled from the model.",
        good="Near 0: the log-likelihood of the test split can be quoted without annealing.",
        caveat="It includes the gap between the two bounds, so it is meaningful only if that gap "
        "is small.",
        source="Wu et al. 2017, arXiv:1611.04273",
        thresholds=Thresholds(1.0, 5.0, "nats"),
    ),
    MetricSpec(
        names=("annealing.nll_nats",),
        standard_error="annealing.nll_standard_error_nats",
        title="Annealed negative log-likelihood",
        unit=NATS,
        direction="lower",
        section="bound",
        computed_by="vaelab.estimators.ais.forward_log_weights",
        what="−ln p(x) of test images by annealed importance sampling, which moves latents in "
        "small steps from an initial distribution to the true posterior; −ln p(x|y), given their "
        "labels y, of a model that sees labels.",
        good="Lower. It needs no encoder, so it applies to GANs too.",
        caveat="An upper bound in expectation, measured on few images, as is its standard error. "
        "Do not compare it with results on a different number of images.",
        source=NEAL,
    ),
    MetricSpec(
        names=("annealing.simulated_importance_weighted_nll_nats",),
        title="Importance-weighted bound, sampled images",
        unit=NATS,
        direction="neither",
        section="bound",
        computed_by="vaelab.estimators.importance.importance_weighted_log_likelihood",
        what="The negative log-likelihood of images sampled from the model, estimated as for the "
        "test split: from K samples of the encoder's posterior.",
        good="Close to both bounds from annealing.",
        caveat="An upper bound in expectation.",
        source="Burda et al. 2016, equation 8, arXiv:1509.00519",
    ),
    MetricSpec(
        names=("annealing.simulated_nll_upper_nats",),
        title="Upper bound, sampled images",
        unit=NATS,
        direction="neither",
        section="bound",
        computed_by="vaelab.estimators.ais.lower_bound",
        what="Forward annealing, from an initial distribution to the posterior, for images sampled "
        "from the model.",
        good="Close to the lower bound.",
        caveat="An upper bound in expectation.",
        source=GROSSE,
    ),
    MetricSpec(
        names=("annealing.simulated_nll_lower_nats",),
        title="Lower bound, sampled images",
        unit=NATS,
        direction="neither",
        section="bound",
        computed_by="vaelab.estimators.ais.upper_bound",
        what="Reverse annealing, started at the latent from which each image was sampled.",
        good="Close to the upper bound.",
        caveat="A lower bound in expectation.",
        source=GROSSE,
        interpretation={"none": "The true value is not below it, up to noise."},
    ),
    MetricSpec(
        names=("annealing.observation_variance",),
        title="Observation variance",
        unit="squared pixel values, of [0, 1]",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.fitted_variance",
        what="The variance of the Gaussian pixel noise that is assumed for a generator without a "
        "likelihood, fitted to training images by maximum likelihood.",
        good="Small: the generator comes close to training images.",
        caveat="Likelihoods with different variances are not comparable.",
        source="Wu et al. 2017, arXiv:1611.04273",
    ),
    MetricSpec(
        names=("annealing.temperatures",),
        title="Temperatures",
        unit="steps",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="The number of steps from the initial distribution to the posterior.",
        good="Large enough that the gap is small.",
        source=NEAL,
        interpretation={"none": "More would narrow the gap."},
    ),
    MetricSpec(
        names=("annealing.chains",),
        title="Chains",
        unit="per image",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="The number of independent chains that are averaged for each image.",
        good="More chains tighten both bounds, slowly.",
        source=NEAL,
        interpretation={"none": "More would tighten both bounds."},
    ),
    MetricSpec(
        names=("annealing.initial_fits",),
        title="Fits of the initial distribution",
        unit="fits",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="How often a Gaussian was fitted to each image's posterior before chains started from "
        "it; 0 where they started from the prior.",
        good="Whichever start leaves the smaller gap.",
        caveat="A fitted Gaussian may miss modes of a posterior. If the gap is above 1 nat, the "
        "prior is tried too, and the better start is measured on new images.",
        source=NEAL,
    ),
    MetricSpec(
        names=("annealing.simulated_images",),
        title="Sampled images",
        unit="images",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="The number of images that were sampled from the model to measure both bounds.",
        source=GROSSE,
        interpretation={"none": "Sampled from the model, so the latent of each is known."},
    ),
    MetricSpec(
        names=("annealing.test_images",),
        title="Annealed test images",
        unit="images",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.ais_metrics.annealing_metrics",
        what="The number of test images that were annealed.",
        source=NEAL,
        interpretation={"none": "Few, because annealing decodes each image thousands of times."},
    ),
)
