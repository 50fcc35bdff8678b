"""The variational autoencoder: Kingma & Welling 2014, equation 3, estimator B (equation 7).

loss = generation_loss + kl_weight * kl_loss, in nats per image, where the generation loss is
-ln p(x|z) at z = mean + stddev * noise, and the KL loss is KL(q(z|x) || p(z)). A weight
other than 1 is the beta-VAE (Higgins et al. 2017, equation 4).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vaelab.config import ModelSettings, UserError
from vaelab.models.distributions import DiagonalGaussian, PixelDistribution
from vaelab.models.model import Model
from vaelab.models.observation import mean_squared_error
from vaelab.models.priors import PriorKind
from vaelab.objectives import Images, LossOutput, Objective


@dataclass(frozen=True)
class VaeOutput:
    """What encoder and decoder return for a batch, and the two parts of the loss, in nats."""

    posterior: DiagonalGaussian
    latents: Float[Tensor, "batch latent"]
    pixels: PixelDistribution
    generation_loss: Float[Tensor, "batch"]
    kl_loss: Float[Tensor, "batch"]


class Vae(Objective):
    """Minimize the negative evidence lower bound, with a weight on the KL loss.

    `generation_loss` is the literature's reconstruction loss. Variants override `latent_loss`, and
    `losses` where they have more optimizers.
    """

    optimizers = {"vae": ("encoder", "decoder", "prior")}
    selection: ClassVar[str | None] = "loss"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("standard_normal", "density")
    can_miss_pixels: ClassVar[bool] = True

    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: int = Field(default=0, ge=0)
    free_bits_nats: float = Field(default=0.0, ge=0)

    def check(self, settings: ModelSettings) -> None:
        """Refuse free bits per dimension where the prior has only a KL of the whole latent."""
        if self.free_bits_nats and settings.prior != "standard_normal":
            raise UserError(
                f"train.free_bits_nats needs model.prior: standard_normal; the {settings.prior} "
                "prior has no KL of each dimension"
            )

    def schedule_at(self, epoch: float) -> dict[str, Any]:
        """Return the KL weight at a time: the KL warm-up, or KL annealing.

        It grows linearly from 0 over `kl_warmup_epochs` (Bowman et al. 2016, section 3.1).
        """
        grown = min(1.0, epoch / self.kl_warmup_epochs) if self.kl_warmup_epochs else 1.0
        return {"kl_weight": grown * self.kl_weight}

    def warmup_epochs(self) -> dict[str, int]:
        """Return the length of the KL warm-up."""
        return {"kl_warmup_epochs": self.kl_warmup_epochs}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the loss of the one optimizer."""
        output = self.encode_and_decode(model, images, generator)
        return {"vae": self.weighted_loss(model, output, generator)}

    def weighted_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> LossOutput:
        """Return the weighted loss, and its parts without weights."""
        latent_loss, terms = self.latent_loss(model, output, generator)
        parts = {"generation_loss_nats": output.generation_loss, "kl_loss_nats": output.kl_loss}
        return LossOutput(output.generation_loss + latent_loss, parts | terms)

    def latent_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is added to the generation loss, [batch] in nats, and terms to log."""
        return self.kl_weight * self.kl_with_free_bits(output), {}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the negative ELBO, its parts, the KL of each dimension, and `loss`.

        `loss` selects the best weights: it has the final KL weight, whatever the warm-up, and no
        free bits. At weight 1 it is the negative ELBO.
        """
        output = self.encode_and_decode(model, images, generator)
        latent_loss, terms = self.at_end_of_schedule().latent_loss(model, output, generator)
        metrics = {
            "loss": output.generation_loss + latent_loss,
            "neg_elbo_nats": output.generation_loss + output.kl_loss,
            "generation_loss_nats": output.generation_loss,
            "kl_loss_nats": output.kl_loss,
            "mean_squared_error": mean_squared_error(output.pixels.mean, images),
        }
        if model.has_standard_prior:
            metrics["kl_per_dimension_nats"] = output.posterior.kl_per_dimension()
        return metrics | terms

    def at_end_of_schedule(self) -> "Vae":
        """Return the objective with the final values of its schedules, without free bits."""
        return self.model_copy(update={**self.schedule_at(math.inf), "free_bits_nats": 0.0})

    def encode_and_decode(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> VaeOutput:
        """Encode the images, sample one latent each, and decode it."""
        posterior = model.encode(images)
        assert isinstance(posterior, DiagonalGaussian)
        latents = posterior.rsample(generator)
        pixels = model.decode(latents)
        kl = model.kl(posterior, latents)
        return VaeOutput(posterior, latents, pixels, -pixels.log_prob(images), kl)

    def kl_with_free_bits(self, output: VaeOutput) -> Tensor:
        """Return the KL loss, [batch] in nats, each dimension at least at its free bits."""
        if not self.free_bits_nats:
            return output.kl_loss
        kl = output.posterior.kl_per_dimension()
        # sum_j max(lambda, mean over the batch of KL_j): Kingma et al. 2016 (IAF), equation 15
        mean_kl = self.group.batch_mean(kl.mean(0))
        return mean_kl.clamp_min(self.free_bits_nats).sum().expand(len(kl))


OBJECTIVE = Vae
