"""VAE/GAN: Larsen et al. 2016, algorithm 1.

A VAE whose reconstruction error is measured in the features of a discriminator instead of pixels.
The encoder minimizes kl_weight * KL + feature loss; the decoder feature_weight * feature loss + the
generator's loss; the discriminator distinguishes real images from reconstructions and from samples,
half of each. The feature loss does not train the discriminator, the adversarial loss not the
encoder.

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
    """Three optimizers; decoder or discriminator skips steps while one of them is far ahead.

    `equilibrium` and `margin` are in nats of the discriminator's mean cross-entropy: the
    discriminator skips a step where it is too low, the decoder where it is too high.
    """

    optimizers = {
        "encoder": ("encoder", "prior"),
        "decoder": ("decoder",),
        "discriminator": ("discriminator",),
    }
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = Vae.prior_kinds
    adam_betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    can_be_conditional: ClassVar[bool] = False

    kl_weight: float = Field(default=1.0, ge=0)
    feature_weight: float = Field(default=0.003, ge=0)
    equilibrium: float = Field(default=0.68, gt=0)
    margin: float = Field(default=0.35, ge=0)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the losses for the images, their reconstructions and as many samples."""
        kl, reconstructions, samples = _reconstruct_and_sample(model, images, generator)
        real, reconstructed = model.discriminate(images), model.discriminate(reconstructions)
        sampled = model.discriminate(samples).logits
        feature = feature_loss(real.features, reconstructed.features, self.group)
        both = (reconstructed.logits, sampled)
        adversarial = [generator_loss("non_saturating", logits) for logits in both]
        discrimination = [discriminator_loss("non_saturating", real.logits, x) for x in both]
        update_decoder, update_discriminator = self._balance(real.logits, sampled)
        decoder_loss = self.feature_weight * feature + torch.stack(adversarial).mean(0)
        discriminator_terms = {"real_logit": real.logits}
        return {
            "encoder": LossOutput(
                self.kl_weight * kl + feature,
                {"kl_loss_nats": kl, "feature_loss_nats": feature},
            ),
            "decoder": LossOutput(decoder_loss, update_mask=update_decoder),
            "discriminator": LossOutput(
                torch.stack(discrimination).mean(0), discriminator_terms, update_discriminator
            ),
        }

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the KL loss, the squared error, and the discriminator's logits."""
        kl, reconstructions, samples = _reconstruct_and_sample(model, images, generator)
        return {
            "kl_loss_nats": kl,
            "mean_squared_error": (reconstructions - images).square().flatten(1).mean(1),
            "real_logit": model.discriminate(images).logits,
            "restored_logit": model.discriminate(reconstructions).logits,
            "fake_logit": model.discriminate(samples).logits,
        }

    def _balance(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return, as 0 or 1, whether the decoder and whether the discriminator step."""
        nats = functional.softplus(-real).mean(), functional.softplus(fake).mean()
        errors = self.group.batch_mean(torch.stack(nats).detach())
        update_decoder = (errors <= self.equilibrium + self.margin).all()
        update_discriminator = (errors >= self.equilibrium - self.margin).all()
        neither = ~update_decoder & ~update_discriminator
        masks = (update_decoder | neither, update_discriminator | neither)
        return masks[0].to(real.dtype), masks[1].to(real.dtype)


def _reconstruct_and_sample(
    model: Model, images: Images, generator: torch.Generator
) -> tuple[Float[Tensor, "batch"], Images, Images]:
    """Return the KL loss in nats, the reconstructions, and as many samples from the prior."""
    posterior = model.encode(images)
    latents = posterior.rsample(generator)
    samples = model.decode(model.prior(len(images), generator)).mean
    return model.kl(posterior, latents), model.decode(latents).mean, samples


def feature_loss(
    real: Features, reconstructed: Features, group: ProcessGroup = SINGLE_GROUP
) -> Float[Tensor, "batch"]:
    """Return -ln N(real; reconstructed, s^2), [batch] in nats, at the best s^2 for the batch."""
    squared = (real - reconstructed).square()
    variance = group.batch_mean(squared.detach().mean()).clamp_min(1e-6)
    return 0.5 * (squared / variance + variance.log() + LOG_TWO_PI).sum(-1)


OBJECTIVE = VaeGan
