"""What `train.precision: auto` is: bfloat16 where it is measured to be faster and as good."""

from typing import Literal

import torch

from vaelab.config import AUTO, Settings
from vaelab.models.model import Model
from vaelab.runtime.matmul import has_bfloat16, mean_product

# Of `python -m benchmarks.steps`, in docs/speed.md: the smallest images of `conv`, and the smallest
# products of `mlp`, whose steps are measured to be shorter by a tenth or more. (Those of `conv` on
# 28x28 pixels are too, but there the loss is worse.)
PIXELS, PRODUCT = 64 * 64, 20_000_000
# Objectives and networks whose losses are measured.
OBJECTIVES, NETWORKS = ("vae", "beta_vae"), ("conv", "mlp")

Precision = Literal["float32", "bfloat16"]


def choose_precision(
    settings: Settings, model: Model, device: torch.device
) -> tuple[Precision, str]:
    """Return the data type of the networks in a training, and a line that says why."""
    if settings.train.precision != AUTO:
        return settings.train.precision, "as set"
    against = _reason_against(settings, model, device)
    if against:
        return "float32", f"auto, train.precision float32: {against}"
    reason = f"the CPU computes in it, and a step of {_described(settings, model)} is shorter"
    return "bfloat16", f"auto, train.precision bfloat16: {reason}"


def _reason_against(settings: Settings, model: Model, device: torch.device) -> str | None:
    if device.type != "cpu":
        return f"what bfloat16 gains is measured on CPUs only, not on {device.type}"
    if not has_bfloat16():
        return "the CPU does not compute in bfloat16 (AVX-512 BF16 or AMX)"
    for name, measured in (
        (settings.train.objective, OBJECTIVES),
        (settings.model.network, NETWORKS),
    ):
        if name not in measured:
            return f"losses in bfloat16 are measured for {' and '.join(measured)} only"
    if not _is_large(settings, model):
        return f"bfloat16 gains too little for {_described(settings, model)}"
    return None


def _is_large(settings: Settings, model: Model) -> bool:
    if settings.model.network == "mlp":
        return mean_product(model, settings.train.batch_size) >= PRODUCT
    return model.image_shape[1] * model.image_shape[2] >= PIXELS


def _described(settings: Settings, model: Model) -> str:
    _, height, width = model.image_shape
    batch = settings.train.batch_size
    return f"{settings.model.network} on {batch} images of {height}x{width} pixels"
