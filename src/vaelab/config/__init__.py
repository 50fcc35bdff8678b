"""Typed settings: the keys of params.yaml, each value with its range."""

import itertools
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, model_validator

from vaelab.config.choices import (
    AUTO,
    NO_SAMPLER,
    ObjectiveName,
    SamplerName,
    network_names,
    objective_names,
    prior_names,
    sampler_names,
    unknown_message,
)
from vaelab.config.own_settings import AnySection, fill_settings, own_defaults
from vaelab.config.section import (
    Activation,
    ArtifactError,
    CodebookSize,
    KernelSize,
    Section,
    UserError,
    Width,
    Widths,
    reason,
)
from vaelab.config.sections import (
    DENSITIES,
    MARKING_COLOR,
    DataSettings,
    EvaluateSettings,
    MachineSettings,
    ModelSettings,
    RenderSettings,
    SamplerSettings,
    SourceName,
    TrackingSettings,
    TrainSettings,
)
from vaelab.config.tune import SearchRange, TuneSettings
from vaelab.config.yaml_file import read_yaml

__all__ = [
    "AUTO",
    "DENSITIES",
    "MARKING_COLOR",
    "NO_SAMPLER",
    "Activation",
    "ArtifactError",
    "CodebookSize",
    "DataSettings",
    "EvaluateSettings",
    "KernelSize",
    "MachineSettings",
    "ModelSettings",
    "RenderSettings",
    "SamplerSettings",
    "SearchRange",
    "Section",
    "Settings",
    "SourceName",
    "TrackingSettings",
    "TrainSettings",
    "TuneSettings",
    "UserError",
    "Width",
    "Widths",
    "fill_settings",
    "flatten",
    "load_settings",
    "network_names",
    "objective_names",
    "own_defaults",
    "parse_section",
    "parse_settings",
    "prior_names",
    "read_yaml",
    "reason",
    "sampler_names",
    "with_changes",
]

NEED_WHOLE_IMAGES = ("autoencoder", "gan", "vae_gan", "vq_vae", "wae")
"""Objectives that are refused before any stage runs if pixels are missing.

Training refuses any other that cannot miss pixels (`Objective.can_miss_pixels`).
"""
MAX_PROBLEMS_LISTED = 5
MESSAGES_BY_TYPE = {
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "path_type": "must be a path",
    "invalid_key": "the name of a setting must be a string",
}
"""Replace messages of pydantic that name its classes."""
SHORT_REPR = reprlib.Repr()
SHORT_REPR.maxstring = SHORT_REPR.maxother = SHORT_REPR.maxlong = 80


class Settings(Section):
    """All sections of params.yaml."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    objectives: dict[ObjectiveName, dict[str, Any]] = {}
    sampler: SamplerSettings = SamplerSettings()
    samplers: dict[SamplerName, dict[str, Any]] = {}
    evaluate: EvaluateSettings = EvaluateSettings()
    render: RenderSettings = RenderSettings()
    tune: TuneSettings = TuneSettings()
    tracking: TrackingSettings = TrackingSettings()
    machine: MachineSettings = MachineSettings()

    @model_validator(mode="after")
    def _pixels_fit_likelihood(self) -> "Settings":
        _check_pixels(self.data, self.model)
        _check_augmentation(self.data, self.train)
        return self

    @model_validator(mode="after")
    def _pixels_may_be_missing(self) -> "Settings":
        _check_missing(self.data, self.train)
        return self

    @model_validator(mode="after")
    def _search_space_is_valid(self) -> "Settings":
        for name, entry in self.tune.search_space.items():
            for value in entry.examples():
                _check_searched(self, name, value)
        return self


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return the settings with some values, none of `tune`, replaced by dotted name.

    `tune` is kept without a new check: the search space need not fit a trial's settings. What is
    `auto` in `evaluate` gets the value of the new level. Raises UserError for unknown names and
    invalid values.
    """
    content = settings.model_dump(exclude={"tune"})
    content["evaluate"] = settings.evaluate.model_dump(exclude_unset=True)
    for name, value in changes.items():
        *sections, key = name.split(".")
        mapping = content
        for section in sections:
            mapping = mapping.setdefault(section, {})
        mapping[key] = value
    return parse_settings(content).model_copy(update={"tune": settings.tune})


def load_settings(path: Path) -> Settings:
    """Read and check a params.yaml.

    Raises UserError, in one line, for a file that cannot be read or is not valid YAML, and for
    unknown settings and values out of range.
    """
    return parse_settings(read_yaml(path), str(path))


def parse_settings(content: object, origin: str = "settings") -> Settings:
    """Check a mapping of sections; `origin` names it in errors. Raises UserError."""
    if not isinstance(content, Mapping):
        raise UserError(f"{origin}: must be a mapping of sections, such as 'train:'")
    return parse_section(Settings, content, origin)


