"""Convolutions of stride 2 and their transposes; the defaults are 16 and 32 filters of 5x5."""

from itertools import pairwise

from torch import nn

from vaelab.config import ModelSettings
from vaelab.models.networks import ACTIVATIONS, Shape, level_sizes, stride
from vaelab.models.networks.channels_last import flatten_head, unflatten_stem
from vaelab.models.networks.upsample import FEW_CHANNELS, SubPixelConvTranspose2d


def encoder(shape: Shape, outputs: int, settings: ModelSettings) -> nn.Module:
    """Build a stride-2 convolution a level, then a linear map to the outputs."""
    activation = ACTIVATIONS[settings.activation]
    layers: list[nn.Module] = []
    *sizes, (height, width) = level_sizes(shape, len(settings.channels))
    for size, (inputs, filters) in zip(
        sizes, pairwise((shape[0], *settings.channels)), strict=True
    ):
        layers += [_down(inputs, filters, settings.kernel_size, stride(size)), activation()]
    last = (settings.channels[-1], height, width)
    return nn.Sequential(*layers, *flatten_head(last, outputs))


def decoder(latents: int, shape: Shape, settings: ModelSettings) -> nn.Module:
    """Build a linear map, then a transposed convolution a level, back through the same sizes."""
    activation = ACTIVATIONS[settings.activation]
    sizes = level_sizes(shape, len(settings.channels))[::-1]
    layers = unflatten_stem(latents, (settings.channels[-1], *sizes[0]))
    filters = (*reversed(settings.channels), shape[0])
    for (inputs, outputs), (small, large) in zip(pairwise(filters), pairwise(sizes), strict=True):
        layers += [activation(), _up(inputs, outputs, settings.kernel_size, small, large)]
    return nn.Sequential(*layers)


def _down(inputs: int, outputs: int, kernel: int, step: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=step, padding=kernel // 2)


def _up(
    inputs: int, outputs: int, kernel: int, small: tuple[int, int], large: tuple[int, int]
) -> nn.ConvTranspose2d:
    # An odd kernel padded by half of itself turns n pixels into 2n - 1 and the output padding.
    missing = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    step = stride(large)
    if step == 2 and outputs <= FEW_CHANNELS:
        return SubPixelConvTranspose2d(inputs, outputs, kernel, missing)
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=step, padding=kernel // 2, output_padding=missing
    )
