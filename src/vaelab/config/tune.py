"""Settings of a study: search space, objective, budget, sampler and pruner."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from vaelab.config.section import NotNegative, Positive, Section, Seed

SEARCHABLE_SECTIONS = ("model.", "train.", "objectives.")
NOT_SEARCHABLE = ("train.seed", "train.epochs", "train.images_every_epochs")

Scalar = bool | int | float | str | None
AnyRange = TypeVar("AnyRange", "IntRange", "FloatRange")


def _check_bounds(entry: AnyRange) -> AnyRange:
    if not entry.low < entry.high:
        raise ValueError(f"low must be below high (they are {entry.low} and {entry.high})")
    if entry.log and entry.low <= 0:
        raise ValueError(f"log needs a low above 0 (it is {entry.low})")
    return entry


class IntRange(Section):
    """Integers from `low` to `high`, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "IntRange":
        return _check_bounds(self)

    def examples(self) -> tuple[int, ...]:
        """Return values that the setting has to allow: all, if there are at most 101."""
        return (*range(self.low, min(self.high, self.low + 100)), self.high)


class FloatRange(Section):
    """Real numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "FloatRange":
        return _check_bounds(self)

    def examples(self) -> tuple[float, ...]:
        """Return values that the setting has to allow: both bounds, and a fraction."""
        return self.low, self.low + (self.high - self.low) / math.pi, self.high


class Choices(Section):
    """Unordered values."""

    type: Literal["categorical"]
    choices: tuple[Scalar | tuple[Scalar, ...], ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _differ(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({repr(choice) for choice in choices}) < len(choices):
            raise ValueError("each choice must be listed once")
        return choices

    def examples(self) -> tuple[object, ...]:
        """Return values that the setting has to allow: all."""
        return self.choices


def _type_tag(entry: object) -> object:
    return entry.get("type") if isinstance(entry, Mapping) else getattr(entry, "type", None)


SearchRange = Annotated[
    Annotated[IntRange, Tag("int")]
    | Annotated[FloatRange, Tag("float")]
    | Annotated[Choices, Tag("categorical")],
    Discriminator(
        _type_tag,
        custom_error_type="search_range",
        custom_error_message="needs type: int or float, with low and high, or categorical, "
        "with choices",
    ),
]


class TuneSettings(Section):
    """A study: its search space, objective, budget, algorithms and storage."""

    study: str | None = Field(default=None, pattern=r"^[^\s'\"`][^'\"`\n]{0,199}$")
    storage: str | None = Field(default=None, pattern=r"^[a-z0-9+_]+://")
    objective: str = Field(default="nll", min_length=1)
    direction: Literal["auto", "minimize", "maximize"] = "auto"
    search_space: dict[str, SearchRange] = Field(
        default={
            "model.latent_dim": IntRange(type="int", low=2, high=64, log=True),
            "train.kl_weight": FloatRange(type="float", low=0.01, high=10.0, log=True),
        },
        min_length=1,
    )
    trials: Positive = 40
    trials_together: Positive = 1
    time_limit_minutes: float | None = Field(default=None, gt=0)
    epochs: Positive | None = None
    sampler: Literal["tpe", "gp", "nsga2", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    pruning_after: float = Field(default=0.3, ge=0, lt=1)
    startup_trials: Positive = 10
    finalists: Positive = 3
    seeds: NotNegative = 3
    importance_samples: Positive = 100
    final_importance_samples: Positive = 100
    heartbeat_seconds: Positive = 5
    seed: Seed = 0

    @model_validator(mode="after")
    def _direction_needs_a_metric(self) -> "TuneSettings":
        if self.direction != "auto" and self.objective in ("nll", "rate_distortion"):
            raise ValueError(
                f"direction applies to metrics only; {self.objective} is always minimized: use auto"
            )
        return self

    @field_validator("search_space")
    @classmethod
    def _names_can_be_searched(cls, space: dict[str, SearchRange]) -> dict[str, SearchRange]:
        for name in space:
            if not name.startswith(SEARCHABLE_SECTIONS) or name in NOT_SEARCHABLE:
                raise ValueError(
                    f"{name} cannot be searched; valid: settings of model, train and objectives "
                    f"except {', '.join(NOT_SEARCHABLE)}"
                )
        return space
