"""Samples against real images: perfect, memorizing, collapsed and useless generators."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import inception_v3

from tests.evaluation.factories import CPU, LABELS, PIXELS, make_model
from tests.oracles import STANDARD_ERRORS, assert_mean, rand
from vaelab.config import EvaluateSettings, UserError
from vaelab.data.loader import ImageLoader
from vaelab.estimators import samples
from vaelab.estimators.samples import PointSet
from vaelab.evaluation import feature_spaces, image_sets
from vaelab.evaluation.classifier import Classifier, train_classifier
from vaelab.evaluation.feature_spaces import ClassifierSpace, FeatureSpace, PixelSpace
from vaelab.evaluation.samples import sample_metrics
from vaelab.evaluation.types import EvaluationData
from vaelab.models.distributions import Gaussian
from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.models.model import Model

ORDER = np.random.default_rng(0).permutation(len(PIXELS))
TRAIN, TEST, UNSEEN = ORDER[:900], ORDER[900:1_350], ORDER[1_350:]
SPACES = ("classifier", "pixels", "pca")
COMPARED = (
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
)

Found = tuple[dict[str, float], dict[str, np.ndarray]]


class Generator(Model):
    """Draws from a list of images, each with one chance, or in their order."""

    def __init__(self, images: Tensor, in_order: bool = False) -> None:
        channels, height, width = images.shape[1:]
        super().__init__({}, GaussianLikelihood(1.0), 1, (channels, height, width))
        self.images = images
        self.in_order = in_order

    def prior(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        if self.in_order:
            return torch.arange(count).float()[:, None] % len(self.images)
        return torch.randint(len(self.images), (count, 1), generator=generator).float()

    def decode(self, latents: Tensor) -> Gaussian:
        return Gaussian(self.images[latents[:, 0].long()], torch.tensor(1.0))


def data_of(
    train: np.ndarray, test: np.ndarray, levels: int = 17, noise_levels: int | None = None
) -> EvaluationData:
    splits = [ImageLoader(images, CPU, dequantize_levels=noise_levels) for images in (train, test)]
    return EvaluationData("data", levels, splits[0], splits[1])


DATA = replace(
    data_of(PIXELS[TRAIN], PIXELS[TEST]), train_labels=LABELS[TRAIN], test_labels=LABELS[TEST]
)


def as_images(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).float() / 255


def measure(
    images: Tensor,
    classifier: Classifier | None = None,
    data: EvaluationData = DATA,
    in_order: bool = False,
    **settings: object,
) -> Found:
    generator = Generator(images, in_order).eval()
    chosen = EvaluateSettings.model_validate(settings)
    found, arrays = sample_metrics(generator, data, classifier, chosen, CPU)
    return {k: v for k, v in found.get("samples", {}).items() if not isinstance(v, str)}, arrays


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    images = ImageLoader(PIXELS[TRAIN], CPU)
    return train_classifier(images, LABELS[TRAIN], 10, epochs=30, seed=0, device=CPU)


@pytest.fixture(scope="module")
def noise(classifier: Classifier) -> Found:
    return measure(rand(400, 1, 8, 8), classifier, in_order=True, samples=400)


@pytest.fixture(scope="module")
def unseen(classifier: Classifier) -> Found:
    """A perfect generator: images of the same law that are in neither split."""
    return measure(as_images(PIXELS[UNSEEN]), classifier, in_order=True, samples=400)


def test_the_metrics_of_samples_are_complete(unseen: Found) -> None:
    metrics, arrays = unseen
    compared = {f"{space}_{name}" for space in SPACES for name in COMPARED} | {"sharpness_ratio"}
    assert set(metrics) == {
        "count",
        *compared,
        *(f"{name}_floor" for name in compared),
        "spectrum_slope",
        "spectrum_slope_real",
        "classes_drawn",
        "largest_class_share",
        "largest_class_share_real",
        "nearest_training_distance",
        "nearest_training_distance_real",
        "data_copying_z",
        "classifier_test_accuracy",
    }
    assert metrics["count"] == 400
    assert {name: (a.shape, a.dtype.name) for name, a in arrays.items()} == {
        "samples_shown": ((36, 1, 8, 8), "uint8"),
        "nearest_shown": ((36, 1, 8, 8), "uint8"),
        "nearest_rows": ((36,), "int64"),
        "class_shares": ((10,), "float64"),
        "class_shares_real": ((10,), "float64"),
    }


@pytest.fixture(scope="module")
def halves() -> Tensor:
    """Kernel distances of pixels between disjoint sets of 400 digits each, which have one law."""
    pixels = PixelSpace().features(as_images(PIXELS))
    orders = (np.random.default_rng(i).permutation(len(pixels))[:800] for i in range(40))
    pairs = (
        (PointSet.from_features(pixels[x[:400]]), PointSet.from_features(pixels[x[400:]]))
        for x in orders
    )
    return torch.tensor([samples.compare_sets(x, y).kernel_distance for x, y in pairs])


def test_the_kernel_distance_between_real_images_is_zero_within_noise(
    unseen: Found, halves: Tensor
) -> None:
    assert_mean(halves, 0.0)
    for name in ("pixels_kernel_distance", "pixels_kernel_distance_floor"):
        assert abs(unseen[0][name]) < STANDARD_ERRORS * halves.std()


@pytest.mark.parametrize("space", SPACES)
def test_a_perfect_generator_reaches_the_floor(unseen: Found, noise: Found, space: str) -> None:
    (metrics, _), (bad, _) = unseen, noise
    for name in (f"{space}_frechet_distance", f"{space}_kernel_distance"):
        value, floor = metrics[name], metrics[f"{name}_floor"]
        assert abs(value - floor) < 0.02 * bad[name]
    for name in ("precision", "recall", "density", "coverage"):
        value, floor = metrics[f"{space}_{name}"], metrics[f"{space}_{name}_floor"]
        assert value == pytest.approx(floor, abs=0.1)
        # Scattered points have large balls: noise has a high recall.
        assert name == "recall" or value > bad[f"{space}_{name}"] + 0.4


def test_metrics_of_real_images_are_the_same_for_every_generator(
    unseen: Found, noise: Found
) -> None:
    alone = [name for name in unseen[0] if name.endswith(("_floor", "_real"))]
    assert len(alone) == 3 * 6 + 1 + 3
    assert [unseen[0][name] for name in alone] == [noise[0][name] for name in alone]


def test_a_perfect_generator_is_as_sharp_as_diverse_and_as_far_from_the_training_images(
    unseen: Found,
) -> None:
    metrics, arrays = unseen
    assert metrics["sharpness_ratio"] == pytest.approx(1, abs=0.1)
    assert metrics["sharpness_ratio_floor"] == pytest.approx(1, abs=0.1)
    assert metrics["spectrum_slope"] == pytest.approx(metrics["spectrum_slope_real"], abs=0.1)
    assert metrics["classes_drawn"] == 10
    assert arrays["class_shares"].max() == metrics["largest_class_share"]
    assert arrays["class_shares_real"].max() == metrics["largest_class_share_real"]
    np.testing.assert_allclose(arrays["class_shares"], 0.1, atol=0.05)
    assert metrics["classifier_test_accuracy"] > 0.9
    # N(0, 1) for images of one law
    assert abs(metrics["data_copying_z"]) < 4
    real = metrics["nearest_training_distance_real"]
    assert metrics["nearest_training_distance"] == pytest.approx(real, rel=0.1)


def test_test_images_as_samples_have_the_best_scores(classifier: Classifier) -> None:
    metrics, _ = measure(as_images(PIXELS[TEST]), classifier)
    assert metrics["count"] == len(TEST)
    for space in SPACES:
        assert metrics[f"{space}_precision"] == 1
        distance, floor = (metrics[f"{space}_frechet_distance{end}"] for end in ("", "_floor"))
        assert distance < floor
        # 1 - 1/e of the images are among as many draws with replacement, and others near them.
        assert metrics[f"{space}_coverage"] > 0.9
        assert metrics[f"{space}_recall"] > 0.63


def test_equal_sets_are_at_distance_zero(classifier: Classifier) -> None:
    spaces: list[FeatureSpace] = [ClassifierSpace(classifier), PixelSpace()]
    images = as_images(PIXELS[:300])
    one, other = (
        image_sets.extract_features(torch.split(x, 70), spaces) for x in (images, images.flip(0))
    )
    found = image_sets.compare_image_sets(one, other)
    for space in ("classifier", "pixels"):
        assert found[f"{space}_frechet_distance"] == pytest.approx(0, abs=1e-8)
        assert found[f"{space}_precision"] == found[f"{space}_recall"] == 1
        assert found[f"{space}_coverage"] == 1
        points = one.points[space]
        kernel = (points.points @ points.points.T / points.points.shape[1] + 1) ** 3
        # Pairs of an image with itself are left out within a set, and not between two.
        apart = kernel.sum() - kernel.trace()
        expected = 2 * (apart / (300 * 299) - kernel.mean())
        assert found[f"{space}_kernel_distance"] == pytest.approx(expected.item(), rel=1e-6)
    assert found["sharpness_ratio"] == 1


def test_a_generator_of_one_digit_draws_one_class(classifier: Classifier) -> None:
    zeros = as_images(PIXELS[UNSEEN][LABELS[UNSEEN] == 0])
    metrics, arrays = measure(zeros, classifier)
    assert metrics["largest_class_share"] > 0.95
    assert arrays["class_shares"].argmax() == 0
    assert metrics["largest_class_share_real"] < 0.2
    assert metrics["classes_drawn"] < 5
    for space in SPACES:
        assert metrics[f"{space}_recall"] < 0.2 < metrics[f"{space}_recall_floor"]
        assert metrics[f"{space}_coverage"] < 0.4 < metrics[f"{space}_coverage_floor"]


def test_one_image_is_enough_for_a_class_to_count() -> None:
    seen = image_sets.extract_features([as_images(PIXELS[:50])], [PixelSpace()])
    shares = torch.tensor([0.01, 0.0, 0.99], dtype=torch.float64)
    found = image_sets.describe_image_set(replace(seen, class_shares=shares))
    assert (found["classes_drawn"], found["largest_class_share"]) == (2, 0.99)


def test_a_collapsed_generator_has_no_recall(classifier: Classifier) -> None:
    metrics, _ = measure(as_images(PIXELS[UNSEEN][:1]), classifier)
    for space in SPACES:
        assert metrics[f"{space}_recall"] < 0.01
        assert metrics[f"{space}_precision"] in (0, 1)
    assert (metrics["classes_drawn"], metrics["largest_class_share"]) == (1, 1)


def test_memorized_training_images_are_detected() -> None:
    metrics, arrays = measure(as_images(PIXELS[TRAIN]))
    assert metrics["nearest_training_distance"] == 0 < metrics["nearest_training_distance_real"]
    assert metrics["data_copying_z"] < -20
    np.testing.assert_array_equal(arrays["samples_shown"], arrays["nearest_shown"])
    assert len(np.unique(arrays["samples_shown"], axis=0)) > 30


def test_blurred_images_have_less_sharpness_and_a_steeper_slope() -> None:
    images = as_images(PIXELS[UNSEEN])
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    sharp, blunt = (measure(some, samples=300)[0] for some in (images, blurred))
    assert blunt["sharpness_ratio"] < 0.3 < sharp["sharpness_ratio"]
    assert blunt["spectrum_slope"] < sharp["spectrum_slope"] - 1


def test_without_a_classifier_there_are_no_class_metrics(classifier: Classifier) -> None:
    unlabelled = replace(DATA, train_labels=None, test_labels=None)
    images = as_images(PIXELS[UNSEEN])
    metrics, arrays = measure(images, None, unlabelled, samples=50)
    assert not [name for name in metrics if "class" in name]
    assert set(arrays) == {"samples_shown", "nearest_shown", "nearest_rows"}
    seen, _ = measure(images, classifier, unlabelled, samples=50)
    assert "classifier_precision" in seen
    assert "classifier_test_accuracy" not in seen
    assert {name: seen[name] for name in metrics} == metrics


def test_the_seed_determines_the_metrics() -> None:
    images = as_images(PIXELS[UNSEEN])
    first, again, other = (measure(images, samples=60, seed=seed) for seed in (1, 1, 2))
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1]["samples_shown"], again[1]["samples_shown"])
    assert (first[1]["samples_shown"] != other[1]["samples_shown"]).any()
    floor = "pixels_frechet_distance_floor"
    assert first[0][floor] != other[0][floor]


def test_the_batch_size_changes_nothing(classifier: Classifier) -> None:
    images = as_images(PIXELS[UNSEEN])
    whole, parts = (measure(images, classifier, samples=60, batch_size=b) for b in (500, 7))
    assert parts[0] == pytest.approx(whole[0], rel=1e-4)
    np.testing.assert_array_equal(parts[1]["samples_shown"], whole[1]["samples_shown"])


@pytest.mark.parametrize(
    ("splits", "samples", "count"),
    [((900, 450), 5_000, 450), ((900, 450), 100, 100), ((30, 450), 100, 30), ((900, 6), 10, 6)],
)
def test_all_sets_have_one_size(splits: tuple[int, int], samples: int, count: int) -> None:
    train, test = splits
    data = data_of(PIXELS[TRAIN][:train], PIXELS[TEST][:test])
    metrics, arrays = measure(as_images(PIXELS[UNSEEN]), None, data, samples=samples)
    assert metrics["count"] == count
    assert len(arrays["samples_shown"]) == min(36, count)
    assert "pca_coverage_floor" in metrics


@pytest.mark.parametrize("splits", [(900, 5), (5, 450)])
def test_fewer_than_six_images_are_not_compared(splits: tuple[int, int]) -> None:
    train, test = splits
    data = data_of(PIXELS[TRAIN][:train], PIXELS[TEST][:test])
    assert measure(as_images(PIXELS[UNSEEN]), None, data) == ({}, {})


def test_at_most_max_kept_images_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sets, "MAX_KEPT", 30)
    seen = image_sets.extract_features(torch.split(as_images(PIXELS[:100]), 20), [PixelSpace()])
    assert torch.equal(seen.kept, as_images(PIXELS[:30]))
    assert len(seen.points["pixels"].points) == 100


def test_compared_images_are_shuffled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder's images are sorted by class: the first of them would be of one."""
    monkeypatch.setattr(image_sets, "MAX_KEPT", 40)
    dark, bright = np.zeros((400, 1, 4, 4), np.uint8), np.full((400, 1, 4, 4), 200, np.uint8)
    sorted_images = np.concatenate([dark, bright]) + rand(800, 1, 4, 4).mul(50).byte().numpy()
    # As near to half of the images as can be, and far from the others.
    metrics, _ = measure(torch.zeros(1, 1, 4, 4), None, data_of(dark[:100], sorted_images))
    assert metrics["nearest_training_distance_real"] > 0.09


