"""The unit Gaussian N(0, I): Kingma & Welling 2014."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import Section
from vaelab.models import distributions
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior, PriorKind


class StandardNormal(Prior):
    """N(0, I), without parameters."""

    kind: ClassVar[PriorKind] = "standard_normal"
    title: ClassVar[str] = "z ~ N(0, I)"
    device_marker: Tensor

    def __init__(self, settings: Section, latent_dim: int, image_shape: Shape) -> None:
        super().__init__(settings, latent_dim, image_shape)
        self.register_buffer("device_marker", torch.zeros(()), persistent=False)

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Return the log density in nats."""
        return distributions.standard_normal(latents).log_prob(latents)

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Sample latents, on the prior's device."""
        device = self.device_marker.device
        return torch.randn(count, self.latent_dim, generator=generator, device=device)


PRIOR = StandardNormal
