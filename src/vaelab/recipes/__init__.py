"""Settings that serve for a kind of images, each in a file with what to expect of them.

The name of a file, without `.yaml`, is that of the recipe. Its comment at the top says what it is
for and what was measured; its sections are those of params.yaml, as far as they differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaelab.config import UserError, read_yaml
from vaelab.config.choices import unknown_message
from vaelab.config.yaml_file import dotted_values

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe's settings by dotted name. Raises UserError for an unknown name."""
    content = read_yaml(_path(name))
    return dotted_values(content) if isinstance(content, Mapping) else {}


def recipe_notes(name: str) -> str:
    """Return what a recipe is for and what to expect. Raises UserError for an unknown name."""
    lines = _path(name).read_text(encoding="utf-8").splitlines()
    notes = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in notes)


def _path(name: str) -> Path:
    if name not in recipe_names():
        raise UserError(unknown_message("recipe", name, recipe_names()))
    return FOLDER / f"{name}.yaml"
