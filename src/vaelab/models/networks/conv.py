"""Convolutions of stride 2 and their transposes; on small images 16 and 32 filters of 5x5."""

from itertools import pairwise
from typing import Any, ClassVar

from torch import nn

from vaelab.config import Activation, KernelSize, Widths
from vaelab.models.layers.channels_last import flatten_head, unflatten_stem
from vaelab.models.layers.upsample import (
    EvenConvTranspose2d,
    SubPixelConvTranspose2d,
)
from vaelab.models.networks import ACTIVATIONS, Network, Shape, is_small, level_sizes, stride


class Conv(Network):
    """One convolution a level, with as many filters as `channels` has at that level."""

    width_field: ClassVar[str | None] = "channels"

    channels: Widths
    kernel_size: KernelSize
    activation: Activation
    even_kernels: bool = False
    """Whether the decoder's kernels are 4x4, which draw no checkerboards, and not `kernel_size`."""

    @classmethod
    def auto_settings(cls, shape: Shape) -> dict[str, Any]:
        """Return even kernels for images larger than MNIST's."""
        return {} if is_small(shape) else {"even_kernels": True}

    def encoder(self, shape: Shape, outputs: int) -> nn.Sequential:
        """Build a stride-2 convolution a level, then a linear map to the outputs."""
        activation = ACTIVATIONS[self.activation]
        layers: list[nn.Module] = []
        *sizes, (height, width) = level_sizes(shape, len(self.channels))
        for size, (inputs, filters) in zip(
            sizes, pairwise((shape[0], *self.channels)), strict=True
        ):
            layers += [_down(inputs, filters, self.kernel_size, stride(size)), activation()]
        last = (self.channels[-1], height, width)
        return nn.Sequential(*layers, *flatten_head(last, outputs))

    def decoder(self, latents: int, shape: Shape) -> nn.Sequential:
        """Build a linear map, then a transposed convolution a level, through the same sizes."""
        activation = ACTIVATIONS[self.activation]
        sizes = level_sizes(shape, len(self.channels))[::-1]
        layers = unflatten_stem(latents, (self.channels[-1], *sizes[0]))
        filters = (*reversed(self.channels), shape[0])
        for (inputs, outputs), (small, large) in zip(
            pairwise(filters), pairwise(sizes), strict=True
        ):
            is_even = self.even_kernels and stride(large) == 2
            layers += [
                activation(),
                EvenConvTranspose2d(inputs, outputs, large)
                if is_even
                else _up(inputs, outputs, self.kernel_size, small, large),
            ]
        return nn.Sequential(*layers)


def _down(inputs: int, outputs: int, kernel: int, step: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=step, padding=kernel // 2)


def _up(
    inputs: int, outputs: int, kernel: int, small: tuple[int, int], large: tuple[int, int]
) -> nn.ConvTranspose2d:
    # With an odd kernel and half of it as padding, n pixels become 2n - 1 and the output padding.
    missing = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    step = stride(large)
    if step == 2:
        return SubPixelConvTranspose2d(inputs, outputs, kernel, missing)
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=step, padding=kernel // 2, output_padding=missing
    )


NETWORK = Conv
