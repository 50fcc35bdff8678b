"""Objectives: what each optimizer minimizes. A file each, named as the setting's value."""

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
    objective_names,
    own_defaults,
    prior_names,
)
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.model import Model, PosteriorKind
from vaelab.models.priors import PriorKind, prior_class

Images = Float[Tensor, "batch channel height width"]


@dataclass(frozen=True)
class LossOutput:
    """The loss that one optimizer minimizes, and the terms to log: one value per image, in nats.

    `update_mask` is 0 where the optimizer skips this step, else 1; None means 1.
    """

    loss: Float[Tensor, "batch"]
    terms: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict)
    update_mask: Float[Tensor, ""] | None = None


class Objective(Section):
    """An objective; its fields are its settings.

    They are filled from the settings `objectives.<name>` and, by name, from `train`.

    `optimizers` maps each optimizer to the networks that it updates: its loss is differentiated
    by their parameters only, so that what several losses share is computed once.
    `update_order`: "simultaneous" computes all gradients from one evaluation of `losses`;
    "alternating" steps the optimizers one after another, each with the new weights of the last.
    `selection` names the validation metric whose lowest value marks the best weights, None where
    there is none. `posterior` says what the encoder's output is. `prior_kinds` are the kinds of
    prior that the objective can be trained with, `default_prior` is that of `model.prior: auto`.
    `adam_betas` are Adam's decay rates. `can_be_conditional` says whether the model may see labels:
    then it uses the model's networks through `encode`, `decode` and `prior` only.
    `can_miss_pixels` says whether pixels of the images may be missing: then images enter `encode`
    and `log_prob` of what is decoded only.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    optimizers: ClassVar[Mapping[str, tuple[str, ...]]]
    update_order: ClassVar[Literal["simultaneous", "alternating"]] = "simultaneous"
    selection: ClassVar[str | None] = None
    posterior: ClassVar[PosteriorKind] = "gaussian"
    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("standard_normal",)
    default_prior: ClassVar[str] = "standard_normal"
    adam_betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    can_be_conditional: ClassVar[bool] = True
    can_miss_pixels: ClassVar[bool] = False

    # Set by the trainer, not by params.yaml.
    training_images: int = Field(default=1, ge=1, exclude=True)
    group: ProcessGroup = Field(default=SINGLE_GROUP, exclude=True)

    @classmethod
    def networks(cls) -> tuple[str, ...]:
        """Return the names of all networks that an optimizer updates, each once, in order."""
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

    def schedule_at(self, epoch: float) -> dict[str, float]:
        """Return the values of the scheduled fields at a time, in epochs.

        The trainer keeps them as tensors on the device: inside `losses` such a field is a tensor.
        """
        return {}

    def warmup_epochs(self) -> dict[str, int]:
        """Return how many epochs `schedule_at` takes to reach its final values, by setting."""
        return {}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        """Return each optimizer's loss and terms for a batch of images.

        A conditional model is given the labels of the images.
        """
        raise AssertionError("each objective defines its own")

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the metrics, [batch] or [batch, dimension], of a batch that is not trained on.

        Its fields are the values that were set, whatever the schedule has reached.
        """
        return {}

    def check(self, settings: ModelSettings) -> None:
        """Raise UserError for a model that the objective cannot be trained with."""

    def resolve_prior(self, settings: ModelSettings) -> ModelSettings:
        """Replace `prior: auto` by the default. Raises UserError for a prior of another kind.

        The default of a conditional model is the first prior that sees labels.
        """
        prior = self._auto_prior(settings) if settings.prior == AUTO else settings.prior
        if prior_class(prior).kind not in self.prior_kinds:
            raise UserError(
                f"model.prior: {prior} does not work with this objective; "
                f"valid: {', '.join(self.priors())}"
            )
        if settings.conditional != "none" and not self.can_be_conditional:
            raise UserError(
                f"model.conditional: {settings.conditional} does not work with this objective; "
                f"use model.conditional: none, or one of {', '.join(conditional_objectives())}"
            )
        chosen = settings.model_copy(update={"prior": prior})
        self.check(chosen)
        return chosen

    def _auto_prior(self, settings: ModelSettings) -> str:
        if settings.conditional == "none":
            return self.default_prior
        return next((n for n in self.priors() if prior_class(n).conditional), self.default_prior)

    def with_dataset_size(self, count: int) -> "Objective":
        """Return the objective for a training split of `count` images."""
        return self.model_copy(update={"training_images": count})

    def with_schedule(self, values: Mapping[str, Tensor], group: ProcessGroup) -> "Objective":
        """Return the objective whose scheduled fields are tensors, for the batches of a group.

        In `losses`, `group` computes what depends on all images of a batch, wherever they are.
        """
        return self.model_copy(update={**values, "group": group})


# Settings of `train` that only some objectives read.
_SHARED = ("kl_weight", "kl_warmup_epochs", "free_bits_nats")


def objective_class(name: str) -> type[Objective]:
    """Return the class in the file of that name."""
    module = importlib.import_module(f"vaelab.objectives.{name}")
    cls: type[Objective] = module.OBJECTIVE
    return cls


def conditional_objectives() -> tuple[str, ...]:
    """Return the names of the objectives with which a model may see labels."""
    return tuple(n for n in objective_names() if objective_class(n).can_be_conditional)


def check_gaps(name: str) -> None:
    """Raise UserError for an objective that needs all pixels of its images."""
    if not objective_class(name).can_miss_pixels:
        valid = (n for n in objective_names() if objective_class(n).can_miss_pixels)
        raise UserError(
            f"train.objective: {name} needs images without missing pixels (NaN); with them, use "
            f"{', '.join(valid)}"
        )


def build_objective(settings: Settings) -> Objective:
    """Build the objective that `train.objective` names. Raises UserError for its settings."""
    train, name = settings.train, settings.train.objective
    cls = objective_class(name)
    _check_ignored(name, cls, train)
    _check_label_dropout(settings)
    return fill_settings(cls, train, settings.objectives.get(name, {}), f"objectives.{name}")


def objective_settings(settings: Settings) -> dict[str, Any]:
    """Return the chosen objective's own settings, with defaults, by dotted name."""
    name = settings.train.objective
    defaults = objective_class(name).default_settings()
    chosen = defaults | dict(settings.objectives.get(name, {}))
    return {f"objectives.{name}.{key}": value for key, value in chosen.items()}


def _check_ignored(name: str, cls: type[Objective], train: TrainSettings) -> None:
    for key in _SHARED:
        default = TrainSettings.model_fields[key].default
        if key not in cls.model_fields and getattr(train, key) != default:
            raise UserError(
                f"train.{key} has no effect with objective {name}: "
                f"remove it, or set it to {default}"
            )
    if cls.selection is None and train.early_stopping_epochs is not None:
        raise UserError(
            f"train.early_stopping_epochs has no effect with objective {name}, which has no "
            "validation loss to compare epochs by: remove it, or set it to null"
        )


def _check_label_dropout(settings: Settings) -> None:
    default = TrainSettings.model_fields["label_dropout"].default
    if settings.model.conditional == "none" and settings.train.label_dropout != default:
        raise UserError(
            "train.label_dropout has no effect with model.conditional: none: "
            f"remove it, or set it to {default}"
        )
