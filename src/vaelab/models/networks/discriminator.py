"""Networks that tell two sorts of input apart, made of a family's encoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vaelab.config import ModelSettings
from vaelab.models.networks import Shape, family


class Discriminator(nn.Module):
    """A family's encoder with one output: `body` is all but its last layer, `head` that layer.

    What the body gives are the features that a VAE-GAN compares (Larsen et al. 2016, section 3).
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.body = layers[:-1]
        self.head = layers[-1]

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch features_and_logit"]:
        """Give the features and, in the last column, the logit of a real image."""
        features = self.body(images)
        return torch.cat([features, self.head(features)], dim=1)


def discriminator(shape: Shape, settings: ModelSettings) -> Discriminator:
    """Build a discriminator of images; `model.spectral_norm` bounds its layers' norms."""
    layers = family(settings.network).encoder(shape, 1, settings)
    assert isinstance(layers, nn.Sequential)
    if settings.spectral_norm:
        for layer in list(layers.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _bound_norm(layer)
    return Discriminator(layers)


def _bound_norm(layer: nn.Conv2d | nn.Linear) -> None:
    """Divide a layer's weights by their largest singular value: Miyato et al. 2018, section 2.1."""
    if not layer.weight.any():
        layer.reset_parameters()  # 0 has no direction to keep
    spectral_norm(layer)


def latent_discriminator(latents: int, settings: ModelSettings) -> nn.Module:
    """Build a fully connected discriminator of latents, with the widths of `model.hidden`."""
    return family("mlp").encoder((latents, 1, 1), 1, settings)
