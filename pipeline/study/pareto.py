"""The Pareto front of points in two quantities, both minimized, and its hypervolume."""

import numpy as np
from jaxtyping import Bool, Float

Points = Float[np.ndarray, "points 2"]


def on_front(points: Points) -> Bool[np.ndarray, "points"]:
    """Return which points are on the Pareto front: no other is as good in both, better in one."""
    no_worse = (points[None] <= points[:, None]).all(-1)
    better = (points[None] < points[:, None]).any(-1)
    dominated: np.ndarray = np.any(no_worse & better, axis=1)
    return ~dominated


def hypervolume(points: Points, reference: Float[np.ndarray, "2"]) -> float:
    """Return the area that the points dominate, up to a reference point (Zitzler & Thiele 1998).

    Points that are not better than the reference in both quantities add nothing.
    """
    inside = points[(points < reference).all(1)]
    if not len(inside):
        return 0.0
    front = np.unique(inside[on_front(inside)], axis=0)  # the first falls, the second rises
    heights = np.append(reference[1], front[:-1, 1]) - front[:, 1]
    return float(((reference[0] - front[:, 0]) * heights).sum())
