"""Self-contained pages from the templates of this folder."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def render_page(template: str, **values: Any) -> str:
    """Return a page as HTML, with the style of all pages; text from outside is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = Markup(_resource("page.css"))  # noqa: S704  from this package
    page: str = environment.from_string(_resource(template)).render(css=css, **values)
    return page


def _resource(name: str) -> str:
    return (files("vaelab.report") / name).read_text(encoding="utf-8")
