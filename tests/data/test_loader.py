"""Batches: every image once, the same numbers from the device and from the disk."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vaelab.data.loader import PREFETCH, Batch, ImageLoader
from vaelab.runtime import memory
from vaelab.runtime.random_streams import rng_stream

CPU = torch.device("cpu")


def numbered(count: int) -> np.ndarray:
    """Images whose first pixel is their number."""
    images = np.zeros((count, 1, 2, 2), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def numbers(images: Tensor | Batch) -> list[int]:
    images = images.images if isinstance(images, Batch) else images
    return [round(float(value)) for value in images[:, 0, 0, 0] * 255]


@pytest.fixture(params=["resident", "streamed"])
def open_batches(request, monkeypatch, tmp_path: Path):
    """Open images so that they lie on the device, or are read from a memory map batch by batch."""

    def open_them(images: np.ndarray, **options: object) -> ImageLoader:
        if request.param == "streamed":
            monkeypatch.setattr(memory, "available", lambda: images.nbytes)
            np.save(tmp_path / "images.npy", images)
            images = np.load(tmp_path / "images.npy", mmap_mode="r")
        opened = ImageLoader(images, CPU, **options)  # type: ignore[arg-type]
        assert (opened.bytes is None) == (request.param == "streamed")
        return opened

    return open_them


def test_an_epoch_gives_every_image_once_in_a_new_order(open_batches) -> None:
    opened = open_batches(numbered(23))
    order, noise = rng_stream(0, "order"), rng_stream(0, "noise")
    epochs = [
        [n for images in opened.shuffled(5, order, noise) for n in numbers(images)] for _ in "ab"
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(23))
    assert epochs[0] != epochs[1]
    again = [n for b in opened.shuffled(5, rng_stream(0, "order"), noise) for n in numbers(b)]
    assert again == epochs[0]


def test_ordered_batches_follow_the_files(open_batches) -> None:
    opened = open_batches(numbered(7))
    found = [numbers(images) for images in opened.sequential(3, rng_stream(0, "noise"))]
    assert found == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_share_is_spread_over_files_that_may_be_sorted(open_batches) -> None:
    opened = open_batches(numbered(100))
    found = [n for b in opened.subsample(4, rng_stream(0, "noise"), limit=10) for n in numbers(b)]
    assert found == list(range(0, 100, 10))
    whole = [n for b in opened.subsample(64, rng_stream(0, "noise")) for n in numbers(b)]
    assert whole == list(range(100))


def test_taken_images_come_in_the_order_asked_for(open_batches) -> None:
    opened = open_batches(numbered(10))
    assert numbers(opened.gather(torch.tensor([7, 2, 7, 0]), rng_stream(0, "noise"))) == [
        7,
        2,
        7,
        0,
    ]


def test_the_mean_image(open_batches) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 5)).astype(np.uint8)
    mean = open_batches(images).mean_image()
    np.testing.assert_allclose(mean.numpy(), images.mean(0) / 255, rtol=1e-6)


def test_fresh_binarisation_has_the_grey_mean_and_is_drawn_each_time(open_batches) -> None:
    grey = 0.3
    images = np.full((200, 1, 8, 8), round(grey * 255), np.uint8)
    opened = open_batches(images, binarize=True)
    noise = rng_stream(0, "noise")
    first, second = (next(opened.sequential(200, noise)).images for _ in "ab")
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    p = round(grey * 255) / 255
    error = math.sqrt(p * (1 - p) / first.numel())
    assert abs(float(first.mean()) - p) < 6 * error


@pytest.mark.parametrize("levels", [17, 256])
def test_dequantised_pixels_fill_each_grey_level_evenly(open_batches, levels: int) -> None:
    stored = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
    images = np.repeat(stored.reshape(-1, 1, 1, 1), 400, axis=2)
    opened = open_batches(images, dequantize_levels=levels)
    ((drawn, _),) = opened.sequential(levels, rng_stream(0, "noise"))
    within = drawn * levels - torch.arange(levels).reshape(-1, 1, 1, 1)
    # Rounding in float32 may reach a level's edge.
    assert float(within.min()) >= -1e-4
    assert float(within.max()) <= 1 + 1e-4
    error = math.sqrt(1 / 12 / within.numel())
    assert abs(float(within.mean()) - 0.5) < 6 * error


def test_streaming_reads_a_few_batches_ahead_and_no_more(open_batches, monkeypatch) -> None:
    opened = open_batches(numbered(200))
    read: list[Tensor] = []
    rows = opened._rows

    def noted(indices: Tensor) -> Tensor:
        read.append(indices)
        pixels: Tensor = rows(indices)
        return pixels

    monkeypatch.setattr(opened, "_rows", noted)
    epoch = opened.shuffled(5, rng_stream(0, "order"), rng_stream(0, "noise"))
    next(epoch)
    epoch.close()
    assert len(read) <= (1 if opened.bytes is not None else 1 + PREFETCH)


def test_labels_follow_their_images(open_batches) -> None:
    labels = np.arange(23) % 4 - 1
    opened = open_batches(numbered(23), labels=labels, classes=3)
    order, noise = rng_stream(0, "order"), rng_stream(0, "noise")
    for batches in (
        opened.shuffled(5, order, noise),
        opened.sequential(5, noise),
        opened.subsample(5, noise, limit=10),
    ):
        for images, found in batches:
            assert found.tolist() == [labels[number] for number in numbers(images)]
    rows = torch.tensor([7, 2, 7])
    assert opened.labels_at(rows).tolist() == labels[[7, 2, 7]].tolist()
    assert opened.label_counts().tolist() == [6, 6, 5]
    without = open_batches(numbered(23))
    assert next(without.sequential(5, noise)).labels is None
    assert without.labels_at(rows) is without.label_counts() is None
