"""Models and training states on disk: safetensors and JSON, whole or not there, no pickle."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from vaelab.config import ModelSettings, UserError, reason
from vaelab.files import sha256, write_atomically, write_text
from vaelab.locks import sole_user
from vaelab.models import Model, PosteriorKind, build_model

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"


class ModelDescription(BaseModel):
    """config.json: what is needed beside the weights to build the model and feed it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    objective: str
    networks: tuple[str, ...]
    posterior: PosteriorKind = "gaussian"
    image_shape: tuple[int, int, int]
    model: ModelSettings
    dataset: str
    levels: int
    settings: dict[str, Any]  # as they were, by dotted name: a record, read by no one here


def save_model(folder: Path, model: Model, description: ModelDescription) -> str:
    """Write a model's weights and description; give the SHA-256 of the weights file."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    content = serialise(tensors)
    write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(content))
    write_text(folder / CONFIG, description.model_dump_json(indent=2) + "\n")
    return weights_hash(folder)


def weights_hash(folder: Path) -> str:
    """Give the SHA-256 of a saved model's weights. Raises UserError where there are none."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder / WEIGHTS}: not found; `dvc repro train` makes it")
    return sha256(folder / WEIGHTS)


def load_model(folder: Path, device: torch.device) -> tuple[Model, ModelDescription]:
    """Read a saved model, ready to be evaluated.

    Raises UserError if a file is missing, damaged, or does not fit the other.
    """
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        description = ModelDescription.model_validate_json(text)
        model = build_model(
            description.model,
            description.image_shape,
            description.networks,
            posterior=description.posterior,
        )
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict(weights)
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise ValueError(f"{WEIGHTS} holds weights that are no finite numbers")
    except (OSError, LookupError, TypeError, ValueError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{folder}: no loadable model ({reason(error)}); `dvc repro -f train` makes it anew"
        ) from error
    return model.to(device).eval(), description


class CheckpointFolder:
    """The last states of one training, newest last; one process at a time may use it.

    Used as a context: entering takes the lock, under a name that others are told, and raises
    UserError if another process has it.
    """

    def __init__(self, folder: Path, name: str = "another training", keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        self._lock = sole_user(folder / "lock", name)

    def __enter__(self) -> "CheckpointFolder":
        self._lock.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)

    def save(
        self, epoch: int, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        """Write a state, tensors and JSON in one file, and drop the oldest.

        It is that after so many epochs and so many steps of the next one.
        """
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"state": json.dumps(state)}
        path = self.folder / f"epoch_{epoch:06d}_step_{step:08d}.safetensors"
        content = serialise(whole, metadata)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        for old in self._paths()[: -self.keep]:
            old.unlink()

    def load_latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest state that is whole; a damaged one is passed over with a warning."""
        for path in reversed(self._paths()):
            try:
                with safe_open(path, framework="pt") as file:
                    state = json.loads(file.metadata()["state"])
                return load_file(path), state
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                print(f"warning: {path} is damaged ({reason}); trying the one before", flush=True)
        return None

    def note(self, name: str, content: Mapping[str, Any]) -> Path:
        """Leave a JSON file for people beside the states; give its path."""
        write_text(self.folder / name, json.dumps(content) + "\n")
        return self.folder / name

    def remove(self) -> None:
        """Remove the folder, once the training that it belongs to has succeeded."""
        shutil.rmtree(self.folder)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("epoch_*.safetensors"))
