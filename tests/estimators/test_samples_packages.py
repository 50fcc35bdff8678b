"""Sample metrics against the packages that papers report them with: prdc and torch-fidelity."""

from typing import cast

import numpy as np
import pytest
from prdc import compute_prdc
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd

from tests.oracles import randn
from vaelab.estimators.samples import PointSet, SetComparison, compare_sets

# Real and generated features: near, narrower, far, fewer dimensions than points and more
SETS = {
    "near": (randn(300, 8), 0.3 + randn(300, 8, seed=1)),
    "narrow": (randn(200, 8), 0.5 * randn(200, 8, seed=1)),
    "far": (randn(200, 4), 4 + randn(200, 4, seed=1)),
    "wide": (randn(60, 128) @ randn(128, 128, seed=2), 5 * randn(60, 128, seed=1)),
}


def compared(real: Tensor, generated: Tensor, neighbors: int) -> SetComparison:
    first, second = (PointSet.from_features(s, neighbors) for s in (generated, real))
    return compare_sets(first, second)


@pytest.mark.parametrize("neighbors", [1, 5])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_precision_recall_density_and_coverage_are_those_of_prdc(sets, neighbors):
    real, generated = (features.double() for features in sets)
    expected = compute_prdc(real.numpy(), generated.numpy(), neighbors)
    found = vars(compared(real, generated, neighbors))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_the_sets_for_prdc_are_neither_perfect_nor_useless():
    found = compared(*SETS["near"], 5)
    assert all(0.05 < value < 1 for value in (found.precision, found.recall, found.coverage))


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_the_frechet_distance_is_that_of_torch_fidelity(sets):
    statistics = [fid_features_to_statistics(features.double()) for features in sets]
    (expected,) = fid_statistics_to_metric(*statistics, verbose=False).values()
    real, generated = sets
    found = compared(real, generated, 1).frechet_distance
    # Roots of eigenvalues that are 0 but for rounding, about 1e-15, are off by about 3e-8.
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_the_kernel_distance_is_that_of_torch_fidelity(sets):
    real, generated = (cast(np.ndarray, features.double().numpy()) for features in sets)
    cubic = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_coef0": 1.0}
    expected = kernel_mmd(generated, real, kid_kernel_poly_gamma=None, **cubic)
    found = compared(sets[0], sets[1], 1).kernel_distance
    assert found == pytest.approx(expected, rel=1e-9)
