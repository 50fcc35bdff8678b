"""One-class MNIST: outliers made of normal images, and the score that they choose."""

from typing import Any

import numpy as np
import pytest

from benchmarks.one_class import (
    ONE_CLASS_DEEP_SVDD,
    auroc,
    chosen_score,
    synthetic_outliers,
    table,
)
from vaelab.inference.detection import SCORES

IMAGES = np.random.default_rng(0).integers(1, 256, (12, 1, 28, 28), dtype=np.uint8)


def test_synthetic_outliers_differ_from_the_images_and_are_made_of_them() -> None:
    kept = IMAGES.copy()
    found = synthetic_outliers(IMAGES, np.random.default_rng(1))
    np.testing.assert_array_equal(IMAGES, kept)
    for kind, pixels in found.items():
        assert pixels.shape == IMAGES.shape, kind
        assert pixels.dtype == np.uint8
        assert (pixels != IMAGES).any((1, 2, 3)).mean() > 0.8, kind
    assert ((found["half erased"] == 0).mean((1, 2, 3)) == 0.5).all()
    assert ((found["patch erased"] == 0).sum((1, 2, 3)) == 81).all()


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order() -> None:
    normal, odd = np.array([1.0, 2.0, 3.0]), np.array([2.5, 4.0])
    assert auroc(normal, odd) == pytest.approx(100 * 5 / 6)


def measured(best: str) -> dict[str, Any]:
    """Made-up results in which one score is the best on synthetic outliers."""
    return {
        "train_seconds": 60.0,
        "score_seconds": 6.0,
        "validation": {name: {"a": 80.0, "b": 90.0 + (name == best)} for name in SCORES},
        "test": dict.fromkeys(SCORES, 97.0) | {"nll": 99.0},
        "false_alarms": {name: [0.01, 0.05, 0.1] for name in SCORES},
    }


def test_the_score_is_chosen_without_the_test_images() -> None:
    found = {3: measured("surprise"), 8: measured("surprise")}
    chosen, means = chosen_score(found)
    assert (chosen, means["surprise"], means["nll"]) == ("surprise", 85.5, 85.0)
    lines = table(found).splitlines()
    assert "| **surprise** (chosen) | 85.5 | 97.0 | 97.0 | 97.0 |" in lines
    assert "| One-Class Deep SVDD (Ruff et al. 2018) |  | 91.9 | 93.9 | 92.9 |" in lines
    assert lines[-1] == "Wall time, minutes: 2.0 training, 0.2 scoring."
    assert "1.00 % for 1 %, 5.00 % for 5 %, 10.00 % for 10 %." in lines[-2]


def test_the_published_mean() -> None:
    assert round(float(np.mean(ONE_CLASS_DEEP_SVDD)), 1) == 94.8
