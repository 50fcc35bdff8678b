"""Samples of given labels: of a perfect generator, a collapsed one, and one that mixes labels."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.factories import CPU, LABELS, PIXELS
from vaelab.config import EvaluateSettings, Section
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import Classifier, features_and_classes, train_classifier
from vaelab.evaluation.label_samples import label_sample_metrics
from vaelab.evaluation.types import EvaluationData
from vaelab.models.distributions import Gaussian
from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.models.model import Model
from vaelab.samplers import Labels, Sampler

ORDER = np.random.default_rng(0).permutation(len(PIXELS))
TRAIN, TEST, UNSEEN = ORDER[:900], ORDER[900:1_350], ORDER[1_350:]


class Images(Model):
    """Decodes the number of an image to the image."""

    def __init__(self) -> None:
        super().__init__({}, GaussianLikelihood(1.0), 1, (1, 8, 8))
        self.images = torch.from_numpy(PIXELS).float() / 255

    def decode(self, latents: Tensor) -> Gaussian:
        return Gaussian(self.images[latents[:, 0].long()], torch.tensor(1.0))


class Chosen(Sampler):
    """Samples the number of one of the images of a label, of some labels those of another."""

    conditional = True

    def __init__(
        self, images: np.ndarray, others: Mapping[int, int] | None = None, classes: int = 10
    ) -> None:
        super().__init__(Section(), 1, classes)
        if self.classes:
            self.label_log_frequencies.copy_(torch.full((classes,), 1 / classes).log())
        self.images, self.others = images, others or {}

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        labels: Labels | None = None,
        *,
        guided: bool = True,
    ) -> Tensor:
        assert labels is not None
        assert guided
        rng = np.random.default_rng(0)
        wanted = [self.others.get(label, label) for label in labels.tolist()]
        numbers = [rng.choice(self.images[LABELS[self.images] == label]) for label in wanted]
        return torch.tensor(numbers).float()[:, None]


DATA = EvaluationData(
    "digits",
    17,
    ImageLoader(PIXELS[TRAIN], CPU),
    ImageLoader(PIXELS[TEST], CPU),
    train_labels=LABELS[TRAIN],
    test_labels=LABELS[TEST],
)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    images = ImageLoader(PIXELS[TRAIN], CPU)
    return train_classifier(images, LABELS[TRAIN], 10, epochs=30, seed=0, device=CPU)


def measure(
    sampler: Sampler | None, classifier: Classifier | None, data: EvaluationData = DATA
) -> dict[str, float]:
    found = label_sample_metrics(
        Images().eval(), sampler, data, classifier, EvaluateSettings(), CPU
    )
    return {name: float(value) for name, value in found.items()}


def test_unseen_images_are_read_as_their_labels_and_as_diverse(classifier: Classifier) -> None:
    found = measure(Chosen(UNSEEN), classifier)
    assert found["label_accuracy"] > 0.93
    assert found["label_diversity"] == pytest.approx(1, abs=0.2)


def test_one_image_a_label_is_read_as_asked_and_not_diverse(classifier: Classifier) -> None:
    images = torch.from_numpy(PIXELS[TRAIN]).float() / 255
    known = LABELS[TRAIN] == features_and_classes(classifier, images)[1].numpy()
    first = np.array([TRAIN[known & (LABELS[TRAIN] == label)][0] for label in range(10)])
    found = measure(Chosen(first), classifier)
    assert found["label_accuracy"] == 1
    assert found["label_diversity"] == pytest.approx(0, abs=1e-9)


def test_images_of_other_labels_are_not_read_as_asked(classifier: Classifier) -> None:
    assert (
        measure(Chosen(UNSEEN, {k: (k + 1) % 10 for k in range(10)}), classifier)["label_accuracy"]
        < 0.05
    )


def test_labels_are_asked_equally_often(classifier: Classifier) -> None:
    # One test image in hundreds is a 3, and one asked label in ten.
    others = np.flatnonzero(LABELS[TEST] != 3)
    rare = TEST[[*others, np.flatnonzero(LABELS[TEST] == 3)[0]]]
    data = replace(DATA, test=ImageLoader(PIXELS[rare], CPU), test_labels=LABELS[rare])
    right, wrong = (measure(Chosen(UNSEEN, of), classifier, data) for of in ({}, {3: 4}))
    assert wrong["label_accuracy"] == pytest.approx(right["label_accuracy"] - 0.1, abs=0.02)


def test_labels_that_no_training_image_has_are_not_asked(classifier: Classifier) -> None:
    sampler = Chosen(UNSEEN[LABELS[UNSEEN] < 5], classes=5)
    assert measure(sampler, classifier)["label_accuracy"] > 0.93


def test_nothing_is_measured_where_labels_cannot_be_asked(classifier: Classifier) -> None:
    assert measure(None, classifier) == {}
    assert measure(Chosen(UNSEEN, classes=0), classifier) == {}
    assert measure(Chosen(UNSEEN), None) == {}
    assert measure(Chosen(UNSEEN), classifier, replace(DATA, test_labels=None)) == {}
    unknown = replace(DATA, test_labels=np.full(len(TEST), -1))
    assert measure(Chosen(UNSEEN), classifier, unknown) == {}
