"""The vector-quantised VAE: van den Oord et al. 2017, equation 3.

The latent is a sequence of codes from one learned codebook. The decoder's gradient reaches the
encoder straight through the choice of the nearest code; the codebook loss pulls codes to the
encoder's outputs, the commitment loss pulls the outputs to their codes. The KL loss is the length
of the codes in nats: ln K per code under the uniform prior of training, less under the frequencies
that are counted after it.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vaelab.models.model import Model, PosteriorKind
from vaelab.models.priors import Prior, PriorKind
from vaelab.objectives import Images, LossOutput, Objective


class VqVae(Objective):
    """Minimize the generation loss through a codebook."""

    optimizers = {"vq_vae": ("encoder", "decoder", "prior")}
    selection: ClassVar[str | None] = "loss"
    posterior: ClassVar[PosteriorKind] = "point"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("codes",)
    default_prior: ClassVar[str] = "codebook"
    can_be_conditional: ClassVar[bool] = False

    commitment_weight: float = Field(default=0.25, ge=0)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the loss and its parts."""
        outputs = model.apply_network("encoder", images, 3)
        codebook = model.networks["prior"]
        assert isinstance(codebook, Prior)
        codes = codebook.quantize(outputs)
        passed = outputs + (codes - outputs).detach()
        generation = -model.decode(passed).log_prob(images)
        # |sg[z_e] - e|^2 and |z_e - sg[e]|^2
        codebook_loss = (outputs.detach() - codes).square().sum(-1)
        commitment_loss = (outputs - codes.detach()).square().sum(-1)
        loss = generation + codebook_loss + self.commitment_weight * commitment_loss
        terms = {"generation_loss_nats": generation, "commitment_loss": commitment_loss}
        return {"vq_vae": LossOutput(loss, terms)}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the bound, which is generation loss plus code length, and the squared error."""
        posterior = model.encode(images)
        pixels = model.decode(posterior.mean)
        generation, length = -pixels.log_prob(images), model.kl(posterior, posterior.mean)
        return {
            "loss": generation,
            "neg_elbo_nats": generation + length,
            "generation_loss_nats": generation,
            "kl_loss_nats": length,
            "mean_squared_error": (pixels.mean - images).square().flatten(1).mean(1),
        }


OBJECTIVE = VqVae
