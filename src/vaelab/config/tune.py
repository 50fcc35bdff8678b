"""Settings of a study: search space, objective, budget, sampler and pruner."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from vaelab.config.section import NotNegative, Positive, Section, Seed

SEARCHABLE_SECTIONS = ("model.", "train.", "objectives.")
# Objectives in nats, of a model with a bound on the likelihood. They are always minimized.
BOUNDED = ("neg_elbo", "nll", "rate_distortion")
NOT_SEARCHABLE = ("train.seed", "train.epochs", "train.images_every_epochs")

Scalar = bool | int | float | str | None
AnyRange = TypeVar("AnyRange", "IntRange", "FloatRange")


def _check_bounds(entry: AnyRange) -> AnyRange:
    if not entry.low < entry.high:
        raise ValueError(f"low must be below high (they are {entry.low} and {entry.high})")
    if entry.log and entry.low <= 0:
        raise ValueError(f"log needs a low above 0 (it is {entry.low})")
    if entry.step is not None:
        _check_step(entry.low, entry.high, entry.step, log=entry.log)
    return entry


def _check_step(low: float, high: float, step: float, *, log: bool) -> None:
    """Refuse a step with log, and one whose multiples do not lead from low to high."""
    if log:
        raise ValueError("step and log exclude each other: steps are equal in size; remove one")
    exact = [Decimal(str(number)) for number in (low, high, step)]
    count = math.floor((exact[1] - exact[0]) / exact[2])
    below, above = (exact[0] + number * exact[2] for number in (count, count + 1))
    if below != exact[1]:
        fitting = f"{below} or {above}" if count else f"{above}"
        raise ValueError(
            f"high must be low plus a whole number of steps: {fitting} (it is {high}, low is "
            f"{low} and step is {step})"
        )


def _is_none(value: object) -> bool:
    return value is None


class IntRange(Section):
    """Integers from `low` to `high`, both included, all or in steps."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int | None = Field(default=None, ge=1, exclude_if=_is_none)

    @model_validator(mode="after")
    def _check(self) -> "IntRange":
        return _check_bounds(self)

    def examples(self) -> tuple[int, ...]:
        """Return values that the setting has to allow: all, if there are at most 101."""
        step = self.step or 1
        return (*range(self.low, min(self.high, self.low + 100 * step), step), self.high)


class FloatRange(Section):
    """Real numbers from `low` to `high`, both included, all or in steps."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0, exclude_if=_is_none)

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
        # 1 and 1.0 are the same value of a setting, True is not.
        if len({(choice, repr(choice) in ("True", "False")) for choice in choices}) < len(choices):
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
    objective: str = Field(default="neg_elbo", min_length=1)
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
    finalist_epochs: Positive | None = None
    smaller_sizes: NotNegative = 5
    importance_samples: Positive = 100
    final_importance_samples: Positive = 100
    heartbeat_seconds: Positive = 5
    seed: Seed = 0

    @model_validator(mode="after")
    def _direction_needs_a_metric(self) -> "TuneSettings":
        if self.direction != "auto" and self.objective in BOUNDED:
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
