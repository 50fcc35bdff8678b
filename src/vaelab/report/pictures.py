"""Images that the page shows of the model itself: reconstructions, and a traversal."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vaelab.inference import decoding
from vaelab.inference.traversal import image_traversals
from vaelab.models.model import Model

IMAGES = 24  # reconstructed
WORST = 16  # of the test images, by the PSNR of their reconstructions
DIMENSIONS, STEPS, RADIUS = 6, 11, 2.0  # of the traversal

Columns = Mapping[str, np.ndarray]


def decoded_pictures(
    model: Model, images: Float[Tensor, "count channel height width"], dimensions: Columns
) -> dict[str, np.ndarray]:
    """Return arrays of the page's figures: images, decoded, and a traversal around the first.

    `dimensions` has the columns of the table of latent dimensions. A model of discrete latents
    has no traversal, one without an encoder nothing. A conditional model is given the labels.
    """
    if not model.has("encoder"):
        return {}
    decoded = decoding.reconstructions(model, images)
    found = {"originals_shown": _floats(images), "reconstructions_shown": _bytes(decoded)}
    if model.is_discrete or not dimensions:
        return found
    order = torch.from_numpy(dimensions.get("kl_nats", dimensions["mean_variance"]))
    chosen = decoding.top_kl_dimensions(order, DIMENSIONS)
    first = model if model.labels is None else model.given(model.labels[:1])
    rows = image_traversals(first, images[0], chosen, _frame(dimensions), STEPS, RADIUS)
    return {**found, "traversal_shown": _bytes(rows), "traversal_dimensions": np.array(chosen)}


def worst_rows(arrays: Columns) -> Int64[np.ndarray, "rows"]:
    """Return the test images that are reconstructed worst, of the evaluation's arrays."""
    return np.argsort(arrays.get("reconstruction_psnr_db", np.empty(0)), kind="stable")[:WORST]


def worst_pictures(
    model: Model, images: Float[Tensor, "count channel height width"], psnr_db: np.ndarray
) -> dict[str, np.ndarray]:
    """Return arrays of the page's figure of the images that are reconstructed worst."""
    decoded = decoding.reconstructions(model, images)
    return {
        "worst_shown": _floats(images),
        "worst_reconstructions_shown": _bytes(decoded),
        "worst_psnr_db": psnr_db,
    }


def _frame(dimensions: Columns) -> decoding.LatentFrame:
    center, scale = (
        torch.from_numpy(dimensions[f"aggregate_{name}"]).float() for name in ("mean", "stddev")
    )
    return decoding.LatentFrame(center, scale)


def _floats(images: Tensor) -> Float[np.ndarray, "*shape"]:
    """Return images of which missing pixels stay NaN."""
    found: np.ndarray = images.cpu().numpy()
    return found


def _bytes(images: Tensor) -> UInt8[np.ndarray, "*shape"]:
    found: np.ndarray = (images.cpu() * 255).round().byte().numpy()
    return found
