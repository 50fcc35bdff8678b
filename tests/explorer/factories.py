"""Untrained models with random weights, and pages of them."""

from typing import Any

import numpy as np
import torch

from vaelab.config import ModelSettings
from vaelab.explorer import ExplorerContent, ShownImages, build_page
from vaelab.models.model import Model, build_model
from vaelab.models.networks import Shape


def random_model(shape: Shape = (1, 9, 11), classes: int = 0, **settings: Any) -> Model:
    """Build a model whose weights are all random, so that no layer is without effect."""
    arguments: dict[str, Any] = {"latent_dim": 5} | settings
    posterior = arguments.pop("posterior", "gaussian")
    networks = arguments.pop("networks", ("encoder", "decoder"))
    chosen = ModelSettings(**{"prior": "standard_normal"} | arguments)
    model = build_model(chosen, shape, networks, 0, posterior, classes).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.std().item() if parameter.numel() > 1 else 0.0
            parameter.normal_(0, scale if scale > 0 else 0.1, generator=generator)
        model.output_offset.normal_(0, 0.3, generator=generator)
    return model


def random_images(shape: Shape, count: int = 40) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, *shape), np.uint8)


def page_of(model: Model, *, labels: bool = True, **changes: Any) -> str:
    """Build the page of a model, with random test images if it has an encoder."""
    dimensions = [
        {"mean": 0.0, "stddev": 1.0, "kl": float(k), "active": k != 1}
        for k in range(model.latent_dim)
    ]
    names = ("<b>one</b>", "two & three") if labels else None
    content: dict[str, Any] = {
        "title": "VAE of </script><b>noise</b>",
        "facts": "random weights",
        "dimensions": dimensions,
        "test": shown_images(model, labels=labels) if model.has("encoder") else None,
        "class_names": names,
    }
    return build_page(model, ExplorerContent(**content | changes))


def shown_images(model: Model, *, labels: bool) -> ShownImages:
    images = random_images(model.image_shape)
    known = np.arange(len(images), dtype=np.int64) % 2
    given = model.given(torch.from_numpy(known)) if labels else model
    with torch.no_grad():
        posterior = given.encode(torch.from_numpy(images).float() / 255)
    stddevs = getattr(posterior, "stddev", torch.zeros_like(posterior.mean))
    return ShownImages(images, posterior.mean.numpy(), stddevs.numpy(), known if labels else None)
