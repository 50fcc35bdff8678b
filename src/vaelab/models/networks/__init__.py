"""Networks for images of any shape, a file a family; the file's name is the setting's value.

Every family has `encoder(shape, outputs, settings)`, from images [B, C, H, W] to [B, outputs],
and `decoder(latents, shape, settings)`, from latents [B, latents] to [B, *shape].
"""

import importlib
from typing import Protocol, cast, runtime_checkable

from torch import nn

from vaelab.config import ModelSettings

Shape = tuple[int, int, int]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


@runtime_checkable
class Family(Protocol):
    """A module of this package."""

    def encoder(self, shape: Shape, outputs: int, settings: ModelSettings) -> nn.Module:
        """Build a network from images to `outputs` numbers each."""

    def decoder(self, latents: int, shape: Shape, settings: ModelSettings) -> nn.Module:
        """Build a network from latents to images of a shape."""


def family(name: str) -> Family:
    """Give the family that `model.network` names."""
    return cast(Family, importlib.import_module(f"vaelab.models.networks.{name}"))


def stride(size: tuple[int, int]) -> int:
    """Give the stride of a level that starts from a size: a single pixel is left alone.

    (There stride 2 means the same, but PyTorch 2.14 gives it wrong bfloat16 gradients on CPUs.)
    """
    return 1 if size == (1, 1) else 2


def level_sizes(shape: Shape, levels: int) -> list[tuple[int, int]]:
    """Give the heights and widths after 0, 1, ... `levels` convolutions of stride 2."""
    sizes = [shape[1:]]
    for _ in range(levels):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
