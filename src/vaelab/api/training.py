"""Train a model on images in memory, with the loop of the pipeline."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from vaelab.api.class_means import Means, means_of_images
from vaelab.api.incomplete import training_images
from vaelab.api.inputs import device_settings, label_numbers
from vaelab.api.trained_model import TrainedModel
from vaelab.config import (
    AUTO,
    NO_SAMPLER,
    ModelSettings,
    SamplerSettings,
    Section,
    Settings,
    TrainSettings,
    UserError,
    parse_section,
    with_changes,
)
from vaelab.config.choices import unknown_message
from vaelab.data.dataset import DatasetInfo
from vaelab.data.loader import ImageLoader
from vaelab.data.splits import generator
from vaelab.models.model import Model
from vaelab.models.saving import weights_digest
from vaelab.models.sizes import sizes_note
from vaelab.recipes import read_recipe
from vaelab.runtime.devices import choose_device
from vaelab.samplers import (
    Posteriors,
    SamplerDescription,
    conditional_sampler,
    encode_posteriors,
    fit_sampler,
)
from vaelab.training.build import build_trainer
from vaelab.training.cost import step_cost
from vaelab.training.fingerprint import describe_model
from vaelab.training.precision import choose_precision
from vaelab.training.trainer import Trainer

READ = ("model.", "train.", "objectives.", "samplers.")
SECTIONS: dict[str, type[Section]] = {"model": ModelSettings, "train": TrainSettings}


def train(
    images: object,
    labels: Sequence[int | str] | np.ndarray | None = None,
    *,
    validation_fraction: float = 0.1,
    sampler: str = NO_SAMPLER,
    device: str = "auto",
    progress: bool = True,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **own: Any,
) -> TrainedModel:
    """Train a model: `vaelab.train(images, latent_dim=16, epochs=20)`.

    Images of one shape go in as arrays, tensors, pictures of Pillow or paths of files: gray
    [count, height, width], or with 1 or 3 channels first or last; floats from 0 to 1 or integers
    from 0 to 255, of which 8 bits are kept. Pixels of arrays may be missing, NaN: then the bound is
    that of the observed ones (objective="iwae": the MIWAE, Mattei & Frellsen 2019).

    Any setting of the sections `model` and `train` of params.yaml is an argument, as `latent_dim`,
    `kl_weight`, `epochs`, `objective`, `network` or `seed`; `settings` holds others by dotted name,
    as "objectives.iwae.importance_samples". `recipe` names settings that serve for a kind of images
    (docs/training.md), from which the others may differ.

    `labels`, numbers from 0 or names, and -1 where unknown, let `edit` change the class; with
    conditional="labels" the model sees them. The weights that are kept are those of the epoch of
    lowest loss on `validation_fraction` of the images, which are drawn at random and not trained
    on. `sampler` fits a density to the latents after training: "flow_matching", "mixture" or
    "gaussian". Nothing is written: `save` does that. Raises `vaelab.UserError` for wrong images
    and settings.
    """
    chosen = _settings(_of_recipe(recipe) | dict(settings or {}), own)
    parse_section(SamplerSettings, {"name": sampler}, "sampler")
    where = choose_device(device_settings(device))
    pixels, missing = training_images(images)
    channels, height, width = pixels.shape[1:]
    if progress and (note := sizes_note(chosen.model, (channels, height, width))):
        print(note, file=sys.stderr)
    numbers, names = _labels(labels, len(pixels))
    loaders = [
        ImageLoader(
            pixels[rows],
            where,
            labels=None if numbers is None else numbers[rows],
            classes=len(names),
            missing=None if missing is None else missing[rows],
        )
        for rows in _split(len(pixels), validation_fraction, chosen.train.seed)
    ]
    trainer = build_trainer(chosen, loaders[0], loaders[1], where)
    if progress and chosen.train.precision == AUTO:
        print(choose_precision(chosen, trainer.live_model, where)[1], file=sys.stderr)
    step_cost(trainer)  # refuses what cannot fit
    trainer.fit(show_progress=progress)
    trainer.model.eval()
    return _result(trainer, chosen, _info(pixels, loaders, names), sampler)


def _result(trainer: Trainer, chosen: Settings, info: DatasetInfo, sampler: str) -> TrainedModel:
    """Describe the model, and fit what depends on the latents of the training images."""
    description = describe_model(chosen, info, trainer)
    about_model = {k: v for k, v in description.settings.items() if not k.startswith("data.")}
    description = description.model_copy(update={"settings": about_model})
    network = trainer.model.seeing_gaps(False)
    trained = TrainedModel(network, description, history=tuple(trainer.progress.history))
    if not trainer.model.has("encoder"):
        return trained
    labels = trainer.train.labels
    posteriors = encode_posteriors(
        trainer.model, trainer.train, None if labels is None else labels.cpu().numpy()
    )
    means = _class_means(trainer.model, posteriors)
    fitted = _fit_sampler(trainer.model, posteriors, sampler, chosen)
    return TrainedModel(network, description, *fitted, means, trained.history)


def _class_means(model: Model, posteriors: Posteriors) -> Means | None:
    if posteriors.labels is None or model.classes:
        return None
    return means_of_images(posteriors.means, posteriors.labels, posteriors.classes)


def _fit_sampler(
    model: Model, posteriors: Posteriors, name: str, chosen: Settings
) -> tuple[Any, SamplerDescription | None]:
    if model.classes:
        name = conditional_sampler(name, len(posteriors), model.latent_dim)
    if name == NO_SAMPLER:
        return None, None
    found = fit_sampler(SamplerSettings(name=name), chosen.samplers, posteriors)
    return found.sampler, SamplerDescription(
        name=found.name,
        model_sha256=weights_digest(model),
        latent_dim=model.latent_dim,
        classes=posteriors.classes,
        images=len(posteriors),
        settings=found.settings,
        fit=found.facts,
    )


def _of_recipe(name: str | None) -> dict[str, Any]:
    """Return the settings of a recipe that have an effect here. Raises UserError."""
    found = {} if name is None else read_recipe(name)
    return {setting: value for setting, value in found.items() if setting.startswith(READ)}


def _settings(dotted: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    """Return the settings with the arguments of `train`. Raises UserError for unknown ones."""
    changes = dict(dotted)
    for name in changes:
        if not name.startswith(READ):
            raise UserError(
                f"settings: {name} has no effect here; valid: those that begin with "
                f"{', '.join(READ)}"
            )
    for name, value in own.items():
        section = next((s for s, fields in SECTIONS.items() if name in fields.model_fields), None)
        if section is None:
            valid = [field for fields in SECTIONS.values() for field in fields.model_fields]
            raise UserError(unknown_message("argument of vaelab.train", name, valid))
        changes[f"{section}.{name}"] = value
    return with_changes(Settings(), changes)


def _labels(
    labels: Sequence[int | str] | np.ndarray | None, count: int
) -> tuple[Int64[np.ndarray, " count"] | None, tuple[str, ...]]:
    """Return the labels as numbers, and the names of the classes."""
    if labels is None:
        return None, ()
    named = sorted({label for label in labels if isinstance(label, str)})
    if not named:
        numbers = label_numbers(labels, count, 65536).numpy()
        return numbers, tuple(map(str, range(int(numbers.max()) + 1)))
    return label_numbers(labels, count, len(named), named).numpy(), tuple(named)


def _split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and for validation. Raises UserError for too few images."""
    held_out = round(fraction * count)
    if not 0 < fraction < 1 or not 0 < held_out < count:
        raise UserError(
            f"{count} images with validation_fraction {fraction:g} leave none to train on, or "
            "none to validate: wanted more images, or a fraction between 0 and 1"
        )
    rows = generator(seed, "split").permutation(count)
    return np.sort(rows[held_out:]), np.sort(rows[:held_out])


def _info(
    pixels: UInt8[np.ndarray, "count channel height width"],
    loaders: Sequence[ImageLoader],
    names: tuple[str, ...],
) -> DatasetInfo:
    is_binary = bool(np.isin(pixels, (0, 255)).all())
    channels, height, width = pixels.shape[1:]
    return DatasetInfo(
        name="images in memory",
        image_shape=(channels, height, width),
        counts={"train": len(loaders[0]), "validation": len(loaders[1]), "test": 0},
        class_names=names or None,
        factor_names=None,
        levels=2 if is_binary else 256,
        binarization="none",
        seed=0,
        sha256={},
        origin="an array",
    )
