"""The sections of the page, and the metrics of its summary."""

from dataclasses import dataclass

from vaelab.metrics import METRICS, MetricSpec, SectionName


@dataclass(frozen=True)
class Section:
    """A section: its id in the page, its title and what it is about.

    `without_bound` has the title and the description for a model without a bound on the
    likelihood. The metrics of a section are those whose spec names it.
    """

    name: SectionName
    title: str
    about: str
    without_bound: tuple[str, str] | None = None

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """The metrics of the section, in the order of `METRICS`."""
        return tuple(spec for spec in METRICS if spec.section == self.name)

    def heading(self, *, bounded: bool) -> tuple[str, str]:
        """Return the title and the description, for a model with or without a bound."""
        default = self.title, self.about
        return default if bounded else self.without_bound or default


SECTIONS = (
    Section(
        "likelihood",
        "Likelihood",
        "How probable test images are under the model, and the terms of this likelihood. In nats, "
        "summed over pixels and averaged over images.",
        without_bound=(
            "Reconstructions",
            "How well images are reconstructed from their latents. This model has no bound on the "
            "likelihood, for the reason given above.",
        ),
    ),
    Section(
        "bound",
        "Is the bound tight?",
        "How close the K-sample bound is to the true likelihood: compared with proposals that are "
        "fitted to each image's posterior, with more samples, and with bounds from above and below "
        "by annealing, which are available for images sampled from the model.",
        without_bound=(
            "Likelihood by annealing",
            "Annealed importance sampling needs no encoder. It bounds the likelihood of any "
            "decoder with pixel noise from above, and for images sampled from the model from below "
            "too.",
        ),
    ),
    Section(
        "latent",
        "The latent space",
        "How much information a latent carries about its image, and whether latents of images are "
        "distributed like the prior, from which new latents are sampled.",
    ),
    Section(
        "collapse",
        "Posterior collapse",
        "A dimension whose posterior equals the prior for every image carries no information. Some "
        "dimensions may be unneeded. If all of them are like this, the decoder ignores its latent.",
    ),
    Section(
        "structure",
        "Structure and disentanglement",
        "Whether the latent space has an interpretable structure: separate classes, even "
        "interpolations between images, one dimension for each factor.",
    ),
    Section(
        "samples",
        "Samples",
        "Sampled images, compared with test images. Where a sampler was fitted to the latents, its "
        "samples are meant, and the number for samples from the prior is below. Below that is the "
        "value for training images, compared with the same test images: the best a model can be "
        "expected to reach.",
    ),
)

# The summary has the first of these that were measured, in this order.
SUMMARY = (
    "likelihood.nll_nats",
    "test.nll_nats",
    "test.bits_per_dim",
    "latent.active_units",
    "latent.mutual_information_nats",
    "latent.linear_probe_accuracy",
    "samples.classifier_frechet_distance",
    "samples.data_copying_z",
    "disentanglement.mutual_information_gap",
    "test.psnr_db",
    "samples.classifier_precision",
    "samples.classifier_recall",
    "samples.sharpness_ratio",
    "samples.classes_drawn",
    "latent.mmd_squared",
    "annealing.nll_nats",
)
SUMMARY_LENGTH = 8
# Of a metric of feature spaces, the summary has the first of these that was measured.
SUMMARY_SPACES = ("classifier", "inception", "pca", "pixels")
