"""One Gaussian with a full covariance."""

from typing import ClassVar

from vaelab.config import Section
from vaelab.samplers.mixture import ComponentSettings, MixtureSampler


class GaussianSampler(MixtureSampler):
    """The Gaussian of the latents' mean and covariance."""

    settings_class: ClassVar[type[Section]] = Section
    title: ClassVar[str] = "a Gaussian"

    def __init__(self, settings: Section, latent_dim: int, classes: int) -> None:
        super().__init__(ComponentSettings(components=1), latent_dim, classes)


SAMPLER = GaussianSampler
