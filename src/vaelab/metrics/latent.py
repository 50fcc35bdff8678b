"""The group `latent`: what the latents of the test images are like."""

from vaelab.metrics import information, structure
from vaelab.metrics.spec import Metric

METRICS = (
    Metric(
        group="latent",
        name="dimensions",
        title="Latent dimensions",
        unit="dimensions",
        direction="neither",
        what="How many numbers a latent has.",
        good="As few as reach the same likelihood.",
        caveat="",
        source="",
    ),
    Metric(
        group="latent",
        name="active_units",
        title="Active dimensions",
        unit="dimensions",
        direction="higher",
        what="How many dimensions have a posterior mean that varies over images by more than a "
        "threshold.",
        good="All of them, or as many as the data need.",
        caveat="The threshold is on a scale that only the prior fixes, and only while the KL loss "
        "weighs something.",
        source="Burda et al. 2016, arXiv:1509.00519",
    ),
    *information.METRICS,
    Metric(
        group="latent",
        name="mmd_squared",
        title="Distance of the aggregate posterior from the prior",
        unit="",
        direction="lower",
        what="Squared maximum mean discrepancy between latents of images and draws of the prior, "
        "seven inverse multiquadric kernels added up.",
        good="Near 0; 14 at most.",
        caveat="Unbiased, so it may fall below 0 by chance. Weak in many dimensions: small there "
        "says little.",
        source="Gretton et al. 2012, equation 3; Tolstikhin et al. 2018, arXiv:1711.01558",
    ),
    Metric(
        group="latent",
        name="ks_statistic_max",
        title="Worst dimension against N(0, 1)",
        unit="probability",
        direction="lower",
        what="The largest Kolmogorov-Smirnov distance of a single dimension of the aggregate "
        "posterior to N(0, 1).",
        good="Near 0; between 0 and 1.",
        caveat="For n images of N(0, 1) itself one dimension exceeds 1.95 / √n one time in a "
        "thousand. It sees no dependence between dimensions.",
        source="Massey 1951, Journal of the American Statistical Association 46",
    ),
    Metric(
        group="latent",
        name="squared_norm_ks_statistic",
        title="Lengths of latents against the prior's",
        unit="probability",
        direction="lower",
        what="Kolmogorov-Smirnov distance of |z|² to its chi-squared law under N(0, I).",
        good="Near 0; between 0 and 1.",
        caveat="It sees latents on a shell, which no single dimension shows, but not where on it.",
        source="Massey 1951, Journal of the American Statistical Association 46",
    ),
    Metric(
        group="latent",
        name="aggregate_mean_norm",
        title="Length of the mean latent",
        unit="of latents",
        direction="lower",
        what="The Euclidean length of the aggregate posterior's mean.",
        good="Near 0 where the prior is N(0, I).",
        caveat="It grows with the square root of the number of dimensions.",
        source="",
    ),
    Metric(
        group="latent",
        name="aggregate_stddev_min",
        title="Narrowest dimension",
        unit="of latents",
        direction="neither",
        what="The smallest standard deviation of the aggregate posterior in any dimension.",
        good="Near 1 where the prior is N(0, I).",
        caveat="",
        source="",
    ),
    Metric(
        group="latent",
        name="aggregate_stddev_max",
        title="Widest dimension",
        unit="of latents",
        direction="neither",
        what="The largest standard deviation of the aggregate posterior in any dimension.",
        good="Near 1 where the prior is N(0, I).",
        caveat="",
        source="",
    ),
    *structure.METRICS,
)
