"""FactorVAE: Kim & Mnih 2018, equation 2 and algorithm 2.

loss = generation_loss + kl_weight * kl_loss + total_correlation_weight * TC(q(z)). A discriminator
learns to distinguish latents from latents whose dimensions were shuffled between images; its
logit estimates ln q(z) / prod_j q(z_j), whose mean is the total correlation. The shuffled latents
are those of the same batch, where the paper samples a second one.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from vaelab.models.model import Model
from vaelab.objectives import Images, LossOutput
from vaelab.objectives.vae import Vae, VaeOutput


class FactorVae(Vae):
    """A VAE with a penalty on the total correlation that a latent discriminator estimates."""

    optimizers = {
        "vae": ("encoder", "decoder", "prior"),
        "latent_discriminator": ("latent_discriminator",),
    }

    total_correlation_weight: float = Field(default=10.0, ge=0)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the loss of the VAE, and the cross-entropy of the discriminator."""
        output = self.encode_and_decode(model, images, generator)
        vae = self.weighted_loss(model, output, generator)
        shuffled = shuffle_dimensions(output.latents.detach(), generator)
        real, fake = vae.terms["total_correlation_nats"], _logit(model, shuffled)
        cross_entropy = 0.5 * (functional.softplus(-real) + functional.softplus(fake))
        return {"vae": vae, "latent_discriminator": LossOutput(cross_entropy)}

    def latent_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted KL loss plus the weighted total correlation, in nats."""
        correlation = _logit(model, output.latents)
        loss = (
            self.kl_weight * self.kl_with_free_bits(output)
            + self.total_correlation_weight * correlation
        )
        return loss, {"total_correlation_nats": correlation}


def _logit(model: Model, latents: Tensor) -> Tensor:
    return model.apply_network("latent_discriminator", latents, 1)[..., 0]


def shuffle_dimensions(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Permute each column of [batch, latent] separately, so that dimensions are independent."""
    keys = torch.rand(latents.shape, generator=generator, device=latents.device)
    return latents.gather(0, keys.argsort(0))


OBJECTIVE = FactorVae
