"""Settings that an objective, a network or a prior declares in its own file.

Such a class is a `Section`. A field that is also a key of a shared section of params.yaml (`train`
for objectives, `model` for networks and priors) is filled from there by name. All other fields are
the file's own settings, each with a default, filled from a mapping under its name.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from vaelab.config.choices import unknown_message
from vaelab.config.section import Section, UserError

AnySection = TypeVar("AnySection", bound=Section)


def own_defaults(cls: type[Section], shared: type[Section]) -> dict[str, Any]:
    """Return the defaults of the fields that `shared` does not have, by name."""
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in cls.model_fields.items()
        if name not in shared.model_fields and not field.exclude
    }


def fill_settings(
    cls: type[AnySection], shared: Section, own: Mapping[str, Any], path: str
) -> AnySection:
    """Build the settings from a shared section and the mapping found at `path` in params.yaml.

    Raises UserError for unknown names and for values out of range.
    """
    _check_names(own_defaults(cls, type(shared)), own, path)
    by_name = {k: getattr(shared, k) for k in cls.model_fields if k in type(shared).model_fields}
    try:
        return cls.model_validate(by_name | dict(own))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join((path, *map(str, problem["loc"])))
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {message} (it is {problem['input']!r})") from error


def _check_names(valid: Mapping[str, Any], own: Mapping[str, Any], path: str) -> None:
    for name in own:
        if not valid:
            raise UserError(f"unknown setting {path}.{name}; {path} has no settings of its own")
        if name not in valid:
            raise UserError(unknown_message("setting", name, list(valid), f"{path}."))
