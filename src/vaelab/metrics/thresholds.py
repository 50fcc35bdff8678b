"""Every threshold of the report, in one place: up to where a number is good, and where fair.

Each is a rule of thumb, chosen by this project unless its source is named, and none enters a
metric. What is judged may be the number itself or a measure made of it, which `of` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vaelab.runtime.formatting import format_number

Rating = Literal["good", "fair", "poor", "none"]


@dataclass(frozen=True)
class Thresholds:
    """The last good and the last fair value of a measure; below each other, high is good."""

    good: float
    fair: float
    of: str

    def rating(self, measure: float) -> Rating:
        """Judge a measure."""
        sign = 1 if self.good < self.fair else -1
        if sign * measure <= sign * self.good:
            return "good"
        return "fair" if sign * measure <= sign * self.fair else "poor"

    def __str__(self) -> str:
        """Say where the band ends."""
        side = "up to" if self.good < self.fair else "from"
        good, fair = format_number(self.good), format_number(self.fair)
        return f"good {side} {good}, fair {side} {fair} ({self.of})"


# A tenth of a nat is the last digit that papers print; half a nat changes a table's order.
_DOUBLING = Thresholds(
    0.1,
    0.5,
    "rise of the bound on doubling K, nats; at best fair up to K = 20, at a poor effective sample "
    "size, and where the annealed excess is not good",
)
_OF_FLOOR = Thresholds(0.9, 0.6, "share of what training images reach")
# Wu et al. 2017 call a gap of under a nat accurate.
_ANNEALED = Thresholds(1.0, 5.0, "nats")
_WIDTH = Thresholds(1.1, 1.4, "factor between it and the prior's 1, either way")
_FROM_CHANCE = Thresholds(0.8, 0.4, "share of the way from chance to 1")

BANDS: Mapping[str, Thresholds] = {
    "test.kl_loss_nats": Thresholds(
        1.0, 0.1, "nats; near 0 the posterior has collapsed; poor where the information is"
    ),
    "test.nll_change_on_doubling_nats": _DOUBLING,
    "test.nll_effective_sample_size": Thresholds(0.25, 0.05, "share of K, above K = 20"),
    "annealing.gap_nats": Thresholds(1.0, 5.0, "nats; at best fair below −1"),
    "annealing.importance_weighted_excess_nats": _ANNEALED,
    "latent.active_units": Thresholds(
        0.25, 0.05, "share of the dimensions; surplus ones are no failure"
    ),
    "latent.mutual_information_nats": Thresholds(1.0, 0.1, "nats, and at best fair near the cap"),
    "latent.marginal_kl_nats": Thresholds(1.0, 5.0, "nats"),
    "latent.total_correlation_nats": Thresholds(0.5, 3.0, "nats"),
    "latent.dimension_wise_kl_nats": Thresholds(0.05, 0.25, "nats a dimension"),
    "latent.gaussian_total_correlation_nats": Thresholds(0.5, 3.0, "nats"),
    "latent.mmd_squared": Thresholds(0.02, 0.1, "of 14 at most"),
    "latent.ks_statistic_max": Thresholds(
        0.05, 0.15, "or within what N(0, 1) itself has by chance"
    ),
    "latent.squared_norm_ks_statistic": Thresholds(
        0.1, 0.3, "or within what N(0, I) has by chance"
    ),
    "latent.aggregate_mean_norm": Thresholds(0.1, 0.3, "root mean square of the dimensions' means"),
    "latent.aggregate_stddev_min": _WIDTH,
    "latent.aggregate_stddev_max": _WIDTH,
    "latent.linear_probe_accuracy": _FROM_CHANCE,
    "latent.knn_accuracy": _FROM_CHANCE,
    "latent.kmeans_normalized_mutual_information": Thresholds(0.7, 0.4, "1 is perfect"),
    "latent.kmeans_adjusted_rand_index": Thresholds(0.7, 0.4, "1 is perfect, 0 chance"),
    "latent.linear_interpolation_largest_step": Thresholds(1.5, 2.5, "times the mean step"),
    "latent.spherical_interpolation_largest_step": Thresholds(1.5, 2.5, "times the mean step"),
    # Trained models of dSprites rarely leave the middle of these bands: Locatello et al. 2019.
    "disentanglement.mutual_information_gap": Thresholds(0.4, 0.15, "1 is perfect"),
    "disentanglement.dci_disentanglement": Thresholds(0.6, 0.3, "1 is perfect"),
    "disentanglement.dci_completeness": Thresholds(0.6, 0.3, "1 is perfect"),
    "disentanglement.dci_informativeness": _FROM_CHANCE,
    "disentanglement.sap_score": Thresholds(0.2, 0.05, "1 is perfect"),
    "disentanglement.factor_vae_score": Thresholds(0.8, 0.6, "1 is perfect"),
    "samples.classifier_test_accuracy": Thresholds(0.9, 0.7, "share of test images"),
    "samples.{space}_frechet_distance": Thresholds(2.0, 5.0, "times the floor"),
    "samples.{space}_precision": _OF_FLOOR,
    "samples.{space}_recall": _OF_FLOOR,
    "samples.{space}_density": Thresholds(0.9, 0.6, _OF_FLOOR.of + "; at best fair above 1.5"),
    "samples.{space}_coverage": _OF_FLOOR,
    "samples.sharpness_ratio": Thresholds(1.25, 2.0, "factor between samples and real images"),
    "samples.spectrum_slope": Thresholds(0.1, 0.4, "difference from the slope of real images"),
    "samples.classes_drawn": Thresholds(1.0, 0.8, "share of those among real images"),
    "samples.largest_class_share": Thresholds(1.5, 2.5, "times the share among real images"),
    "samples.data_copying_z": Thresholds(-3.0, -10.0, "at best fair above 3"),
}

# The estimate of the mutual information is held down by its cap from this far below it, in nats:
# by half a nat at this distance already.
NEAR_CAP = 2.0
# One dimension of N(0, 1) exceeds this over the root of n one time in a thousand.
KS_CHANCE = 1.95
# Beyond so many standard deviations above 0, samples are farther from the data than test images.
FAR_FROM_DATA = 3.0
# So much denser than training images, samples crowd around typical images.
CROWDED = 1.5
# Even one of so few samples is a fair share of them: of the fit they tell nothing.
FEW_SAMPLES = 20
# The gap of two bounds that meet, in nats, falls no further below 0 without much noise.
NOISY_GAP = -1.0
# K that papers use: Burda et al. 2016.
PUBLISHED_SAMPLES = 5_000
# What an 8-bit pixel takes without a model.
UNMODELLED_BITS = 8
