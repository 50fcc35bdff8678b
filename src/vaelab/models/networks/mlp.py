"""Fully connected networks: Kingma & Welling 2014, appendix C. Without widths, a linear map."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import nn

from vaelab.config import Activation, Widths
from vaelab.models.networks import ACTIVATIONS, Network, Shape


class Mlp(Network):
    """Linear layers of the widths `hidden`, which the decoder has in reverse."""

    width_field: ClassVar[str | None] = "hidden"

    hidden: Widths
    activation: Activation

    def encoder(self, shape: Shape, outputs: int) -> nn.Sequential:
        """Build images -> widths -> outputs."""
        widths = [math.prod(shape), *self.hidden, outputs]
        return nn.Sequential(nn.Flatten(), *self._layers(widths))

    def decoder(self, latents: int, shape: Shape) -> nn.Sequential:
        """Build latents -> widths in reverse -> images."""
        widths = [latents, *reversed(self.hidden), math.prod(shape)]
        return nn.Sequential(*self._layers(widths), nn.Unflatten(1, shape))

    def _layers(self, widths: Sequence[int]) -> list[nn.Module]:
        activation = ACTIVATIONS[self.activation]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), activation()]
        return layers[:-1]


NETWORK = Mlp
