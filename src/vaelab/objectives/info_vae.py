"""InfoVAE: Zhao et al. 2019, equation 6, with the maximum mean discrepancy (MMD-VAE).

loss = generation_loss + kl_weight * kl_loss + mmd_weight * MMD^2(q(z), p(z)). In the paper's terms
alpha = 1 - kl_weight and lambda = mmd_weight + kl_weight: with a small `kl_weight` the latent keeps
information about the image, while the discrepancy keeps q(z) close to the prior.
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
    """A VAE with a penalty on the distance between a batch's latents and the prior."""

    mmd_weight: float = Field(default=1000.0, ge=0)

    def latent_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted KL loss plus the weighted squared discrepancy."""
        mmd = prior_mmd_squared(model, output.latents, generator, self.group)
        return self.kl_weight * self.kl_with_free_bits(output) + self.mmd_weight * mmd, {
            "mmd_squared": mmd
        }


def prior_mmd_squared(
    model: Model,
    latents: Float[Tensor, "batch latent"],
    generator: torch.Generator,
    group: ProcessGroup = SINGLE_GROUP,
) -> Float[Tensor, "batch"]:
    """Return the squared MMD of a batch of latents and as many prior samples, [batch].

    Every image gets the same value. The estimate is unbiased, so it may be below 0; it is 0 for a
    batch of one image.
    """
    batch = group.gather_batch(latents)
    if len(batch) < 2:
        return torch.zeros_like(latents[:, 0])
    value = mmd_squared(batch, group.gather_batch(model.prior(len(latents), generator)))
    return value.to(latents).expand(len(latents))


OBJECTIVE = InfoVae
