"""Settings on the command line, such as `tune.trials=10`, in place of those of params.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaelab.config import Settings, UserError, load_settings, parse_settings, read_yaml
from vaelab.config.yaml_file import parse_assignment

FORM = "settings on the command line have the form section.key=value, such as tune.trials=10"
# A setting whose keys are names with dots.
SEARCH_SPACE = "tune.search_space."


def load_with_overrides(path: Path, overrides: Sequence[str]) -> Settings:
    """Read and check a params.yaml with some settings replaced; values are parsed as YAML.

    Raises UserError for unknown settings and invalid values, and for settings of `data`, which
    the data are not prepared with.
    """
    if not overrides:
        return load_settings(path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        return parse_settings(content, str(path))
    for override in overrides:
        name, value = parse_override(override)
        _set(content, name, value)
    return parse_settings(content, f"{path} with {' '.join(overrides)}")


def parse_override(text: str) -> tuple[str, Any]:
    """Return the name and the value of `name=value`. Raises UserError."""
    name, value = parse_assignment(text, FORM)
    if name.startswith("data."):
        raise UserError(
            f"{name}: cannot be set on the command line, as the data are prepared by DVC from the "
            "settings file; edit it there"
        )
    return name, value


def _set(content: dict[str, Any], name: str, value: Any) -> None:
    *sections, key = name.split(".")
    if name.startswith(SEARCH_SPACE):
        sections, key = ["tune", "search_space"], name.removeprefix(SEARCH_SPACE)
    for section in sections:
        inner = content.get(section) or {}
        if not isinstance(inner, Mapping):
            raise UserError(f"{name}: {section} has no settings of its own (it is {inner!r})")
        content[section] = dict(inner)  # aliases of YAML share mappings
        content = content[section]
    content[key] = value
