"""Points that no other beats in two quantities at once, of which less is better in both."""

import numpy as np
from jaxtyping import Bool, Float

Points = Float[np.ndarray, "points 2"]


def on_front(points: Points) -> Bool[np.ndarray, "points"]:
    """Tell which points are on the Pareto front: none is as good in both and better in one."""
    no_worse = (points[None] <= points[:, None]).all(-1)
    better = (points[None] < points[:, None]).any(-1)
    beaten: np.ndarray = np.any(no_worse & better, axis=1)
    return ~beaten


def hypervolume(points: Points, reference: Float[np.ndarray, "2"]) -> float:
    """Give the area that the points leave behind up to a reference point that is worse in both.

    Zitzler & Thiele 1998; points that are not better than the reference in both add nothing.
    """
    inside = points[(points < reference).all(1)]
    if not len(inside):
        return 0.0
    front = np.unique(inside[on_front(inside)], axis=0)  # the first falls, the second rises
    heights = np.append(reference[1], front[:-1, 1]) - front[:, 1]
    return float(((reference[0] - front[:, 0]) * heights).sum())
