"""DCI: its entropies by loops, its importances against scikit-learn's, known latents."""

import math

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from tests.estimators.representations import duplicated, noise, perfect, random_factors, rotated
from tests.oracles import STANDARD_ERRORS
from vaelab.estimators.disentanglement.dci import completeness, dci_importance, disentanglement

SIZES = (2, 3, 4)
TRAIN, TEST = random_factors(1_000, *SIZES, seed=1), random_factors(1_000, *SIZES, seed=2)


def importance_of(train: np.ndarray, test: np.ndarray, seed: int = 0) -> tuple[np.ndarray, float]:
    return dci_importance(train, TRAIN, test, TEST, np.random.default_rng(seed))


def with_noise(factors: np.ndarray, scale: float, more: int, seed: int) -> np.ndarray:
    latents = perfect(factors) + scale * noise(len(factors), factors.shape[1], seed)
    return np.concatenate([latents, noise(len(factors), more, seed + 10)], 1)


def disentanglement_by_loops(importance: np.ndarray) -> float:
    total = 0.0
    for row in importance:
        if row.sum() > 0:
            shares = row / row.sum()
            in_base = -sum(p * math.log(p, len(row)) for p in shares if p > 0)
            total += row.sum() / importance.sum() * (1 - in_base)
    return total


@pytest.mark.parametrize("shape", [(2, 2), (7, 3), (3, 9)])
def test_scores_match_the_loops(shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        importance = rng.exponential(size=shape) * (rng.uniform(size=shape) < 0.6)
        found = disentanglement(importance), completeness(importance)
        expected = disentanglement_by_loops(importance), disentanglement_by_loops(importance.T)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("importance", "expected"),
    [
        (np.eye(3), (1, 1)),
        (np.eye(3)[:, [2, 0, 1]], (1, 1)),
        (np.ones((4, 3)), (0, 0)),
        (np.zeros((4, 3)), (0, 0)),
        # Two dimensions a factor: each is of one factor; ln 2 of ln 6 is lost for a factor.
        (np.concatenate([np.eye(3), np.eye(3)]), (1, 1 - math.log(2, 6))),
        # One dimension for all three factors, beside two dead ones.
        (np.array([[1.0, 1, 1], [0, 0, 0], [0, 0, 0]]), (0, 1)),
        # A dimension for two factors weighs 2/3.
        (np.array([[1.0, 1, 0], [0, 0, 1]]), (1 - 2 / 3 * math.log(2, 3), 1)),
    ],
)
def test_scores_of_known_importances(importance, expected):
    found = disentanglement(importance), completeness(importance)
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(0 <= score <= 1 for score in found)


def test_scores_need_two_factors_and_two_dimensions():
    with pytest.raises(ValueError, match="at least two factors and two latent dimensions"):
        disentanglement(np.ones((3, 1)))
    with pytest.raises(ValueError, match="at least two factors and two latent dimensions"):
        completeness(np.ones((1, 3)))


def test_importance_on_the_training_images_is_the_decrease_of_gini_impurity():
    """scikit-learn's own, whose splits all count: those of every dimension are informative."""
    latents = rotated(perfect(TRAIN), 1, 2) + 0.3 * noise(len(TRAIN), 3)
    latents[:, 0] += latents[:, 2]
    found, accuracy = dci_importance(latents, TRAIN, latents, TRAIN, np.random.default_rng(0))
    rng, accuracies = np.random.default_rng(0), []
    for k, factor in enumerate(TRAIN.T):
        seed = int(rng.integers(2**32))
        settings = {"max_features": None, "min_samples_leaf": 5, "random_state": seed}
        forest = ExtraTreesClassifier(20, **settings).fit(latents, factor)
        trees = [tree.tree_ for tree in forest.estimators_]
        gini = sum(tree.compute_feature_importances(normalize=False) for tree in trees)
        assert (found[:, k] > 0).all()
        assert found[:, k] == pytest.approx(gini / gini.sum(), abs=1e-9)
        accuracies.append(forest.score(latents, factor))
    assert accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.5])
