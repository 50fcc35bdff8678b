"""The generative adversarial network: Goodfellow et al. 2014, section 3.

The generator, which is the decoder, turns noise into images; the discriminator learns to tell
them from real ones. There is no encoder: an image has no latent here, and no likelihood.
`loss` says how they are told apart: `non_saturating` (section 3, the generator maximises ln D),
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
    """Two players against each other."""

    optimizers = {"generator": ("decoder",), "discriminator": ("discriminator",)}
    adam_betas: ClassVar[tuple[float, float]] = (0.5, 0.999)

    loss: GanLoss = "non_saturating"
    gradient_penalty: float = Field(default=10.0, ge=0)
    discriminator_steps: int = Field(default=1, ge=1)

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Judge a batch of real images and as many invented ones."""
        invented = model.decode(model.prior(len(images), generator)).mean
        real, fake = model.discriminate(images).logits, model.discriminate(invented).logits
        telling = discriminator_loss(self.loss, real, fake)
        if self.loss == "wasserstein":
            slope = _penalty(model, images, invented.detach(), generator)
            telling = telling + self.gradient_penalty * slope
        # One generator step for each `discriminator_steps`, by chance, so that nothing counts.
        draw = torch.rand((), generator=generator, device=images.device)
        active = (draw < 1 / self.discriminator_steps).to(real.dtype)
        return {
            "generator": LossOutput(generator_loss(self.loss, fake), update_mask=active),
            "discriminator": LossOutput(telling, {"real_logit": real, "fake_logit": fake}),
        }

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure how the discriminator judges images that it has not seen, and invented ones."""
        invented = model.decode(model.prior(len(images), generator)).mean
        return {
            "real_logit": model.discriminate(images).logits,
            "fake_logit": model.discriminate(invented).logits,
        }


def discriminator_loss(kind: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Give what tells real logits [batch] from fake ones."""
    if kind == "least_squares":
        return 0.5 * ((real - 1) ** 2 + fake**2)
    if kind == "wasserstein":
        return fake - real
    # -ln D(x) - ln (1 - D(G(z)))
    return functional.softplus(-real) + functional.softplus(fake)


def generator_loss(kind: GanLoss, fake: Tensor) -> Tensor:
    """Give what makes fake logits [batch] look real."""
    if kind == "least_squares":
        return 0.5 * (fake - 1) ** 2
    if kind == "wasserstein":
        return -fake
    # -ln D(G(z))
    return functional.softplus(-fake)


def _penalty(model: Model, images: Images, invented: Images, generator: torch.Generator) -> Tensor:
    """Give (|gradient| - 1)^2 of the logit, [batch], between real and invented images."""
    shape = (len(images), 1, 1, 1)
    share = torch.rand(shape, generator=generator, device=images.device)
    between = (share * images + (1 - share) * invented).requires_grad_()
    with torch.enable_grad():
        logits = model.discriminate(between).logits
        (gradient,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    return (gradient.flatten(1).square().sum(1).add(1e-12).sqrt() - 1) ** 2


OBJECTIVE = Gan
