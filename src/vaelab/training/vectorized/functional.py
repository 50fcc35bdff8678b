"""Losses and metrics of many models in one call: vmap over the objective's code for one model."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from vaelab.objectives import Objective
from vaelab.training.vectorized.padding import PaddedModel

Kind = Literal["train", "fit_error", "validate"]
Tensors = Mapping[str, Tensor]


class VectorizedForward(nn.Module):
    """An objective evaluated on a padded model with given weights, for one or all members."""

    def __init__(self, model: PaddedModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        # Noise is passed in, so nothing is drawn from this generator.
        self.unused = torch.Generator(model.output_offset.device)

    def forward_all(
        self,
        kind: Kind,
        members: Tensors,
        schedule: Tensors,
        images: Float[Tensor, "*member batch channel height width"],
    ) -> dict[str, Tensor]:
        """Return values [batch, member] or [batch, member, dimension] by name; errors [member].

        `members` are the model's tensors [member, ...] by name, `schedule` the objective's fields
        [member]. Images are shared, or one set per member.
        """
        self.model.train(kind == "train")
        own = images.dim() == 5
        along = 0 if kind == "fit_error" else 1
        named = {f"model.{name}": tensor for name, tensor in members.items()}

        def one_member(named: Tensors, schedule: Tensors, images: Tensor) -> dict[str, Tensor]:
            values: dict[str, Tensor] = functional_call(self, dict(named), (kind, schedule, images))
            return values

        all_members = vmap(one_member, in_dims=(0, 0, 0 if own else None), out_dims=along)
        found: dict[str, Tensor] = all_members(named, dict(schedule), images)
        return found

    def forward(self, kind: Kind, schedule: Tensors, images: Tensor) -> dict[str, Tensor]:
        """Return one member's values by name."""
        if kind == "fit_error":
            return {kind: self.model.fit_error(images, self.unused)}
        objective = self.objective.model_copy(update=dict(schedule))
        if kind == "validate":
            return objective.validate_batch(self.model, images, self.unused)
        (output,) = objective.losses(self.model, images, self.unused).values()
        return {"loss": output.loss, **output.terms}
