"""Priors p(z), a file each; the file's name is the value of `model.prior`.

Every prior is a network of the model, so that a player can own it and train it.
"""

import importlib
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import ModelSettings
from vaelab.models.distributions import Posterior
from vaelab.models.networks import Shape

Latents = Float[Tensor, "*batch latent"]
Images = Float[Tensor, "batch channel height width"]
Encode = Callable[[Tensor], Posterior]


class Prior(nn.Module):
    """p(z), called `name` in titles.

    `fitted` says whether it is set from the training split's latents after training.
    """

    fitted = False
    name = "a prior"

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Give ln p(z) in nats; `encode` is the model's, for a prior that is made of it."""
        raise AssertionError("each prior defines its own")

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Draw latents."""
        raise AssertionError("each prior defines its own")

    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Set a fitted prior from one latent of each training image."""

    def initialize_from(self, images: Images) -> None:
        """Let a prior that is made of images start from some."""


def build_prior(settings: ModelSettings, image_shape: Shape) -> Prior:
    """Build the prior that `model.prior` names; `auto` is the standard normal here."""
    name = "standard_normal" if settings.prior == "auto" else settings.prior
    module = importlib.import_module(f"vaelab.models.priors.{name}")
    prior: Prior = module.build(settings, image_shape)
    return prior
