"""A training step as one CUDA graph: started at once, where Python starts a kernel after another.

Steps of small networks take a GPU less time than Python takes to start their kernels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaelab.config import Settings, UserError
from vaelab.data.loader import Batch
from vaelab.distributed.process_group import ProcessGroup
from vaelab.training.updates import Part

Watched = list[dict[str, Tensor]]
"""Each part's losses and terms, [batch]."""
Record = Callable[[Callable[[], Watched], torch.Generator], tuple[Watched, Callable[[], None]]]

# Steps before recording: libraries allocate their workspaces in the first ones.
ORDINARY_STEPS = 3
# Objectives of one optimizer that draw noise from the training's generator alone
OBJECTIVES = ("vae", "beta_vae", "iwae")


def check_cuda_graph(settings: Settings, device: torch.device, group: ProcessGroup) -> None:
    """Raise UserError for a training whose steps cannot be recorded."""
    train, needed = settings.train, []
    if device.type != "cuda":
        needed.append(f"a CUDA device, not {device.type}")
    if group.world_size > 1:
        needed.append("one process")
    if train.accumulate_grad_batches > 1:
        needed.append("train.accumulate_grad_batches: 1")
    if train.objective not in OBJECTIVES:
        needed.append(f"train.objective: {', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}")
    if needed:
        raise UserError(f"machine.cuda_graph: true needs {', and '.join(needed)}")


def record_cuda_graph(
    step: Callable[[], Watched], noise: torch.Generator
) -> tuple[Watched, Callable[[], None]]:
    """Record a step, which is not taken; return where it writes its results, and what replays it.

    Each replay draws new noise from the generator, the numbers that the step itself would draw.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(noise)
    with torch.cuda.graph(graph):
        watched = step()
    return watched, graph.replay


class RecordedStep:
    """Takes the steps of `Updater.step` on full batches of one part as a recording of one of them.

    What a step reads and writes stays in place: weights, moments, learning rate, schedules. Only
    the batch is copied to where the recorded step reads it. What is returned is overwritten by the
    next step.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Part]], Watched],
        noise: torch.Generator,
        batch_size: int,
        record: Record = record_cuda_graph,
    ) -> None:
        self.step, self.noise, self.batch_size, self.record = step, noise, batch_size, record
        self.ordinary_left = ORDINARY_STEPS
        self.batch: Batch | None = None

    def __call__(self, parts: Sequence[Part]) -> Watched:
        """Take a step; return each part's losses and terms."""
        (part,) = parts
        if len(part.batch.images) < self.batch_size:
            return self.step(parts)
        if self.ordinary_left:
            self.ordinary_left -= 1
            return self.step(parts)
        if self.batch is None:
            images, labels = part.batch
            self.batch = own = Batch(images.clone(), None if labels is None else labels.clone())
            self.watched, self.replay = self.record(lambda: self.step([Part(own)]), self.noise)
        for kept, given in zip(self.batch, part.batch, strict=True):
            if kept is not None and given is not None:
                kept.copy_(given)
        self.replay()
        return self.watched
