"""The sections of params.yaml, each value with its range."""

import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from vaelab.config.choices import (
    AUTO,
    NetworkName,
    ObjectiveName,
    PriorChoice,
    PriorName,
    SamplerChoice,
)
from vaelab.config.section import (
    MAX_INT,
    Activation,
    CodebookSize,
    KernelSize,
    NotNegative,
    Positive,
    Section,
    Seed,
    Width,
    Widths,
)

SourceName = Literal[
    "digits",
    "sprites",
    "mnist",
    "fashion_mnist",
    "kmnist",
    "emnist",
    "cifar10",
    "svhn",
    "celeba",
    "folder",
]


def _group(value: int | str) -> int | str:
    if isinstance(value, int) and not 1 <= value <= MAX_INT:
        raise ValueError("must be a folder level, 1 or more, or a pattern on file names")
    try:
        re.compile(str(value))
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return value


MARKING_COLOR = re.compile("#[0-9a-fA-F]{6}")
"""A color that marks missing pixels, such as #ff00ff."""


def _missing(value: float | str) -> float | str:
    if isinstance(value, str):
        is_valid = value in ("none", "marked") or bool(MARKING_COLOR.fullmatch(value))
    else:
        is_valid = 0 < value < 1
    if not is_valid:
        raise ValueError(
            "must be none, marked, a color such as '#ff00ff', or the share of pixels to hide, "
            "between 0 and 1"
        )
    return value


