"""Mutual information by bins, and its gap: closed forms, a loop, another library's counts."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from tests.estimators.representations import (
    duplicated,
    grid,
    noise,
    perfect,
    random_factors,
    rotated,
)
from tests.oracles import assert_mean
from vaelab.estimators.disentanglement.mig import factor_information, mutual_information_gap

SIZES = (2, 4, 5)
FACTORS = grid(*SIZES, repeats=3)


def gap(latents: np.ndarray, factors: np.ndarray) -> float:
    return mutual_information_gap(factor_information(latents, factors), factors)


def bins_by_loops(code: np.ndarray) -> list[int]:
    edges = np.linspace(code.min(), code.max(), 21)
    return [sum(bool(value >= edge) for edge in edges[1:-1]) for value in code]


def information_by_loops(code: np.ndarray, factor: np.ndarray) -> float:
    bins, total = np.array(bins_by_loops(code)), 0.0
    for b in range(20):
        for value in set(factor.tolist()):
            joint = np.mean((bins == b) & (factor == value))
            if joint > 0:
                apart = np.mean(bins == b) * np.mean(factor == value)
                total += joint * math.log(joint / apart)
    return total


def test_information_of_perfect_latents_is_the_entropy_of_the_factor():
    information = factor_information(perfect(FACTORS)[:, [2, 0, 1]], FACTORS)
    # Factor k is in dimension (k + 1) % 3; on a whole grid the others know nothing of it.
    expected = [[0, math.log(2), 0], [0, 0, math.log(4)], [math.log(5), 0, 0]]
    assert information == pytest.approx(np.array(expected), abs=1e-12)


def test_gap_of_perfect_latents_is_1():
    latents = np.concatenate([perfect(FACTORS), np.zeros((len(FACTORS), 2))], 1)
    assert gap(latents, FACTORS) == pytest.approx(1, abs=1e-12)


def test_gap_of_duplicated_latents_is_0():
    assert gap(duplicated(FACTORS), FACTORS) == pytest.approx(0, abs=1e-12)


def test_gap_of_a_rotated_pair():
    factors = grid(2, 2, repeats=5)
    information = factor_information(rotated(perfect(factors)), factors)
    # v1 - v2 and v1 + v2 are 0 half of the time, where they leave v1 open, and else tell it.
    assert information == pytest.approx(0.5 * math.log(2) * np.ones((2, 2)))
    assert gap(rotated(perfect(factors)), factors) == pytest.approx(0, abs=1e-12)


def test_gap_of_one_dimension_for_two_factors():
    factors = grid(2, 4, repeats=5)
    latents = np.stack([4.0 * factors[:, 0] + factors[:, 1], np.zeros(len(factors))], 1)
    assert gap(latents, factors) == pytest.approx(1)


def test_gap_to_a_noisy_second_dimension():
    # Of 10 images of each value the second code has 3 of the other value.
    factor = np.repeat([0, 1], 10)
    flipped = np.where(np.arange(20) % 10 < 3, 1 - factor, factor)
    latents = np.stack([flipped, factor, 0 * factor], 1).astype(np.float64)
    # I = ln 2 - H(0.3), so the gap is H(0.3) / ln 2
    assert gap(latents, factor[:, None]) == pytest.approx(entropy([0.3, 0.7], base=2))


def test_gap_is_relative_to_the_entropy_of_each_factor():
    common = np.arange(100) < 90
    factors = np.stack([common, np.arange(100) % 2], 1).astype(np.int64)
    latents = np.stack([common, np.zeros(100)], 1)
    # Both factors are even: of 90 and of 10 images half are odd.
    assert gap(latents, factors) == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize(("values", "share"), [(20, 1.0), (32, 0.85), (40, 0.8120982)])
def test_twenty_bins_hold_no_more_than_ln_20(values, share):
    factors = grid(values, repeats=2)
    latents = np.stack([factors[:, 0], np.zeros(len(factors))], 1)
    # 32 even steps: 12 bins of 2 values and 8 of one, so ln 32 - (24 / 32) ln 2
    assert gap(latents, factors) == pytest.approx(share)
    assert math.log(20) / math.log(40) == pytest.approx(0.8120982)
    assert 1 - 0.75 * math.log(2) / math.log(32) == pytest.approx(0.85)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_information_matches_a_loop_and_scikit_learn(dtype):
    rng = np.random.default_rng(0)
    factors = np.stack([rng.choice([-3, 7, 50], 200, p=[0.7, 0.2, 0.1]), rng.integers(0, 9, 200)])
    latents = (rng.normal(size=(200, 4)) + factors[[0, 1, 1, 0]].T * [0.1, 0.3, 1, 0]).astype(dtype)
    found = factor_information(latents, factors.T)
    for k, factor in enumerate(factors):
        for j, code in enumerate(latents.astype(np.float64).T):
            assert found[k, j] == pytest.approx(information_by_loops(code, factor), abs=1e-12)
            expected = mutual_info_score(bins_by_loops(code), factor)
            assert found[k, j] == pytest.approx(expected, abs=1e-12)


def test_information_is_invariant_to_sign_scale_and_shift():
    latents, factors = noise(500, 3), random_factors(500, 3, 7)
    latents[:, 1] += factors[:, 1]
    expected = factor_information(latents, factors)
    assert expected[1, 1] > 5 * expected[1, 0]
    found = factor_information(latents * [-3, 1e-12, 1e9] + [5, 0, -1e9], factors)
    assert found == pytest.approx(expected, abs=1e-12)


def test_information_is_invariant_to_relabeling_of_values():
    latents, factors = noise(500, 3), random_factors(500, 4)
    names = np.array([10**12, -5, 0, 3])
    expected = pytest.approx(factor_information(latents, factors), abs=1e-12)
    assert factor_information(latents, names[factors]) == expected


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_information_of_a_constant_dimension_is_0(value):
    latents = np.full((300, 2), value, np.float32)
    assert (factor_information(latents, random_factors(300, 2, 40)) == 0).all()


def test_bias_of_the_information_of_noise():
    count, values = 5_000, 5
    latents = np.random.default_rng(0).uniform(size=(count, 200))
    found = factor_information(latents, random_factors(count, values, seed=1))[0]
    # 2 n I is about chi-squared with (B - 1) (V - 1) degrees of freedom; the next term of its mean
    # / (2 n) is (sum 1 / p(z, v) - sum 1 / p(z) - sum 1 / p(v) + 1) / (12 n^2).
    next_term = ((20 * values) ** 2 - 20**2 - values**2 + 1) / (12 * count**2)
    assert_mean(torch.from_numpy(found), 19 * (values - 1) / (2 * count), rounding=2 * next_term)
    assert next_term < 0.01 * 19 * (values - 1) / (2 * count)


def test_gap_of_noise_is_about_0():
    factors = random_factors(5_000, *SIZES)
    # Less than the information itself, of which the bias is (B - 1) (V - 1) / (2 n).
    largest = np.mean([19 * (v - 1) / 10_000 / math.log(v) for v in SIZES])
    assert 0 < gap(noise(5_000, 6), factors) < largest / 2


def test_an_outlier_lowers_the_gap():
    factors = grid(10, repeats=20)
    latents = np.stack([factors[:, 0], np.zeros(len(factors))], 1).astype(np.float64)
    assert gap(latents, factors) == pytest.approx(1)
    latents[0, 0] = 1_000
    assert gap(latents, factors) < 0.1


def test_undefined_gaps_are_refused():
    with pytest.raises(ValueError, match="at least two latent dimensions"):
        gap(noise(10, 1), random_factors(10, 3))
    with pytest.raises(ValueError, match="a factor of one value has no entropy"):
        gap(noise(10, 2), np.zeros((10, 1), np.int64))
