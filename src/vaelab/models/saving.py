"""Saved models: weights as safetensors, description as JSON, both written atomically."""

import hashlib
import operator
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from vaelab.config import ArtifactError, ModelSettings, reason
from vaelab.models.model import Model, PosteriorKind, build_model
from vaelab.models.sizes import SizedModelSettings, resolve_sizes
from vaelab.models.weights import WEIGHTS, weights_sha256
from vaelab.runtime.files import write_atomically, write_text

CONFIG = "config.json"


def _with_sizes(settings: object, info: Any) -> object:
    """Return settings of a model with the sizes that `auto` is for its images."""
    if isinstance(settings, ModelSettings) and "image_shape" in info.data:
        return resolve_sizes(settings, info.data["image_shape"])
    return settings


class ModelDescription(BaseModel):
    """config.json: what is needed besides the weights to build and use the model.

    `class_names` are the labels of a conditional model, empty for any other; `label_names` those of
    the images that another model was trained on. `settings` records all training settings by dotted
    name; loading reads neither of these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    objective: str
    networks: tuple[str, ...]
    posterior: PosteriorKind = "gaussian"
    image_shape: tuple[int, int, int]
    model: Annotated[SizedModelSettings, BeforeValidator(_with_sizes)]
    dataset: str
    levels: int
    class_names: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    label_names: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    settings: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the training images' labels, where there are any."""
        return self.class_names or self.label_names


def save_model(folder: Path, model: Model, description: ModelDescription) -> str:
    """Write a model's weights and description; return the SHA-256 of the weights file."""
    content = _weights(model)
    write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(content))
    write_text(folder / CONFIG, description.model_dump_json(indent=2) + "\n")
    return weights_sha256(folder)


def weights_digest(model: Model) -> str:
    """Return the SHA-256 of the weights file that `save_model` would write."""
    return hashlib.sha256(_weights(model)).hexdigest()


def load_model(folder: Path, device: torch.device) -> tuple[Model, ModelDescription]:
    """Read a saved model, ready to be evaluated.

    Raises ArtifactError if a file is missing, damaged, or does not fit the other.
    """
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        description = ModelDescription.model_validate_json(text)
        model = build_model(
            description.model,
            description.image_shape,
            description.networks,
            posterior=description.posterior,
            classes=len(description.class_names),
        )
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict(weights)
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise ValueError(f"{WEIGHTS} contains weights that are not finite")
    except (OSError, LookupError, TypeError, ValueError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(folder, f"no loadable model ({reason(error)})") from error
    return model.to(device).eval(), description


def _weights(model: Model) -> bytes:
    return serialize(
        {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    )
