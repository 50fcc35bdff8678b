"""The generative adversarial network: Goodfellow et al. 2014, section 3.

The generator, which is the decoder, turns noise into images; the discriminator learns to
distinguish them from real ones. There is no encoder, so images have no latent and no likelihood.
`loss` is one of `non_saturating` (section 3, the generator maximises ln D),
`least_squares` (Mao et al. 2017, equation 9) or `wasserstein` (Gulrajani et al. 2017, equation 3).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from vaelab.models.model import Model
from vaelab.objectives import Images, LossOutput, Objective

GanLoss = Literal["non_saturating", "least_squares", "wasserstein"]


class Gan(Objective):
    """A generator and a discriminator with opposite goals."""

    optimizers = {"generator": ("decoder",), "discriminator": ("discriminator",)}
    adam_betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    can_be_conditional: ClassVar[bool] = False

    loss: GanLoss = "non_saturating"
    gradient_penalty: float = Field(default=10.0, ge=0)
    discriminator_steps: int = Field(default=1, ge=1)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return the losses for a batch of real images and as many generated ones."""
        generated = model.decode(model.prior(len(images), generator)).mean
        real, fake = model.discriminate(images).logits, model.discriminate(generated).logits
        loss = discriminator_loss(self.loss, real, fake)
        if self.loss == "wasserstein":
            slope = _penalty(model, images, generated.detach(), generator)
            loss = loss + self.gradient_penalty * slope
        # One generator step per `discriminator_steps` on average, drawn at random.
        draw = torch.rand((), generator=generator, device=images.device)
        update_mask = (draw < 1 / self.discriminator_steps).to(real.dtype)
        return {
            "generator": LossOutput(generator_loss(self.loss, fake), update_mask=update_mask),
            "discriminator": LossOutput(loss, {"real_logit": real, "fake_logit": fake}),
        }

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the discriminator's logits of validation images and of generated ones."""
        generated = model.decode(model.prior(len(images), generator)).mean
        return {
            "real_logit": model.discriminate(images).logits,
            "fake_logit": model.discriminate(generated).logits,
        }


def discriminator_loss(kind: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss, [batch], from its logits of real and generated images."""
    if kind == "least_squares":
        return 0.5 * ((real - 1) ** 2 + fake**2)
    if kind == "wasserstein":
        return fake - real
    # -ln D(x) - ln (1 - D(G(z)))
    return functional.softplus(-real) + functional.softplus(fake)


def generator_loss(kind: GanLoss, fake: Tensor) -> Tensor:
    """Return the generator's loss, [batch], from the logits of generated images."""
    if kind == "least_squares":
        return 0.5 * (fake - 1) ** 2
    if kind == "wasserstein":
        return -fake
    # -ln D(G(z))
    return functional.softplus(-fake)


def _penalty(model: Model, images: Images, generated: Images, generator: torch.Generator) -> Tensor:
    """Return (|gradient| - 1)^2 of the logit, [batch], between real and generated images."""
    shape = (len(images), 1, 1, 1)
    weight = torch.rand(shape, generator=generator, device=images.device)
    between = (weight * images + (1 - weight) * generated).requires_grad_()
    with torch.enable_grad():
        logits = model.discriminate(between).logits
        (gradient,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    return (gradient.flatten(1).square().sum(1).add(1e-12).sqrt() - 1) ** 2


OBJECTIVE = Gan
