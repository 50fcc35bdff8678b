"""Figures as text that a page holds: SVG in data URIs, for light and for dark surroundings."""

import base64
import io
import re
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from vaelab.figures.style import INK, MIST, SLATE, STONE

# The colours of the dark look; those that stand for values stay as they are.
DARK = {
    "#ffffff": "#12171d",
    INK: "#e6ebf0",
    SLATE: "#a4b1bf",
    STONE: "#b5bfc9",
    MIST: "#46525f",
    "#e4e7eb": "#2b343e",  # grid lines
}
_IMAGE_DPI = 150  # of pixels in a figure; lines and letters have none


@dataclass(frozen=True)
class Embedded:
    """A figure's two looks as URIs, and its size in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int


def embed(figure: Figure, name: str, keep_light_background: bool = False) -> Embedded:
    """Write a figure as two URIs, always the same ones; names keep the marks in it apart.

    A plate's two looks are one.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=_IMAGE_DPI, metadata=nothing)
    text = _without_prologue(buffer.getvalue())
    width, height = figure.get_size_inches() * 96
    dark = text if keep_light_background else _darkened(text)
    return Embedded(_uri(text), _uri(dark), round(width), round(height))


def png(image: UInt8[np.ndarray, "channel height width"]) -> str:
    """Write an image, grey or colour, as a URI."""
    buffer = io.BytesIO()
    pixels = np.moveaxis(image, 0, -1)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _without_prologue(text: str) -> str:
    return text[text.index("<svg") :]


def _darkened(text: str) -> str:
    """Exchange the colours of paper, ink and lines; those that stand for something stay."""
    colors = "|".join(map(re.escape, DARK))
    return re.sub(colors, lambda found: DARK[found[0]], text)


def _uri(text: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