def parse_section(section: type[AnySection], content: object, origin: str) -> AnySection:
    """Check a group of settings; `origin` names it in errors. Raises UserError."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{origin}: {_problems(error)}") from error


def flatten(settings: Settings) -> dict[str, Any]:
    """Return all settings by dotted name, such as `train.kl_weight`, in plain JSON types."""
    return {
        f"{section}.{key}": value
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }


def _check_pixels(data: DataSettings, model: ModelSettings) -> None:
    likelihood = model.likelihood
    if data.dequantize and likelihood not in DENSITIES:
        raise ValueError(
            f"data.dequantize needs a density on [0, 1]: set model.likelihood to "
            f"{' or '.join(DENSITIES)} (it is {likelihood})"
        )
    if data.dequantize and data.binarization != "none":
        raise ValueError("data.dequantize and data.binarization exclude each other")
    if likelihood == "discretized_logistic" and data.binarization != "none":
        raise ValueError(
            "model.likelihood: discretized_logistic is for 8-bit pixels; "
            "for binary pixels use bernoulli, or set data.binarization to none"
        )


def _check_augmentation(data: DataSettings, train: TrainSettings) -> None:
    for key in ("augment_zoom", "augment_color"):
        if data.binarization == "fixed" and getattr(train, key):
            raise ValueError(
                f"train.{key} makes gray pixels, and data.binarization: fixed has none: use "
                f"data.binarization: fresh, or set train.{key} to 0"
            )


def _check_missing(data: DataSettings, train: TrainSettings) -> None:
    if data.files_mark_missing and data.name != "folder":
        raise ValueError(
            f"data.missing: {data.missing} needs data.name: folder (it is {data.name}); of other "
            "images a share of the pixels can be hidden, such as data.missing: 0.5"
        )
    if data.missing != "none" and train.objective in NEED_WHOLE_IMAGES:
        valid = (name for name in objective_names() if name not in NEED_WHOLE_IMAGES)
        raise ValueError(
            f"train.objective: {train.objective} needs whole images, and data.missing is "
            f"{data.missing}; with missing pixels use {', '.join(valid)}"
        )


def _check_searched(settings: Settings, name: str, value: object) -> None:
    """Check that a setting of the search space exists and can have a value."""
    if _is_own(settings, name):
        return
    section, _, key = name.partition(".")
    current = getattr(settings, section)
    if key not in type(current).model_fields:
        raise ValueError(f"tune.search_space: {_unknown(name)}")
    try:
        changed = type(current).model_validate(current.model_dump() | {key: value})
        if isinstance(changed, ModelSettings):
            _check_pixels(settings.data, changed)
    except ValueError as error:
        reasons = _problems(error) if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"tune.search_space: {name} cannot be {value!r}: {reasons}") from error


def _is_own(settings: Settings, name: str) -> bool:
    """Whether a setting is one that an objective's, a network's or a prior's file declares.

    Its name and range are checked when that file is imported. Raises ValueError where the file is
    not the chosen one.
    """
    chosen = {
        "objectives": ("train.objective", settings.train.objective),
        "model.networks": ("model.network", settings.model.network),
        "model.priors": ("model.prior", settings.model.prior),
    }
    for path, (setting, value) in chosen.items():
        if name.startswith(f"{path}."):
            if name.startswith(f"{path}.{value}."):
                return True
            raise ValueError(f"tune.search_space: {name} has no effect with {setting}: {value}")
    return False


def _problems(error: ValidationError) -> str:
    first = "; ".join(itertools.islice(map(_problem, error.errors()), MAX_PROBLEMS_LISTED))
    rest = error.error_count() - MAX_PROBLEMS_LISTED
    listed = f"{first}; and {rest} more" if rest > 0 else first
    return " ".join(listed.split())


def _problem(details: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in details["loc"] if not _is_union_branch(part))
    if details["type"] == "extra_forbidden":
        return _unknown(name)
    name = name.removesuffix(".[key]")  # pydantic's mark of a problem with a key of a mapping
    value = details["input"]
    message = MESSAGES_BY_TYPE.get(details["type"], details["msg"].removeprefix("Value error, "))
    if not isinstance(value, Mapping | Section) and not message.startswith("unknown "):
        message = f"{message} (it is {_short_repr(value)})"
    return f"{name}: {message}" if name else message


def _short_repr(value: object) -> str:
    try:
        return SHORT_REPR.repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "an integer of too many digits"


def _is_union_branch(part: str | int) -> bool:
    """Whether a part of a location is pydantic's name for a branch of a union."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "constrained-", "tuple[")) or part == "float"
    )


def _unknown(name: str) -> str:
    section, _, key = name.rpartition(".")
    model: type[BaseModel] | None = Settings
    for part in filter(None, section.split(".")):
        field = model.model_fields.get(part) if model else None
        classes = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((c for c in classes if _is_section(c)), None)
    if model is None:
        return f"unknown setting {name}"
    return unknown_message(
        "setting", key, list(model.model_fields), f"{section}." if section else ""
    )


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
