"""One offline HTML page that holds a trained model, its test images, and a script that runs it.

`program` turns networks into data, `page/` has the page's script and style, and this module puts
both into one file. It makes no request to anywhere, and works inside a sandboxed frame.
"""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Template
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vaelab.explorer.program import UnsupportedModelError, Weights, image_layers, latent_layers
from vaelab.inference import decoding
from vaelab.models.conditional import ConditionalDecoder, ConditionalEncoder
from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.models.model import Model
from vaelab.models.priors.codebook import Codebook

PAGE = Path(__file__).parent / "page"
# In the order in which they use each other.
SCRIPTS = ("dom", "engine", "model", "images", "state", "map", "sliders", "own", "walks", "main")
# Bytes of the sheet of test images, compressed; a larger one has fewer images.
MAX_SHEET_BYTES = 3_500_000
MAX_IMAGES = 10_000
# Numbers of all weights: more are stored as float16, and beyond the second limit not at all.
FLOAT32_NUMBERS, MAX_NUMBERS = 2_000_000, 20_000_000
MAX_LATENT_DIM = 1024
DRAWS = 400
FALLBACK_DIMENSIONS, FALLBACK_STEPS = 12, 11

Json = dict[str, Any]


@dataclass(frozen=True)
class ShownImages:
    """The test images that the page may show, uint8 [images, channel, height, width].

    Their posterior means and standard deviations are [images, latent]; labels [images] or None.
    `attributes` says of each image whether it has an attribute, by name.
    """

    images: NDArray[np.uint8]
    means: NDArray[np.float32]
    stddevs: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    attributes: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExplorerContent:
    """What the page shows beside the model.

    `dimensions` has, for each latent dimension, `mean` and `stddev` of the aggregate posterior, and
    where measured `kl` in nats and `active`. `sampler_draws` are latents [draws, latent]
    with, for a conditional model, `sampler_labels` [draws].
    """

    title: str
    facts: str
    dimensions: Sequence[Mapping[str, float | bool | None]]
    test: ShownImages | None = None
    class_names: tuple[str, ...] | None = None
    resize: str = "crop"
    sampler_draws: NDArray[np.float32] | None = None
    sampler_labels: NDArray[np.int64] | None = None
    sampler_title: str = ""


def build_page(model: Model, content: ExplorerContent) -> str:
    """Return the page as HTML. A network that the script cannot run is replaced by a picture."""
    weights = Weights()
    data = _description(model, content)
    try:
        data |= _networks(model, weights)
    except UnsupportedModelError as error:
        data |= {"decoder": None, "reason": f"{error}."}
        data |= {"traversals": _traversals(model, content)}
    half = weights.count > FLOAT32_NUMBERS
    data |= {"half": half, "weights": weights.encoded(half=half)}
    return _assemble(data)


def _networks(model: Model, weights: Weights) -> Json:
    """Describe encoder and decoder. Raises UnsupportedModelError, also where they are too large."""
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_NUMBERS:
        raise UnsupportedModelError(f"the model has {count:,} weights, more than {MAX_NUMBERS:,}")
    if model.latent_dim > MAX_LATENT_DIM:
        raise UnsupportedModelError(
            f"the latent has {model.latent_dim} dimensions, more than {MAX_LATENT_DIM}"
        )
    encoder = model.networks["encoder"] if model.has("encoder") else None
    decoder, shape, latents = model.networks["decoder"], model.image_shape, model.latent_dim
    found: Json = {"conditional": None}
    if isinstance(decoder, ConditionalDecoder):
        assert isinstance(encoder, ConditionalEncoder)
        found["conditional"] = {
            "classes": model.classes,
            "labelScale": decoder.label_scale,
            "planes": weights.add(encoder.planes),
        }
        encoder, decoder = encoder.network, decoder.network
        shape, latents = (shape[0] + 1, *shape[1:]), latents + model.classes + 1
    found["encoder"] = image_layers(encoder, shape, weights) if encoder is not None else None
    found["decoder"] = latent_layers(decoder, latents, weights)
    found["offset"] = weights.add(model.output_offset.permute(1, 2, 0))
    return found


def _description(model: Model, content: ExplorerContent) -> Json:
    prior, test = model.networks["prior"], content.test
    return {
        "title": content.title,
        "facts": content.facts,
        "shape": list(model.image_shape),
        "latentDim": model.latent_dim,
        "posterior": model.posterior,
        "standardPrior": model.has_standard_prior,
        "hasLikelihood": not model.has("discriminator"),
        "likelihood": {
            "name": _likelihood_name(model),
            **_gaussian_parameters(model),
        },
        "dimensions": [dict(dimension) for dimension in content.dimensions],
        "classes": list(content.class_names) if content.class_names else None,
        "resize": content.resize,
        "codes": _codes(prior) if isinstance(prior, Codebook) else None,
        **_draws(model, content),
        **(_test_images(test, content.class_names) if test is not None else _NO_IMAGES),
    }


_NO_IMAGES: Json = {
    "images": None,
    "means": None,
    "stddevs": None,
    "labels": None,
    "plane": None,
    "groups": [],
    "groupMeans": "",
    "background": "#000000",
}


def _likelihood_name(model: Model) -> str:
    words = re.findall(r"[A-Z][a-z]+", type(model.likelihood).__name__.removesuffix("Likelihood"))
    return "_".join(words).lower()


def _gaussian_parameters(model: Model) -> Json:
    if not isinstance(model.likelihood, GaussianLikelihood):
        return {}
    return {"variance": model.likelihood.variance.item(), "linear": model.likelihood.linear}


def _codes(prior: Codebook) -> Json:
    positions, _ = prior.log_frequencies.shape
    entries = prior.entries
    return {"entries": _floats(entries), "size": entries.shape[1], "positions": positions}


