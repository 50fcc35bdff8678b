"""InfoVAE: Zhao et al. 2019, equation 6, with the maximum mean discrepancy (MMD-VAE).

loss = generation_loss + kl_weight * kl_loss + mmd_weight * MMD^2(q(z), p(z)). In the paper's terms
alpha = 1 - kl_weight and lambda = mmd_weight + kl_weight: a small `kl_weight` lets the latent tell
images apart, while the discrepancy keeps all of them together like the prior.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.estimators.aggregate import mmd_squared
from vaelab.models.model import Model
from vaelab.objectives.vae import Vae, VaeOutput


class InfoVae(Vae):
    """A VAE that pays for the distance of a batch's latents from the prior."""

    mmd_weight: float = Field(default=1000.0, ge=0)

    def latent_loss(
        self, model: Model, step: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Charge for both distances."""
        mmd = prior_mmd_squared(model, step.latents, generator, self.group)
        return self.kl_weight * self.kl_with_free_bits(step) + self.mmd_weight * mmd, {
            "mmd_squared": mmd
        }


def prior_mmd_squared(
    model: Model,
    latents: Float[Tensor, "batch latent"],
    generator: torch.Generator,
    group: ProcessGroup = SINGLE_GROUP,
) -> Float[Tensor, "batch"]:
    """Compare a batch of latents with as many of the prior; every image gets the same value.

    Without bias, so it may fall below 0; 0 for a batch of one image.
    """
    everyone = group.gather_batch(latents)
    if len(everyone) < 2:
        return torch.zeros_like(latents[:, 0])
    value = mmd_squared(everyone, group.gather_batch(model.prior(len(latents), generator)))
    return value.to(latents).expand(len(latents))


OBJECTIVE = InfoVae
