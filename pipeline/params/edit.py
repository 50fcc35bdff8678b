"""Change settings in the text of params.yaml, where comments, quotes and alignment stay."""

import difflib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipeline import cli
from vaelab.config import UserError, with_changes
from vaelab.config.yaml_file import dotted_values
from vaelab.runtime.files import write_atomically


def change_settings(params: Path, changes: Mapping[str, Any]) -> str:
    """Set settings in params.yaml, by dotted name, and return the difference as text.

    Raises UserError, and leaves the file as it was, if they are not valid together with the others.
    """
    with_changes(cli.load_params(params), changes)
    with params.open(encoding="utf-8", newline="") as file:
        before = file.read()
    after = update_yaml(before, changes)
    write_atomically(params, lambda temporary: temporary.write_bytes(after.encode()))
    return unified_diff(before, after, params.name) or f"{params} has these settings already"


def update_yaml(text: str, changes: Mapping[str, Any]) -> str:
    """Return the text of a valid params.yaml with settings, by dotted name, set to new values.

    A missing setting becomes the first of its section, a missing section the last of the file.
    Raises UserError where anything else would change, such as another use of an alias.
    """
    yaml, stream = round_trip_yaml(), StringIO()
    document = yaml.load(text.replace("\r\n", "\n"))
    comments, document = (text, CommentedMap()) if document is None else ("", document)
    for name, value in changes.items():
        _set(document, name, value)
    yaml.dump(document, stream)
    updated = f"{comments}\n{stream.getvalue()}".lstrip("\n")
    if dotted_values(_load(updated)) != dotted_values(_load(text)) | dict(changes):
        raise UserError(
            f"{', '.join(changes)}: cannot be set without a change of other settings, such as "
            "those of an anchor or alias (& or *); edit the file yourself"
        )
    return updated.replace("\n", "\r\n") if "\r\n" in text else updated


def unified_diff(before: str, after: str, name: str) -> str:
    """Return the unified diff of two texts of the file called `name`; empty if no line differs."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def round_trip_yaml() -> YAML:
    """Return a reader and writer under which today's params.yaml stays as it is, byte for byte."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 2**31  # wraps no line
    return yaml


def _set(content: CommentedMap, name: str, value: Any) -> None:
    *sections, key = name.split(".")
    for depth, section in enumerate(sections):
        if section not in content:
            content.insert(0 if depth else len(content), section, CommentedMap())
        content = content[section]
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
        if comments := content.ca.items.get(key):
            comments[3:] = [None]  # a block list's: ruamel writes no valid YAML of it in a line
    if key not in content:
        content.insert(0, key, value)  # the last place is behind the section's blank line
    elif content[key] != value:  # an equal value stays as it is written
        content[key] = value


def _load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text) or {}
