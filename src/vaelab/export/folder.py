"""What a folder of an exported model has besides the model: ONNX, preprocessing, labels, card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaelab.config import UserError
from vaelab.export.card import CARD, PLAIN, model_card
from vaelab.export.onnx_files import write_onnx
from vaelab.models.model import Model
from vaelab.models.saving import ModelDescription
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import read_metrics, write_json

PREPROCESSING, LABELS = "preprocessing.json", "labels.json"


def check_license(license_id: str) -> None:
    """Raise UserError for what cannot be the name of a license."""
    if not PLAIN.fullmatch(license_id):
        raise UserError(f"license {license_id!r}: wanted the name of one, such as mit or cc-by-4.0")


def read_evaluation(path: str | Path | None) -> Mapping[str, Mapping[str, Any]]:
    """Return the metrics of an evaluation, {} without one. Raises UserError."""
    return {} if path is None else read_metrics(Path(path))


def write_files(
    folder: Path,
    model: Model,
    description: ModelDescription,
    license_id: str,
    metrics: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write what others need, beside the files of the model. Raises UserError without ONNX."""
    write_onnx(model, folder)
    channels, height, width = model.image_shape
    write_json(
        folder / PREPROCESSING,
        {
            "width": width,
            "height": height,
            "channels": channels,
            "color": "grayscale" if channels == 1 else "RGB",
            "layout": "batch, channel, height, width",
            "data_type": "float32",
            "range": [0, 1],
        },
    )
    if description.labels:
        names = {str(number): name for number, name in enumerate(description.labels)}
        write_json(folder / LABELS, names)
    write_text(folder / CARD, model_card(folder, model, description, license_id, metrics))