@pytest.mark.parametrize(
    ("shape", "absent"),
    [
        ((1, 3, 4), {"spectrum_slope"}),
        # Its Laplacian is one number, which has no variance.
        ((1, 3, 3), {"spectrum_slope", "sharpness_ratio"}),
        ((3, 2, 5), {"spectrum_slope", "sharpness_ratio"}),
        ((1, 1, 1), {"spectrum_slope", "sharpness_ratio"}),
        ((3, 6, 9), set()),
        ((3, 40, 24), set()),
    ],
)
def test_every_image_shape_is_measured(shape: tuple[int, int, int], absent: set[str]) -> None:
    train, test, generated = (rand(120, *shape) * 256).byte().numpy().reshape(3, 40, *shape)
    metrics, arrays = measure(as_images(generated), None, data_of(train, test))
    assert {"spectrum_slope", "sharpness_ratio"} - set(metrics) == absent
    assert {"pixels_recall", "pca_recall", "data_copying_z"} <= set(metrics)
    assert all(map(math.isfinite, metrics.values()))
    assert arrays["samples_shown"].shape == (36, *shape)


def test_flat_images_have_neither_sharpness_nor_slope_to_compare_with() -> None:
    levels = (rand(60, 1, 1, 1) * 256).byte().numpy()
    flat = np.broadcast_to(levels, (60, 1, 8, 8)).copy()
    data = data_of(flat[:30], flat[30:])
    metrics, _ = measure(as_images(PIXELS[UNSEEN]), None, data)
    assert {"sharpness_ratio", "spectrum_slope_real"}.isdisjoint(metrics)
    metrics, _ = measure(as_images(flat), samples=30)
    assert "spectrum_slope" not in metrics
    assert metrics["sharpness_ratio"] == 0


