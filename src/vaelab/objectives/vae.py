"""The variational autoencoder: Kingma & Welling 2014, equation 3, estimator B (equation 7).

loss = generation_loss + kl_weight * kl_loss, in nats per image, where the generation loss is
-ln p(x|z) at z = mean + stddev * noise, and the KL loss is KL(q(z|x) || N(0, I)). A weight
other than 1 is the beta-VAE (Higgins et al. 2017, equation 4).
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vaelab.models import Model
from vaelab.objectives import Images, Objective, PlayerLoss


class Vae(Objective):
    """Minimise the negative evidence lower bound, with a weight on the KL loss."""

    players = {"vae": ("encoder", "decoder")}
    selection: ClassVar[str | None] = "loss"

    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: int = Field(default=0, ge=0)
    free_bits_nats: float = Field(default=0.0, ge=0)

    def at(self, epoch: float) -> dict[str, float]:
        """Let the weight grow linearly from 0 over the warm-up: Bowman et al. 2016, section 3.1."""
        grown = min(1.0, epoch / self.kl_warmup_epochs) if self.kl_warmup_epochs else 1.0
        return {"kl_weight": grown * self.kl_weight}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, PlayerLoss]:
        """Give the weighted loss, and its two parts unweighted."""
        posterior = model.encode(images)
        pixels = model.decode(posterior.rsample(generator))
        generation = -pixels.log_prob(images)
        kl = posterior.kl_per_dimension()
        loss = generation + self.kl_weight * self._charged(kl)
        terms = {"generation_loss_nats": generation, "kl_loss_nats": kl.sum(-1)}
        return {"vae": PlayerLoss(loss, terms)}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure the bound, at weight 1, its parts, and the KL of each dimension.

        `loss` is what the best weights are chosen by: at the full weight, however far the
        warm-up has come, and without free bits. At weight 1 it is the bound.
        """
        posterior = model.encode(images)
        pixels = model.decode(posterior.rsample(generator))
        generation, kl = -pixels.log_prob(images), posterior.kl_per_dimension()
        return {
            "loss": generation + self.at(math.inf)["kl_weight"] * kl.sum(-1),
            "neg_elbo_nats": generation + kl.sum(-1),
            "generation_loss_nats": generation,
            "kl_loss_nats": kl.sum(-1),
            "mean_squared_error": (pixels.mean - images).square().flatten(1).mean(1),
            "kl_per_dimension_nats": kl,
        }

    def _charged(self, kl: Tensor) -> Tensor:
        if not self.free_bits_nats:
            return kl.sum(-1)
        # sum_j max(lambda, mean over the batch of KL_j): Kingma et al. 2016 (IAF), equation 15
        return kl.mean(0).clamp_min(self.free_bits_nats).sum().expand(len(kl))


OBJECTIVE = Vae
