"""Encoders and decoders for images of any shape.

Each file is a family of networks; its name, without `.py`, is a value of `model.network`. The file
defines a subclass of `Network` and names it `NETWORK`.
"""

import importlib
from typing import Any, ClassVar

from torch import nn

from vaelab.config import ModelSettings, Section, fill_settings

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

# Images of up to so many pixels a side have the network and the latents of MNIST.
SMALL = 28

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class Network(Section):
    """A family of networks; its fields are its settings.

    A field that is also a key of `model` in params.yaml is filled from there by name. All others
    are the family's own, filled from `model.networks.<name>`, and have defaults.
    """

    width_field: ClassVar[str | None] = None
    """The field with the widths of the layers: smaller ones make a less powerful decoder."""

    @classmethod
    def auto_settings(cls, shape: Shape) -> dict[str, Any]:
        """Return own settings that go with `model.channels: auto` for images of a shape.

        They have other defaults, those of models with a list of channels.
        """
        return {}

    def encoder(self, shape: Shape, outputs: int) -> nn.Sequential:
        """Build a network from images [batch, *shape] to [batch, outputs].

        Its last layer has to be the output layer: discriminators use the layers before it as
        features.
        """
        raise NotImplementedError

    def decoder(self, latents: int, shape: Shape) -> nn.Module:
        """Build a network from latents [batch, latents] to images [batch, *shape]."""
        raise NotImplementedError


def network_class(name: str) -> type[Network]:
    """Return the class in the file of that name."""
    cls: type[Network] = importlib.import_module(f"vaelab.models.networks.{name}").NETWORK
    return cls


def build_network(settings: ModelSettings) -> Network:
    """Return the family that `model.network` names. Raises UserError for its own settings."""
    name = settings.network
    own = settings.networks.get(name, {})
    return fill_settings(network_class(name), settings, own, f"model.networks.{name}")


def width_setting(network: str) -> str | None:
    """Return the dotted name of the setting with a network's widths, None if it declares none."""
    field = network_class(network).width_field
    if field is None or field in ModelSettings.model_fields:
        return field and f"model.{field}"
    return f"model.networks.{network}.{field}"


def is_small(shape: Shape) -> bool:
    """Return whether images have at most the pixels a side of MNIST's."""
    return max(shape[1:]) <= SMALL


def stride(size: tuple[int, int]) -> int:
    """Return the stride of a level whose input has this height and width: 1 for a single pixel.

    (Stride 2 would mean the same there, but PyTorch 2.14 computes wrong bfloat16 gradients for it
    on CPUs.)
    """
    return 1 if size == (1, 1) else 2


def level_sizes(shape: Shape, levels: int) -> list[tuple[int, int]]:
    """Return the heights and widths after 0, 1, ... `levels` convolutions of stride 2."""
    sizes = [shape[1:]]
    for _ in range(levels):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
