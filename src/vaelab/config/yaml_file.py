"""Read YAML files safely: plain values only, with a limit on their number."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from vaelab.config.section import UserError

MAX_VALUES = 100_000


def read_yaml(path: Path) -> object:
    """Return the content of a YAML file, {} if it is empty. Raises UserError, in one line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: it is not UTF-8 text ({error})") from error
    try:
        content = _load(text)
    except Exception as error:  # tags such as !!int raise any exception of their constructors
        raise UserError(f"{path}: not valid YAML: {_problem(error)}") from error
    return content if content is not None else {}


def dotted_values(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value of nested mappings by its dotted name, such as `train.kl_weight`."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        inner = isinstance(value, Mapping)
        values |= dotted_values(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return values


def parse_assignment(text: str, form: str) -> tuple[str, Any]:
    """Return the name and the value, parsed as YAML, of `section.key=value`.

    Raises UserError; `form` says what is right.
    """
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")) or "." not in name:
        raise UserError(f"{text}: {form}")
    try:
        return name, YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{text}: the value is not valid YAML: {problem}") from error


def _load(text: str) -> object:
    yaml = YAML(typ="safe", pure=True)
    root = yaml.compose(text)
    if root is not None and _count(root, {}) > MAX_VALUES:
        raise YAMLError(f"its aliases (*name) expand to more than {MAX_VALUES:,} values")
    return yaml.load(text)


def _count(node: Node, counted: dict[int, float]) -> float:
    """Count the values in a node with its aliases expanded; infinite if it contains itself."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = math.inf
        mapping = isinstance(node, MappingNode)
        parts = [part for pair in node.value for part in pair] if mapping else node.value
        counted[id(node)] = 1 + sum(_count(part, counted) for part in parts)
    return counted[id(node)]


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, MarkedYAMLError):
        reason = " ".join(str(error).split())[:200]
        wrong = "" if isinstance(error, YAMLError) else "invalid value: "
        return f"{wrong}{reason}"
    mark, problem = error.problem_mark, " ".join(str(error.problem).split())
    position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{position}{problem}"
