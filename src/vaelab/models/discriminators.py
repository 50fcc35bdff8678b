"""Discriminators of images and of latents, built from encoders."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from vaelab.config import ModelSettings
from vaelab.models.networks import Shape, build_network, is_small
from vaelab.models.networks.mlp import Mlp


class Discriminator(nn.Module):
    """An encoder with one output: `head` is its last layer, `body` all layers before.

    The outputs of the body are the features that a VAE-GAN compares (Larsen et al. 2016,
    section 3).
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.body = layers[:-1]
        self.head = layers[-1]

    def forward(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch features_and_logit"]:
        """Return the features and, in the last column, the logit of a real image."""
        features = self.body(images)
        return torch.cat([features, self.head(features)], dim=1)


def discriminator(shape: Shape, settings: ModelSettings) -> Discriminator:
    """Build a discriminator of images; `model.spectral_norm` bounds its layers' norms.

    Of images larger than MNIST's, what a convolution of stride 2 reads is blurred (Zhang 2019):
    to every second pixel, a pattern of a period of two pixels looks like an even area, so that
    a decoder is rewarded for it.
    """
    layers = build_network(settings).encoder(shape, 1)
    for layer in list(layers.modules()):
        if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1) and not is_small(shape):
            layer.register_forward_pre_hook(_blurred)
        if isinstance(layer, nn.Conv2d | nn.Linear) and settings.spectral_norm:
            _bound_norm(layer)
    return Discriminator(layers)


def _blurred(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Return a layer's input, filtered by [1, 2, 1] / 4 in both directions."""
    padded = functional.pad(inputs[0], (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(padded, 2, 1), 2, 1)


def _bound_norm(layer: nn.Conv2d | nn.Linear) -> None:
    """Divide a layer's weights by their largest singular value: Miyato et al. 2018, section 2.1."""
    if not layer.weight.any():
        layer.reset_parameters()  # a matrix of zeros has no singular vectors
    spectral_norm(layer)


def latent_discriminator(latents: int, settings: ModelSettings) -> nn.Module:
    """Build a fully connected discriminator of latents, with the widths of `model.hidden`."""
    mlp = Mlp(hidden=settings.hidden, activation=settings.activation)
    return mlp.encoder((latents, 1, 1), 1)
