"""The classifier: learns, repeats itself, fits every image shape, and survives the disk.

Its stage, too.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pipeline import classifier as stage
from pipeline import download, paths, prepare
from tests.oracles import rand
from vaelab.config import UserError
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import (
    DESCRIPTION,
    FEATURES,
    WEIGHTS,
    Classifier,
    accuracy,
    build_classifier,
    features_and_classes,
    load_classifier,
    min_epochs,
    save_classifier,
    train_classifier,
)
from vaelab.runtime import matmul

CPU = torch.device("cpu")


def digits(start: int, stop: int, **options: Any) -> tuple[ImageLoader, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    pixels = (images[start:stop] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ImageLoader(pixels, CPU, **options), labels[start:stop].astype(np.int64)


def trained(seed: int = 0, epochs: int = 1, **options: bool) -> Classifier:
    images, labels = digits(0, 300, **options)
    return train_classifier(images, labels, 10, epochs=epochs, seed=seed, device=CPU)


def same_weights(first: Classifier, second: Classifier) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Classifier]:
    classifier = build_classifier((3, 8, 11), 4, seed=1)
    save_classifier(tmp_path, classifier, epochs=3, seed=1, training_accuracy=0.75)
    return tmp_path, classifier


def test_the_classifier_learns_the_digits():
    train, test = digits(0, 1_300), digits(1_300, 1_797)
    classifier = train_classifier(*train, 10, epochs=20, seed=0, device=CPU)
    assert not classifier.training
    assert accuracy(classifier, *train) > 0.95
    assert accuracy(classifier, *test) > 0.9


def test_labels_follow_their_images():
    images, labels = digits(0, 1_300)
    classifier = train_classifier(images, (labels + 1) % 10, 10, epochs=10, seed=0, device=CPU)
    assert accuracy(classifier, images, (labels + 1) % 10) > 0.95
    assert accuracy(classifier, images, labels) < 0.05


def test_the_seed_determines_the_weights():
    state = torch.get_rng_state()
    first = trained(seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same_weights(first, trained(seed=3))
    assert not same_weights(first, trained(seed=4))
    torch.set_rng_state(state)


def test_the_seed_determines_the_weights_on_sampled_images():
    first = trained(binarize=True)
    assert same_weights(first, trained(binarize=True))
    assert not same_weights(first, trained())
    images, labels = digits(0, 300, binarize=True)
    assert accuracy(first, images, labels) == accuracy(first, images, labels)


@pytest.mark.parametrize("has_it", [True, False])
def test_in_bfloat16_it_learns_as_well(has_it, monkeypatch):
    monkeypatch.setattr(matmul, "has_bfloat16", lambda: has_it)
    seen = set()
    whole = Classifier.forward

    def forward(self, images):
        found = whole(self, images)
        seen.add(found.dtype)
        return found

    monkeypatch.setattr(Classifier, "forward", forward)
    classifier = trained(epochs=20)
    assert seen == {torch.bfloat16 if has_it else torch.float32}
    assert {weight.dtype for weight in classifier.parameters()} == {torch.float32}
    assert accuracy(classifier, *digits(0, 300)) > 0.9
    pixels = torch.from_numpy(digits(0, 10)[0].array).float() / 255
    assert features_and_classes(classifier, pixels)[0].dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 17), (3, 64, 64), (1, 1, 1)])
def test_every_image_shape_is_supported(shape):
    classifier, images = build_classifier(shape, 7), rand(5, *shape)
    features, predicted = features_and_classes(classifier, images, batch=2)
    assert features.shape == (5, FEATURES)
    assert features.is_inference()
    assert torch.equal(predicted, classifier(images).argmax(1))
    torch.testing.assert_close(features, classifier.features(images))
    with torch.inference_mode():
        torch.testing.assert_close(classifier.head(features), classifier(images))


def test_no_trained_feature_is_constant():
    images, _ = digits(0, 1_300)
    pixels = torch.from_numpy(images.array).float() / 255
    features, _ = features_and_classes(trained(epochs=5), pixels)
    assert features.std(0).min() > 0.01


def test_accuracy_is_the_share_of_correct_predictions():
    classifier = build_classifier((1, 8, 8), 10)
    images, _ = digits(0, 700)
    pixels = torch.from_numpy(images.array).float() / 255
    _, predicted = features_and_classes(classifier, pixels)
    answers = predicted.numpy().copy()
    assert accuracy(classifier, images, answers) == 1
    answers[:70] = (answers[:70] + 1) % 10
    assert accuracy(classifier, images, answers) == pytest.approx(0.9)
    # Every seventh image of 700, of which ten of the first 70 are wrong.
    assert accuracy(classifier, images, answers, limit=100) == pytest.approx(0.9)
    assert accuracy(classifier, images, answers, limit=5) == pytest.approx(0.8)
    assert accuracy(classifier, images, answers, limit=400) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "2 labels for 3 images"),
        ([0, 1, 2], "from 0 to 1"),
        ([0, -1, 1], "from 0 to 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    images, _ = digits(0, 3)
    with pytest.raises(ValueError, match=message):
        train_classifier(images, np.array(labels), 2, epochs=1, seed=0, device=CPU)
    with pytest.raises(ValueError, match=message):
        accuracy(build_classifier((1, 8, 8), 2), images, np.array(labels))


def test_a_saved_classifier_loads_bit_for_bit(saved):
    folder, classifier = saved
    found, description = load_classifier(folder, CPU)
    assert same_weights(found, classifier)
    images = rand(6, 3, 8, 11)
    assert torch.equal(found(images), classifier(images))
    assert (description.image_shape, description.classes) == ((3, 8, 11), 4)
    assert (description.epochs, description.seed, description.training_accuracy) == (3, 1, 0.75)
    assert not found.training


def test_the_description_holds_the_hash_of_the_weights(saved, tmp_path):
    folder, classifier = saved
    first = load_classifier(folder, CPU)[1]
    again = save_classifier(tmp_path / "b", classifier, epochs=3, seed=1, training_accuracy=0.75)
    other = build_classifier((3, 8, 11), 4, seed=2)
    changed = save_classifier(tmp_path / "c", other, epochs=3, seed=1, training_accuracy=0.75)
    assert again == first
    assert changed.weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(saved, name):
    folder, _ = saved
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"no loadable classifier.*{name}"):
        load_classifier(folder, CPU)


def test_damaged_weights_are_refused(saved):
    folder, _ = saved
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=f"SHA-256 of {WEIGHTS} is not the one in {DESCRIPTION}"):
        load_classifier(folder, CPU)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{", "", "Invalid JSON"),
        ('"seed"', '"seeds"', "seeds"),
        ('"classes": 4', '"classes": 5', "size mismatch"),
    ],
)
def test_a_damaged_description_is_refused(saved, old, new, message):
    folder, _ = saved
    text = (folder / DESCRIPTION).read_text()
    assert old in text
    (folder / DESCRIPTION).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_classifier(folder, CPU)


@pytest.mark.parametrize(
    ("images", "epochs", "expected"),
    # Batches of 128: 57,000 images make 446 steps an epoch, 1,366 make 11, 100 make 1.
    [(57_000, 3, 3), (57_000, 1, 1), (1_366, 3, 32), (1_366, 50, 50), (100, 3, 350)],
)
def test_small_data_sets_get_epochs_for_350_steps(images, epochs, expected):
    assert min_epochs(images, epochs) == expected


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedData:
    """The digits as `dvc repro` leaves them, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])
    settings = {"data": {"name": "digits"}, "evaluate": {"classifier_epochs": 3}}
    Path("params.yaml").write_text(json.dumps(settings))
    download.main()
    prepare.main()
    return PreparedData.load(paths.PREPARED)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("prepared")
