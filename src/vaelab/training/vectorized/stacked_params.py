"""The running members' numbers in one tensor each: weights, and what moves over training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaelab.training.optimizers import GroupOptimizer
from vaelab.training.trainer import Trainer
from vaelab.training.vectorized.padding import Padding, flatten_params, unflatten_params


@dataclass
class Member:
    """A training in a batch: its number, and its weights in a row, which its optimizer updates.

    `param_indices` are the positions of its weights in the row; the rest is padding.
    """

    number: int
    trainer: Trainer
    param_indices: Int64[Tensor, "own"]
    flat_params: nn.Parameter
    optimizer: GroupOptimizer


def make_member(number: int, trainer: Trainer, padding: Padding) -> Member:
    """Copy a training's weights into a row, with an optimizer like its own."""
    indices = padding.param_indices(trainer.model.latent_dim).to(trainer.device)
    row = nn.Parameter(torch.zeros(padding.count, device=trainer.device))
    row.data[indices] = flatten_params(trainer.model)
    rate, found_nonfinite, betas = (
        trainer.learning_rate,
        trainer.found_nonfinite,
        trainer.objective.adam_betas,
    )
    optimizer = GroupOptimizer([row], trainer.settings, rate, found_nonfinite, betas)
    return Member(number, trainer, indices, row, optimizer)


class StackedParams:
    """The members' tensors stacked; from here on the members hold views of them."""

    found_nonfinite: Float[Tensor, "member"]
    nonfinite_steps: Float[Tensor, "member"]

    def __init__(self, members: Sequence[Member], padding: Padding) -> None:
        self.members = list(members)
        self.trainers = [member.trainer for member in members]
        rows = torch.stack([member.flat_params.data for member in members])
        for member, row in zip(members, rows, strict=True):
            member.flat_params.data = row
        self.weights = {k: v.requires_grad_() for k, v in padding.views(rows).items()}
        self.schedule_tensors = {
            name: self._stack_schedule(name) for name in self.trainers[0].schedule_tensors
        }
        self.found_nonfinite = self._stack_scalar("found_nonfinite")
        self.nonfinite_steps = self._stack_scalar("nonfinite_steps")
        for member in members:
            member.optimizer.found_nonfinite = member.trainer.found_nonfinite
        sizes = torch.tensor([trainer.model.latent_dim for trainer in self.trainers])
        self.is_real = (torch.arange(padding.latent_dim) < sizes[:, None]).to(rows.device)

    def tensors(self, noise: Float[Tensor, "member *batch latent"]) -> dict[str, Tensor]:
        """Return the tensors [member, ...] of the padded model, by name."""
        given = {**self.weights, "noise": noise, "is_real": self.is_real}
        buffers = [
            dict(t.model.likelihood.named_buffers(prefix="likelihood")) for t in self.trainers
        ]
        return given | {name: torch.stack([own[name] for own in buffers]) for name in buffers[0]}

    def unscheduled_values(self) -> dict[str, Tensor]:
        """Return the scheduled fields, [member], as they were set, without any schedule."""
        return {
            name: torch.tensor([getattr(t.objective, name) for t in self.trainers]).to(scheduled)
            for name, scheduled in self.schedule_tensors.items()
        }

    def step(self, losses: Float[Tensor, "member"]) -> None:
        """Step each member's optimizer with the gradient of its own loss."""
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        rows = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        norms = torch.linalg.vector_norm(rows, dim=1)
        nonfinite = ~(losses.isfinite() & norms.isfinite())
        self.found_nonfinite.copy_(torch.maximum(self.found_nonfinite, nonfinite.float()))
        for member, row, norm in zip(self.members, rows, norms, strict=True):
            member.optimizer.set_gradients([row], norm)
            member.optimizer.step()
        self.nonfinite_steps += self.found_nonfinite

    def write_back(self) -> None:
        """Copy each member's weights into its own model."""
        for member in self.members:
            unflatten_params(member.trainer.model, member.flat_params.data[member.param_indices])

    def _stack_scalar(self, name: str) -> Float[Tensor, "member"]:
        """Stack a scalar of the trainers, which then hold views of it."""
        stacked = torch.stack([getattr(trainer, name) for trainer in self.trainers])
        for trainer, value in zip(self.trainers, stacked, strict=True):
            setattr(trainer, name, value)
        return stacked

    def _stack_schedule(self, name: str) -> Float[Tensor, "member"]:
        stacked = torch.stack([trainer.schedule_tensors[name] for trainer in self.trainers])
        for trainer, value in zip(self.trainers, stacked, strict=True):
            trainer.schedule_tensors[name] = value
        return stacked
