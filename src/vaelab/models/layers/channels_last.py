"""Where feature maps become numbers and numbers feature maps, in the layout of channels last.

Convolutions run faster on pixels whose channels lie side by side. Flattened as they lie, and made
as they will lie, feature maps are never turned around, nor are their gradients. The weights are
those of `torch.nn.Flatten`, `torch.nn.Linear` and `torch.nn.Unflatten`.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Features = Float[Tensor, "batch channel height width"]
FeatureShape = tuple[int, int, int]


class FlattenPixels(nn.Module):
    """Lays out the channels of one pixel after those of another."""

    def forward(self, features: Features) -> Float[Tensor, "batch numbers"]:
        """Flatten feature maps."""
        return features.permute(0, 2, 3, 1).flatten(1)


class LinearFromPixels(nn.Linear):
    """A linear map of what `FlattenPixels` gives; its weight is that of a map after `Flatten`."""

    def __init__(self, shape: FeatureShape, outputs: int) -> None:
        super().__init__(math.prod(shape), outputs)
        self.shape = shape

    def forward(self, input: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch outputs"]:
        """Map flattened features to numbers."""
        weight = self.weight.view(-1, *self.shape).permute(0, 2, 3, 1).flatten(1)
        return functional.linear(input, weight, self.bias)


class LinearToPixels(nn.Linear):
    """A linear map to what `UnflattenPixels` takes, with the weight of one before `Unflatten`."""

    def __init__(self, inputs: int, shape: FeatureShape) -> None:
        super().__init__(inputs, math.prod(shape))
        self.shape = shape

    def forward(self, input: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch numbers"]:
        """Map numbers to flattened features."""
        weight = self.weight.view(*self.shape, -1).permute(1, 2, 0, 3).flatten(0, 2)
        bias = self.bias.view(self.shape).permute(1, 2, 0).flatten()
        return functional.linear(input, weight, bias)


class UnflattenPixels(nn.Module):
    """Takes numbers as the channels of one pixel after those of another."""

    def __init__(self, shape: FeatureShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, numbers: Float[Tensor, "batch numbers"]) -> Features:
        """Give feature maps."""
        channels, height, width = self.shape
        return numbers.view(-1, height, width, channels).permute(0, 3, 1, 2)


def flatten_head(shape: FeatureShape, outputs: int) -> list[nn.Module]:
    """Build the linear map from the smallest level of a convolutional encoder to numbers."""
    return [FlattenPixels(), LinearFromPixels(shape, outputs)]


def unflatten_stem(latents: int, shape: FeatureShape) -> list[nn.Module]:
    """Build the linear map from latents to the smallest level of a convolutional decoder."""
    return [LinearToPixels(latents, shape), UnflattenPixels(shape)]
