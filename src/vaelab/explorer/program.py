"""Networks as a list of layers and one array of weights, which the page's script can run.

Feature maps are in the order height, width, channel ("HWC") there, so weights are rearranged.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelab.models.layers.channels_last import (
    FlattenPixels,
    LinearFromPixels,
    LinearToPixels,
    UnflattenPixels,
)
from vaelab.models.layers.upsample import EvenConvTranspose2d
from vaelab.models.networks import ACTIVATIONS, Shape
from vaelab.models.networks.resnet import Block, Resize

Layer = dict[str, Any]
ACTIVATION_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


class UnsupportedModelError(ValueError):
    """The page's script cannot run a model; the message says why."""


@dataclass
class Weights:
    """Numbers of all layers, one after another; a layer names the place of its own."""

    parts: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    def add(self, values: Tensor) -> list[int]:
        """Append numbers in row-major order; return their offset and count."""
        flat = values.detach().cpu().float().contiguous().numpy().ravel()
        self.parts.append(flat)
        self.count += flat.size
        return [self.count - flat.size, flat.size]

    def encoded(self, *, half: bool) -> str:
        """Return the numbers as little-endian float16 or float32, in base64."""
        joined = np.concatenate([*self.parts, np.zeros(0, np.float32)])
        return base64.b64encode(joined.astype("<f2" if half else "<f4").tobytes()).decode("ascii")


def image_layers(network: nn.Module, shape: Shape, weights: Weights) -> list[Layer]:
    """Return the layers of a network from images of a shape; add its weights.

    Raises UnsupportedModelError.
    """
    return _Exporter(weights, shape).layers(network)


def latent_layers(network: nn.Module, latents: int, weights: Weights) -> list[Layer]:
    """Return the layers of a network from latents; add its weights. Raises like `image_layers`."""
    return _Exporter(weights, (latents, 1, 1)).layers(network)


class _Exporter:
    """Follows the shape of the features, channel x height x width, from layer to layer."""

    def __init__(self, weights: Weights, shape: Shape) -> None:
        self.weights, self.shape = weights, shape
        # The shape of features that `nn.Flatten` has flattened, channel by channel.
        self.flattened: Shape | None = None

    def layers(self, network: nn.Module) -> list[Layer]:
        modules = list(network) if isinstance(network, nn.Sequential) else [network]
        found: list[Layer] = []
        for index, module in enumerate(modules):
            after = modules[index + 1] if index + 1 < len(modules) else None
            found += self._layer(module, after)
        return found

    def _layer(self, module: nn.Module, after: nn.Module | None) -> list[Layer]:
        if isinstance(module, nn.Sequential):
            return self.layers(module)
        if isinstance(module, nn.Flatten):
            self.flattened = self.shape
            return []
        if isinstance(module, FlattenPixels | nn.Identity):
            return []
        if isinstance(module, UnflattenPixels):
            self.shape = module.shape
            return []
        if isinstance(module, nn.Unflatten):
            self.shape = tuple(module.unflattened_size)  # type: ignore[assignment]
            return []
        if isinstance(module, nn.Linear):
            return [self._linear(module, after)]
        if isinstance(module, nn.Conv2d):
            return [self._convolution(module)]
        if isinstance(module, nn.ConvTranspose2d):
            return [self._transposed(module)]
        if isinstance(module, Block):
            return [{"op": "residual", "layers": self.layers(module.residual)}]
        if isinstance(module, Resize):
            channels, height, width = self.shape
            self.shape = (channels, *module.size)
            return [{"op": "resize", "from": [height, width, channels], "to": list(module.size)}]
        if type(module) in ACTIVATION_NAMES:
            return [{"op": ACTIVATION_NAMES[type(module)]}]
        raise UnsupportedModelError(f"its script has no layer {type(module).__name__}")

    def _linear(self, module: nn.Linear, after: nn.Module | None) -> Layer:
        weight: Tensor = module.weight
        bias: Tensor = module.bias
        flattened = module.shape if isinstance(module, LinearFromPixels) else self.flattened
        if flattened:
            weight = weight.view(-1, *flattened).permute(0, 2, 3, 1).flatten(1)
        self.flattened = None
        shape: Sequence[int] = ()
        if isinstance(module, LinearToPixels):
            shape = module.shape
        elif isinstance(after, nn.Unflatten):
            shape = tuple(after.unflattened_size)
        if shape:
            weight = weight.view(*shape, -1).permute(1, 2, 0, 3).flatten(0, 2)
            bias = bias.view(*shape).permute(1, 2, 0).flatten()
        outputs, inputs = weight.shape
        self.shape = (outputs, 1, 1)
        places = {"weight": self.weights.add(weight), "bias": self.weights.add(bias)}
        return {"op": "linear", "inputs": inputs, "outputs": outputs, **places}

    def _convolution(self, module: nn.Conv2d) -> Layer:
        _, height, width = self.shape
        step, margin, kernel = _square(module.stride), _square(module.padding), module.kernel_size
        size = tuple(
            (n + 2 * margin - k) // step + 1 for n, k in zip((height, width), kernel, strict=True)
        )
        # [output, input, row, column]
        return self._spatial("convolution", module, module.weight.permute(2, 3, 1, 0), size)

    def _transposed(self, module: nn.ConvTranspose2d) -> Layer:
        _, height, width = self.shape
        step, margin = _square(module.stride), _square(module.padding)
        extra = module.output_padding
        even = module if isinstance(module, EvenConvTranspose2d) else None
        weight = even.even_weight() if even else module.weight
        cropped = even.size if even else None
        size = cropped or tuple(
            (n - 1) * step - 2 * margin + k + e
            for n, k, e in zip((height, width), module.kernel_size, extra, strict=True)
        )
        # [input, output, row, column]
        return self._spatial("transposed", module, weight.permute(2, 3, 0, 1), size)

    def _spatial(
        self,
        op: str,
        module: nn.Conv2d | nn.ConvTranspose2d,
        weight: Tensor,
        size: tuple[int, ...],
    ) -> Layer:
        """Describe a convolution; `weight` is [row, column, input, output]."""
        if module.groups != 1 or set(module.dilation) != {1} or isinstance(module.padding, str):
            raise UnsupportedModelError(
                "its script has no convolution with groups, dilation or named padding"
            )
        channels, height, width = self.shape
        outputs = weight.shape[-1]
        # With few outputs the script's inner loop is over the inputs.
        by_input = outputs < 8
        arranged = weight.transpose(2, 3) if by_input else weight
        bias = torch.zeros(outputs) if module.bias is None else module.bias
        self.shape = (outputs, *size)  # type: ignore[assignment]
        return {
            "op": op,
            "from": [height, width, channels],
            "to": [*size, outputs],
            "kernel": list(module.kernel_size),
            "stride": _square(module.stride),
            "margin": _square(module.padding),
            "by_input": by_input,
            "weight": self.weights.add(arranged),
            "bias": self.weights.add(bias),
        }


def _square(values: Any) -> int:
    first: int = values[0]
    if any(value != first for value in values):
        raise UnsupportedModelError("its script has no convolution with unequal strides or padding")
    return first
