"""What a batch of models computes at once, each as its objective says for one model."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from vaelab.objectives import Objective
from vaelab.training.vectorized.padding import PaddedModel

Kind = Literal["train", "squared_error", "validate"]
Tensors = Mapping[str, Tensor]


class VectorizedForward(nn.Module):
    """One entry's way through a padded model, and all entries' at once."""

    def __init__(self, model: PaddedModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        # Noise is given; what asks for a generator gets one that nothing is drawn from.
        self.unused = torch.Generator(model.output_offset.device)

    def forward_all(
        self,
        kind: Kind,
        entries: Tensors,
        hyper: Tensors,
        images: Float[Tensor, "*entry batch channel height width"],
    ) -> dict[str, Tensor]:
        """Give values [batch, entry] or [batch, entry, dimension] by name; of errors, [entry].

        `entries` are the model's tensors [entry, ...] by name, `hyper` the objective's fields
        [entry]. Images are shared or each entry's own.
        """
        self.model.train(kind == "train")
        own = images.dim() == 5
        along = 0 if kind == "squared_error" else 1
        named = {f"model.{name}": tensor for name, tensor in entries.items()}

        def of_one(named: Tensors, hyper: Tensors, images: Tensor) -> dict[str, Tensor]:
            values: dict[str, Tensor] = functional_call(self, dict(named), (kind, hyper, images))
            return values

        each = vmap(of_one, in_dims=(0, 0, 0 if own else None), out_dims=along)
        found: dict[str, Tensor] = each(named, dict(hyper), images)
        return found

    def forward(self, kind: Kind, hyper: Tensors, images: Tensor) -> dict[str, Tensor]:
        """Give one entry's values by name."""
        if kind == "squared_error":
            return {kind: self.model.squared_error(images, self.unused)}
        objective = self.objective.model_copy(update=dict(hyper))
        if kind == "validate":
            return objective.validate_batch(self.model, images, self.unused)
        (player,) = objective.losses(self.model, images, self.unused).values()
        return {"loss": player.loss, **player.terms}
