"""The variational mixture of posteriors: Tomczak & Welling 2018, equation 9.

p(z) = 1/K sum_k q(z|u_k): the aggregate posterior of K pseudo-inputs u_k, which are images that
are learned as parameters.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import Section, Width
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Images, Latents, Prior

# Numbers (latents x pseudo-inputs x dimensions) that are held in memory at a time
MAX_CHUNK_NUMBERS = 2**24


class VampSettings(Section):
    """Number of pseudo-inputs."""

    pseudo_inputs: Width


class Vamp(Prior):
    """A mixture of the posteriors of `pseudo_inputs` [count, channel, height, width]."""

    settings_class: ClassVar[type[Section]] = VampSettings
    title: ClassVar[str] = "posteriors of pseudo-inputs"

    def __init__(self, settings: VampSettings, latent_dim: int, image_shape: Shape) -> None:
        super().__init__(settings, latent_dim, image_shape)
        self.pseudo_inputs = nn.Parameter(torch.rand(settings.pseudo_inputs, *image_shape))

    def components(self, encode: Encode) -> DiagonalGaussian:
        """Encode the pseudo-inputs, which may leave [0, 1]: clamped, they would lose gradients."""
        posterior = encode(self.pseudo_inputs)
        assert isinstance(posterior, DiagonalGaussian)
        return posterior

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Return the log density in nats."""
        components = self.components(encode)
        chunk = max(1, MAX_CHUNK_NUMBERS // components.mean.numel())
        parts = torch.split(latents.reshape(-1, latents.shape[-1]), chunk)
        densities = torch.cat([self._log_mean(part, components) for part in parts])
        return densities.reshape(latents.shape[:-1])

    def _log_mean(
        self, latents: Float[Tensor, "some latent"], components: DiagonalGaussian
    ) -> Float[Tensor, "some"]:
        # ln 1/K sum_k q(z|u_k)
        count = len(self.pseudo_inputs)
        each = components.log_prob(latents[:, None].expand(-1, count, -1))
        return each.logsumexp(-1) - math.log(count)

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Sample a pseudo-input for each latent, then from its posterior."""
        device = self.pseudo_inputs.device
        shape = (count,)
        chosen = torch.randint(len(self.pseudo_inputs), shape, generator=generator, device=device)
        components = self.components(encode)
        mixture = DiagonalGaussian(components.mean[chosen], components.stddev[chosen])
        return mixture.rsample(generator)

    @torch.no_grad()
    def initialize_from(self, images: Images) -> None:
        """Copy training images, repeated where there are fewer than pseudo-inputs."""
        rows = torch.arange(len(self.pseudo_inputs), device=images.device) % len(images)
        self.pseudo_inputs.copy_(images[rows])


PRIOR = Vamp
