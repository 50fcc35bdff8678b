"""The Wasserstein autoencoder: Tolstikhin et al. 2018, algorithm 2 (WAE-MMD).

loss = generation_loss + mmd_weight * MMD^2(q(z), p(z)). The encoder returns a point;
only the distribution of all latents is pulled to the prior, never the latent of one image.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vaelab.models.model import Model, PosteriorKind
from vaelab.objectives import Images, LossOutput, Objective
from vaelab.objectives.info_vae import prior_mmd_squared


class Wae(Objective):
    """An autoencoder with a penalty on the distance of q(z) from the prior."""

    optimizers = {"wae": ("encoder", "decoder")}
    selection: ClassVar[str | None] = "loss"
    posterior: ClassVar[PosteriorKind] = "point"

    mmd_weight: float = Field(default=1000.0, ge=0)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the loss, and its two parts without weights."""
        latents = model.encode(images).mean
        generation = -model.decode(latents).log_prob(images)
        mmd = prior_mmd_squared(model, latents, generator, self.group)
        terms = {"generation_loss_nats": generation, "mmd_squared": mmd}
        return {"wae": LossOutput(generation + self.mmd_weight * mmd, terms)}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the loss, its parts and the squared error."""
        output = self.losses(model, images, generator)["wae"]
        decoded = model.decode(model.encode(images).mean).mean
        squared_error = (decoded - images).square().flatten(1).mean(1)
        return {"loss": output.loss, **output.terms, "mean_squared_error": squared_error}


OBJECTIVE = Wae
