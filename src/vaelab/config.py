"""Typed settings: what params.yaml may say, each value with its range."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

SourceName = Literal[
    "digits", "mnist", "fashion_mnist", "kmnist", "emnist", "cifar10", "svhn", "celeba", "folder"
]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class UserError(ValueError):
    """Something from outside is wrong; the message says what would be right."""


class Section(BaseModel):
    """A group of settings: immutable, finite, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: object, info: Any) -> object:
        wants_bool = cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not wants_bool:
            raise ValueError("true and false are no values of this setting")
        return value


class DataSettings(Section):
    """Which images, and how they become arrays."""

    name: SourceName = "digits"
    mirror: str | None = Field(default=None, pattern=r"^(https?|file)://")
    folder: Path = Path("data/images")
    image_size: tuple[Positive, Positive] | None = None
    resize: Literal["crop", "pad", "stretch"] = "crop"
    color: Literal["auto", "grey", "rgb"] = "auto"
    emnist_split: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = (
        "balanced"
    )
    validation_fraction: float = Field(default=0.05, gt=0, lt=0.5)
    test_fraction: float = Field(default=0.2, gt=0, le=0.5)
    binarization: Literal["none", "fixed", "fresh"] = "none"
    dequantize: bool = False
    seed: Seed = 0


class ModelSettings(Section):
    """The networks, the size of the latent and the likelihood of the pixels."""

    network: Literal["conv", "mlp", "resnet"] = "conv"
    latent_dim: int = Field(default=20, ge=1, le=65536)
    channels: tuple[Positive, ...] = Field(default=(16, 32), min_length=1, max_length=10)
    kernel_size: int = Field(default=5, ge=1, le=31)
    hidden: tuple[Positive, ...] = (500, 500)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"] = "relu"
    likelihood: Literal["gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic"] = (
        "gaussian"
    )
    gaussian_variance: Literal["fitted", "mean_squared_error"] | Annotated[float, Field(gt=0)] = (
        "fitted"
    )
    gaussian_mean: Literal["sigmoid", "linear"] = "sigmoid"

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that a stride halves the image exactly")
        return value


class TrainSettings(Section):
    """The objective, its weights, and how it is minimised."""

    objective: Literal["vae"] = "vae"
    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: int = Field(default=0, ge=0)
    free_bits_nats: float = Field(default=0.0, ge=0)
    epochs: Positive = 100
    batch_size: Positive = 100
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    learning_rate_schedule: Literal["constant", "cosine", "linear"] = "constant"
    learning_rate_warmup_epochs: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    early_stopping_epochs: Positive | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    images_every_epochs: Positive = 1
    seed: Seed = 0

    @model_validator(mode="after")
    def _weight_decay_needs_adamw(self) -> "TrainSettings":
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay needs optimizer: adamw, where it is decoupled")
        return self


class EvaluateSettings(Section):
    """How exactly the trained model is measured."""

    importance_samples: Positive = 100
    batch_size: Positive = 500
    active_unit_threshold: float = Field(default=0.01, gt=0)
    neighbours: Positive = 10
    max_pairs_images: int = Field(default=10_000, ge=2)
    seed: Seed = 0


class RenderSettings(Section):
    """What is drawn, and how much of it."""

    reconstructions: int = Field(default=16, ge=1, le=1000)
    samples: int = Field(default=100, ge=1, le=10_000)
    interpolations: int = Field(default=8, ge=1, le=100)
    interpolation_steps: int = Field(default=10, ge=2, le=100)
    traversal_dimensions: int = Field(default=10, ge=1, le=200)
    traversal_steps: int = Field(default=11, ge=2, le=100)
    traversal_range: float = Field(default=3.0, gt=0, le=10)
    manifold_size: int = Field(default=20, ge=2, le=100)
    histogram_dimensions: int = Field(default=12, ge=1, le=200)
    dpi: int = Field(default=120, ge=30, le=600)
    seed: Seed = 0


class TrackingSettings(Section):
    """Where MLflow keeps what was learnt."""

    uri: str | None = Field(default=None, min_length=1)
    experiment: str = Field(default="vaelab", min_length=1, max_length=500)
    log_model: bool = True
    system_metrics: bool = True


class MachineSettings(Section):
    """What runs the arithmetic; no result is meant to depend on it."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: Positive | None = None


class Settings(Section):
    """Everything that params.yaml says."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    render: RenderSettings = RenderSettings()
    tracking: TrackingSettings = TrackingSettings()
    machine: MachineSettings = MachineSettings()

    @model_validator(mode="after")
    def _pixels_fit_likelihood(self) -> "Settings":
        likelihood = self.model.likelihood
        if self.data.dequantize and likelihood not in ("gaussian", "continuous_bernoulli"):
            raise ValueError(
                f"data.dequantize needs a density on [0, 1]: model.likelihood is {likelihood}, "
                "which would have to be gaussian or continuous_bernoulli"
            )
        if self.data.dequantize and self.data.binarization != "none":
            raise ValueError("data.dequantize and data.binarization exclude each other")
        if likelihood == "discretized_logistic" and self.data.binarization != "none":
            raise ValueError(
                "model.likelihood: discretized_logistic is for 8-bit pixels; "
                "binary ones need bernoulli, or data.binarization: none"
            )
        return self


def load_settings(path: Path) -> Settings:
    """Read and check a params.yaml.

    Raises UserError, in one line, for a file that cannot be read, is no YAML, or says
    something that is no setting or lies out of its range.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except YAMLError as error:
        raise UserError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    return parse_settings(content if content is not None else {}, str(path))


def parse_settings(content: object, origin: str = "settings") -> Settings:
    """Check a mapping of sections; `origin` names it in errors. Raises UserError."""
    if not isinstance(content, Mapping):
        raise UserError(f"{origin}: must be a mapping of sections, such as 'train:'")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{origin}: {'; '.join(_explain(error))}") from error


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted name, such as `train.kl_weight`, in plain JSON types."""
    return {
        f"{section}.{key}": value
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"] if not _is_union_branch(part))
        if problem["type"] == "extra_forbidden":
            yield _unknown(name)
        else:
            value = problem["input"]
            given = f" (it is {value!r})" if not isinstance(value, Mapping | Section) else ""
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{name}: {message}{given}" if name else message


def _is_union_branch(part: str | int) -> bool:
    """Pydantic names the branch of a union that it tried; no user wrote that."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "constrained-"))
        or part in ("float", "function-after[_odd(), int]")
    )


def _unknown(name: str) -> str:
    section, _, key = name.rpartition(".")
    model: type[BaseModel] = Settings
    for part in filter(None, section.split(".")):
        annotation = model.model_fields[part].annotation
        model = next(c for c in (annotation, *get_args(annotation)) if isinstance(c, type))
    valid = list(model.model_fields)
    prefix = f"{section}." if section else ""
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {prefix}{near[0]}? " if near else ""
    return f"{name} is no setting; {hint}valid here: {', '.join(valid)}"
