"""Load a trained model from its folder, or from MLflow."""

import difflib
import os
import warnings
from pathlib import Path

import torch

from vaelab.api.class_means import load_means
from vaelab.api.inputs import device_settings
from vaelab.api.mlflow_address import MODEL_FILES, SCHEMES, download
from vaelab.api.trained_model import SAMPLER_FOLDER, TrainedModel
from vaelab.config import ArtifactError, UserError
from vaelab.models.saving import CONFIG, load_model
from vaelab.models.weights import weights_sha256
from vaelab.runtime.devices import choose_device
from vaelab.samplers import Sampler, SamplerDescription, load_sampler


def load(model: str | os.PathLike[str], *, device: str = "auto") -> TrainedModel:
    """Load a trained model: `vaelab.load("models/model")`.

    `model` is the folder of its weights.safetensors and config.json, or an address of MLflow, such
    as "runs:/<run id>/model" or "models:/vaelab@champion". The sampler that was fitted to its
    latents comes with it where there is one: in the folder `sampler` within, or beside. `device` is
    auto (a GPU where there is one), cuda, cuda:1, mps or cpu. Raises `vaelab.UserError`, in one
    line, for what cannot be loaded.

    The result has `encode`, `decode`, `reconstruct`, `restore`, `sample`, `score`, `edit`,
    `interpolate` and `save`; help(vaelab.TrainedModel) describes them.
    """
    if not isinstance(model, str | os.PathLike):
        raise UserError(
            f"wanted the folder of a model, or an address such as models:/name@alias, "
            f"not {type(model).__name__}"
        )
    chosen = choose_device(device_settings(device))
    folder = _folder_of(os.fspath(model))
    _check_folder(folder)
    network, description = load_model(folder, chosen)
    beside = _sampler_folder(folder)
    sampler, about = (None, None) if beside is None else _load_sampler(folder, beside, chosen)
    return TrainedModel(network, description, sampler, about, load_means(folder, chosen))


def _folder_of(address: str) -> Path:
    folder = download(address) if address.startswith(SCHEMES) else Path(address).expanduser()
    within = folder / MODEL_FILES
    return within if within.is_dir() else folder


def _check_folder(folder: Path) -> None:
    """Raise UserError for a folder that does not exist, or is not of a model."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*") if path.is_dir()]
        near = difflib.get_close_matches(folder.name, beside, n=1)
        hint = f"; did you mean {folder.parent / near[0]}?" if near else ""
        raise UserError(f"there is no folder {folder}{hint}")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} is no folder of a model: it has no {CONFIG}")


def _sampler_folder(folder: Path) -> Path | None:
    found = (folder / SAMPLER_FOLDER, folder.resolve().parent / SAMPLER_FOLDER)
    return next((path for path in found if (path / CONFIG).is_file()), None)


def _load_sampler(
    folder: Path, beside: Path, device: torch.device
) -> tuple[Sampler | None, SamplerDescription | None]:
    """Load the sampler; one that does not fit the model is left out, with a warning."""
    try:
        sampler = load_sampler(beside, device, weights_sha256(folder))
        text = (beside / CONFIG).read_text(encoding="utf-8")
    except ArtifactError as error:
        warnings.warn(f"{error}; samples are of the prior", stacklevel=3)
        return None, None
    return sampler, SamplerDescription.model_validate_json(text)
