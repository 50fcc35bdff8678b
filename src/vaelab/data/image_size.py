"""The size of a data set's images where they have several and none is set."""

import math
from collections import Counter
from collections.abc import Sequence

from vaelab.data.pixels import Size

SHORT_SIDE = 64
"""Pixels: what a CPU trains on in minutes. Larger images are a setting away."""
ASPECTS = (1, 5 / 4, 4 / 3, 3 / 2, 16 / 9, 2)
"""Of the longer side to the shorter one, among which the commonest is chosen."""
ENLARGED_SHARE = 0.02
"""So many images may be smaller than the chosen size, so that single ones do not decide it."""
MULTIPLE = 4
"""Sides of 8 pixels or more are multiples: networks halve them."""


def choose_size(sizes: Sequence[Size]) -> tuple[Size, str | None]:
    """Return one size for images of these sizes, and what is to be said where they differ.

    Images of one size keep it. Others get their commonest aspect with at most `SHORT_SIDE` pixels
    on the short side, and are not enlarged, but for a share of `ENLARGED_SHARE`.
    """
    different = set(sizes)
    if len(different) == 1:
        return sizes[0], None
    high, wide = _commonest_aspect(sizes)
    units = sorted(min(height / high, width / wide) for height, width in sizes)
    unit = min(float(SHORT_SIDE), units[int(ENLARGED_SHARE * len(units))])
    size = (_side(unit * high), _side(unit * wide))
    smaller = sum(height < size[0] or width < size[1] for height, width in sizes)
    enlarged = f"; {smaller:,} smaller images are enlarged" if smaller else ""
    smallest, largest = (list(f(different, key=math.prod)) for f in (min, max))
    return size, (
        f"its images have {len(different):,} sizes [height, width], from {smallest} to {largest}: "
        f"all become {list(size)}, of their commonest aspect (data.image_size sets another, "
        f"data.resize how){enlarged}"
    )


def _commonest_aspect(sizes: Sequence[Size]) -> tuple[float, float]:
    """Return height and width of the commonest aspect, the shorter of which is 1."""
    candidates = {(aspect, 1.0) for aspect in ASPECTS} | {(1.0, aspect) for aspect in ASPECTS}
    nearest = Counter(
        min(candidates, key=lambda c: abs(math.log(height / width * c[1] / c[0])))
        for height, width in sizes
    )
    # Of equally common ones the squarest
    return min(nearest, key=lambda c: (-nearest[c], max(c), c))


def _side(pixels: float) -> int:
    whole = int(pixels + 1e-6)
    return whole - whole % MULTIPLE if whole >= 2 * MULTIPLE else max(1, whole)
