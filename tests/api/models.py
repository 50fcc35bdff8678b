"""Small models, saved as the pipeline saves them."""

from pathlib import Path
from typing import Any

import torch

import vaelab
from vaelab.config import ModelSettings
from vaelab.models.model import Model, build_model
from vaelab.models.saving import ModelDescription, save_model
from vaelab.runtime.random_streams import rng_stream

SHAPE = (1, 8, 8)
NAMES = ("cat", "dog", "owl", "fox")
SETTINGS = ModelSettings(network="mlp", hidden=(16,), latent_dim=3)
CONDITIONAL = SETTINGS.model_copy(update={"conditional": "labels"})


def saved(
    folder: Path,
    settings: ModelSettings = SETTINGS,
    shape: tuple[int, int, int] = SHAPE,
    networks: tuple[str, ...] = ("encoder", "decoder"),
    **changes: Any,
) -> Model:
    """Save a model with random weights; return it as it is."""
    names = NAMES if settings.conditional == "labels" else ()
    model = build_model(settings, shape, networks, classes=len(names), **changes).eval()
    noise = rng_stream(0, "weights")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=noise))
    description = ModelDescription(
        objective="vae" if "encoder" in networks else "gan",
        networks=networks,
        image_shape=shape,
        model=settings,
        dataset="digits",
        levels=256,
        class_names=names,
        settings={},
        **changes,
    )
    save_model(folder, model, description)
    return model


def loaded(folder: Path, *args: Any, **changes: Any) -> vaelab.TrainedModel:
    """Save a model with random weights, and load it."""
    saved(folder, *args, **changes)
    return vaelab.load(folder, device="cpu")
