"""What a trained model depends on, and what is written down beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import vaelab
from vaelab.config import Settings, flatten
from vaelab.data.dataset import DatasetInfo
from vaelab.models.component_settings import component_settings, with_component_settings
from vaelab.models.saving import ModelDescription
from vaelab.models.sizes import with_sizes
from vaelab.objectives import build_objective, objective_settings
from vaelab.runtime.files import sha256
from vaelab.training.trainer import Trainer


def describe_model(settings: Settings, info: DatasetInfo, trainer: Trainer) -> ModelDescription:
    """Say what is needed beside the weights to use a model, and how it came about."""
    names, settings = info.class_names or (), with_sizes(settings, info.image_shape)
    return ModelDescription(
        objective=settings.train.objective,
        networks=trainer.objective.networks(),
        posterior=trainer.objective.posterior,
        image_shape=info.image_shape,
        model=with_component_settings(trainer.objective.resolve_prior(settings.model)),
        dataset=info.name,
        levels=info.levels,
        class_names=names if trainer.model.classes else (),
        label_names=() if trainer.model.classes else names,
        settings=training_settings(settings),
    )


def training_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a trained model depends on, by dotted name.

    Raises UserError for settings that the objective or the prior refuse.
    """
    sections = ("data.", "model.", "train.")
    own = ("model.networks", "model.priors")
    trained = {k: v for k, v in flatten(settings).items() if k.startswith(sections)}
    return {k: v for k, v in trained.items() if k not in own} | _own_settings(settings)


def _own_settings(settings: Settings) -> dict[str, Any]:
    """Return the own settings of the chosen objective, network and prior, by dotted name."""
    model = build_objective(settings).resolve_prior(settings.model)
    return objective_settings(settings) | component_settings(model)


def training_fingerprint(settings: Settings, device: torch.device, prepared: Path) -> str:
    """Name a training by the hash of what it depends on: settings, data, code and device."""
    digest = hashlib.sha256(device.type.encode())
    model = settings.model.model_copy(update={"networks": {}, "priors": {}})
    for section in (settings.data, model, settings.train):
        digest.update(section.model_dump_json().encode())
    digest.update(json.dumps(_own_settings(settings), sort_keys=True).encode())
    digest.update(sha256(prepared / "dataset.json").encode())
    for source in sorted(Path(vaelab.__path__[0]).rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
