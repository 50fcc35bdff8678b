"""A measure as a surface over two settings, in discrete levels at round values."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from vaelab.figures.study_table import STEPS, StudyTable, Values
from vaelab.figures.style import NATS

_SHADES = ListedColormap(NATS(np.linspace(0.08, 0.78, 256)))  # light enough for dots on it


def discrete_shades(table: StudyTable) -> ScalarMappable:
    """Return a color map of the range in levels at round values, darker for better."""
    values, (low, high) = table.column()[table.complete()], table.span()
    below, above = (values < low).any(), (values > high).any()
    extend: Any = {(0, 0): "neither", (0, 1): "max", (1, 0): "min"}.get((below, above), "both")
    levels = MaxNLocator(11, steps=STEPS).tick_values(low, high)
    cmap = _SHADES.reversed() if table.minimize else _SHADES
    return ScalarMappable(BoundaryNorm(levels, 256, extend=extend), cmap)


def draw_surface(
    axes: Axes, points: Float[np.ndarray, "points 2"], values: Values, shades: ScalarMappable
) -> bool:
    """Draw the measure between the points, using the first of those that coincide.

    Returns False, and draws nothing, if they span no surface.
    """
    points, first = np.unique(points, axis=0, return_index=True)
    spread = np.ptp(points, axis=0)
    if len(points) < 4 or not spread.all():
        return False
    scaled = (points - points.mean(axis=0)) / spread
    if np.linalg.svd(scaled, compute_uv=False)[1] < 1e-3:
        return False
    triangles = Triangulation(scaled[:, 0], scaled[:, 1]).triangles
    triangulation = Triangulation(points[:, 0], points[:, 1], triangles)
    norm = shades.norm
    assert isinstance(norm, BoundaryNorm)
    options: Any = {"levels": norm.boundaries, "extend": norm.extend, "norm": norm}
    axes.tricontourf(triangulation, values[first], cmap=shades.cmap, **options)
    axes.tricontour(triangulation, values[first], norm.boundaries, colors="white", linewidths=0.4)
    return True