@torch.no_grad()
def _draws(model: Model, content: ExplorerContent) -> Json:
    """Return latents of the prior, where the script cannot draw them, and of the sampler."""
    found: Json = dict.fromkeys(("priorDraws", "priorLabels", "samplerDraws", "samplerLabels"))
    if not model.has_standard_prior:
        noise = torch.Generator(_device(model)).manual_seed(0)
        given = model.with_sampled_labels(DRAWS, noise)
        found["priorDraws"] = _floats(given.prior(DRAWS, noise), half=True)
        if given.labels is not None:
            found["priorLabels"] = _labels(given.labels.cpu().numpy())
    if content.sampler_draws is not None:
        found["samplerDraws"] = _floats(content.sampler_draws, half=True)
    if content.sampler_labels is not None:
        found["samplerLabels"] = _labels(content.sampler_labels)
    return found | {"samplerTitle": content.sampler_title}


def _test_images(test: ShownImages, class_names: Sequence[str] | None) -> Json:
    rows, sheet = _sheet(test.images)
    means, labels = test.means[rows], None if test.labels is None else test.labels[rows]
    if labels is not None and (class_names is None or len(class_names) > 255):
        labels = None
    groups = _groups(test, rows, labels, class_names or ())
    plane = _floats(_principal_plane(means)) if means.shape[1] > 2 and len(means) > 2 else None
    return {
        "images": sheet,
        "means": _floats(means, half=True),
        "stddevs": _floats(test.stddevs[rows], half=True),
        "labels": None if labels is None else _labels(labels),
        "plane": plane,
        "groups": list(groups),
        "groupMeans": _floats(np.array([means[chosen].mean(0) for chosen in groups.values()])),
        "background": "#000000" if _border(test.images[rows]).mean() < 128 else "#ffffff",
    }


def _groups(
    test: ShownImages,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    class_names: Sequence[str],
) -> dict[str, NDArray[np.bool_]]:
    """Return which of the shown images are of each class, and with and without each attribute."""
    groups = {}
    if labels is not None:
        groups = {f"the mean of {name}": labels == k for k, name in enumerate(class_names)}
    for name, has in test.attributes.items():
        groups |= {f"the mean with {name}": has[rows], f"the mean without {name}": ~has[rows]}
    return {name: chosen for name, chosen in groups.items() if chosen.any()}


def _sheet(images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], Json]:
    """Lay as many images as fit on a sheet; return their rows, evenly spaced, and the sheet."""
    count = min(len(images), MAX_IMAGES)
    while True:
        rows = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
        content, columns = _png_sheet(images[rows])
        if len(content) <= MAX_SHEET_BYTES or count == 1:
            break
        count = max(1, min(count - 1, int(0.95 * count * MAX_SHEET_BYTES / len(content))))
    height, width = images.shape[2:]
    address = f"data:image/png;base64,{_base64(content)}"
    sheet = {"address": address, "columns": columns, "height": height, "width": width, "first": 0}
    return rows, sheet


def _png_sheet(images: NDArray[np.uint8]) -> tuple[bytes, int]:
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, height, width, channels), np.uint8)
    tiles[:count] = images.transpose(0, 2, 3, 1)
    sheet = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "PNG")
    return file.getvalue(), columns


def _border(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([images[:, :, 0].ravel(), images[:, :, -1].ravel()])


def _principal_plane(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean, and the two directions of largest variance, [3, latent]."""
    center = means.mean(0)
    axes = np.linalg.svd((means - center).astype(np.float64), full_matrices=False)[2][:2]
    return np.stack([center, *axes]).astype(np.float32)


def _traversals(model: Model, content: ExplorerContent) -> str:
    """Return a picture of decoded traversals, as a data address."""
    shown = range(min(FALLBACK_DIMENSIONS, model.latent_dim))
    dimensions = content.dimensions
    device = _device(model)
    center, scale = (
        torch.tensor([float(d[name] or 0) for d in dimensions], device=device)
        for name in ("mean", "stddev")
    )
    frame = decoding.LatentFrame(center, scale)
    grid = decoding.traversals(model, list(shown), FALLBACK_STEPS, frame=frame)
    rows, columns, channels, height, width = grid.shape
    pixels = (grid * 255).round().byte().cpu().permute(0, 3, 1, 4, 2)
    flat = pixels.reshape(rows * height, columns * width, channels).numpy()
    file = io.BytesIO()
    Image.fromarray(flat[..., 0] if channels == 1 else flat).save(file, "PNG")
    return f"data:image/png;base64,{_base64(file.getvalue())}"


def _assemble(data: Json) -> str:
    """Put script, style and data into the page, with a policy that allows no connection."""
    script, style = _script(), (PAGE / "style.css").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; img-src data: blob:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    # "<" would end the element of the data
    content = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"policy": policy, "style": style, "script": script, "data": content}
    page: str = Template((PAGE / "index.html").read_text(encoding="utf-8")).render(parts)
    return page


def _script() -> str:
    """Return all modules as one script: without the lines that import them from each other."""
    joined = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    alone = re.sub(r"^import [^;]*;\n", "", joined, flags=re.MULTILINE)
    return re.sub(r"^export ", "", alone, flags=re.MULTILINE)


def _hash(text: str) -> str:
    """Return what the page's policy calls a script or a style by: its SHA-256."""
    return f"sha256-{_base64(hashlib.sha256(text.encode()).digest())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _labels(labels: NDArray[Any]) -> str:
    return _base64(labels.astype(np.uint8).tobytes())


def _floats(values: NDArray[Any] | Tensor, *, half: bool = False) -> str:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return _base64(np.ascontiguousarray(array, "<f2" if half else "<f4").tobytes())


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device
