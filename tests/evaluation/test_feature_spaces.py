"""Spaces of features: held against scikit-learn, torchvision and averages by hand."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional
from torchvision.models import inception_v3
from torchvision.transforms.v2.functional import normalize

from tests.oracles import rand, randn
from vaelab.config import UserError
from vaelab.evaluation import feature_spaces
from vaelab.evaluation.classifier import build_classifier
from vaelab.evaluation.feature_spaces import (
    ClassifierSpace,
    InceptionSpace,
    PCASpace,
    PixelSpace,
)

CPU = torch.device("cpu")
DIGITS = torch.from_numpy(load_digits().images / 16).float()[:, None]


def squared_distances(points: Tensor) -> Tensor:
    return torch.cdist(points.double(), points.double()).square()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (1, 32, 32), (3, 9, 17), (1, 1, 1)])
def test_few_pixels_are_their_own_features(shape):
    images = rand(4, *shape)
    assert torch.equal(PixelSpace().features(images), images.flatten(1))


@pytest.mark.parametrize(
    ("shape", "side"), [((3, 32, 32), 2), ((3, 64, 64), 4), ((1, 64, 32), 2), ((3, 128, 256), 10)]
)
def test_many_pixels_are_averaged_over_the_smallest_squares_that_suffice(shape, side):
    channels, height, width = shape
    blocks = rand(2, channels, -(-height // side), -(-width // side))
    assert blocks[0].numel() <= 1_024
    finer = -(-height // (side - 1)) * -(-width // (side - 1)) * channels
    assert finer > 1_024
    images = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)
    found = PixelSpace().features(images[..., :height, :width])
    assert found.shape == (2, blocks[0].numel())
    if height % side == width % side == 0:
        torch.testing.assert_close(found, blocks.flatten(1))


@pytest.mark.parametrize("shape", [(1, 1, 5_000), (3, 2_000, 2), (1, 37, 41)])
def test_images_of_odd_shapes_are_averaged_too(shape):
    found = PixelSpace().features(torch.full((2, *shape), 0.3))
    assert found.shape[1] <= 1_024
    torch.testing.assert_close(found, torch.full_like(found, 0.3))


def test_principal_components_are_those_of_scikit_learn():
    train, others = DIGITS[:1_000], DIGITS[1_000:]
    space = PCASpace.fit(torch.split(train, 300))
    count = space.axes.shape[1]
    assert 50 < count <= 64
    oracle = PCA(count, whiten=True, svd_solver="full").fit(train.flatten(1).double().numpy())
    expected = oracle.transform(others.flatten(1).double().numpy())
    found = space.features(others).numpy()
    # A component's sign is free.
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-6, atol=1e-6)


def test_components_of_training_images_have_variance_one_each():
    found = PCASpace.fit([DIGITS]).features(DIGITS)
    torch.testing.assert_close(found.T.cov(), torch.eye(found.shape[1]).double())
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]).double())


def test_at_most_64_components_those_of_most_variance_first():
    scales = torch.linspace(1, 0.1, 100)
    images = (randn(5_000, 100) * scales)[:, None, None]
    space = PCASpace.fit([images])
    assert space.axes.shape == (100, 64)
    # Along each axis the pixel with its scale dominates: 1 / axis is its standard deviation.
    assert space.axes.norm(dim=0).diff().min() > 0
    assert space.axes.norm(dim=0)[0].item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("rank", [1, 3])
def test_directions_without_variance_are_left_out(rank):
    images = (randn(50, rank) @ randn(rank, 30, seed=1)).reshape(50, 1, 5, 6)
    assert PCASpace.fit([images]).axes.shape == (30, rank)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64)])
def test_images_that_are_all_the_same_have_no_components(shape):
    images = rand(1, *shape).expand(900, *shape)
    assert PCASpace.fit(torch.split(images, 100)).axes.shape[1] == 0
    # One pixel of one image is another grey level.
    changed = images.clone()
    changed[7, 0, 0, 0] += 1 / 255
    assert PCASpace.fit([changed]).axes.shape[1] == 1


def test_large_images_are_averaged_before_their_components():
    space = PCASpace.fit([rand(20, 3, 64, 64)])
    assert space.axes.shape == (768, 19)
    assert space.features(rand(2, 3, 64, 64)).shape == (2, 19)


def test_the_classifier_space_is_its_penultimate_layer():
    classifier, images = build_classifier((3, 8, 9), 4), rand(5, 3, 8, 9)
    found = ClassifierSpace(classifier).features(images)
    torch.testing.assert_close(classifier.head(found.clone()), classifier(images))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights as torchvision publishes trained ones, the auxiliary classes included."""
    path: Path = tmp_path_factory.mktemp("weights") / "inception.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = inception_v3(weights=None, init_weights=False)
        for weight in network.parameters():
            if weight.dim() == 4:
                # What the network says would fade out layer by layer with smaller ones.
                torch.nn.init.kaiming_normal_(weight)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest images that the network takes, to save time."""
    assert feature_spaces.INCEPTION_SIZE == (299, 299)
    monkeypatch.setattr(feature_spaces, "INCEPTION_SIZE", (75, 75))
    monkeypatch.setattr(feature_spaces, "INCEPTION_BATCH", 2)


@pytest.mark.usefixtures("small")
def test_inception_features_match_torchvision(weights):
    space = InceptionSpace.load(weights, CPU)
    oracle = inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    oracle.load_state_dict(torch.load(weights, weights_only=True))
    pooled: list[Tensor] = []
    oracle.avgpool.register_forward_hook(lambda module, inputs, out: pooled.append(out.flatten(1)))
    images = rand(2, 3, 100, 60)
    resized = functional.interpolate(images, (75, 75), mode="bilinear", antialias=True)
    with torch.inference_mode():
        oracle(normalize(resized, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    found = space.features(images)
    assert found.shape == (2, 2_048)
    spread = pooled[0].std().item()
    assert spread > 0.01
    torch.testing.assert_close(found, pooled[0], rtol=1e-4, atol=1e-4 * spread)
    assert space.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.usefixtures("small")
def test_gray_images_are_repeated_in_three_channels(weights):
    space, grey = InceptionSpace.load(weights, CPU), rand(3, 1, 8, 8)
    assert torch.equal(space.features(grey), space.features(grey.repeat(1, 3, 1, 1)))
    # Batches of two: the third image's features are its own.
    torch.testing.assert_close(space.features(grey)[2:], space.features(grey[2:]))


@pytest.mark.usefixtures("small")
def test_weights_may_be_safetensors_without_the_classes(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    kept = {k: v for k, v in state.items() if not k.startswith(("AuxLogits", "fc"))}
    save_file(kept, tmp_path / "inception.safetensors")
    images, random = rand(2, 1, 8, 8), torch.get_rng_state()
    found = InceptionSpace.load(tmp_path / "inception.safetensors", CPU).features(images)
    assert torch.equal(torch.get_rng_state(), random)
    expected = InceptionSpace.load(weights, CPU).features(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.pth", "none.pth: No such file"),
        (lambda folder: folder / "none.safetensors", "none.safetensors: No such file"),
        (lambda folder: folder, "Is a directory"),
        (lambda folder: saved(folder / "a.pth", {"weight": rand(2)}), "Missing key"),
        (lambda folder: saved(folder / "a.pth", [rand(2)]), "not a state dict"),
        (lambda folder: saved(folder / "a.pth", {1: rand(2)}), "not a state dict"),
        (lambda folder: saved(folder / "a.pth", torch.nn.Linear(1, 1)), "[Ww]eights"),
    ],
)
def test_files_without_inception_weights_are_refused_in_one_line(tmp_path, make, message):
    with pytest.raises(UserError, match=f"^evaluate.inception_weights: .*{message}") as caught:
        InceptionSpace.load(make(tmp_path), CPU)
    assert "state dict of torchvision's inception_v3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_corrupt_files_are_refused_in_one_line(tmp_path, name):
    for content in (b"", b"no weights at all", b"\x80\x02\n." * 50):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: .*state dict") as caught:
            InceptionSpace.load(tmp_path / name, CPU)
        assert "\n" not in str(caught.value)
