"""Adam for small trainings of the pipeline's own: of a classifier, of a sampler."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma & Ba 2015) by the function beneath `torch.optim.Adam`, to equal weights.

    The first step of that class imports a compiler, for a second of CPU time.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parameters, self.betas = list(parameters), betas
        self.means = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    @torch.no_grad()
    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Compute the gradient of a loss, of which every parameter is a part, and take a step."""
        for parameter in self.parameters:
            parameter.grad = None
        with torch.enable_grad():
            torch.autograd.backward(loss)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        adam(
            cast(list[Tensor], self.parameters),
            gradients,
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
