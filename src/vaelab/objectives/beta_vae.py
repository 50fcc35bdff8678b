"""The beta-VAE with a capacity: Burgess et al. 2018, equation 8.

loss = generation_loss + kl_weight * |kl_loss - capacity|, in nats, where the capacity grows over
training, so that the latent takes up one factor of variation after another. At capacity 0 it is
the beta-VAE of Higgins et al. 2017, equation 4, with beta = `kl_weight`.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from vaelab.models.model import Model
from vaelab.objectives.vae import Vae, VaeOutput


class BetaVae(Vae):
    """Keep the mean KL loss at a capacity, in nats."""

    capacity_nats: float = Field(default=0.0, ge=0)
    capacity_epochs: int = Field(default=0, ge=0)

    def schedule_at(self, epoch: float) -> dict[str, Any]:
        """Return the KL weight, and the capacity: linear from 0 over `capacity_epochs`."""
        grown = min(1.0, epoch / self.capacity_epochs) if self.capacity_epochs else 1.0
        return super().schedule_at(epoch) | {"capacity_nats": grown * self.capacity_nats}

    def warmup_epochs(self) -> dict[str, int]:
        """Return the lengths of the KL warm-up and, if there is a capacity, of its growth."""
        capacity = {"capacity_epochs": self.capacity_epochs} if self.capacity_nats else {}
        return super().warmup_epochs() | capacity

    def latent_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted distance of the batch's mean KL loss to the capacity."""
        mean_kl = self.group.batch_mean(self.kl_with_free_bits(output).mean())
        distance = (mean_kl - self.capacity_nats).abs()
        return (self.kl_weight * distance).expand(len(output.kl_loss)), {}


OBJECTIVE = BetaVae
