"""Residual networks with pre-activation: He et al. 2016 (Identity Mappings), figure 1b.

No batch statistics: an image's likelihood must not depend on its neighbours in the batch.
"""

from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vaelab.config import Activation, Widths
from vaelab.models.layers.attention import Attention
from vaelab.models.layers.channels_last import flatten_head, unflatten_stem
from vaelab.models.networks import ACTIVATIONS, Network, Shape, level_sizes, stride

# Pixels a side of the largest feature maps with attention, whose cost grows with their square.
LARGEST_ATTENTION = 16

Features = Float[Tensor, "batch channel height width"]


class Block(nn.Module):
    """x + f(x), with f two 3x3 convolutions; the second starts at 0, so f does too."""

    def __init__(self, channels: int, activation: type[nn.Module]) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.residual = nn.Sequential(
            activation(), nn.Conv2d(channels, channels, 3, padding=1), activation(), last
        )

    def forward(self, features: Features) -> Features:
        """Return features plus residual."""
        result: Tensor = features + self.residual(features)
        return result


class Resize(nn.Module):
    """Nearest-neighbor interpolation to a fixed size, which may be odd."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Features) -> Float[Tensor, "batch channel rows columns"]:
        """Return the features with their last two dimensions resized."""
        return functional.interpolate(features, size=self.size)


class ResNet(Network):
    """One residual block a level, with as many channels as `channels` has at that level."""

    width_field: ClassVar[str | None] = "channels"

    channels: Widths
    activation: Activation
    attention: bool = False
    """Whether pixels of feature maps of at most 16x16 attend to one another."""

    def encoder(self, shape: Shape, outputs: int) -> nn.Sequential:
        """Build a stride-2 convolution and a residual block a level, then a linear map."""
        activation = ACTIVATIONS[self.activation]
        layers: list[nn.Module] = []
        sizes = level_sizes(shape, len(self.channels))
        for (large, small), (inputs, filters) in zip(
            pairwise(sizes), pairwise((shape[0], *self.channels)), strict=True
        ):
            halve = nn.Conv2d(inputs, filters, 3, stride=stride(large), padding=1)
            layers += [halve, *self._level(filters, small)]
        last = (self.channels[-1], *sizes[-1])
        return nn.Sequential(*layers, activation(), *flatten_head(last, outputs))

    def decoder(self, latents: int, shape: Shape) -> nn.Sequential:
        """Build a linear map, then a residual block and an enlargement a level."""
        activation = ACTIVATIONS[self.activation]
        sizes = level_sizes(shape, len(self.channels))[::-1]
        layers = unflatten_stem(latents, (self.channels[-1], *sizes[0]))
        filters = (*reversed(self.channels), self.channels[0])
        for (inputs, outputs), (small, large) in zip(
            pairwise(filters), pairwise(sizes), strict=True
        ):
            enlarge = [Resize(large), nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += [*self._level(inputs, small), *enlarge]
        return nn.Sequential(*layers, activation(), nn.Conv2d(filters[-1], shape[0], 3, padding=1))

    def _level(self, channels: int, size: tuple[int, int]) -> list[nn.Module]:
        """Build what a level does at one size: a residual block, and attention if it is small."""
        block = Block(channels, ACTIVATIONS[self.activation])
        attends = self.attention and max(size) <= LARGEST_ATTENTION
        return [block, Attention(channels)] if attends else [block]


NETWORK = ResNet
