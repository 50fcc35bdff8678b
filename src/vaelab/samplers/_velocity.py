"""The network of flow matching: a velocity of points at a time, and its divergence."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

Points = Float[Tensor, "count latent"]
Times = Float[Tensor, "count"]
CountedLabels = Int64[Tensor, "count"]
Hidden = Float[Tensor, "count width"]
Directions = Float[Tensor, "directions count _"]

# Number of cosines and sines of the time that the network sees, and width of time and label.
FREQUENCIES, CONDITION_WIDTH = 16, 64


class Block(nn.Module):
    """f(x) of a residual block: two linear layers, each after a SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: Hidden) -> Hidden:
        """Return f at the hidden units."""
        outputs: Tensor = self.second(functional.silu(self.first(functional.silu(hidden))))
        return outputs

    def derivative(self, hidden: Hidden, directions: Directions) -> Directions:
        """Return the derivatives of f along directions."""
        inner = self.first(functional.silu(hidden))
        along = _after_silu(hidden, directions) @ self.first.weight.T
        return _after_silu(inner, along) @ self.second.weight.T


class Velocity(nn.Module):
    """v(x, t | label): residual blocks, shifted by the time and the label.

    Label `classes` stands for none.
    """

    def __init__(self, latent_dim: int, classes: int, width: int, layers: int) -> None:
        super().__init__()
        self.stem = nn.Linear(latent_dim, width)
        self.time = nn.Linear(2 * FREQUENCIES, CONDITION_WIDTH)
        self.label = nn.Embedding(classes + 1, CONDITION_WIDTH)
        self.shifts = nn.Linear(CONDITION_WIDTH, layers * width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.head = nn.Linear(width, latent_dim)
        # Initially the velocity is 0 for all labels.
        for parameter in (self.label.weight, self.head.weight, self.head.bias):
            nn.init.zeros_(parameter)

    def forward(self, points: Points, times: Times, labels: CountedLabels) -> Points:
        """Return the velocities at these points and times."""
        hidden = self.stem(points)
        for block, shift in zip(self.blocks, self._shifts(times, labels), strict=True):
            hidden = hidden + block(hidden + shift)
        velocities: Tensor = self.head(functional.silu(hidden))
        return velocities

    def with_divergence(
        self, points: Points, times: Times, labels: CountedLabels, directions: Directions
    ) -> tuple[Points, Float[Tensor, "count"]]:
        """Return the velocities, and the sum over directions e of e.(dv/dx)e.

        Over all axes that is the divergence; over one random direction its estimate.
        """
        hidden, along = self.stem(points), directions @ self.stem.weight.T
        for block, shift in zip(self.blocks, self._shifts(times, labels), strict=True):
            assert isinstance(block, Block)
            along = along + block.derivative(hidden + shift, along)
            hidden = hidden + block(hidden + shift)
        changes = _after_silu(hidden, along) @ self.head.weight.T
        return self.head(functional.silu(hidden)), (directions * changes).sum((0, -1))

    def _shifts(self, times: Times, labels: CountedLabels) -> tuple[Tensor, ...]:
        angles = times[:, None] * (math.pi * torch.arange(FREQUENCIES, device=times.device))
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        condition = functional.silu(self.time(waves) + self.label(labels))
        shifts: Tensor = self.shifts(condition)
        return shifts.chunk(len(self.blocks), dim=-1)


def _after_silu(inputs: Tensor, directions: Directions) -> Directions:
    """Return the derivatives of SiLU along directions: x s'(x) + s(x) = s (1 + x (1 - s))."""
    share = inputs.sigmoid()
    return directions * (share * (1 + inputs * (1 - share)))
