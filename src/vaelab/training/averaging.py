"""An exponential moving average of a model's weights: Polyak & Juditsky 1992; Karras et al. 2024.

average <- decay * average + (1 - decay) * weights, after each step. The decay grows from 1/10, as
(1 + n) / (10 + n) after n steps, so that the random weights of the start are soon forgotten.
"""

import copy

import torch

from vaelab.models.model import Model


class AveragedModel:
    """A model of its own with the averaged weights; buffers are those of the model that trains."""

    def __init__(self, live: Model, decay: float) -> None:
        # The processes of a training are no part of the copy: both models hold the same group.
        group = live.likelihood.group
        self.model = copy.deepcopy(live, {id(group): group})
        self.live, self.decay = live, decay

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Add the weights after a step, which `steps` others preceded."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        # In one call, as torch.optim.swa_utils does: a call per tensor is slow on a GPU.
        torch._foreach_lerp_(_weights(self.model), _weights(self.live), 1 - decay)

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Copy what is not trained by gradients, such as the vectors of spectral norms."""
        for averaged, live in zip(self.model.buffers(), self.live.buffers(), strict=True):
            averaged.copy_(live)


def _weights(model: Model) -> tuple[torch.Tensor, ...]:
    return tuple(model.parameters())
