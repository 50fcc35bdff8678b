"""What the machine and the models demand of each other: operations, and operations a second."""

import copy
import time

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vaelab.models.model import Model
from vaelab.objectives import Objective
from vaelab.runtime.matmul import fast_matmul
from vaelab.runtime.random_streams import rng_stream


@fast_matmul()
def product_rate(device: torch.device | str = "cpu") -> float:
    """Return the operations a second of a float32 matrix product, at its best of 20."""
    left, right = torch.rand(4096, 512, device=device), torch.rand(512, 784, device=device)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        float((left @ right)[0, 0])
        seconds.append(time.perf_counter() - started)
    return 2 * left.numel() * right.shape[1] / min(seconds)


def flops(model: Model, name: str) -> float:
    """Count a network's multiplications and additions for one image or latent."""
    network = copy.deepcopy(model.networks[name]).to("meta")
    shape = (model.latent_dim,) if name == "decoder" else model.image_shape
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *shape, device="meta"))
    return float(counter.get_total_flops())


def training_flops(objective: Objective, model: Model, images: Tensor) -> float:
    """Count the multiplications and additions of a training step, an image."""
    noise = rng_stream(0, "noise", images.device)
    with FlopCounterMode(display=False) as counter:
        losses = objective.losses(model, images, noise)
        for output in losses.values():
            output.loss.mean().backward(retain_graph=True)  # type: ignore[no-untyped-call]
    return counter.get_total_flops() / len(images)
