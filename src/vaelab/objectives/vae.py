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
from vaelab.models.priors import PriorKind
from vaelab.objectives import Images, LossOutput, Objective


@dataclass(frozen=True)
class VaeOutput:
    """A batch's way through encoder and decoder: what a VAE's latent loss is made of."""

    posterior: DiagonalGaussian
    latents: Float[Tensor, "batch latent"]
    pixels: PixelDistribution
    generation_loss: Float[Tensor, "batch"]
    kl_loss: Float[Tensor, "batch"]


class Vae(Objective):
    """Minimise the negative evidence lower bound, with a weight on the KL loss.

    Variants replace `latent_loss`, and `losses` where they have more players.
    """

    optimizers = {"vae": ("encoder", "decoder", "prior")}
    selection: ClassVar[str | None] = "loss"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("standard_normal", "density")

    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: int = Field(default=0, ge=0)
    free_bits_nats: float = Field(default=0.0, ge=0)

    def check(self, settings: ModelSettings) -> None:
        """Refuse free bits a dimension where only the whole latent has a KL."""
        if self.free_bits_nats and settings.prior != "standard_normal":
            raise UserError(
                f"train.free_bits_nats needs model.prior: standard_normal; the {settings.prior} "
                "prior has no KL of each dimension"
            )

    def hyperparameters_at(self, epoch: float) -> dict[str, Any]:
        """Let the weight grow linearly from 0 over the warm-up: Bowman et al. 2016, section 3.1.

        Where the field is a tensor, so is its value.
        """
        grown = min(1.0, epoch / self.kl_warmup_epochs) if self.kl_warmup_epochs else 1.0
        return {"kl_weight": grown * self.kl_weight}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Give the loss of the one player."""
        step = self.encode_and_decode(model, images, generator)
        return {"vae": self.step_loss(model, step, generator)}

    def step_loss(self, model: Model, step: VaeOutput, generator: torch.Generator) -> LossOutput:
        """Give the weighted loss, and its parts unweighted."""
        latent_loss, terms = self.latent_loss(model, step, generator)
        parts = {"generation_loss_nats": step.generation_loss, "kl_loss_nats": step.kl_loss}
        return LossOutput(step.generation_loss + latent_loss, parts | terms)

    def latent_loss(
        self, model: Model, step: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give what is added to the generation loss, [batch], and further terms to watch."""
        return self.kl_weight * self.kl_with_free_bits(step), {}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure the bound, at weight 1, its parts, and the KL of each dimension.

        `loss` is what the best weights are chosen by: at the full weight, however far the
        warm-up has come, and without free bits. At weight 1 it is the bound.
        """
        step = self.encode_and_decode(model, images, generator)
        latent_loss, terms = self.final_schedule().latent_loss(model, step, generator)
        measured = {
            "loss": step.generation_loss + latent_loss,
            "neg_elbo_nats": step.generation_loss + step.kl_loss,
            "generation_loss_nats": step.generation_loss,
            "kl_loss_nats": step.kl_loss,
            "mean_squared_error": (step.pixels.mean - images).square().flatten(1).mean(1),
        }
        if model.has_standard_prior:
            measured["kl_per_dimension_nats"] = step.posterior.kl_per_dimension()
        return measured | terms

    def final_schedule(self) -> "Vae":
        """Give the objective as it is after its schedules, without free bits."""
        return self.model_copy(update={**self.hyperparameters_at(math.inf), "free_bits_nats": 0.0})

    def encode_and_decode(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> VaeOutput:
        """Draw a latent of each image and decode it."""
        posterior = model.encode(images)
        assert isinstance(posterior, DiagonalGaussian)
        latents = posterior.rsample(generator)
        pixels = model.decode(latents)
        kl = model.kl(posterior, latents)
        return VaeOutput(posterior, latents, pixels, -pixels.log_prob(images), kl)

    def kl_with_free_bits(self, step: VaeOutput) -> Tensor:
        """Give the KL loss, [batch], each dimension at least at its free bits."""
        if not self.free_bits_nats:
            return step.kl_loss
        kl = step.posterior.kl_per_dimension()
        # sum_j max(lambda, mean over the batch of KL_j): Kingma et al. 2016 (IAF), equation 15
        mean_kl = self.group.batch_mean(kl.mean(0))
        return mean_kl.clamp_min(self.free_bits_nats).sum().expand(len(kl))


OBJECTIVE = Vae
