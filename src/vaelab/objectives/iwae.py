"""The importance-weighted autoencoder: Burda et al. 2016, equation 8.

loss = -ln 1/K sum_k w_k, with w_k = p(x|z_k) p(z_k) / q(z_k|x): a bound on -ln p(x) in nats that
decreases with K; K = 1 is the negative evidence lower bound. The more samples, the noisier the
encoder's gradient; the doubly reparameterized estimator has the same mean without that noise
(Tucker et al. 2019, equation 8). A fitted Gaussian variance is the same for all K samples: this is
still a bound, if not the tightest one.

Of images with missing pixels it is the bound of the observed ones: the MIWAE (Mattei & Frellsen
2019, equation 5).
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from vaelab.estimators.importance import log_importance_weights
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.models.priors import PriorKind
from vaelab.objectives import Images, LossOutput, Objective
from vaelab.objectives.vae import Vae

LogWeights = Float64[Tensor, "samples batch"]


class Iwae(Objective):
    """Minimize the importance-weighted bound with `importance_samples` samples."""

    optimizers = {"iwae": ("encoder", "decoder", "prior")}
    selection: ClassVar[str | None] = "loss"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = Vae.prior_kinds
    can_miss_pixels: ClassVar[bool] = True

    importance_samples: int = Field(default=50, ge=1)
    doubly_reparameterised: bool = False

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the bound, with the gradient of one of the two estimators."""
        posterior = model.encode(images)
        assert isinstance(posterior, DiagonalGaussian)
        latents = posterior.rsample(generator, self.importance_samples)
        if self.doubly_reparameterised:
            posterior = posterior.detach()
        log_weights = log_importance_weights(model, images, posterior, latents)
        loss = negative_iwae_bound(log_weights)
        if self.doubly_reparameterised:
            loss = _doubly_reparameterized(loss, log_weights, latents)
        return {"iwae": LossOutput(loss.float())}

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return this bound, and the negative ELBO with its parts."""
        plain = Vae().validate_batch(model, images, generator)
        loss = self.losses(model, images, generator)["iwae"].loss
        return plain | {"loss": loss}


def negative_iwae_bound(log_weights: LogWeights) -> Float64[Tensor, "batch"]:
    """Return -ln of the mean weight, [batch] in nats: minus equation 8."""
    return -(log_weights.logsumexp(0) - math.log(len(log_weights)))


def _doubly_reparameterized(
    loss: Float64[Tensor, "batch"], log_weights: LogWeights, latents: Tensor
) -> Float64[Tensor, "batch"]:
    """Return the same loss, whose gradient by the latents is sum_k w_k^2 d ln w_k / dz."""
    normalized_weights = log_weights.detach().softmax(0)
    if latents.requires_grad:
        # The decoder's gradient has each weight once, the encoder's twice.
        latents.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: gradient * normalized_weights[..., None].to(gradient.dtype)
        )
    surrogate = -(normalized_weights * log_weights).sum(0)
    return loss.detach() + surrogate - surrogate.detach()


OBJECTIVE = Iwae
