"""Typed settings: what params.yaml may say, each value with its range."""

import difflib
import itertools
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ValidationError, model_validator

from vaelab.config.objectives import check_objective, objective_names
from vaelab.config.section import Section, UserError, reason
from vaelab.config.sections import (
    DataSettings,
    EvaluateSettings,
    MachineSettings,
    ModelSettings,
    RenderSettings,
    SourceName,
    TrackingSettings,
    TrainSettings,
)
from vaelab.config.tune import SearchRange, TuneSettings
from vaelab.config.yaml_file import read_yaml

__all__ = [
    "DataSettings",
    "EvaluateSettings",
    "MachineSettings",
    "ModelSettings",
    "RenderSettings",
    "SearchRange",
    "Section",
    "Settings",
    "SourceName",
    "TrackingSettings",
    "TrainSettings",
    "TuneSettings",
    "UserError",
    "flatten",
    "load_settings",
    "objective_names",
    "parse_section",
    "parse_settings",
    "read_yaml",
    "reason",
    "with_changes",
]


AnySection = TypeVar("AnySection", bound=Section)
_NAMED = 5
"""Problems named in an error; the rest is counted."""
_MESSAGES = {
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "path_type": "must be a path",
    "invalid_key": "a setting's name must be a text",
}
"""What to say instead of pydantic's words, which name its classes."""
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 80


class Settings(Section):
    """Everything that params.yaml says."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    objectives: dict[Annotated[str, AfterValidator(check_objective)], dict[str, Any]] = {}
    evaluate: EvaluateSettings = EvaluateSettings()
    render: RenderSettings = RenderSettings()
    tune: TuneSettings = TuneSettings()
    tracking: TrackingSettings = TrackingSettings()
    machine: MachineSettings = MachineSettings()

    @model_validator(mode="after")
    def _pixels_fit_likelihood(self) -> "Settings":
        _check_pixels(self.data, self.model)
        return self

    @model_validator(mode="after")
    def _ends_of_the_search_are_settings(self) -> "Settings":
        for name, entry in self.tune.search_space.items():
            for value in entry.examples():
                _check_setting(self, name, value)
        return self


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Give the settings with some, none of `tune`, replaced by dotted name. Raises UserError.

    The search space stays as it was checked: it need not fit a trial's own settings.
    """
    content = settings.model_dump(exclude={"tune"})
    for name, value in changes.items():
        *sections, key = name.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return parse_settings(content).model_copy(update={"tune": settings.tune})


def load_settings(path: Path) -> Settings:
    """Read and check a params.yaml.

    Raises UserError, in one line, for a file that cannot be read, is no YAML, or says
    something that is no setting or lies out of its range.
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
        raise UserError(f"{origin}: {_explained(error)}") from error


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted name, such as `train.kl_weight`, in plain JSON types."""
    return {
        f"{section}.{key}": value
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }


def _check_pixels(data: DataSettings, model: ModelSettings) -> None:
    likelihood = model.likelihood
    if data.dequantize and likelihood not in ("gaussian", "continuous_bernoulli"):
        raise ValueError(
            f"data.dequantize needs a density on [0, 1]: model.likelihood is {likelihood}, "
            "which would have to be gaussian or continuous_bernoulli"
        )
    if data.dequantize and data.binarization != "none":
        raise ValueError("data.dequantize and data.binarization exclude each other")
    if likelihood == "discretized_logistic" and data.binarization != "none":
        raise ValueError(
            "model.likelihood: discretized_logistic is for 8-bit pixels; "
            "binary ones need bernoulli, or data.binarization: none"
        )


def _check_setting(settings: Settings, name: str, value: object) -> None:
    section, _, key = name.partition(".")
    if section == "objectives":
        return _check_own_setting(settings, name)
    present = getattr(settings, section)
    if key not in type(present).model_fields:
        raise ValueError(f"tune.search_space: {_unknown(name)}")
    try:
        changed = type(present).model_validate(present.model_dump() | {key: value})
        if isinstance(changed, ModelSettings):
            _check_pixels(settings.data, changed)
    except ValueError as error:
        reasons = _explained(error) if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"tune.search_space: {name} cannot be {value!r}: {reasons}") from error


def _check_own_setting(settings: Settings, name: str) -> None:
    """Its range is checked when the objective is built: only its file knows it."""
    objective = settings.train.objective
    if not name.startswith(f"objectives.{objective}."):
        raise ValueError(f"tune.search_space: {name} is not read with train.objective: {objective}")


def _explained(error: ValidationError) -> str:
    first = "; ".join(itertools.islice(_explain(error), _NAMED))
    rest = error.error_count() - _NAMED
    whole = f"{first}; and {rest} more" if rest > 0 else first
    return " ".join(whole.split())


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"] if not _is_union_branch(part))
        if problem["type"] == "extra_forbidden":
            yield _unknown(name)
        else:
            value = problem["input"]
            given = f" (it is {_shown(value)})" if not isinstance(value, Mapping | Section) else ""
            message = _MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
            yield f"{name}: {message}{given}" if name else message


def _shown(value: object) -> str:
    try:
        return _BRIEF.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of too many digits"


def _is_union_branch(part: str | int) -> bool:
    """Pydantic names the branch of a union that it tried; no user wrote that."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "constrained-"))
        or part in ("float", "function-after[_odd(), int]")
    )


def _unknown(name: str) -> str:
    section, _, key = name.rpartition(".")
    model: type[BaseModel] | None = Settings
    for part in filter(None, section.split(".")):
        field = model.model_fields.get(part) if model else None
        classes = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((c for c in classes if _is_section(c)), None)
    if model is None:
        return f"{name} is no setting"
    valid = list(model.model_fields)
    prefix = f"{section}." if section else ""
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {prefix}{near[0]}? " if near else ""
    return f"{name} is no setting; {hint}valid here: {', '.join(valid)}"


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
