"""Of the group `latent`: the dimensions, and how far the aggregate posterior is from the prior."""

from vaelab.metrics import information
from vaelab.metrics.spec import MetricSpec, Thresholds

MASSEY = "Massey 1951, Journal of the American Statistical Association 46"
STDDEV_THRESHOLDS = Thresholds(1.1, 1.4, "factor between it and the prior's 1, above or below")

METRICS = (
    MetricSpec(
        names=("latent.dimensions",),
        title="Latent dimensions",
        unit="dimensions",
        direction="neither",
        section="latent",
        computed_by="vaelab.evaluation.evaluate",
        what="The number of dimensions of a latent.",
        good="As few as reach the same likelihood.",
    ),
    MetricSpec(
        names=("latent.active_units",),
        title="Active units",
        unit="dimensions",
        direction="higher",
        section="collapse",
        computed_by="vaelab.estimators.latent_statistics.dimension_table",
        what="The number of dimensions of the latent whose posterior mean varies over images: with "
        "a variance above evaluate.active_unit_threshold (0.01 by default).",
        good="All of them, or as many as the data need.",
        caveat="The threshold assumes the scale of the prior, which latents have only if the KL "
        "loss has a weight.",
        source="Burda et al. 2016, arXiv:1509.00519",
        thresholds=Thresholds(
            0.25, 0.05, "share of the dimensions; unneeded dimensions are not a failure"
        ),
    ),
    *information.METRICS,
    MetricSpec(
        names=("latent.mmd_squared",),
        title="Distance of the aggregate posterior from the prior",
        unit="",
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.aggregate.mmd_squared",
        what="Squared maximum mean discrepancy between latents of images and samples of the prior, "
        "summed over seven inverse multiquadric kernels.",
        good="Near 0; 14 at most.",
        caveat="Unbiased, so it may be below 0 by chance. It has little power in many dimensions: "
        "a small value is weak evidence there.",
        source="Gretton et al. 2012, equation 3; Tolstikhin et al. 2018, arXiv:1711.01558",
        thresholds=Thresholds(0.02, 0.1, "of 14 at most"),
        interpretation={
            "good": "Latents of images are hard to distinguish from samples of the prior.",
            "fair": "The distribution of the latents is close to the prior.",
            "poor": "The distribution of the latents differs from the prior.",
        },
    ),
    MetricSpec(
        names=("latent.ks_statistic_max",),
        title="Largest deviation of a dimension from N(0, 1)",
        unit="probability",
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.aggregate.ks_statistics",
        what="The largest Kolmogorov-Smirnov distance between a single dimension of the aggregate "
        "posterior and N(0, 1).",
        good="Near 0; between 0 and 1.",
        caveat="For n samples of N(0, 1) itself, one dimension exceeds 1.95 / √n with probability "
        "1/1,000. Dependence between dimensions is not detected.",
        source=MASSEY,
        thresholds=Thresholds(0.05, 0.15, "or within what samples of N(0, 1) have by chance"),
    ),
    MetricSpec(
        names=("latent.squared_norm_ks_statistic",),
        title="Deviation of latent norms from the prior",
        unit="probability",
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.aggregate.squared_norm_ks_statistic",
        what="Kolmogorov-Smirnov distance between |z|² and its chi-squared distribution under "
        "N(0, I).",
        good="Near 0; between 0 and 1.",
        caveat="It detects latents on a shell, which single dimensions do not show, but not where "
        "on the shell they are.",
        source=MASSEY,
        thresholds=Thresholds(0.1, 0.3, "or within what samples of N(0, I) have by chance"),
    ),
    MetricSpec(
        names=("latent.aggregate_mean_norm",),
        title="Norm of the mean latent",
        unit="of latents",
        direction="lower",
        section="latent",
        computed_by="vaelab.estimators.latent_statistics.dimension_metrics",
        what="The Euclidean norm of the aggregate posterior's mean.",
        good="Near 0 if the prior is N(0, I).",
        caveat="It grows with the square root of the number of dimensions.",
        thresholds=Thresholds(0.1, 0.3, "root mean square of the dimensions' means"),
    ),
    MetricSpec(
        names=("latent.aggregate_stddev_min",),
        title="Smallest standard deviation",
        unit="of latents",
        direction="neither",
        section="latent",
        computed_by="vaelab.estimators.latent_statistics.dimension_metrics",
        what="The smallest standard deviation of the aggregate posterior in any dimension.",
        good="Near 1 if the prior is N(0, I).",
        thresholds=STDDEV_THRESHOLDS,
    ),
    MetricSpec(
        names=("latent.aggregate_stddev_max",),
        title="Largest standard deviation",
        unit="of latents",
        direction="neither",
        section="latent",
        computed_by="vaelab.estimators.latent_statistics.dimension_metrics",
        what="The largest standard deviation of the aggregate posterior in any dimension.",
        good="Near 1 if the prior is N(0, I).",
        thresholds=STDDEV_THRESHOLDS,
    ),
)
