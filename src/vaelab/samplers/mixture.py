"""Gaussians with full covariances: Ghosh et al. 2020, section 4."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import Section, Width
from vaelab.models.distributions import Posterior
from vaelab.models.priors.mixture import Mixture, MixtureSettings
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Labels, Latents, Posteriors, Sampler, refuse_labels

# The density does not depend on the shape of images.
NO_IMAGE = (0, 0, 0)


class ComponentSettings(Section):
    """Number of Gaussians."""

    components: Width = 10


class MixtureSampler(Sampler):
    """A mixture of Gaussians, fitted by expectation maximization to one latent of each image."""

    settings_class: ClassVar[type[Section]] = ComponentSettings
    title: ClassVar[str] = "a mixture of Gaussians"

    def __init__(self, settings: ComponentSettings, latent_dim: int, classes: int) -> None:
        super().__init__(settings, latent_dim, classes)
        components = MixtureSettings(mixture_components=settings.components)
        self.density = Mixture(components, latent_dim, NO_IMAGE)

    def fit(self, posteriors: Posteriors, seed: int) -> dict[str, float]:
        """Maximize the likelihood of one latent of each image, in nats; nothing is returned."""
        generator = rng_stream(seed, "sampler/latents", posteriors.means.device)
        self.density.fit(posteriors.rsample(generator), generator.initial_seed())
        return {}

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        labels: Labels | None = None,
        *,
        guided: bool = True,
    ) -> Float[Tensor, "count latent"]:
        """Sample a component for each latent, then from its Gaussian."""
        refuse_labels(self, labels)
        return self.density.sample(count, generator, _unused)

    def log_prob(self, latents: Latents, labels: Labels | None = None) -> Float[Tensor, "*batch"]:
        """Return ln p(z) in nats."""
        refuse_labels(self, labels)
        return self.density.log_prob(latents, _unused)


def _unused(images: Tensor) -> Posterior:
    raise AssertionError("a mixture does not encode images")


SAMPLER = MixtureSampler
