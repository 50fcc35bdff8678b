"""Flatten and unflatten feature maps in the memory format `torch.channels_last`.

Convolutions run faster in this format. These layers keep it, so that neither feature maps nor
their gradients are copied to another format. Weights have the shapes and the order of
`torch.nn.Linear` after `torch.nn.Flatten`, or before `torch.nn.Unflatten`.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Features = Float[Tensor, "batch channel height width"]
FeatureShape = tuple[int, int, int]


class FlattenPixels(nn.Module):
    """Flattens feature maps pixel by pixel, with the channels of a pixel side by side."""

    def forward(self, features: Features) -> Float[Tensor, "batch numbers"]:
        """Return the flattened feature maps."""
        return features.permute(0, 2, 3, 1).flatten(1)


class LinearFromPixels(nn.Linear):
    """A linear map of the outputs of `FlattenPixels`; its weight is as after `Flatten`."""

    def __init__(self, shape: FeatureShape, outputs: int) -> None:
        super().__init__(math.prod(shape), outputs)
        self.shape = shape

    def forward(self, input: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch outputs"]:
        """Return the linear map of flattened feature maps."""
        weight = self.weight.view(-1, *self.shape).permute(0, 2, 3, 1).flatten(1)
        return functional.linear(input, weight, self.bias)


class LinearToPixels(nn.Linear):
    """A linear map to the inputs of `UnflattenPixels`; its weight is as before `Unflatten`."""

    def __init__(self, inputs: int, shape: FeatureShape) -> None:
        super().__init__(inputs, math.prod(shape))
        self.shape = shape

    def forward(self, input: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch numbers"]:
        """Return flattened feature maps."""
        weight = self.weight.view(*self.shape, -1).permute(1, 2, 0, 3).flatten(0, 2)
        bias = self.bias.view(self.shape).permute(1, 2, 0).flatten()
        return functional.linear(input, weight, bias)


class UnflattenPixels(nn.Module):
    """Unflattens feature maps from the order of `FlattenPixels`."""

    def __init__(self, shape: FeatureShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, numbers: Float[Tensor, "batch numbers"]) -> Features:
        """Return feature maps in the memory format `torch.channels_last`."""
        channels, height, width = self.shape
        return numbers.view(-1, height, width, channels).permute(0, 3, 1, 2)


def flatten_head(shape: FeatureShape, outputs: int) -> list[nn.Module]:
    """Build the linear map from the last feature maps of an encoder to its outputs."""
    return [FlattenPixels(), LinearFromPixels(shape, outputs)]


def unflatten_stem(latents: int, shape: FeatureShape) -> list[nn.Module]:
    """Build the linear map from latents to the first feature maps of a decoder."""
    return [LinearToPixels(latents, shape), UnflattenPixels(shape)]
