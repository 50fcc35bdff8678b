"""VAE/GAN: Larsen et al. 2016, algorithm 1.

A VAE that measures its error in the features of a discriminator instead of in pixels. The encoder
minimises kl_weight * KL + feature loss; the decoder feature_weight * feature loss + the
generator's loss; the discriminator tells real images from restored and from invented ones, half of
each. The feature loss moves no discriminator, and the game no encoder.

The feature loss is -ln N(f(x); f(x'), s^2), where the paper has s^2 = 1; here it is the batch's
mean squared error, so that the KL loss weighs the same whatever the scale of the features (Rybkin
et al. 2021, equation 4). It is no likelihood of pixels: do not compare it with one.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.distributions import LOG_TWO_PI
from vaelab.models.model import Model
from vaelab.models.priors import PriorKind
from vaelab.objectives import Images, LossOutput, Objective
from vaelab.objectives.gan import discriminator_loss, generator_loss
from vaelab.objectives.vae import Vae

Features = Float[Tensor, "batch feature"]


class VaeGan(Objective):
    """Three players; two of them wait while the game is one-sided.

    `equilibrium` and `margin` are in nats of the discriminator's mean cross-entropy: it waits
    where it is too sure, the decoder where the discriminator knows too little.
    """

    optimizers = {
        "encoder": ("encoder", "prior"),
        "decoder": ("decoder",),
        "discriminator": ("discriminator",),
    }
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = Vae.prior_kinds
    adam_betas: ClassVar[tuple[float, float]] = (0.5, 0.999)

    kl_weight: float = Field(default=1.0, ge=0)
    feature_weight: float = Field(default=0.003, ge=0)
    equilibrium: float = Field(default=0.68, gt=0)
    margin: float = Field(default=0.35, ge=0)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Restore the images, invent as many, and let the discriminator judge all of them."""
        kl, restored, invented = _reconstruct_and_sample(model, images, generator)
        real, copied = model.discriminate(images), model.discriminate(restored)
        fake = model.discriminate(invented).logits
        feature = feature_loss(real.features, copied.features, self.group)
        games = [generator_loss("non_saturating", logits) for logits in (copied.logits, fake)]
        tellings = [
            discriminator_loss("non_saturating", real.logits, logits)
            for logits in (copied.logits, fake)
        ]
        game, telling = (torch.stack(both).mean(0) for both in (games, tellings))
        plays, learns = self._balance(real.logits, fake)
        terms = {"kl_loss_nats": kl, "feature_loss_nats": feature}
        return {
            "encoder": LossOutput(self.kl_weight * kl + feature, terms),
            "decoder": LossOutput(self.feature_weight * feature + game, update_mask=plays),
            "discriminator": LossOutput(telling, {"real_logit": real.logits}, update_mask=learns),
        }

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure the KL loss, the squared error, and how the discriminator judges."""
        kl, restored, invented = _reconstruct_and_sample(model, images, generator)
        return {
            "kl_loss_nats": kl,
            "mean_squared_error": (restored - images).square().flatten(1).mean(1),
            "real_logit": model.discriminate(images).logits,
            "restored_logit": model.discriminate(restored).logits,
            "fake_logit": model.discriminate(invented).logits,
        }

    def _balance(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Give, as 0 or 1, whether the decoder and whether the discriminator move."""
        nats = functional.softplus(-real).mean(), functional.softplus(fake).mean()
        errors = self.group.batch_mean(torch.stack(nats).detach())
        plays = (errors <= self.equilibrium + self.margin).all()
        learns = (errors >= self.equilibrium - self.margin).all()
        neither = ~plays & ~learns
        return (plays | neither).to(real.dtype), (learns | neither).to(real.dtype)


def _reconstruct_and_sample(
    model: Model, images: Images, generator: torch.Generator
) -> tuple[Float[Tensor, "batch"], Images, Images]:
    """Give the KL loss in nats, the images decoded, and as many decoded from the prior."""
    posterior = model.encode(images)
    latents = posterior.rsample(generator)
    invented = model.decode(model.prior(len(images), generator)).mean
    return model.kl(posterior, latents), model.decode(latents).mean, invented


def feature_loss(
    real: Features, reconstructed: Features, group: ProcessGroup = SINGLE_GROUP
) -> Float[Tensor, "batch"]:
    """Give -ln N(real; copied, s^2) in nats, at the s^2 that is best for the batch."""
    squared = (real - reconstructed).square()
    variance = group.batch_mean(squared.detach().mean()).clamp_min(1e-6)
    return 0.5 * (squared / variance + variance.log() + LOG_TWO_PI).sum(-1)


OBJECTIVE = VaeGan
