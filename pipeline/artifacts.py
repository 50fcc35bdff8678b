"""Load a trained model and the prepared data."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline import paths
from vaelab.config import ArtifactError, MachineSettings
from vaelab.data.dataset import DatasetInfo, PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.models.model import Model
from vaelab.models.saving import ModelDescription, load_model
from vaelab.runtime.devices import choose_device


def build_batches(
    data: PreparedData,
    split: SplitName,
    dequantize: bool,
    device: torch.device,
    local_processes: int = 1,
) -> ImageLoader:
    """Open a split. Only training images are binarized at each access."""
    info = data.info
    return ImageLoader(
        data.images(split),
        device,
        missing=data.missing(split),
        labels=data.labels(split),
        classes=len(info.class_names or ()),
        binarize=info.binarization == "fresh" and split == "train",
        dequantize_levels=info.levels if dequantize else None,
        local_processes=local_processes,
    )


def check_image_shape(path: Path, image_shape: tuple[int, int, int], info: DatasetInfo) -> None:
    """Raise ArtifactError unless a model is for images of the prepared shape."""
    if image_shape != info.image_shape:
        raise ArtifactError(
            path,
            f"was trained on images of shape {list(image_shape)}, "
            f"the prepared images have {list(info.image_shape)}",
        )


def check_labels(path: Path, class_names: tuple[str, ...], info: DatasetInfo) -> None:
    """Raise ArtifactError unless the labels that a model sees are those of the prepared images."""
    own = info.class_names or ()
    if class_names and class_names != own:
        labels = ", ".join(own) or "none"
        raise ArtifactError(
            path,
            f"sees the labels {', '.join(class_names)}; those of the prepared images are {labels}",
        )


@dataclass(frozen=True)
class TrainedArtifacts:
    """A model on its device, and the data it was trained on."""

    model: Model
    description: ModelDescription
    data: PreparedData
    device: torch.device

    @classmethod
    def load(cls, settings: MachineSettings) -> "TrainedArtifacts":
        """Load what the train and prepare stages wrote. Raises UserError."""
        device = choose_device(settings)
        model, description = load_model(paths.MODEL, device)
        data = PreparedData.load(paths.PREPARED)
        model = model.seeing_gaps(bool(data.info.missing))
        check_image_shape(paths.MODEL, description.image_shape, data.info)
        check_labels(paths.MODEL, description.class_names, data.info)
        return cls(model, description, data, device)

    def batches(self, split: SplitName) -> ImageLoader:
        """Open a split."""
        dequantize = bool(self.description.settings.get("data.dequantize"))
        return build_batches(self.data, split, dequantize, self.device)