def test_the_stage_trains_a_classifier_of_the_digits(capsys):
    stage.main()
    (right,) = re.findall(r"([\d.]+)% accuracy on the test images", capsys.readouterr().out)
    assert float(right) > 95
    description = load_classifier(paths.EVALUATION_CLASSIFIER, CPU)[1]
    assert (description.classes, description.epochs, description.seed) == (10, 32, 0)
    assert description.training_accuracy > 0.95
    assert files(paths.EVALUATION_CLASSIFIER) == {DESCRIPTION, WEIGHTS}


def unlabelled(data: PreparedData) -> PreparedData:
    arrays = {name: array for name, array in data.arrays.items() if "labels" not in name}
    return replace(data, info=data.info.model_copy(update={"class_names": None}), arrays=arrays)


def of_one_class(data: PreparedData) -> PreparedData:
    one = {name: np.zeros_like(a) for name, a in data.arrays.items() if "labels" in name}
    return replace(data, arrays=data.arrays | one)


@pytest.mark.parametrize("poorer", [unlabelled, of_one_class])
def test_without_two_classes_the_stage_leaves_an_empty_folder_and_prints_why(
    prepared, poorer, monkeypatch, capsys
):
    paths.EVALUATION_CLASSIFIER.mkdir(parents=True)
    (paths.EVALUATION_CLASSIFIER / WEIGHTS).write_bytes(b"of other data")
    monkeypatch.setattr(PreparedData, "load", lambda folder: poorer(prepared))
    stage.main()
    assert not files(paths.EVALUATION_CLASSIFIER)
    assert "digits: no labels of two classes" in capsys.readouterr().out


def test_the_classifier_is_trained_on_images_sampled_at_each_access(prepared, monkeypatch):
    info = prepared.info.model_copy(update={"binarization": "fresh"})
    seen: list[torch.Tensor] = []

    def accuracy_of_few(classifier: Classifier, images: ImageLoader, *rest: object) -> float:
        seen.append(images.gather(torch.arange(20), torch.Generator()))
        return 1.0

    monkeypatch.setattr(stage, "min_epochs", lambda images, epochs: epochs)
    monkeypatch.setattr(stage, "accuracy", accuracy_of_few)
    assert stage.train_on(replace(prepared, info=info), Path("folder"), 1, CPU)
    assert set(np.unique(seen[0])) == {0, 1}