def test_samples_of_binary_data_are_binary() -> None:
    """A generator that knows each pixel's probability is perfect, its gray means are not."""
    gray = as_images(PIXELS)
    binary = (rand(*gray.shape) < gray).byte().mul(255).numpy()
    data = data_of(binary[TRAIN], binary[TEST], levels=2)
    metrics, arrays = measure(gray[UNSEEN], None, data)
    assert set(np.unique(arrays["samples_shown"])) == {0, 255}
    assert metrics["sharpness_ratio"] == pytest.approx(1, abs=0.1)
    means, _ = measure(gray[UNSEEN], None, replace(data, levels=256))
    assert means["sharpness_ratio"] < 0.8
    # Training images that are sampled at each access
    sampled = replace(data, train=ImageLoader(PIXELS[TRAIN], CPU, binarize=True))
    metrics, _ = measure(gray[UNSEEN], None, sampled)
    assert metrics["sharpness_ratio_floor"] == pytest.approx(1, abs=0.1)
    assert metrics["pixels_precision"] == pytest.approx(metrics["pixels_precision_floor"], abs=0.1)


def test_dequantized_gray_levels_are_quantized_again() -> None:
    """A model that learnt x = (level + noise) / 17 gives means of (level + 1/2) / 17."""
    levels = (as_images(PIXELS) * 16).round()
    data = data_of(PIXELS[TRAIN], PIXELS[TEST], noise_levels=17)
    metrics, arrays = measure((levels[TRAIN] + 0.5) / 17, None, data)
    assert metrics["nearest_training_distance"] == 0
    np.testing.assert_array_equal(arrays["samples_shown"], arrays["nearest_shown"])
    plain, _ = measure(as_images(PIXELS[TRAIN]))
    assert metrics == pytest.approx(plain, abs=1e-9)


