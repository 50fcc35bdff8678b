"""The study's settings: what it varies, by what it judges, how much it may try."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from vaelab.config.section import NotNegative, Positive, Section, Seed

Scalar = bool | int | float | str | None
Range = TypeVar("Range", "IntRange", "FloatRange")


def _check_ends(entry: Range) -> Range:
    if not entry.low < entry.high:
        raise ValueError(f"low must be below high (they are {entry.low} and {entry.high})")
    if entry.log and entry.low <= 0:
        raise ValueError(f"log needs a low above 0 (it is {entry.low})")
    return entry


class IntRange(Section):
    """Whole numbers, both ends included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "IntRange":
        return _check_ends(self)

    def examples(self) -> tuple[int, ...]:
        """Give values that the setting has to allow: all, if they are few."""
        return (*range(self.low, min(self.high, self.low + 100)), self.high)


class FloatRange(Section):
    """Real numbers, both ends included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "FloatRange":
        return _check_ends(self)

    def examples(self) -> tuple[float, ...]:
        """Give values that the setting has to allow; one between is seldom whole."""
        return self.low, self.low + (self.high - self.low) / math.pi, self.high


class Choices(Section):
    """Values without an order."""

    type: Literal["categorical"]
    choices: tuple[Scalar | tuple[Scalar, ...], ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _differ(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({repr(choice) for choice in choices}) < len(choices):
            raise ValueError("the same choice stands there twice")
        return choices

    def examples(self) -> tuple[object, ...]:
        """Give values that the setting has to allow."""
        return self.choices


def _type(entry: object) -> object:
    return entry.get("type") if isinstance(entry, Mapping) else getattr(entry, "type", None)


SearchRange = Annotated[
    Annotated[IntRange, Tag("int")]
    | Annotated[FloatRange, Tag("float")]
    | Annotated[Choices, Tag("categorical")],
    Discriminator(
        _type,
        custom_error_type="search_range",
        custom_error_message="needs type: int or float, with low and high, or categorical, "
        "with choices",
    ),
]


class TuneSettings(Section):
    """A study: what is tried, how it is judged, when it ends, where it is kept."""

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
    def _direction_is_a_metrics(self) -> "TuneSettings":
        if self.direction != "auto" and self.objective in ("nll", "rate_distortion"):
            raise ValueError(f"direction is for a metric; {self.objective} is minimised")
        return self

    @field_validator("search_space")
    @classmethod
    def _only_what_a_trial_can_vary(cls, space: dict[str, SearchRange]) -> dict[str, SearchRange]:
        fixed = ("train.seed", "train.epochs", "train.images_every_epochs")
        for name in space:
            if not name.startswith(("model.", "train.", "objectives.")) or name in fixed:
                raise ValueError(
                    f"{name} cannot be searched; settings of model, train and objectives can, "
                    f"but for {', '.join(fixed)}"
                )
        return space
