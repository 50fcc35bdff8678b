"""Means over images, as sums that stay on the device until they are read."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup

# Means over images by name: of scalars, and of vectors with one value per latent dimension.
Means = tuple[dict[str, float], dict[str, list[float]]]


class RunningMeans:
    """Sums by name of values [batch] or [batch, dimension]; no device sync before `compute`."""

    def __init__(self, sums: Mapping[str, Tensor] | None = None, count: int = 0) -> None:
        self.sums = dict(sums or {})
        self.count = count

    def add(self, values: Mapping[str, Tensor], group: ProcessGroup = SINGLE_GROUP) -> None:
        """Add a batch; all values have its length, or that of this process's part of it."""
        sums: dict[str, Tensor] = {}
        for name, tensor in values.items():
            # MPS has no float64.
            dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
            sums[name] = tensor.detach()[: group.local_count].sum(0, dtype=dtype)
        for name, total in group.all_reduce_sums(sums).items():
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        rows = len(next(iter(values.values()), ()))
        self.count += rows if group.world_size == 1 else group.batch_count

    def compute(self) -> Means:
        """Return the means over all images, in one sync: of scalars, and of vectors."""
        if not self.sums:
            return {}, {}
        flat = torch.cat([total.flatten() for total in self.sums.values()]) / self.count
        values = iter(flat.tolist())
        scalars: dict[str, float] = {}
        lists: dict[str, list[float]] = {}
        for name, total in self.sums.items():
            if total.dim():
                lists[name] = [next(values) for _ in range(len(total))]
            else:
                scalars[name] = next(values)
        return scalars, lists
