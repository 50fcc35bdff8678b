"""One optimiser a player: it moves the networks that the player owns, and no others."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from vaelab.config import TrainSettings
from vaelab.models.model import Model


@runtime_checkable
class HasOptimizers(Protocol):
    """What an optimiser asks of an objective: who owns which networks, and Adam's decay rates."""

    optimizers: ClassVar[Mapping[str, tuple[str, ...]]]
    adam_betas: ClassVar[tuple[float, float]]


class GroupOptimizer:
    """Adam on one player's parameters.

    The learning rate is a tensor, so that a schedule moves it without a wait. `halted` is a
    tensor too: while it is 1, a fused optimiser leaves weights and moments as they are.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: TrainSettings,
        learning_rate: Tensor,
        found_nonfinite: Tensor,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.found_nonfinite = found_nonfinite
        self.clip_norm = settings.gradient_clip_norm
        self.weight_decay, self.decoupled = settings.weight_decay, settings.optimizer == "adamw"
        self.betas, self.epsilon = betas, 1e-8
        self.state = {
            "exp_avg": [torch.zeros_like(p, requires_grad=False) for p in parameters],
            "exp_avg_sq": [torch.zeros_like(p, requires_grad=False) for p in parameters],
            "step": [torch.zeros((), device=p.device) for p in parameters],
        }

    def backward(self, loss: Tensor, *, keep_graph: bool, averaged: bool = False) -> None:
        """Hold the gradient of a scalar loss by this player's parameters; halt if not finite.

        `averaged` over processes it is by whoever watches these parameters.
        """
        differentiate = self._backward_gradients if averaged else self._autograd_gradients
        gradients = differentiate(loss, keep_graph)
        norm = torch.nn.utils.get_total_norm(gradients)
        wrong = ~(loss.detach() + norm).isfinite()
        self.found_nonfinite.copy_(torch.maximum(self.found_nonfinite, wrong.float()))
        self.set_gradients(gradients, norm)

    def set_gradients(self, gradients: Sequence[Tensor], norm: Tensor) -> None:
        """Hold a gradient of a norm for the next move, one tensor a parameter; clip it if set."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)

    def _autograd_gradients(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, self.parameters, retain_graph=keep_graph)
        pairs = zip(gradients, self.parameters, strict=True)
        return [g if g.stride() == p.stride() else _match_strides(g, p) for g, p in pairs]

    def _backward_gradients(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        """Go by way of the parameters' own gradients, which is what calls their hooks."""
        for parameter in self.parameters:
            parameter.grad = None
        torch.autograd.backward(loss, inputs=self.parameters, retain_graph=keep_graph)
        found = [parameter.grad for parameter in self.parameters]
        return [gradient for gradient in found if gradient is not None]

    @torch.no_grad()
    def step(self, update_mask: Tensor | None = None) -> None:
        """Take the step, unless `active` is 0."""
        waits = (
            self.found_nonfinite
            if update_mask is None
            else torch.maximum(self.found_nonfinite, 1 - update_mask)
        )
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # The function beneath torch.optim.Adam: the class imports a compiler, for a second, and
        # looks after hooks that nothing here has. `found_inf` is the fused kernels' own switch,
        # which gradient scalers use in the same way.
        adam(
            cast(list[Tensor], self.parameters),
            gradients,
            self.state["exp_avg"],
            self.state["exp_avg_sq"],
            [],
            self.state["step"],
            fused=True,
            found_inf=waits,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=self.epsilon,
            maximize=False,
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """Give the moments and step counts, by parameter number and name."""
        return {f"{i}.{name}": t for name, kept in self.state.items() for i, t in enumerate(kept)}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            self.state[name][int(index)].copy_(tensor)


def _match_strides(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Give a gradient its parameter's memory layout: fused kernels pair the two by place."""
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def build_optimizers(
    model: Model,
    objective: HasOptimizers,
    settings: TrainSettings,
    learning_rate: Tensor,
    found_nonfinite: Tensor,
) -> dict[str, GroupOptimizer]:
    """Give each player an optimiser over the networks that it owns."""

    def owned(networks: tuple[str, ...]) -> list[nn.Parameter]:
        return [p for name in networks for p in model.networks[name].parameters()]

    return {
        player: GroupOptimizer(
            owned(networks), settings, learning_rate, found_nonfinite, objective.adam_betas
        )
        for player, networks in objective.optimizers.items()
    }


def learning_rate(settings: TrainSettings, epoch: float) -> float:
    """Give the learning rate at a time in epochs: a linear warm-up, then the schedule."""
    warmup = settings.learning_rate_warmup_epochs
    if epoch < warmup:
        # Never 0: the first step, at epoch 0, would be lost.
        return settings.learning_rate * max(epoch, 1e-3) / warmup
    done = min(1.0, (epoch - warmup) / max(1e-9, settings.epochs - warmup))
    falling = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
    }
    return settings.learning_rate * falling[settings.learning_rate_schedule]
