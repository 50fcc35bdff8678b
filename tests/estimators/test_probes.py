"""Probes on separable, shuffled, collapsed and duplicated codes."""

import math

import numpy as np
import pytest

from tests.oracles import STANDARD_ERRORS
from vaelab.estimators.probes import knn_accuracy, linear_probe_accuracy


def labelled(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = 10 * np.eye(classes)
    return (centres[labels] + rng.normal(size=(count, classes))).astype(np.float32), labels


def accuracies(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray):
    return (
        linear_probe_accuracy(train, labels, test, truth),
        knn_accuracy(train, labels, test, truth, neighbors=10),
    )


def test_probes_classify_separable_classes():
    assert accuracies(*labelled(300, 4, 0), *labelled(200, 4, 1)) == (1.0, 1.0)


def test_probes_are_equally_accurate_on_duplicated_dimensions():
    (train, labels), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    doubled = np.concatenate([train, train], 1), labels, np.concatenate([test, test], 1), truth
    assert accuracies(*doubled) == (1.0, 1.0)


def test_probes_of_shuffled_labels_are_at_chance():
    (train, _), (test, _) = labelled(300, 4, 0), labelled(1000, 4, 1)
    rng = np.random.default_rng(2)
    # Shuffled labels are independent of the latents: a prediction is right with probability 1/4.
    error = math.sqrt(0.25 * 0.75 / 1000)
    guesses = accuracies(train, rng.integers(0, 4, 300), test, rng.integers(0, 4, 1000))
    assert all(abs(accuracy - 0.25) < STANDARD_ERRORS * error for accuracy in guesses)


def test_probes_of_collapsed_latents_predict_one_class():
    _, labels = labelled(300, 4, 0)
    _, truth = labelled(200, 4, 1)
    nothing = np.zeros((300, 2), np.float32), labels, np.zeros((200, 2), np.float32), truth
    shares = np.bincount(truth) / 200
    linear, nearest = accuracies(*nothing)
    assert linear == shares[np.bincount(labels).argmax()]
    assert nearest in shares


def test_probes_are_fitted_on_train_only():
    (train, labels), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    # A probe that had seen the test labels would follow them; this one follows train's.
    assert accuracies(train, (labels + 1) % 4, test, truth) == (0.0, 0.0)


def test_more_neighbors_than_points_use_all_points():
    train, labels = np.array([[0.0], [0.1], [5.0]], np.float32), np.array([1, 1, 2])
    assert knn_accuracy(train, labels, train, np.array([1, 1, 1]), neighbors=10) == 1.0
    assert knn_accuracy(train, labels, train, labels, neighbors=1) == 1.0


def test_labels_of_one_class_are_refused():
    train, labels = np.zeros((3, 1), np.float32), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="at least 2 classes"):
        linear_probe_accuracy(train, labels, train, labels)
