"""Settings on the command line, such as `tune.trials=10`, in place of those of params.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vaelab.config import Settings, UserError, load_settings, parse_settings, read_yaml

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
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")) or "." not in name:
        raise UserError(f"{text}: {FORM}")
    if name.startswith("data."):
        raise UserError(
            f"{name}: cannot be set on the command line, as the data are prepared by DVC from the "
            "settings file; edit it there"
        )
    try:
        return name, YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{text}: the value is not valid YAML: {problem}") from error


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
