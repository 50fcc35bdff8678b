"""Fully connected networks: Kingma & Welling 2014, appendix C. No widths: a linear map."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from vaelab.config import ModelSettings
from vaelab.models.networks import ACTIVATIONS, Shape


def encoder(shape: Shape, outputs: int, settings: ModelSettings) -> nn.Module:
    """Build images -> widths -> outputs."""
    widths = [math.prod(shape), *settings.hidden, outputs]
    return nn.Sequential(nn.Flatten(), *_layers(widths, settings))


def decoder(latents: int, shape: Shape, settings: ModelSettings) -> nn.Module:
    """Build latents -> widths in reverse -> images."""
    widths = [latents, *reversed(settings.hidden), math.prod(shape)]
    return nn.Sequential(*_layers(widths, settings), nn.Unflatten(1, shape))


def _layers(widths: Sequence[int], settings: ModelSettings) -> list[nn.Module]:
    activation = ACTIVATIONS[settings.activation]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]
