"""The sections of the page: what each is about, and which numbers stand in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A section: its name in the page, what it is about, its metrics by group.name.

    `without_bound` is its title and what it is about where the likelihood has no bound.
    """

    name: str
    title: str
    about: str
    metrics: tuple[str, ...]
    without_bound: tuple[str, str] | None = None

    def heading(self, *, bounded: bool) -> tuple[str, str]:
        """Give the title and what it is about, where there is a bound and where there is none."""
        return (
            self.without_bound if self.without_bound and not bounded else (self.title, self.about)
        )


SECTIONS = (
    Section(
        "likelihood",
        "Likelihood",
        "How probable the model thinks images are that it has not seen, and what that is made of. "
        "In nats, summed over pixels and averaged over images.",
        (
            "test.nll_nats",
            "test.bits_per_dim",
            "test.neg_elbo_nats",
            "test.generation_loss_nats",
            "test.kl_loss_nats",
            "test.mean_squared_error",
        ),
        without_bound=(
            "Reconstructions",
            "How well images are restored from their latents. There is no bound on the likelihood, "
            "for the reason given above.",
        ),
    ),
    Section(
        "bound",
        "Is the bound tight?",
        "A likelihood is only ever bounded. Whether the bound is near the truth shows in what more "
        "samples change, and in bounds from both sides where the truth can be trapped: on images "
        "that the model drew itself.",
        (
            "test.nll_importance_samples",
            "test.nll_change_on_doubling_nats",
            "test.nll_effective_sample_size",
            "annealing.gap_nats",
            "annealing.importance_weighted_excess_nats",
            "annealing.nll_nats",
            "annealing.simulated_importance_weighted_nll_nats",
            "annealing.simulated_nll_upper_nats",
            "annealing.simulated_nll_lower_nats",
            "annealing.observation_variance",
            "annealing.temperatures",
            "annealing.chains",
            "annealing.simulated_images",
            "annealing.test_images",
        ),
        without_bound=(
            "Likelihood by annealing",
            "Annealed importance sampling needs no encoder: it bounds the likelihood of any "
            "decoder with noise on its pixels, and from both sides on images that the model drew.",
        ),
    ),
    Section(
        "latent",
        "The latent space",
        "What a latent tells about its image, and whether latents of images lie where the prior "
        "draws new ones.",
        (
            "latent.dimensions",
            "latent.mutual_information_nats",
            "latent.mutual_information_cap_nats",
            "latent.marginal_kl_nats",
            "latent.total_correlation_nats",
            "latent.dimension_wise_kl_nats",
            "latent.gaussian_total_correlation_nats",
            "latent.mmd_squared",
            "latent.ks_statistic_max",
            "latent.squared_norm_ks_statistic",
            "latent.aggregate_mean_norm",
            "latent.aggregate_stddev_min",
            "latent.aggregate_stddev_max",
        ),
    ),
    Section(
        "collapse",
        "Collapse",
        "Dimensions whose posterior is the prior for every image say nothing. Some are surplus; "
        "where all are, the decoder ignores its latents.",
        ("latent.active_units",),
    ),
    Section(
        "structure",
        "Structure and disentanglement",
        "Whether the latent space is ordered as people see images: classes together, even ways "
        "between images, one dimension for one factor.",
        (
            "latent.linear_probe_accuracy",
            "latent.knn_accuracy",
            "latent.kmeans_normalized_mutual_information",
            "latent.kmeans_adjusted_rand_index",
            "latent.linear_interpolation_largest_step",
            "latent.spherical_interpolation_largest_step",
            "disentanglement.mutual_information_gap",
            "disentanglement.dci_disentanglement",
            "disentanglement.dci_completeness",
            "disentanglement.dci_informativeness",
            "disentanglement.sap_score",
            "disentanglement.factor_vae_score",
        ),
    ),
    Section(
        "samples",
        "Samples",
        "Images from the prior against real ones. Each number stands beside what training images "
        "reach against the same test images: nothing better is to be asked for.",
        (
            "samples.count",
            "samples.classifier_test_accuracy",
            "samples.{space}_frechet_distance",
            "samples.{space}_kernel_distance",
            "samples.{space}_precision",
            "samples.{space}_recall",
            "samples.{space}_density",
            "samples.{space}_coverage",
            "samples.sharpness_ratio",
            "samples.spectrum_slope",
            "samples.classes_drawn",
            "samples.largest_class_share",
            "samples.nearest_training_distance",
            "samples.data_copying_z",
        ),
    ),
)

# The first of these that are there, in this order, stand at the top of the page.
SUMMARY = (
    "test.nll_nats",
    "test.bits_per_dim",
    "test.nll_change_on_doubling_nats",
    "latent.active_units",
    "latent.mutual_information_nats",
    "latent.linear_probe_accuracy",
    "samples.{space}_frechet_distance",
    "samples.data_copying_z",
    "disentanglement.mutual_information_gap",
    "test.mean_squared_error",
    "samples.{space}_precision",
    "samples.{space}_recall",
    "samples.sharpness_ratio",
    "samples.classes_drawn",
    "latent.mmd_squared",
    "annealing.nll_nats",
)
SUMMARY_LENGTH = 8
# The most telling space first.
SUMMARY_SPACES = ("classifier", "inception", "pca", "pixels")
