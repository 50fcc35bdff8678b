"""A trained model and the prepared data, as evaluation and rendering take them up."""

from dataclasses import dataclass

import torch

from pipeline import paths
from vaelab.config import MachineSettings
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.models.model import Model
from vaelab.models.saving import load_model
from vaelab.runtime.devices import choose_device


def build_batches(
    data: PreparedData,
    split: SplitName,
    dequantize: bool,
    device: torch.device,
    local_processes: int = 1,
) -> ImageLoader:
    """Open a split; only training images are binarised afresh, the others were once for all."""
    info = data.info
    return ImageLoader(
        data.images(split),
        device,
        binarize=info.binarization == "fresh" and split == "train",
        dequantize_levels=info.levels if dequantize else None,
        local_processes=local_processes,
    )


@dataclass(frozen=True)
class TrainedArtifacts:
    """A model on its device, and the data drawn as it was trained to see them."""

    model: Model
    data: PreparedData
    dequantize: bool
    device: torch.device

    @classmethod
    def load(cls, settings: MachineSettings) -> "TrainedArtifacts":
        """Read what the train and prepare stages wrote; raises UserError."""
        device = choose_device(settings)
        model, description = load_model(paths.MODEL, device)
        data = PreparedData.load(paths.PREPARED)
        data.check_model(description.image_shape)
        return cls(model, data, bool(description.settings.get("data.dequantize")), device)

    def batches(self, split: SplitName) -> ImageLoader:
        """Open a split."""
        return build_batches(self.data, split, self.dequantize, self.device)
