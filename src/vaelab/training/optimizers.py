"""One Adam optimizer for each group of networks that an objective updates separately."""

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
    """What `build_optimizers` reads of an objective: whose networks, and Adam's betas."""

    optimizers: ClassVar[Mapping[str, tuple[str, ...]]]
    adam_betas: ClassVar[tuple[float, float]]


class GroupOptimizer:
    """Adam or AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019) on one group of parameters.

    The learning rate is a tensor, so that a schedule changes it without a device sync, and so is
    `found_nonfinite`: while it is 1, a fused kernel leaves weights and moments unchanged.
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

    def backward(
        self, loss: Tensor, *, keep_graph: bool, averaged: bool = False, add: bool = False
    ) -> None:
        """Compute the gradient of a scalar loss; set `found_nonfinite` if it is not finite.

        `averaged`: DistributedDataParallel averages it over processes through its hooks. `add` it
        to the gradient that is there.
        """
        differentiate = self._backward_gradients if averaged else self._autograd_gradients
        # Cloned: DistributedDataParallel writes the next gradient over the one before.
        before = [p.grad.clone() for p in self.parameters if p.grad is not None] if add else []
        gradients = differentiate(loss, keep_graph)
        if add:
            gradients = [new.add(old) for new, old in zip(gradients, before, strict=True)]
        norm = torch.nn.utils.get_total_norm(gradients)
        nonfinite = ~(loss.detach() + norm).isfinite()
        self.found_nonfinite.copy_(torch.maximum(self.found_nonfinite, nonfinite.float()))
        self.set_gradients(gradients, norm)

    def set_gradients(self, gradients: Sequence[Tensor], norm: Tensor) -> None:
        """Set the gradient of the next step, one tensor per parameter, and its norm."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.norm = norm

    def _autograd_gradients(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, self.parameters, retain_graph=keep_graph)
        pairs = zip(gradients, self.parameters, strict=True)
        return [g if g.stride() == p.stride() else _match_strides(g, p) for g, p in pairs]

    def _backward_gradients(self, loss: Tensor, keep_graph: bool) -> list[Tensor]:
        """Accumulate into the parameters' `grad`, which is what runs their hooks."""
        for parameter in self.parameters:
            parameter.grad = None
        torch.autograd.backward(loss, inputs=self.parameters, retain_graph=keep_graph)
        found = [parameter.grad for parameter in self.parameters]
        return [gradient for gradient in found if gradient is not None]

    @torch.no_grad()
    def step(self, update_mask: Tensor | None = None) -> None:
        """Update the parameters, with the norm clipped if set, unless `update_mask` is 0."""
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, self.norm)
        skip = self.found_nonfinite
        if update_mask is not None:
            skip = torch.maximum(skip, 1 - update_mask)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # The function beneath torch.optim.Adam. The class computes the same, but its first step
        # imports a compiler: 1.2 s of every training's start, and 0.03 to 0.1 ms of every step
        # (benchmarks/optimizers.py). `found_inf` is the switch that gradient scalers use.
        adam(
            cast(list[Tensor], self.parameters),
            gradients,
            self.state["exp_avg"],
            self.state["exp_avg_sq"],
            [],
            self.state["step"],
            fused=True,
            found_inf=skip,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=self.epsilon,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and step counts, by parameter index and name."""
        return {f"{i}.{name}": t for name, held in self.state.items() for i, t in enumerate(held)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            self.state[name][int(index)].copy_(tensor)


def _match_strides(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient in its parameter's memory layout: fused kernels pair them by position."""
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def build_optimizers(
    model: Model,
    objective: HasOptimizers,
    settings: TrainSettings,
    learning_rate: Tensor,
    found_nonfinite: Tensor,
) -> dict[str, GroupOptimizer]:
    """Return an optimizer for each group of networks that the objective names."""

    def owned(networks: tuple[str, ...]) -> list[nn.Parameter]:
        return [p for network in networks for p in model.networks[network].parameters()]

    return {
        name: GroupOptimizer(
            owned(networks), settings, learning_rate, found_nonfinite, objective.adam_betas
        )
        for name, networks in objective.optimizers.items()
    }


def learning_rate(settings: TrainSettings, epoch: float) -> float:
    """Return the learning rate at a time in epochs: a linear warm-up, then the schedule."""
    warmup = settings.learning_rate_warmup_epochs
    if epoch < warmup:
        # Not 0: the first step, at epoch 0, would change nothing.
        return settings.learning_rate * max(epoch, 1e-3) / warmup
    done = min(1.0, (epoch - warmup) / max(1e-9, settings.epochs - warmup))
    decay = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
    }
    return settings.learning_rate * decay[settings.learning_rate_schedule]
