"""Draw a part of images by label, with those that belong together on one side."""

from collections import defaultdict

import numpy as np
from jaxtyping import Int64


def take(
    rows: Int64[np.ndarray, " rows"],
    count: int,
    strata: Int64[np.ndarray, " all"],
    units: Int64[np.ndarray, " all"],
) -> tuple[Int64[np.ndarray, " taken"], Int64[np.ndarray, " rest"]]:
    """Take about `count` of the rows, in their order; return them and the rest.

    Each stratum gives its share, and if it has two units at least one of each side. The images of
    a unit, which belongs to the stratum of its first image, are never separated: with units of
    one image the count is exact. With one stratum and units of one image these are the first rows.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, unit in zip(rows.tolist(), units[rows].tolist(), strict=True):
        members[unit].append(row)
    by_stratum: dict[int, list[list[int]]] = defaultdict(list)
    for unit in members.values():
        by_stratum[int(strata[unit[0]])].append(unit)
    groups = list(by_stratum.values())
    shares = _shares([sum(map(len, g)) for g in groups], [len(g) for g in groups], count)
    taken = [row for g, share in zip(groups, shares, strict=True) for row in _fill(g, share)]
    if not taken and count and len(members) > 1:
        taken = min(members.values(), key=lambda unit: len(unit))
    is_taken = np.isin(rows, np.array(taken, np.int64))
    return rows[is_taken], rows[~is_taken]


def _shares(sizes: list[int], units: list[int], count: int) -> list[int]:
    """Divide a count among strata by size; those of several units get 1 at least."""
    total = sum(sizes)
    quotas = [count * size / total for size in sizes]
    most = [size - 1 if unit > 1 else 0 for size, unit in zip(sizes, units, strict=True)]
    shares = [min(max(int(q), 1), limit) for q, limit in zip(quotas, most, strict=True)]
    if sum(most) < count:
        most = sizes
    while sum(shares) > count:
        larger = [i for i, share in enumerate(shares) if share > 1]
        if larger:
            shares[max(larger, key=lambda i: shares[i] - quotas[i])] -= 1
        else:  # more classes than images to take: those of the smallest quotas have none
            shares[min((i for i, s in enumerate(shares) if s), key=lambda i: quotas[i])] = 0
    while sum(shares) < count:
        open_ = [i for i, share in enumerate(shares) if share < most[i]]
        shares[max(open_, key=lambda i: quotas[i] - shares[i])] += 1
    return shares


def _fill(units: list[list[int]], count: int) -> list[int]:
    """Take units up to a count of images: those that fit, then one more if that is nearer."""
    taken: list[int] = []
    left: list[list[int]] = []
    for unit in units:
        if len(taken) + len(unit) <= count:
            taken += unit
        else:
            left.append(unit)
    nearest = min(left, key=len, default=[])
    if len(left) > 1 and len(nearest) < 2 * (count - len(taken)):
        taken = taken + nearest
    return taken
