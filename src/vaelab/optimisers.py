"""One optimiser a player: it moves the networks that the player owns, and no others."""

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vaelab.config import TrainSettings
from vaelab.models import Model


@runtime_checkable
class Moves(Protocol):
    """What an optimiser asks of an objective: who owns which networks, and Adam's decay rates."""

    players: ClassVar[Mapping[str, tuple[str, ...]]]
    adam_betas: ClassVar[tuple[float, float]]


class PlayerOptimiser:
    """Adam on one player's parameters.

    The learning rate is a tensor, so that a schedule moves it without a wait. `halted` is a
    tensor too: while it is 1, a fused optimiser leaves weights and moments as they are.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: TrainSettings,
        learning_rate: Tensor,
        halted: Tensor,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.halted = halted
        self.clip_norm = settings.gradient_clip_norm
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
        self.adam = kind(
            parameters,
            lr=learning_rate,
            betas=betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        # `found_inf` is the fused kernels' own switch, which gradient scalers use in the same way.
        self.adam.grad_scale = None

    def take_gradient(self, loss: Tensor, *, keep_graph: bool, averaged: bool = False) -> None:
        """Hold the gradient of a scalar loss by this player's parameters; halt if not finite.

        `averaged` over processes it is by whoever watches these parameters.
        """
        differentiate = self._accumulated if averaged else self._differentiated
        gradients = differentiate(loss, keep_graph)
        norm = torch.nn.utils.get_total_norm(gradients)
        self.halted.copy_(torch.maximum(self.halted, (~norm.isfinite()).float()))
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)

    def _differentiated(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, self.parameters, retain_graph=keep_graph)
        pairs = list(zip(gradients, self.parameters, strict=True))
        laid_out = [g if g.stride() == p.stride() else _laid_out(g, p) for g, p in pairs]
        for parameter, gradient in zip(self.parameters, laid_out, strict=True):
            parameter.grad = gradient
        return laid_out

    def _accumulated(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        """Go by way of the parameters' own gradients, which is what calls their hooks."""
        self.adam.zero_grad()
        torch.autograd.backward(loss, inputs=self.parameters, retain_graph=keep_graph)
        found = [parameter.grad for parameter in self.parameters]
        return [gradient for gradient in found if gradient is not None]

    def move(self, active: Tensor | None = None) -> None:
        """Take the step, unless `active` is 0."""
        waits = self.halted if active is None else torch.maximum(self.halted, 1 - active)
        self.adam.found_inf = waits
        self.adam.step()

    def tensors(self) -> dict[str, Tensor]:
        """Give the moments and step counts, by parameter number and name."""
        state = self.adam.state_dict()["state"]
        return {f"{i}.{name}": t for i, kept in state.items() for name, t in kept.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = _laid_out(tensor, self.parameters[int(index)])
        self.adam.load_state_dict(self.adam.state_dict() | {"state": state})
        # Loading copies the rate; the schedule moves this one.
        self.adam.param_groups[0]["lr"] = self.learning_rate


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Give a moment or gradient its parameter's memory layout: fused kernels pair by place."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def build_optimisers(
    model: Model,
    objective: Moves,
    settings: TrainSettings,
    learning_rate: Tensor,
    halted: Tensor,
) -> dict[str, PlayerOptimiser]:
    """Give each player an optimiser over the networks that it owns."""

    def owned(networks: tuple[str, ...]) -> list[nn.Parameter]:
        return [p for name in networks for p in model.networks[name].parameters()]

    return {
        player: PlayerOptimiser(
            owned(networks), settings, learning_rate, halted, objective.adam_betas
        )
        for player, networks in objective.players.items()
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
