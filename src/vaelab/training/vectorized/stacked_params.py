"""The running entries' numbers in one tensor each: weights, and what moves over training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.training.optimizers import GroupOptimizer
from vaelab.training.trainer import Trainer
from vaelab.training.vectorized.padding import Padding, own_weights, set_weights


@dataclass
class Member:
    """A training in a batch: its number, and its weights in a row, which its optimiser moves.

    `places` says where in the row its weights are; the rest is padding.
    """

    number: int
    trainer: Trainer
    param_indices: Int64[Tensor, "own"]
    flat_params: nn.Parameter
    optimizer: GroupOptimizer


def make_member(number: int, trainer: Trainer, padding: Padding) -> Member:
    """Lay a training's weights out in a row, which an optimiser like its own moves."""
    places = padding.param_indices(trainer.model.latent_dim).to(trainer.device)
    row = nn.Parameter(torch.zeros(padding.count, device=trainer.device))
    row.data[places] = own_weights(trainer.model)
    rate, halted, betas = (
        trainer.learning_rate,
        trainer.found_nonfinite,
        trainer.objective.adam_betas,
    )
    optimiser = GroupOptimizer([row], trainer.settings, rate, halted, betas)
    return Member(number, trainer, places, row, optimiser)


class StackedParams:
    """Entries side by side; what they hold are views of the stacked tensors from here on."""

    found_nonfinite: Float[Tensor, "entry"]
    nonfinite_steps: Float[Tensor, "entry"]

    def __init__(self, entries: Sequence[Member], padding: Padding) -> None:
        self.members = list(entries)
        self.trainers = [entry.trainer for entry in entries]
        rows = torch.stack([entry.flat_params.data for entry in entries])
        for entry, row in zip(entries, rows, strict=True):
            entry.flat_params.data = row
        self.weights = {k: v.requires_grad_() for k, v in padding.views(rows).items()}
        self.hyper = {name: self._hyper(name) for name in self.trainers[0].schedule_tensors}
        self.found_nonfinite = self._scalars("found_nonfinite")
        self.nonfinite_steps = self._scalars("nonfinite_steps")
        for entry in entries:
            entry.optimizer.found_nonfinite = entry.trainer.found_nonfinite
        sizes = torch.tensor([trainer.model.latent_dim for trainer in self.trainers])
        self.is_real = (torch.arange(padding.latent_dim) < sizes[:, None]).to(rows.device)

    def tensors(self, noise: Float[Tensor, "entry *batch latent"]) -> dict[str, Tensor]:
        """Give the tensors [entry, ...] of the padded model, by name."""
        given = {**self.weights, "noise": noise, "is_real": self.is_real}
        likelihoods = [trainer.model.likelihood for trainer in self.trainers]
        variances = [one.variance for one in likelihoods if isinstance(one, GaussianLikelihood)]
        return given | ({"likelihood.variance": torch.stack(variances)} if variances else {})

    def hyperparameters(self) -> dict[str, Tensor]:
        """Give the fields of the objectives, [entry], as they were set, before any schedule."""
        return {
            name: torch.tensor([getattr(t.objective, name) for t in self.trainers]).to(moving)
            for name, moving in self.hyper.items()
        }

    def step(self, losses: Float[Tensor, "entry"]) -> None:
        """Let each entry take its step, by the gradient of its own loss."""
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        rows = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        norms = torch.linalg.vector_norm(rows, dim=1)
        wrong = ~(losses.isfinite() & norms.isfinite())
        self.found_nonfinite.copy_(torch.maximum(self.found_nonfinite, wrong.float()))
        for entry, row, norm in zip(self.members, rows, norms, strict=True):
            entry.optimizer.set_gradients([row], norm)
            entry.optimizer.step()
        self.nonfinite_steps += self.found_nonfinite

    def write_back(self) -> None:
        """Copy each entry's weights into its own model."""
        for entry in self.members:
            set_weights(entry.trainer.model, entry.flat_params.data[entry.param_indices])

    def _scalars(self, name: str) -> Float[Tensor, "entry"]:
        """Stack a scalar of the trainers, which hold views of it from then on."""
        stacked = torch.stack([getattr(trainer, name) for trainer in self.trainers])
        for trainer, value in zip(self.trainers, stacked, strict=True):
            setattr(trainer, name, value)
        return stacked

    def _hyper(self, name: str) -> Float[Tensor, "entry"]:
        stacked = torch.stack([trainer.schedule_tensors[name] for trainer in self.trainers])
        for trainer, value in zip(self.trainers, stacked, strict=True):
            trainer.schedule_tensors[name] = value
        return stacked
