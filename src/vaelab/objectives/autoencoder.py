"""The autoencoder: Hinton & Salakhutdinov 2006, without noise and without a KL loss.

It has no prior to sample from; `model.prior: mixture` fits Gaussians to the training split's
latents afterwards (Ghosh et al. 2020, section 4).
"""

from typing import ClassVar

import torch
from torch import Tensor

from vaelab.models.model import Model, PosteriorKind
from vaelab.models.priors import PriorKind
from vaelab.objectives import Images, LossOutput, Objective


class Autoencoder(Objective):
    """Minimize the generation loss only."""

    optimizers = {"autoencoder": ("encoder", "decoder")}
    selection: ClassVar[str | None] = "loss"
    posterior: ClassVar[PosteriorKind] = "point"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("fitted", "standard_normal")
    default_prior: ClassVar[str] = "mixture"

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return -ln p(x|z) at the encoder's z, in nats."""
        loss = -model.decode(model.encode(images).mean).log_prob(images)
        return {"autoencoder": LossOutput(loss, {"generation_loss_nats": loss})}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the generation loss and the squared error."""
        pixels = model.decode(model.encode(images).mean)
        loss = -pixels.log_prob(images)
        squared_error = (pixels.mean - images).square().flatten(1).mean(1)
        return {"loss": loss, "generation_loss_nats": loss, "mean_squared_error": squared_error}


OBJECTIVE = Autoencoder