def test_equal_images_have_no_principal_components() -> None:
    same = np.repeat(PIXELS[:1], 20, 0)
    metrics, _ = measure(as_images(same), None, data_of(same, same))
    assert metrics["pixels_frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert not any(name.startswith("pca") for name in metrics)
    assert all(math.isfinite(value) for value in metrics.values())


def test_images_that_are_not_finite_are_refused() -> None:
    images = as_images(PIXELS[UNSEEN])
    images[0, 0, 3, 3] = math.nan
    with pytest.raises(UserError, match=r"^samples: .*not finite$"):
        measure(images, in_order=True)


def test_components_are_fitted_to_other_images_than_the_floors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered: list[Tensor] = []
    take = ImageLoader.gather

    def record(batches: ImageLoader, rows: Tensor, noise: torch.Generator) -> Tensor:
        if len(batches) == len(TRAIN):
            gathered.append(rows)
        return take(batches, rows, noise)

    monkeypatch.setattr(ImageLoader, "gather", record)
    measure(as_images(PIXELS[UNSEEN]), samples=400)
    assert sorted(torch.cat(gathered).tolist()) == list(range(len(TRAIN)))
    gathered.clear()
    measure(as_images(PIXELS[UNSEEN]), samples=450)
    assert sorted(torch.cat(gathered).tolist()) == list(range(len(TRAIN)))


def test_inception_features_are_used_if_weights_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_spaces, "INCEPTION_SIZE", (75, 75))
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), tmp_path / "a.pth")
    generator = Generator(as_images(PIXELS[UNSEEN]))
    settings = EvaluateSettings(samples=10, inception_weights=tmp_path / "a.pth")
    found, _ = sample_metrics(generator, DATA, None, settings, CPU)
    metrics = found["samples"]
    assert {f"inception_{name}{end}" for name in COMPARED for end in ("", "_floor")} <= set(metrics)
    assert len(str(metrics["inception_weights_sha256"])) == 64
    with pytest.raises(UserError, match=r"evaluate\.inception_weights"):
        measure(as_images(PIXELS[UNSEEN]), inception_weights=tmp_path / "b.pth")


def test_a_real_model_is_measured(classifier: Classifier) -> None:
    groups, _ = sample_metrics(make_model(), DATA, classifier, EvaluateSettings(samples=40), CPU)
    found = groups["samples"]
    assert found["count"] == 40
    assert float(found["pixels_frechet_distance"]) > float(found["pixels_frechet_distance_floor"])