class DataSettings(Section):
    """The images, and how they are turned into arrays."""

    name: SourceName = "digits"
    mirror: str | None = Field(default=None, pattern=r"^(https?|file)://")
    folder: Path = Path("data/images")
    unreadable: Literal["refuse", "skip"] = "refuse"
    max_pixels: Positive | None = None
    group: Annotated[int | str, AfterValidator(_group)] | None = None
    label_level: Literal["auto"] | Annotated[int, Field(ge=0, le=MAX_INT)] = "auto"
    loose_images: Literal["auto", "skip", "class"] = "auto"
    image_size: tuple[Positive, Positive] | None = None
    resize: Literal["crop", "pad", "stretch"] = "crop"
    color: Literal["auto", "grey", "rgb"] = "auto"
    range: Literal["auto"] | tuple[float, float] = "auto"
    bands: tuple[Positive, ...] | None = None
    frames: Literal["first", "all"] = "first"
    missing: Annotated[float | str, AfterValidator(_missing)] = "none"
    emnist_split: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = (
        "balanced"
    )
    sprites_images: int | None = Field(default=50_000, ge=1, le=737_280)
    only_classes: tuple[int | str, ...] = ()
    validation_fraction: float = Field(default=0.05, gt=0, lt=0.5)
    test_fraction: float = Field(default=0.2, gt=0, le=0.5)
    binarization: Literal["none", "fixed", "fresh"] = "none"
    dequantize: bool = False
    seed: Seed = 0

    @property
    def files_mark_missing(self) -> bool:
        """Whether the files say which pixels are missing, by a color or otherwise."""
        return isinstance(self.missing, str) and self.missing != "none"

    @field_validator("bands")
    @classmethod
    def _one_band_or_three(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise ValueError("takes one band, or three for red, green and blue")
        return value

    @field_validator("range")
    @classmethod
    def _range_has_an_extent(
        cls, value: Literal["auto"] | tuple[float, float]
    ) -> Literal["auto"] | tuple[float, float]:
        if value != "auto" and not value[0] < value[1]:
            raise ValueError("is [black, white], with black below white")
        return value


DENSITIES = ("gaussian", "continuous_bernoulli")
"""Values of `model.likelihood` that are densities of pixels in [0, 1]."""


class ModelSettings(Section):
    """The networks, the size of the latent, its prior and the likelihood of the pixels.

    `networks` and `priors` hold the settings that single networks and priors declare in their own
    files, by the file's name; only those of the chosen network and prior are read.
    """

    network: NetworkName = "conv"
    latent_dim: Literal["auto"] | Width = AUTO
    channels: Literal["auto"] | Annotated[Widths, Field(min_length=1, max_length=10)] = AUTO
    kernel_size: KernelSize = 5
    hidden: Widths = (500, 500)
    activation: Activation = "relu"
    likelihood: Literal["gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic"] = (
        "gaussian"
    )
    gaussian_variance: Literal["fitted", "mean_squared_error"] | Annotated[float, Field(gt=0)] = (
        "fitted"
    )
    gaussian_mean: Literal["sigmoid", "linear"] = "sigmoid"
    conditional: Literal["none", "labels"] = "none"
    prior: PriorChoice = AUTO
    pseudo_inputs: Width = 100
    flow_layers: Width = 6
    flow_width: Width = 128
    mixture_components: Width = 10
    codebook_size: CodebookSize = 64
    code_dimensions: Width = 2
    spectral_norm: bool = True
    networks: dict[NetworkName, dict[str, Any]] = Field(default={}, exclude_if=operator.not_)
    priors: dict[PriorName, dict[str, Any]] = Field(default={}, exclude_if=operator.not_)


class TrainSettings(Section):
    """The objective, its weights, and how it is minimized."""

    objective: ObjectiveName = "vae"
    kl_weight: float = Field(default=1.0, ge=0)
    kl_warmup_epochs: NotNegative = 0
    free_bits_nats: float = Field(default=0.0, ge=0)
    label_dropout: float = Field(default=0.02, gt=0, lt=1)
    augment_flip: float = Field(default=0.0, ge=0, le=1)
    augment_shift: float = Field(default=0.0, ge=0, le=0.5)
    augment_zoom: float = Field(default=0.0, ge=0, le=0.9)
    augment_color: float = Field(default=0.0, ge=0, le=1)
    epochs: Positive = 100
    batch_size: Positive = 100
    accumulate_grad_batches: Positive = 1
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    learning_rate_schedule: Literal["constant", "cosine", "linear"] = "constant"
    learning_rate_warmup_epochs: NotNegative = 0
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    early_stopping_epochs: Positive | None = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    images_every_epochs: Positive = 1
    seed: Seed = 0

    @model_validator(mode="after")
    def _weight_decay_needs_adamw(self) -> "TrainSettings":
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay needs optimizer: adamw, where it is decoupled")
        return self


class SamplerSettings(Section):
    """The density that is fitted to the trained model's latents, to sample from."""

    name: SamplerChoice = "flow_matching"
    seed: Seed = 0


QUICK: Mapping[str, int] = {
    "bound_images": 1000,
    "max_pairs_images": 2000,
    "interpolation_pairs": 50,
    "likelihood_images": 25,
    "annealing_images": 0,
    "samples": 1000,
}
"""What `auto` is at `evaluate.level: quick`; at `full` it is the default of `EvaluateSettings`."""


class EvaluateSettings(Section):
    """How the trained model is measured.

    A setting of `QUICK` that is `auto`, or left out, gets the value of the level.
    """

    level: Literal["quick", "full"] = "full"
    importance_samples: Positive = 100
    bound_images: Positive | None = None
    batch_size: Positive = 500
    active_unit_threshold: float = Field(default=0.01, gt=0)
    neighbours: Positive = 10
    max_pairs_images: int = Field(default=10_000, ge=2, le=MAX_INT)
    interpolation_pairs: Positive = 200
    likelihood_images: NotNegative = 100
    annealing_images: NotNegative = 8
    annealing_chains: Positive = 8
    annealing_temperatures: int = Field(default=100, ge=2, le=MAX_INT)
    samples: int = Field(default=5000, ge=10, le=MAX_INT)
    sampler_importance_samples: Positive = 20
    classifier_epochs: Positive = 2
    inception_weights: Path | None = None
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _leave_auto_out(cls, content: object) -> object:
        if not isinstance(content, Mapping):
            return content
        return {k: v for k, v in content.items() if not (k in QUICK and v == AUTO)}

    @model_validator(mode="after")
    def _fill_level(self) -> "EvaluateSettings":
        # Not among `model_fields_set`, so that another level can still fill them.
        if self.level == "quick":
            auto = QUICK.keys() - self.model_fields_set
            self.__dict__.update({name: QUICK[name] for name in auto})
        return self


class RenderSettings(Section):
    """Which figures of images are drawn, and how many images each shows."""

    reconstructions: int = Field(default=16, ge=1, le=1000)
    samples: int = Field(default=100, ge=1, le=10_000)
    interpolations: int = Field(default=8, ge=1, le=100)
    interpolation_steps: int = Field(default=10, ge=2, le=100)
    traversal_dimensions: int = Field(default=10, ge=1, le=200)
    traversal_steps: int = Field(default=11, ge=2, le=100)
    traversal_range: float = Field(default=3.0, gt=0, le=10)
    manifold_size: int = Field(default=20, ge=2, le=100)
    histogram_dimensions: int = Field(default=12, ge=1, le=200)
    attributes: int = Field(default=8, ge=1, le=100)
    formats: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    dpi: int = Field(default=120, ge=30, le=600)
    seed: Seed = 0

    @field_validator("formats")
    @classmethod
    def _has_png(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if "png" not in formats or len(set(formats)) < len(formats):
            raise ValueError("must have png, which every viewer shows, and each format once")
        return formats


class TrackingSettings(Section):
    """Where and how runs are tracked."""

    uri: str | None = Field(default=None, min_length=1)
    on_unreachable: Literal["fail", "local"] = "fail"
    experiment: str = Field(default="vaelab", min_length=1, max_length=500)
    log_model: bool = True
    system_metrics: bool = False


class MachineSettings(Section):
    """Device, processes and threads; results do not depend on them, up to rounding."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:(0|[1-9]\d?))?)$")
    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = 1
    threads: int | None = Field(default=None, ge=1, le=1024)
    deterministic: bool = False
    cuda_graph: bool = False
    traceback: bool = False
