"""Objectives: what each player minimises. A file each; its name is the setting's value."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field
from torch import Tensor

from vaelab.config import (
    AUTO,
    ModelSettings,
    Section,
    Settings,
    TrainSettings,
    UserError,
    fill_settings,
    own_defaults,
    prior_names,
)
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.model import Model, PosteriorKind
from vaelab.models.priors import PriorKind, prior_class

Images = Float[Tensor, "batch channel height width"]


@dataclass(frozen=True)
class LossOutput:
    """What one player minimises, and the terms to watch, all unreduced: a value an image.

    `active` is 1 where the player moves at this step, 0 where it waits; None means 1.
    """

    loss: Float[Tensor, "batch"]
    terms: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict)
    update_mask: Float[Tensor, ""] | None = None


class Objective(Section):
    """An objective; its fields are its settings.

    They are filled from `objectives.<name>` in params.yaml, and, by name, from `train`.

    `players` says which networks each optimiser owns: the loop differentiates a player's loss by
    their parameters alone, so what the players' losses share is computed once.
    `update_order` says whether all players' gradients are taken from one evaluation of
    `losses`, or each moves in turn and the next one sees its new weights.
    `selection` names the validation metric whose lowest value marks the best weights,
    None where there is none. `posterior` says what an encoder gives. `prior_kinds` are the kinds of
    prior that the objective can be trained with, `default_prior` is that of `model.prior: auto`.
    `adam_betas` are the decay rates of the moments in Adam.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    optimizers: ClassVar[Mapping[str, tuple[str, ...]]]
    update_order: ClassVar[Literal["simultaneous", "alternating"]] = "simultaneous"
    selection: ClassVar[str | None] = None
    posterior: ClassVar[PosteriorKind] = "gaussian"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("standard_normal",)
    default_prior: ClassVar[str] = "standard_normal"
    adam_betas: ClassVar[tuple[float, float]] = (0.9, 0.999)

    # Set by the trainer, not by params.yaml.
    training_images: int = Field(default=1, ge=1, exclude=True)
    group: ProcessGroup = Field(default=SINGLE_GROUP, exclude=True)

    @classmethod
    def networks(cls) -> tuple[str, ...]:
        """Name every network that a player owns, each once, in order."""
        return tuple(dict.fromkeys(name for names in cls.optimizers.values() for name in names))

    @classmethod
    def default_settings(cls) -> dict[str, Any]:
        """Return the defaults of the objective's own settings, which `train` does not have."""
        return own_defaults(cls, TrainSettings)

    @classmethod
    def priors(cls) -> tuple[str, ...]:
        """Return the names of the priors that the objective can be trained with, default first."""
        fitting = (name for name in prior_names() if prior_class(name).kind in cls.prior_kinds)
        return tuple(dict.fromkeys((cls.default_prior, *fitting)))

    def hyperparameters_at(self, epoch: float) -> dict[str, float]:
        """Give the fields that change over training their values at a time, in epochs.

        The loop keeps these as tensors on the device: inside `losses` such a field is one.
        """
        return {}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Give each player's loss and terms for a batch."""
        raise AssertionError("each objective defines its own")

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure a batch that is not trained on: metrics [batch] or [batch, dimension].

        Called on the objective as it was set, whatever the schedule of its fields.
        """
        return {}

    def check(self, settings: ModelSettings) -> None:
        """Raise UserError for a model that the objective cannot be trained with."""

    def resolve_prior(self, settings: ModelSettings) -> ModelSettings:
        """Replace `prior: auto` by the default. Raises UserError for a prior of another kind."""
        prior = self.default_prior if settings.prior == AUTO else settings.prior
        if prior_class(prior).kind not in self.prior_kinds:
            raise UserError(
                f"model.prior: {prior} does not work with this objective; "
                f"valid: {', '.join(self.priors())}"
            )
        chosen = settings.model_copy(update={"prior": prior})
        self.check(chosen)
        return chosen

    def with_dataset_size(self, count: int) -> "Objective":
        """Return the objective for a training split of `count` images."""
        return self.model_copy(update={"training_images": count})

    def scheduled(self, values: Mapping[str, Tensor], group: ProcessGroup) -> "Objective":
        """Return the objective whose scheduled fields are tensors, for the batches of a group.

        In `losses`, `group` computes what depends on all images of a batch, wherever they are.
        """
        return self.model_copy(update={**values, "group": group})


# Settings of `train` that belong to some objectives only.
_SHARED = ("kl_weight", "kl_warmup_epochs", "free_bits_nats")


def objective_class(name: str) -> type[Objective]:
    """Give the class in the file of that name."""
    module = importlib.import_module(f"vaelab.objectives.{name}")
    cls: type[Objective] = module.OBJECTIVE
    return cls


def build_objective(settings: Settings) -> Objective:
    """Build the objective that `train.objective` names. Raises UserError for its settings."""
    train, name = settings.train, settings.train.objective
    cls = objective_class(name)
    _check_ignored(name, cls, train)
    return fill_settings(cls, train, settings.objectives.get(name, {}), f"objectives.{name}")


def objective_settings(settings: Settings) -> dict[str, Any]:
    """Give the chosen objective's own settings, defaults too, by dotted name."""
    name = settings.train.objective
    defaults = objective_class(name).default_settings()
    chosen = defaults | dict(settings.objectives.get(name, {}))
    return {f"objectives.{name}.{key}": value for key, value in chosen.items()}


def _check_ignored(name: str, cls: type[Objective], train: TrainSettings) -> None:
    for key in _SHARED:
        default = TrainSettings.model_fields[key].default
        if key not in cls.model_fields and getattr(train, key) != default:
            raise UserError(
                f"train.{key} is not for objective {name}, which does not read it: "
                f"leave it at {default}"
            )
