"""The variational mixture of posteriors: Tomczak & Welling 2018, equation 9.

p(z) = 1/K sum_k q(z|u_k): the aggregate posterior of K images that nobody took, the
pseudo-inputs, which are learned with everything else.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import ModelSettings
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Images, Latents, Prior

# Numbers (latents x pseudo-inputs x dimensions) that are compared at a time
COMPARED_NUMBERS = 2**24


class Vamp(Prior):
    """A mixture of the posteriors of `pseudo_inputs` learned images."""

    name = "posteriors of pseudo-inputs"

    def __init__(self, count: int, image_shape: Shape) -> None:
        super().__init__()
        self.pseudo_inputs = nn.Parameter(torch.rand(count, *image_shape))

    def components(self, encode: Encode) -> DiagonalGaussian:
        """Encode the pseudo-inputs. They may leave [0, 1]: held there, most would be stuck."""
        posterior = encode(self.pseudo_inputs)
        assert isinstance(posterior, DiagonalGaussian)
        return posterior

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        components = self.components(encode)
        largest = max(1, COMPARED_NUMBERS // components.mean.numel())
        parts = torch.split(latents.reshape(-1, latents.shape[-1]), largest)
        whole = torch.cat([self._log_mean(part, components) for part in parts])
        return whole.reshape(latents.shape[:-1])

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
        """Draw a pseudo-input for each latent, then from its posterior."""
        device = self.pseudo_inputs.device
        shape = (count,)
        chosen = torch.randint(len(self.pseudo_inputs), shape, generator=generator, device=device)
        components = self.components(encode)
        mixture = DiagonalGaussian(components.mean[chosen], components.stddev[chosen])
        return mixture.rsample(generator)

    @torch.no_grad()
    def initialize_from(self, images: Images) -> None:
        """Start from training images, repeated where there are fewer than pseudo-inputs."""
        rows = torch.arange(len(self.pseudo_inputs), device=images.device) % len(images)
        self.pseudo_inputs.copy_(images[rows])


def build(settings: ModelSettings, image_shape: Shape) -> Vamp:
    """Build it for `model.pseudo_inputs`."""
    return Vamp(settings.pseudo_inputs, image_shape)
