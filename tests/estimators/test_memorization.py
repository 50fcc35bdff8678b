"""Memorisation: brute force, copies, samples of one law, and what blur does."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.oracles import STANDARD_ERRORS, assert_mean, rand, randn
from vaelab.data.loader import ImageLoader
from vaelab.estimators import memorization
from vaelab.estimators.memorization import data_copying_z, nearest_images
from vaelab.runtime.random_streams import rng_stream

CPU = torch.device("cpu")


def pixels(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def find(images: Tensor, train: np.ndarray, batch_size: int = 7) -> tuple[list[float], list[int]]:
    found = nearest_images(images, ImageLoader(train, CPU), rng_stream(0, "noise"), batch_size)
    return found.distances.tolist(), found.indices.tolist()


# Nearest training images


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 5)])
def test_nearest_images_match_a_double_loop(shape, batch_size, monkeypatch):
    monkeypatch.setattr(memorization, "COMPARED_NUMBERS", 5 * math.prod(shape))
    train, images = pixels(40, shape), rand(12, *shape)
    distances, indices = find(images, train, batch_size)
    for image, distance, index in zip(images.double().numpy(), distances, indices, strict=True):
        each = [math.sqrt(((image - other / 255) ** 2).mean()) for other in train]
        assert index == int(np.argmin(each))
        # Pixels are float32 before they are compared.
        assert distance == pytest.approx(min(each), rel=1e-6)
    assert len(set(indices)) > 3


def test_copies_are_at_distance_zero_among_near_copies():
    # Bright, so that a squared norm in float32 is off by more than one grey level in one pixel
    train = 255 - pixels(60, (1, 28, 28)) // 16
    train[30:] = train[:30]
    train[30:, 0, 2, 2] ^= 1
    distances, indices = find(torch.from_numpy(train).float() / 255, train, batch_size=60)
    assert indices == list(range(60))
    assert distances == [0] * 60
    others = train[:30].copy()
    off_by_one, _ = find(torch.from_numpy(train[30:]).float() / 255, others)
    assert off_by_one == pytest.approx([1 / 255 / 28] * 30, rel=1e-4)


def test_memory_mapped_images_are_supported(tmp_path):
    train, images = pixels(40, (1, 4, 4)), rand(5, 1, 4, 4)
    np.save(tmp_path / "train.npy", train)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    assert find(images, mapped) == find(images, train)


def test_images_sampled_at_each_access_are_compared_as_sampled():
    train = np.full((20, 1, 4, 4), 128, np.uint8)
    batches = ImageLoader(train, CPU, binarize=True)
    sampled = torch.cat([images for images, _ in batches.sequential(7, rng_stream(0, "noise"))])
    found = nearest_images(sampled, batches, rng_stream(0, "noise"), 7)
    assert found.indices.tolist() == list(range(20))
    assert (found.distances == 0).all()
    again = nearest_images(sampled, batches, rng_stream(1, "noise"), 7)
    assert (again.distances > 0).any()


def test_no_training_images_are_refused():
    with pytest.raises(ValueError, match="the training split is empty"):
        find(rand(2, 1, 2, 2), pixels(0, (1, 2, 2)))


# The test of copying


def test_z_matches_a_count_of_pairs():
    real, generated = [0.1, 0.2, 0.2, 0.5, 0.9], [0.2, 0.3, 0.1, 0.05]
    above = sum((g > r) + 0.5 * (g == r) for g in generated for r in real)
    # Of 9 distances two tie at 0.1 and three at 0.2.
    variance = 20 / 12 * (10 - ((2**3 - 2) + (3**3 - 3)) / (9 * 8))
    expected = (above - 10) / math.sqrt(variance)
    found = data_copying_z(torch.tensor(real), torch.tensor(generated))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found < 0
    assert data_copying_z(torch.tensor(generated), torch.tensor(real)) == pytest.approx(-expected)


def test_z_matches_the_p_value_of_scipy():
    wide = torch.float64
    real = (10 * randn(60, dtype=wide)).round()
    generated = (10 * randn(40, seed=1, dtype=wide) - 5).round()
    expected = stats.mannwhitneyu(
        generated.numpy(), real.numpy(), method="asymptotic", use_continuity=False
    )
    z = data_copying_z(real, generated)
    assert 2 * stats.norm.sf(abs(z)) == pytest.approx(float(expected.pvalue), rel=1e-9)


def test_distances_of_one_distribution_give_a_standard_normal_z():
    found = torch.tensor(
        [data_copying_z(rand_of(seed, 30), rand_of(seed + 1_000, 50)) for seed in range(500)]
    )
    assert_mean(found, 0.0)
    # Var of the square of N(0, 1) is 2; U is exact in its variance, whatever the number.
    assert abs(found.square().mean().item() - 1) < STANDARD_ERRORS * math.sqrt(2 / 500)


def rand_of(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=rng_stream(seed, "law"))


def images_of_one_law(count: int, seed: int) -> np.ndarray:
    return pixels(count, (1, 3, 3), seed)


def test_z_detects_copies_but_not_samples_of_the_data_distribution():
    train, test = images_of_one_law(300, 0), images_of_one_law(200, 1)
    real = torch.tensor(find(torch.from_numpy(test).float() / 255, train)[0])

    def z(generated: np.ndarray) -> float:
        shown = torch.from_numpy(generated).float() / 255
        return data_copying_z(real, torch.tensor(find(shown, train)[0]))

    assert abs(z(images_of_one_law(200, 2))) < STANDARD_ERRORS
    # All are nearer than any test image, U = 0, and tie at distance 0.
    variance = 200 * 200 / 12 * (401 - (200**3 - 200) / (400 * 399))
    lowest = -0.5 * 200 * 200 / math.sqrt(variance)
    # A few test images tie too.
    assert z(train[:200]) == pytest.approx(lowest, rel=1e-5)
    slightly = train[:200] ^ np.arange(200, dtype=np.uint8)[:, None, None, None] % 8
    assert lowest <= z(slightly) < 0.9 * lowest
    # Half of them are copies.
    mixed = np.concatenate([train[:100], images_of_one_law(100, 3)])
    assert 0.9 * lowest < z(mixed) < -STANDARD_ERRORS
    # White images are far from all of these, and tie.
    assert z(np.full((200, 1, 3, 3), 255, np.uint8)) == pytest.approx(-lowest, rel=1e-5)


def test_fading_lowers_z_and_noise_raises_it():
    train, test = images_of_one_law(300, 0), images_of_one_law(200, 1)
    real = torch.tensor(find(torch.from_numpy(test).float() / 255, train)[0])
    fresh = torch.from_numpy(images_of_one_law(200, 2)).float() / 255
    pale, _ = find(0.5 + 0.5 * (fresh - 0.5), train)
    assert data_copying_z(real, torch.tensor(pale)) < -STANDARD_ERRORS
    noisy, _ = find(fresh + 0.3 * randn(*fresh.shape), train)
    assert data_copying_z(real, torch.tensor(noisy)) > STANDARD_ERRORS


def test_z_of_equal_distances_and_of_empty_sets():
    assert data_copying_z(torch.full((3,), 0.5), torch.full((4,), 0.5)) == 0
    with pytest.raises(ValueError, match="both sets, got 0 of test and 2 of generated"):
        data_copying_z(torch.zeros(0), torch.zeros(2))
