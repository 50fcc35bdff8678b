"""A page that ranks images by how odd they are: pictures, reconstructions, heat maps, scores."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vaelab.inference.detection import SCORES, Detections
from vaelab.report.template import render_page
from vaelab.runtime.formatting import format_number

SHOWN = 100
"""Images on the page at most; a table has all."""
LARGEST = 256
"""Pixels of the longer side of a picture on the page."""
LOWEST_SCALE = 6.0
"""Standard deviations that a heat map's brightest color stands for at least."""

Pictures = Float[np.ndarray, "count channel height width"]
ShownPictures = Float[np.ndarray, "shown channel height width"]
Colors = UInt8[np.ndarray, "height width rgb"]


@dataclass(frozen=True)
class RankedImage:
    """A line of the page; pictures are data URIs."""

    rank: int
    name: str
    score: str
    p_value: str
    is_odd: bool
    picture: str
    reconstruction: str
    heat_map: str


def build_detection_page(
    found: Detections, names: Sequence[str], images: Pictures, reconstructions: ShownPictures
) -> str:
    """Return the page as HTML.

    `names` and `images` are of all images, `reconstructions` of the first `SHOWN` of `found.order`.
    """
    shown = found.order[:SHOWN]
    scale = heat_scale(found, shown)
    ranked = [
        RankedImage(
            rank,
            names[row],
            format_number(float(found.scores[row])),
            format_number(float(found.p_values[row]), 2),
            bool(found.is_odd[row]),
            _uri(_colors(images[row])),
            _uri(_colors(reconstruction)),
            _uri(heat_picture(images[row], found.heat_maps[row], scale)),
        )
        for rank, (row, reconstruction) in enumerate(zip(shown, reconstructions, strict=True), 1)
    ]
    return render_page(
        "detection.html",
        found=found,
        odd=int(found.is_odd.sum()),
        expected=format_number(found.false_alarm_rate * len(found), 2),
        rate=f"{100 * found.false_alarm_rate:.3g} %",
        threshold=format_number(found.threshold),
        about=SCORES[found.score],
        ranked=ranked,
        left=len(found) - len(shown),
        scale=format_number(scale, 2),
        bar=_uri(_bar()),
    )


def heat_scale(found: Detections, rows: np.ndarray) -> float:
    """Return the standard deviations of the brightest color, the same for all images shown."""
    return max(LOWEST_SCALE, float(np.quantile(found.heat_maps[rows], 0.998)))


def heat_picture(
    image: Float[np.ndarray, "channel height width"],
    heat_map: Float[np.ndarray, "height width"],
    scale: float,
) -> Colors:
    """Return a heat map over a faint gray picture; usual pixels have no color."""
    heat = np.clip(heat_map / scale, 0, 1)[..., None]
    faint = 0.1 + 0.4 * image.mean(0)[..., None]
    colors = _heat_colors(heat[..., 0])
    return _bytes(faint * (1 - np.sqrt(heat)) + colors * np.sqrt(heat))


def _heat_colors(heat: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape rgb"]:
    """Return dark red to light yellow for 0 to 1."""
    from matplotlib import colormaps

    found: np.ndarray = colormaps["inferno"](0.35 + 0.65 * heat)[..., :3]
    return found


def _bar() -> Colors:
    heat = np.linspace(0, 1, 160)[None].repeat(10, 0)
    return heat_picture(np.zeros((1, *heat.shape)), heat, 1)


def _colors(image: Float[np.ndarray, "channel height width"]) -> Colors:
    """Return a picture in RGB; of other channels their mean in gray."""
    rgb = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, 0)
    return _bytes(rgb.transpose(1, 2, 0))


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def _uri(colors: Colors) -> str:
    picture, file = Image.fromarray(colors), io.BytesIO()
    picture.thumbnail((LARGEST, LARGEST))
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
