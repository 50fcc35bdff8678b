"""Clusters: separate, shuffled, merged and collapsed codes; pairs counted one by one."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from tests.estimators.test_probes import labelled
from tests.oracles import STANDARD_ERRORS
from vaelab.estimators.clusters import ClusterAgreement, kmeans_agreement


def agreement(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, clusters: int = 4
) -> ClusterAgreement:
    return kmeans_agreement(train, test, labels, clusters, seed=0)


def assert_both(found: ClusterAgreement, expected: float) -> None:
    assert found.normalized_mutual_information == pytest.approx(expected, abs=1e-9)
    assert found.adjusted_rand_index == pytest.approx(expected, abs=1e-9)


def shared_information(first: list[int], second: list[int]) -> float:
    """2 I / (H + H), from the counts of each pair of a class and a cluster."""
    count = len(first)

    def entropy(values: list[object]) -> float:
        return -sum(n / count * math.log(n / count) for n in Counter(values).values())

    one, other, both = (entropy(list(v)) for v in (first, second, zip(first, second, strict=True)))
    return 2 * (one + other - both) / (one + other)


def pair_index(first: list[int], second: list[int]) -> float:
    """Adjusted Rand index, from every pair of points."""
    together = [
        (a == b, c == d) for (a, c), (b, d) in combinations(zip(first, second, strict=True), 2)
    ]
    in_first, in_second = (sum(pair[side] for pair in together) for side in (0, 1))
    in_both, pairs = sum(a and b for a, b in together), len(together)
    expected = in_first * in_second / pairs
    return (in_both - expected) / ((in_first + in_second) / 2 - expected)


def test_separate_classes_agree_under_any_relabeling():
    (train, _), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    assert_both(agreement(train, test, truth), 1)
    assert_both(agreement(train, test, 7 - truth), 1)


def test_agreement_matches_counts_and_pairs():
    rng = np.random.default_rng(0)
    (train, _), (test, truth) = labelled(300, 4, 0), labelled(60, 4, 1)
    # A third of the labels drawn anew, of a fifth class too: k-means still finds the truth.
    labels = np.where(rng.random(60) < 1 / 3, rng.integers(0, 5, 60), truth)
    found = agreement(train, test, labels)
    expected = shared_information(labels.tolist(), truth.tolist())
    assert found.normalized_mutual_information == pytest.approx(expected, abs=1e-9)
    assert 0.2 < expected < 0.9
    pairs = pair_index(labels.tolist(), truth.tolist())
    assert found.adjusted_rand_index == pytest.approx(pairs, abs=1e-9)
    assert 0.2 < pairs < 0.9


def test_independent_labels_agree_at_chance():
    (train, _), (test, _) = labelled(300, 4, 0), labelled(100, 4, 1)
    rng = np.random.default_rng(2)
    found = [agreement(train, test, rng.integers(0, 4, 100)) for _ in range(60)]
    rand = np.array([each.adjusted_rand_index for each in found])
    assert abs(rand.mean()) < STANDARD_ERRORS * rand.std() / math.sqrt(60)
    assert np.abs(rand).max() < 0.2
    # Chance alone shares information: about (k - 1)^2 / 2n of ln k nats.
    information = np.array([each.normalized_mutual_information for each in found])
    expected = 9 / 200 / math.log(4)
    error = information.std() / math.sqrt(60)
    assert abs(information.mean() - expected) < STANDARD_ERRORS * error + 0.1 * expected


def test_classes_merged_in_one_cluster_agree_in_part():
    (train, _), (test, truth) = labelled(300, 2, 0), labelled(200, 2, 1)
    halves = 2 * truth + np.arange(200) % 2
    found = agreement(train, test, halves, clusters=2)
    # Two clusters of two equal classes each: I = ln 2, H = ln 2 and 2 ln 2, nearly.
    assert found.normalized_mutual_information == pytest.approx(2 / 3, abs=0.02)
    expected = pair_index(halves.tolist(), truth.tolist())
    assert found.adjusted_rand_index == pytest.approx(expected, abs=1e-9)


def test_clusters_are_fitted_on_train_only():
    (train, labels), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    only_two = train[labels < 2]
    found = agreement(only_two, test, truth, clusters=2)
    assert found.normalized_mutual_information < 0.7
    # Of two points of train, each test point goes to the nearer one.
    far = np.array([[0.0, 0], [10, 0]], np.float32)
    near = np.array([[1.0, 5], [2, -5], [8, 5], [9, -5]], np.float32)
    assert_both(agreement(far, near, np.array([0, 0, 1, 1]), clusters=2), 1)
    assert agreement(far, near, np.array([0, 1, 0, 1]), clusters=2).adjusted_rand_index < 0


def test_a_dimension_counts_by_its_variance():
    (train, _), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    rng = np.random.default_rng(3)

    def beside(code: np.ndarray, scale: float) -> np.ndarray:
        noise = scale * rng.normal(size=(len(code), 8))
        return np.concatenate([code, noise], 1).astype(np.float32)

    quiet = agreement(beside(train, 0.01), beside(test, 0.01), truth)
    assert quiet.adjusted_rand_index == pytest.approx(1)
    assert agreement(beside(train, 50), beside(test, 50), truth).adjusted_rand_index < 0.5


def test_collapsed_latents_have_no_agreement_and_no_warning():
    _, truth = labelled(200, 4, 1)
    nothing = np.zeros((300, 2), np.float32), np.zeros((200, 2), np.float32)
    assert_both(agreement(*nothing, truth), 0)


def test_there_are_no_more_clusters_than_points():
    points = np.array([[0.0], [1.0], [9.0]], np.float32)
    assert_both(agreement(points, points, np.array([0, 1, 2]), clusters=10), 1)


def test_the_seed_determines_the_result():
    rng = np.random.default_rng(4)
    cloud, labels = rng.normal(size=(200, 3)).astype(np.float32), rng.integers(0, 2, 200)
    found = [kmeans_agreement(cloud, cloud, labels, 12, seed) for seed in (5, 5, 2**40, 2**40 + 5)]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_labels_of_one_class_are_refused():
    points = np.zeros((3, 1), np.float32)
    with pytest.raises(ValueError, match="needs test labels of at least two classes"):
        agreement(points, points, np.zeros(3, np.int64))
