"""Batches of a split: float images in [0, 1], and labels.

The images are uint8 on the device where the split fits. Otherwise batches are prefetched from the
memory-mapped file: the same images in the same order, in the memory of a few batches.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from vaelab.data.augmentation import Transform
from vaelab.runtime import memory

# Batches that are prefetched, by as many threads, since most of the time is waiting.
PREFETCH = 4
Images = Float[Tensor, "batch channel height width"]
Labels = Int64[Tensor, "batch"]
AS_STORED = itertools.repeat(lambda stored: stored)


class Batch(NamedTuple):
    """Images and their labels, -1 where one is unknown; None where the data set has no labels."""

    images: Images
    labels: Labels | None


class ImageLoader:
    """A split's images, batch by batch.

    `binarize` samples black or white at each access, white with the grey value as probability
    (Salakhutdinov & Murray 2008). `dequantize_levels` adds uniform noise of one grey level:
    x = (level + noise) / levels (Theis et al. 2016, section 3.1). `local_processes` on this machine
    hold the same images, each in its own memory. `labels` [count] are from 0 to `classes` - 1, and
    -1 where unknown. Pixels that are `missing`, in all channels or in some, are NaN.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "count channel height width"],
        device: torch.device,
        *,
        labels: Int64[np.ndarray, "count"] | None = None,
        classes: int = 0,
        binarize: bool = False,
        dequantize_levels: int | None = None,
        local_processes: int = 1,
        missing: Bool[np.ndarray, "count masks height width"] | None = None,
    ) -> None:
        self.device = device
        self.count = len(images)
        self.binarize = binarize
        self.dequantize_levels = dequantize_levels
        self.array = images
        self.labels = None if labels is None else torch.from_numpy(np.array(labels)).to(device)
        self.classes = classes
        self.missing = missing
        # What is missing follows the pixels, as more channels.
        self.stored = [images] if missing is None else [images, missing.view(np.uint8)]
        self.bytes: Tensor | None = None
        if _fits(self.stored, device, local_processes):
            self.bytes = _to_device(self.stored, device)

    def __len__(self) -> int:
        return self.count

    @property
    def is_stochastic(self) -> bool:
        """Whether an image has different pixels at each access."""
        return self.binarize or self.dequantize_levels is not None

    def shuffled(
        self,
        batch_size: int,
        shuffle_rng: torch.Generator,
        noise: torch.Generator,
        first: int = 0,
        transforms: Iterable[Transform] = AS_STORED,
    ) -> Iterator[Batch]:
        """Return every image once, in an order from `shuffle_rng`; the last batch may be short.

        Batches before index `first` are left out, and no noise is drawn for them. `transforms` are
        those of the batches that are returned.
        """
        batches = torch.split(self.permutation(shuffle_rng), batch_size)[first:]
        yield from self.batches_at(batches, itertools.repeat(noise), transforms)

    def batches_at(
        self,
        batches: Iterable[Tensor],
        noises: Iterable[torch.Generator],
        transforms: Iterable[Transform] = AS_STORED,
    ) -> Iterator[Batch]:
        """Return the images at the given indices, batch by batch.

        Each batch has its own noise, and its own transform of what is stored: uint8 images, and
        what is missing in them as more channels.
        """
        wanted, read = itertools.tee(batches)
        each = zip(self._read(read), wanted, noises, transforms, strict=False)
        for stored, rows, noise, transform in each:
            yield Batch(self._prepare(transform(stored), noise), self.labels_at(rows))

    def permutation(self, rng: torch.Generator) -> Int64[Tensor, "count"]:
        """Draw the order in which `shuffled` returns the images."""
        return torch.randperm(self.count, generator=rng, device=rng.device)

    def sequential(
        self, batch_size: int, noise: torch.Generator, limit: int | None = None
    ) -> Iterator[Batch]:
        """Return the first `limit` images, or all, in the order of the files."""
        end = min(limit or self.count, self.count)
        for start in range(0, end, batch_size):
            stop = min(start + batch_size, end)
            labels = None if self.labels is None else self.labels[start:stop]
            yield Batch(self._prepare(self._slice(start, stop), noise), labels)

    def gather(self, indices: Tensor, noise: torch.Generator) -> Images:
        """Return the images at these indices."""
        return self._prepare(self._rows(indices), noise)

    def labels_at(self, indices: Tensor) -> Int64[Tensor, "*rows"] | None:
        """Return the labels of the images at these indices; None without labels."""
        return None if self.labels is None else self.labels[indices.to(self.device)]

    def label_counts(self) -> Int64[Tensor, "classes"] | None:
        """Count the images of each label; None without labels."""
        if self.labels is None:
            return None
        return torch.bincount(self.labels[self.labels >= 0], minlength=self.classes)

    def evenly_spaced(self, limit: int | None = None) -> Int64[Tensor, "rows"]:
        """Return the indices of about `limit` images, or of all, evenly spaced in the files."""
        return torch.arange(0, self.count, max(1, self.count // (limit or self.count)))

    def subsample(
        self,
        batch_size: int,
        noise: torch.Generator,
        limit: int | None = None,
        part: slice = slice(None),
    ) -> Iterator[Batch]:
        """Return about `limit` images, or all, evenly spaced in the files, which may be sorted.

        `part` selects some of their batches.
        """
        for rows in torch.split(self.evenly_spaced(limit), batch_size)[part]:
            yield Batch(self.gather(rows, noise), self.labels_at(rows))

    def mean_image(self, limit: int = 10_000) -> Float[Tensor, "channel height width"]:
        """Return the mean of about `limit` images, evenly spaced in the files, in [0, 1].

        A pixel that is missing in all of them is black.
        """
        step = max(1, self.count // limit)
        images = self.array[::step]
        if self.missing is None:
            mean = images.mean(axis=0, dtype=np.float64)
        else:
            observed = ~self.missing[::step]
            total = (images * observed).sum(axis=0, dtype=np.float64)
            mean = total / observed.sum(axis=0).clip(1)
        return torch.from_numpy((mean / 255).astype(np.float32)).to(self.device)

    def _slice(self, start: int, stop: int) -> Tensor:
        if self.bytes is not None:
            return self.bytes[start:stop]
        return _to_device([part[start:stop] for part in self.stored], self.device)

    def _read(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        if self.bytes is not None:
            yield from map(self._rows, batches)
            return
        with ThreadPoolExecutor(PREFETCH) as readers:
            reading: deque[Future[Tensor]] = deque()
            for indices in batches:
                reading.append(readers.submit(self._rows, indices))
                if len(reading) > PREFETCH:
                    yield reading.popleft().result()
            yield from (pixels.result() for pixels in reading)

    def _rows(self, indices: Tensor) -> Tensor:
        if self.bytes is not None:
            return self.bytes.index_select(0, indices.to(self.device))
        rows = indices.cpu().numpy()
        # Read a memory map in sorted order, then restore the order of the batch.
        order = np.argsort(rows)
        parts = [np.empty((len(rows), *stored.shape[1:]), np.uint8) for stored in self.stored]
        for part, stored in zip(parts, self.stored, strict=True):
            part[order] = np.take(stored, rows[order], axis=0)
        return _to_device(parts, self.device)

    def _prepare(
        self, stored: UInt8[Tensor, "batch channels height width"], noise: torch.Generator
    ) -> Images:
        if self.missing is None:
            return self._sample(stored.float() / 255, noise)
        channels = self.array.shape[1]
        pixels, missing = stored[:, :channels], stored[:, channels:]
        return self._sample(pixels.float() / 255, noise).masked_fill(missing.bool(), torch.nan)

    def _sample(self, images: Images, noise: torch.Generator) -> Images:
        if self.binarize:
            return (torch.rand(images.shape, generator=noise, device=self.device) < images).float()
        if self.dequantize_levels:
            levels = self.dequantize_levels
            uniform = torch.rand(images.shape, generator=noise, device=self.device)
            return ((images * (levels - 1)).round() + uniform) / levels
        return images


def _to_device(
    parts: Sequence[UInt8[np.ndarray, "count ..."]], device: torch.device
) -> UInt8[Tensor, "count channels height width"]:
    """Copy arrays to the device, as channels of one."""
    joined = np.array(parts[0]) if len(parts) == 1 else np.concatenate(parts, 1)
    return torch.from_numpy(joined).to(device, non_blocking=True)


def _fits(
    parts: Sequence[UInt8[np.ndarray, "count ..."]], device: torch.device, local_processes: int
) -> bool:
    """Return whether the images take less than half of the free memory of this process's device.

    Processes on one machine have an equal part of its memory each.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = memory.available() // local_processes
    return sum(part.nbytes for part in parts) < free / 2
