"""What a training will take, found before its first step: memory of a step, seconds an epoch.

Random streams and weights stay as they are, so that a training is the same with and without.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.config import UserError
from vaelab.data.loader import Batch
from vaelab.runtime import memory
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.trainer import Trainer

# Images of the two small batches whose difference is the memory of an image.
FEW, MORE = 2, 4
# What a step allocates beyond the tensors that are kept for its gradients: the gradients between
# layers, and what the allocator cannot reuse.
OVERHEAD = 1.5
RESERVE = 0.95
"""The share of the free memory that a training may take."""


@dataclass(frozen=True)
class StepCost:
    """The cost of a step of `batch` images in this process, in bytes, and of an epoch in seconds.

    `fixed` is for the gradients of the `weights`, `per_image` for what a layer keeps of an image.
    """

    weights: int
    fixed: int
    per_image: int
    batch: int
    free: int
    epoch_seconds: float | None = None

    @property
    def bytes(self) -> int:
        """What a step allocates."""
        return self.fixed + self.batch * self.per_image

    @property
    def largest_batch(self) -> int:
        """The largest batch that fits, a power of two; 0 if not even an image does."""
        fitting = int((RESERVE * self.free - self.fixed) // max(self.per_image, 1))
        return 2 ** int(math.log2(fitting)) if fitting >= 1 else 0

    def check(self, processes: int = 1) -> None:
        """Raise UserError if a step does not fit in the free memory; `processes` share a batch."""
        if self.bytes <= RESERVE * self.free:
            return
        fits = self.largest_batch * processes
        advice = f"{fits} would fit" if fits else "not even 1 would fit: use a smaller model"
        raise UserError(
            f"train.batch_size: {self.batch * processes} needs about {_size(self.bytes)} of memory "
            f"a step, and {_size(self.free)} are free; {advice}"
        )

    def __str__(self) -> str:
        """Return one line."""
        seconds = self.epoch_seconds
        epoch = "" if seconds is None else f" and {_duration(seconds)} an epoch, without validation"
        return f"{self.weights:,} weights; about {_size(self.bytes)} of memory a step{epoch}"


def step_cost(trainer: Trainer) -> StepCost:
    """Estimate the cost of a step and an epoch. Raises UserError if a step does not fit."""
    weights = sum(p.numel() for p in trainer.live_model.parameters() if p.requires_grad)
    processes = trainer.group.world_size
    batch = math.ceil(min(trainer.settings.batch_size, len(trainer.train)) / processes)
    with _unchanged(trainer), trainer.matmul():
        few, more = (_kept_bytes(trainer, count) for count in (FEW, MORE))
        per_image = int(OVERHEAD * max(0, more - few) / (MORE - FEW))
        free = _free(trainer.device)
        found = StepCost(weights, 4 * weights, per_image, batch, free)
        found.check(processes)
        seconds = _seconds(trainer, batch) * len(trainer.train) / (batch * processes)
    return StepCost(weights, 4 * weights, per_image, batch, free, seconds)


@contextmanager
def _unchanged(trainer: Trainer) -> Iterator[None]:
    """Leave PyTorch's global random state, the model's mode and its buffers as they are."""
    model = trainer.live_model
    training = model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng([trainer.device] if trainer.device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            model.train(training)
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def _kept_bytes(trainer: Trainer, count: int) -> int:
    """Return the bytes that autograd keeps of a batch of so many images."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = _losses(trainer, count)  # alive, so that no storage is reused
    assert losses
    return sum(sizes.values())


def _seconds(trainer: Trainer, count: int) -> float:
    """Return the seconds of the losses and gradients of a batch."""
    started = time.perf_counter()
    losses = _losses(trainer, count)
    for number, (name, loss) in enumerate(losses.items(), 1):
        parameters = trainer.state.optimizers[name].parameters
        torch.autograd.grad(loss, parameters, retain_graph=number < len(losses), allow_unused=True)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - started


def _losses(trainer: Trainer, count: int) -> dict[str, Tensor]:
    """Return the mean losses of the first images, by the name of their optimizer."""
    noise = rng_stream(trainer.settings.seed, "cost", trainer.device)
    rows = torch.arange(count) % len(trainer.train)
    batch = Batch(trainer.train.gather(rows, noise), trainer.train.labels_at(rows))
    labels = batch.labels if trainer.live_model.classes else None
    model = trainer.live_model.given(labels)
    found = trainer.objective.losses(model, batch.images, noise)
    return {name: output.loss.mean() for name, output in found.items()}


def _free(device: torch.device) -> int:
    """Return the bytes that are free for a step."""
    if device.type != "cuda":
        return memory.available()
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + unused)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
