"""The unit Gaussian N(0, I): Kingma & Welling 2014."""

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import ModelSettings
from vaelab.models import distributions
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior


class StandardNormal(Prior):
    """N(0, I), which has nothing to learn."""

    name = "z ~ N(0, I)"
    where: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("where", torch.zeros(()), persistent=False)

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        return distributions.standard_normal(latents).log_prob(latents)

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Draw latents, on the prior's device."""
        return torch.randn(count, self.latent_dim, generator=generator, device=self.where.device)


def build(settings: ModelSettings, image_shape: Shape) -> StandardNormal:
    """Build it for the latent size."""
    return StandardNormal(settings.latent_dim)
