"""The model card: README.md of an exported model, as hubs show it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from vaelab.metrics import SPECS
from vaelab.models.model import Model
from vaelab.models.saving import ModelDescription
from vaelab.models.weights import weights_sha256
from vaelab.runtime.formatting import format_number
from vaelab.runtime.serialization import flattened

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("card.md")
HEADLINES = (
    "test.neg_elbo_nats",
    "test.nll_nats",
    "likelihood.nll_nats",
    "test.generation_loss_nats",
    "test.kl_loss_nats",
    "test.bits_per_dim",
    "test.mean_squared_error",
    "test.psnr_db",
    "test.ssim",
    "latent.active_units",
    "latent.linear_probe_accuracy",
    "latent.knn_accuracy",
    "samples.classifier_frechet_distance",
    "sampler.classifier_frechet_distance",
)
FILES = {
    "weights.safetensors": "the weights",
    "config.json": "what is needed beside them to build the model; the settings of the training",
    "encoder.onnx": "the encoder for ONNX Runtime",
    "decoder.onnx": "the decoder for ONNX Runtime",
    "preprocessing.json": "size, channels and range of the images",
    "labels.json": "the names of the labels",
    "class_means.safetensors": "the mean latent of each class, by which `edit` changes the class",
    "sampler": "the density that was fitted to the latents, from which `sample` draws",
}
PLAIN = re.compile(r"[A-Za-z0-9_.+-]+")


def model_card(
    folder: Path,
    model: Model,
    description: ModelDescription,
    license_id: str,
    metrics: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the card of a model that was exported to a folder, in Markdown.

    `metrics` are those of an evaluation, by group and name.
    """
    environment = Environment(  # noqa: S701  Markdown, not HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    is_gaussian = model.posterior == "gaussian" and not model.is_discrete
    return template.render(
        license=license_id,
        tags=_tags(description),
        name=f"{description.objective} of {description.dataset}",
        folder=folder.name,
        summary=_summary(model, description),
        shape=model.image_shape,
        latent_dim=model.latent_dim,
        has_encoder=model.has("encoder"),
        is_gaussian=is_gaussian,
        labels_seen=bool(model.classes),
        standard_prior=model.has_standard_prior,
        prior=description.model.prior,
        image_text=_image_text(model),
        class_list=_class_list(description.labels),
        dataset=description.dataset,
        counts=_counts(metrics.get("dataset", {})),
        objective=description.objective,
        settings=_settings(description.settings),
        numbers=headlines(metrics),
        test_count=metrics.get("dataset", {}).get("test_images"),
        files=[(name, text) for name, text in FILES.items() if (folder / name).exists()],
        sha256=weights_sha256(folder),
    )


def headlines(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return title, value with its standard error, and unit of each headline that was measured."""
    flat = flattened(metrics)
    rows = []
    for name in (name for name in HEADLINES if name in flat and name in SPECS):
        spec = SPECS[name]
        error = flat.get(spec.standard_error)
        value = format_number(flat[name])
        text = value if error is None else f"{value} ± {format_number(error, 2)}"
        rows.append((spec.title, text, spec.unit))
    return rows


def _tags(description: ModelDescription) -> Sequence[str]:
    names = ("vae", "variational-autoencoder", description.objective.replace("_", "-"))
    data = [description.dataset] if PLAIN.fullmatch(description.dataset) else []
    return [*dict.fromkeys((*names, *data, "image-generation", "pytorch", "onnx"))]


def _summary(model: Model, description: ModelDescription) -> str:
    channels, height, width = model.image_shape
    color = "gray" if channels == 1 else "color"
    kind = "conditional model" if model.classes else "model"
    return (
        f"A generative {kind} of {color} images of {width}x{height} pixels, trained on "
        f"{description.dataset} with the objective `{description.objective}`: "
        f"{model.latent_dim} latent dimensions, network `{description.model.network}`, likelihood "
        f"`{description.model.likelihood}`, prior `{description.model.prior}`."
    )


def _image_text(model: Model) -> str:
    channels, height, width = model.image_shape
    wanted = "one channel (gray)" if channels == 1 else f"{channels} channels (RGB)"
    return (
        f"Images are float32 arrays [batch, {channels}, {height}, {width}]: {wanted}, "
        f"{height} rows, {width} columns, from 0 (black) to 1 (white)."
    )


def _class_list(names: Sequence[str]) -> str:
    if list(names) == [str(number) for number in range(len(names))]:
        return f"0 to {len(names) - 1}" if names else ""
    return ", ".join(f"{number}: {name}" for number, name in enumerate(names))


def _counts(dataset: Mapping[str, Any]) -> str:
    splits = [(s, dataset.get(f"{s}_images")) for s in ("train", "validation", "test")]
    return ", ".join(f"{count:,} {split}" for split, count in splits if isinstance(count, int))


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, "none" if v is None else str(v)) for name, v in sorted(settings.items())]
