"""VAE/GAN: Larsen et al. 2016, algorithm 1, with a pixel term and a self-timed adversary.

A VAE whose reconstruction error is measured in the features of a discriminator and in pixels. The
encoder minimizes kl_weight * KL + r, the decoder feature_weight * r + g * generator's loss, with
the reconstruction loss r = pixel_share * pixel loss + (1 - pixel_share) * g * feature loss. The
discriminator distinguishes real images from reconstructions and from samples, half of each. The
feature loss does not train the discriminator, the adversarial loss not the encoder.

The paper has neither pixels nor g; `pixel_share: 0` is its algorithm. On faces of 64x64 pixels it
collapsed to one mean image: with the feature loss alone, with the adversarial loss in addition, and
with as much of a pixel loss in addition, but not with the pixel loss alone. The likely reason is
that until reconstructions differ, the features' gradients are nearly the same for all of them, and
others after each step of the discriminator. So g is the share of the batch's variance that
reconstructions explain, 0 for one mean image, 1 for perfect ones: a decoder that ignores its latent
is trained as a VAE's until it no longer does. Adam's first decay rate is 0.9, as in a VAE: at the
0.5 that is usual for GANs, the encoder was in use after about twice the steps.

Both losses are -ln N(a; b, s^2), where the paper has s^2 = 1; here it is the batch's mean squared
error, so that the KL loss weighs the same whatever the scale of the features (Rybkin et al. 2021,
equation 4). They replace the likelihood of `model.likelihood`: do not compare them with one.
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

Numbers = Float[Tensor, "batch number"]


class VaeGan(Objective):
    """Three optimizers; decoder or discriminator skips steps while one of them is far ahead.

    `pixel_share` is that of the pixels in the reconstruction loss: more is more faithful, less is
    sharper. `feature_weight` is the decoder's, of both its parts.
    `equilibrium` and `margin` are in nats of the discriminator's mean cross-entropy: the
    discriminator skips a step where it is too low, the decoder where it is too high.
    """

    optimizers = {
        "encoder": ("encoder", "prior"),
        "decoder": ("decoder",),
        "discriminator": ("discriminator",),
    }
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = Vae.prior_kinds
    can_be_conditional: ClassVar[bool] = False

    kl_weight: float = Field(default=1.0, ge=0)
    pixel_share: float = Field(default=0.5, ge=0, le=1)
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
        parts = (
            gaussian_loss(images.flatten(1), reconstructions.flatten(1), self.group),
            gaussian_loss(real.features, reconstructed.features, self.group),
        )
        explained = explained_share(images, reconstructions, self.group)
        reconstruction, weight = self._reconstruction_loss(*parts, explained)
        both = (reconstructed.logits, sampled)
        adversarial = [generator_loss("non_saturating", logits) for logits in both]
        discrimination = [discriminator_loss("non_saturating", real.logits, x) for x in both]
        update_decoder, update_discriminator = self._balance(real.logits, sampled)
        decoder_loss = self.feature_weight * reconstruction + weight * torch.stack(
            adversarial
        ).mean(0)
        discriminator_terms = {"real_logit": real.logits}
        encoder_terms = dict(zip(("pixel_loss_nats", "feature_loss_nats"), parts, strict=True))
        return {
            "encoder": LossOutput(
                self.kl_weight * kl + reconstruction,
                {"kl_loss_nats": kl}
                | encoder_terms
                | {"explained_share": explained.expand(len(kl))},
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

    def _reconstruction_loss(
        self, pixel: Tensor, feature: Tensor, explained: Tensor
    ) -> tuple[Float[Tensor, "batch"], Float[Tensor, ""]]:
        """Return the loss, and the weight g of what the discriminator adds: 1 without pixels."""
        weight = explained if self.pixel_share else torch.ones_like(explained)
        return self.pixel_share * pixel + (1 - self.pixel_share) * weight * feature, weight

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


def gaussian_loss(
    real: Numbers, reconstructed: Numbers, group: ProcessGroup = SINGLE_GROUP
) -> Float[Tensor, "batch"]:
    """Return -ln N(real; reconstructed, s^2), [batch] in nats, at the best s^2 for the batch."""
    squared = (real - reconstructed).square()
    variance = group.batch_mean(squared.detach().mean()).clamp_min(1e-6)
    return 0.5 * (squared / variance + variance.log() + LOG_TWO_PI).sum(-1)


def explained_share(
    images: Images, reconstructions: Images, group: ProcessGroup = SINGLE_GROUP
) -> Float[Tensor, ""]:
    """Return 1 - squared error / squared distance to the batch's mean image; at least 0."""
    center = group.batch_mean(images.mean(0))
    errors = [(images - other).square().mean() for other in (reconstructions.detach(), center)]
    error, variance = group.batch_mean(torch.stack(errors))
    share: Tensor = 1 - error / variance.clamp_min(1e-6)
    return share.clamp_min(0)


OBJECTIVE = VaeGan
