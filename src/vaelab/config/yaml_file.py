"""YAML from outside: plain values only, and no more of them than a person writes."""

import math
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from vaelab.config.section import UserError

MOST_VALUES = 100_000


def read_yaml(path: Path) -> object:
    """Read a YAML file; nothing in it is {}. Raises UserError, in one line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: no text in UTF-8 ({error})") from error
    try:
        content = _load(text)
    except Exception as error:  # a tag such as !!int lets through whatever its reader raises
        raise UserError(f"{path}: no valid YAML: {_problem(error)}") from error
    return content if content is not None else {}


def _load(text: str) -> object:
    yaml = YAML(typ="safe", pure=True)
    root = yaml.compose(text)
    if root is not None and _count(root, {}) > MOST_VALUES:
        raise YAMLError(f"its aliases (*name) stand for more than {MOST_VALUES:,} values")
    return yaml.load(text)


def _count(node: Node, counted: dict[int, float]) -> float:
    """Count the values that a node stands for; one that holds itself has no end."""
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
        return "its values lie too deep in one another"
    if not isinstance(error, MarkedYAMLError):
        reason = " ".join(str(error).split())[:200]
        wrong = "" if isinstance(error, YAMLError) else "a value is not what it is written as: "
        return f"{wrong}{reason}"
    mark, said = error.problem_mark, " ".join(str(error.problem).split())
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{said}"
