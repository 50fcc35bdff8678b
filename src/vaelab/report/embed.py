"""Figures as text in a page: SVG in data URIs, in a light and a dark version."""

import base64
import re
from dataclasses import dataclass

from vaelab.figures.saving import figure_bytes
from vaelab.figures.style import INK, MIST, SLATE, STONE
from vaelab.report.figures.figure import ReportFigure

# The colors of the dark version, by those of the light one. Colors that stand for values are kept.
DARK = {
    "#ffffff": "#12171d",
    INK: "#e6ebf0",
    SLATE: "#a4b1bf",
    STONE: "#b5bfc9",
    MIST: "#46525f",
    "#e4e7eb": "#2b343e",  # grid lines
}
IMAGE_DPI = 150  # of images in a figure; lines and letters are vectors


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure, its light and dark versions as URIs, and its size in CSS pixels."""

    figure: ReportFigure
    light: str
    dark: str
    width: int
    height: int


def embed(figure: ReportFigure) -> EmbeddedFigure:
    """Return a figure as two URIs, which are always the same for the same figure.

    The ids of SVG elements depend on the figure's name, so that they are unique in the page.
    """
    svg = figure_bytes(figure.figure, figure.name, "svg", IMAGE_DPI).decode()
    svg = svg[svg.index("<svg") :]
    width, height = figure.figure.get_size_inches() * 96
    dark = svg if figure.keep_light_background else _darken(svg)
    return EmbeddedFigure(figure, _uri(svg), _uri(dark), round(width), round(height))


def _darken(svg: str) -> str:
    """Replace the colors of background, text and lines."""
    colors = "|".join(map(re.escape, DARK))
    return re.sub(colors, lambda match: DARK[match[0]], svg)


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