def test_noise_has_no_importance_however_hard_a_factor_is_to_predict(scale):
    train, test = with_noise(TRAIN, scale, 4, seed=1), with_noise(TEST, scale, 4, seed=2)
    found, accuracy = importance_of(train, test)
    assert (found == np.eye(7)[:, :3]).all()
    assert (accuracy == 1) == (scale < 0.5)


def test_importance_of_duplicated_dimensions_is_shared():
    found, accuracy = importance_of(duplicated(TRAIN), duplicated(TEST))
    # Of two equal dimensions chance chooses one at each of about 20 (V - 1) splits.
    assert found == pytest.approx(np.concatenate([np.eye(3), np.eye(3)]) / 2, abs=0.3)
    assert found.sum(0) == pytest.approx([1, 1, 1])
    assert ((found > 0).sum(1) == 1).all()
    assert disentanglement(found) == 1
    assert completeness(found) == pytest.approx(1 - math.log(2, 6), abs=0.05)
    assert accuracy == 1


def test_importance_of_a_rotated_pair_is_shared():
    found, _ = importance_of(rotated(perfect(TRAIN), 1, 2), rotated(perfect(TEST), 1, 2))
    assert found[:, 0].tolist() == [1, 0, 0]
    assert found[1:, 1:] == pytest.approx(np.full((2, 2), 0.5), abs=0.2)
    # Dimension 0 is of one factor, the others are of two of three.
    expected = (1 + 2 * (1 - math.log(2, 3))) / 3
    assert disentanglement(found) == pytest.approx(expected, abs=0.05)
    assert completeness(found) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_useless_latents_have_no_importance(seed):
    train, test = noise(len(TRAIN), 5, seed), noise(len(TEST), 5, seed + 10)
    found, accuracy = importance_of(train, test, seed)
    assert not found.any()
    # Each guess is right once in V; the three are of the same images.
    error = sum(math.sqrt(1 / v * (1 - 1 / v) / len(TEST)) for v in SIZES) / 3
    assert abs(accuracy - sum(1 / v for v in SIZES) / 3) < STANDARD_ERRORS * error


def test_an_unpredictable_factor_has_no_importance():
    train, test = perfect(TRAIN), perfect(TEST)
    train[:, 1], test[:, 1] = noise(len(TRAIN), 1, 1)[:, 0], noise(len(TEST), 1, 2)[:, 0]
    found, _ = importance_of(train, test)
    assert (found == np.diag([1, 0, 1])).all()
    assert (disentanglement(found), completeness(found)) == (1, 1)


def test_a_constant_dimension_has_no_importance():
    train, test = perfect(TRAIN), perfect(TEST)
    train[:, 2], test[:, 2] = 0.1, 0.1
    found, accuracy = importance_of(train, test)
    assert not found[2].any()
    assert accuracy < 1


def test_importance_and_accuracy_are_measured_on_test():
    # Those who had seen test's values would follow them; these follow train's.
    wrong = (TEST + 1) % SIZES
    found, accuracy = dci_importance(
        perfect(TRAIN), TRAIN, perfect(TEST), wrong, np.random.default_rng(0)
    )
    assert accuracy == 0
    assert not found.any()


@pytest.mark.parametrize(("train_lacks", "test_lacks"), [(1, 0), (3, 2), (2, 3)])
def test_values_missing_in_one_split_are_handled(train_lacks, test_lacks):
    train, test = TRAIN.copy(), TEST.copy()
    train[TRAIN[:, 2] == train_lacks, 2] = test_lacks
    test[TEST[:, 2] == test_lacks, 2] = train_lacks
    found, accuracy = dci_importance(
        perfect(TRAIN), train, perfect(TEST), test, np.random.default_rng(0)
    )
    assert found == pytest.approx(np.eye(3), abs=1e-12)
    # Of the last factor only the two other values are predicted.
    correct = np.mean((TEST[:, 2] != train_lacks) & (TEST[:, 2] != test_lacks))
    assert accuracy == pytest.approx((2 + correct) / 3)


def test_the_seed_determines_the_importance():
    train, test = with_noise(TRAIN, 0.5, 2, seed=1), with_noise(TEST, 0.5, 2, seed=2)
    train, test = rotated(train), rotated(test)
    (first, _), (again, _), (other, _) = (importance_of(train, test, s) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert first == pytest.approx(other, abs=0.1)
