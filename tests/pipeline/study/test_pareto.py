"""Pareto front and hypervolume against the definitions, slowly."""

import numpy as np
import pytest

from pipeline.study.pareto import hypervolume, on_front


def drawn(seed: int, count: int = 60) -> np.ndarray:
    """Points of which several are equal in one or both quantities."""
    return np.random.default_rng(seed).integers(0, 12, (count, 2)).astype(np.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_point_is_on_the_front_if_nothing_beats_it(seed: int) -> None:
    points = drawn(seed)
    expected = [
        not any(q[0] <= p[0] and q[1] <= p[1] and (q[0] < p[0] or q[1] < p[1]) for q in points)
        for p in points
    ]
    assert on_front(points).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_counts_the_unit_squares_behind_the_points(seed: int) -> None:
    points = drawn(seed, 8) + 3
    squares = sum(
        any(p[0] <= x and p[1] <= y for p in points) for x in range(13) for y in range(13)
    )
    assert hypervolume(points, np.array([13.0, 13.0])) == squares


def test_points_beyond_the_reference_add_nothing() -> None:
    reference = np.array([2.0, 2.0])
    assert hypervolume(np.array([[1.0, 0.5]]), reference) == 1.5
    assert hypervolume(np.array([[1.0, 0.5], [0.0, 2.0], [3.0, -9.0]]), reference) == 1.5
    assert hypervolume(np.array([[2.0, 2.0]]), reference) == 0.0
