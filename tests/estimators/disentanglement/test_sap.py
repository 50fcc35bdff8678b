"""SAP: exact accuracies on whole grids, thresholds by trying them all."""

from itertools import pairwise

import numpy as np
import pytest

from tests.estimators.representations import (
    duplicated,
    grid,
    noise,
    perfect,
    random_factors,
    rotated,
)
from vaelab.estimators.disentanglement.sap import sap_score, single_dimension_accuracies

SIZES = (2, 4, 5)
FACTORS = grid(*SIZES, repeats=3)


def score(latents: np.ndarray) -> float:
    return sap_score(latents, FACTORS, latents, FACTORS)


def test_accuracies_of_perfect_latents():
    latents = perfect(FACTORS)[:, [2, 0, 1]]
    found = single_dimension_accuracies(latents, FACTORS, latents, FACTORS)
    # Factor k is in dimension (k + 1) % 3; by the others, on a whole grid, one value is guessed.
    expected = [[1 / 2, 1, 1 / 2], [1 / 4, 1 / 4, 1], [1, 1 / 5, 1 / 5]]
    assert found == pytest.approx(np.array(expected))


def test_score_of_perfect_latents():
    assert score(perfect(FACTORS)) == pytest.approx(1 - np.mean([1 / v for v in SIZES]))


def test_score_of_duplicated_latents_is_0():
    assert score(duplicated(FACTORS)) == 0


def test_score_falls_as_a_pair_is_rotated():
    # Factor 0 keeps its gap of 1/2, and the others lose most of theirs, of 3/4 and 4/5.
    assert 0.5 / 3 <= score(rotated(perfect(FACTORS), 1, 2)) < (0.5 + 0.25 + 0.25) / 3
    factors = grid(2, 2, repeats=3)
    latents = rotated(perfect(factors))
    # v1 - v2 and v1 + v2 both tell v1 three times in four.
    found = single_dimension_accuracies(latents, factors, latents, factors)
    assert found == pytest.approx(np.full((2, 2), 0.75))


def test_score_of_one_dimension_for_two_factors():
    latents = perfect(FACTORS)
    latents[:, 0] = FACTORS[:, 0] * 100 + FACTORS[:, 2]
    latents[:, 2] = 0
    found = single_dimension_accuracies(latents, FACTORS, latents, FACTORS)
    assert found[0].tolist() == [1, 0.5, 0.5]
    # 4 thresholds between 10 runs of values: each half of the first has its own.
    assert 1 / 5 < found[2, 0] < 1


@pytest.mark.parametrize("values", [3, 32, 40])
def test_middle_values_are_predicted(values):
    factors = grid(values, repeats=6)
    latents = np.concatenate([perfect(factors), 0 * perfect(factors)], 1)
    found = single_dimension_accuracies(latents, factors, latents, factors)
    assert found == pytest.approx(np.array([[1, 1 / values]]))


def guesses_by_trying(code: np.ndarray, factor: np.ndarray, test: np.ndarray) -> list[int]:
    """Guess two values by the threshold of the least Gini impurity, values weighing the same."""
    sizes = [np.sum(factor == value) for value in (0, 1)]

    def weights(side: np.ndarray) -> list[float]:
        return [np.sum(side & (factor == value)) / sizes[value] for value in (0, 1)]

    def impurity(threshold: float) -> float:
        sides = weights(code <= threshold), weights(code > threshold)
        return float(sum(2 * zeros * ones / (zeros + ones) for zeros, ones in sides))

    middles = [(low + high) / 2 for low, high in pairwise(np.sort(code))]
    best = min(middles, key=impurity)
    below, above = (int(np.argmax(weights(side))) for side in (code <= best, code > best))
    return [above if value > best else below for value in test]


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_binary_attribute_is_predicted_by_one_threshold(share):
    rng = np.random.default_rng(0)
    train, test = (rng.uniform(size=(300, 1)) < share).astype(np.int64), np.arange(200)[:, None] % 2
    latents = train * [1, -2, 0] + rng.normal(size=(300, 3))
    others = test * [1, -2, 0] + rng.normal(size=(200, 3))
    found = single_dimension_accuracies(latents, train, others, test)[0]
    for j in range(3):
        guess = guesses_by_trying(latents[:, j], train[:, 0], others[:, j])
        # As many of each value in test: the balanced accuracy is the share of right guesses.
        assert found[j] == pytest.approx(np.mean(guess == test[:, 0]))
    assert found[1] > found[0] > found[2]


def test_accuracy_weights_values_equally():
    train = np.repeat([0, 1], [50, 50])[:, None]
    test = np.repeat([0, 1], [90, 10])[:, None]
    # In test 1 of 10 images of value 1 is predicted, and all of value 0 are.
    latents = np.where(np.arange(100) == 99, 1.0, 0.0)[:, None]
    found = single_dimension_accuracies(train.astype(np.float64), train, latents, test)
    assert found == pytest.approx(np.array([[(1 + 0.1) / 2]]))


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_dimension_is_at_chance(value):
    latents = np.full((len(FACTORS), 2), value)
    found = single_dimension_accuracies(latents, FACTORS, latents, FACTORS)
    assert found == pytest.approx(np.array([[1 / v] * 2 for v in SIZES]))
    assert score(latents) == 0


def test_score_of_noise_is_about_0():
    train, test = random_factors(2_000, *SIZES, seed=1), random_factors(2_000, *SIZES, seed=2)
    latents = noise(2_000, 6, seed=1), noise(2_000, 6, seed=2)
    accuracies = single_dimension_accuracies(latents[0], train, latents[1], test)
    for v, found in zip(SIZES, accuracies, strict=True):
        error = np.sqrt(1 / v * (1 - 1 / v) / 2_000)
        assert abs(found - 1 / v).max() < 6 * error
    assert 0 <= sap_score(latents[0], train, latents[1], test) < 0.02


def test_thresholds_are_fitted_on_train():
    wrong = (FACTORS + 1) % SIZES
    latents = perfect(FACTORS)
    found = single_dimension_accuracies(latents, FACTORS, latents, wrong)
    assert np.diag(found).tolist() == [0, 0, 0]


def test_a_value_missing_in_train_is_never_predicted():
    train, test = grid(3, repeats=4), grid(4, repeats=4)
    found = single_dimension_accuracies(1.0 * train, train, 1.0 * test, test)
    assert found == pytest.approx(np.array([[3 / 4]]))


def test_score_needs_two_dimensions():
    with pytest.raises(ValueError, match="at least two latent dimensions"):
        score(perfect(FACTORS)[:, :1])
