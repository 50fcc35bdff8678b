"""The prepared splits as batches, drawn as the settings say."""

import torch

from vaelab.data.batches import ImageBatches
from vaelab.data.dataset import PreparedData, SplitName


def build_batches(
    data: PreparedData, split: SplitName, dequantize: bool, device: torch.device
) -> ImageBatches:
    """Open a split; only training images are binarised afresh, the others were once for all."""
    info = data.info
    return ImageBatches(
        data.images(split),
        device,
        binarize=info.binarization == "fresh" and split == "train",
        dequantize_levels=info.levels if dequantize else None,
    )
