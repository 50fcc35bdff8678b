"""Sphinx: the pages of this folder, and the API reference from the docstrings of src/vaelab."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent

project = "vaelab"
author = "the vaelab authors"
copyright = author
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
default_role = "code"
suppress_warnings = ["ref.python"]  # the builtin `type` and settings that are called `type`

# Markdown
myst_heading_anchors = 3

# API reference
apidoc_modules = [{"path": "../src/vaelab", "destination": "api"}]
apidoc_separate_modules = True
apidoc_module_first = True
autodoc_default_options = {
    "exclude-members": "model_config",  # pydantic's
    "ignore-module-all": True,  # each object once, where it is defined
}
autodoc_inherit_docstrings = False  # those of PyTorch refer to pages of its own
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

# HTML
html_theme = "pydata_sphinx_theme"
html_title = "vaelab"
html_show_sourcelink = False


def escape_markup(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Escape what reStructuredText would read as markup: docstrings are plain text with `code`."""
    lines[:] = re.sub(r"`[^`]*`|[*|]|_(?!\w)", _escaped, "\n".join(lines)).split("\n")


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith("`") else f"\\{match[0]}"


def hide_signature(
    _app: Sphinx, _what: str, _name: str, obj: Any, _options: Any, _signature: str, _returns: str
) -> tuple[str, str] | None:
    """Leave out the signature of settings: their fields follow, one by one."""
    return ("", "") if isinstance(obj, type) and issubclass(obj, BaseModel) else None


def setup(app: Sphinx) -> None:
    """Register the hooks, and shorten how pydantic's constraints are shown in types."""
    app.connect("autodoc-process-docstring", escape_markup)
    app.connect("autodoc-process-signature", hide_signature)
    FieldInfo.__repr__ = lambda field: ", ".join(map(repr, field.metadata))
    AfterValidator.__dataclass_fields__["func"].repr = False
