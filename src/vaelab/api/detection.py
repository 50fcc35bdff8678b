"""Odd images among others, from images as people have them, and the page that ranks them."""

from collections.abc import Sequence

import torch

from vaelab.api.inputs import read_images
from vaelab.inference.decoding import reconstructions
from vaelab.inference.detection import Detections, Measured, Reference, detect, halves, measure
from vaelab.models.model import Model


def detect_images(
    model: Model,
    images: object,
    normal: object,
    training: object,
    seed: int,
    false_alarm_rate: float,
    score: str,
) -> Detections:
    """Judge images by held-out normal ones, of which half are the reference without `training`.

    Raises UserError.
    """
    held_out = _measured(model, normal, seed)
    if training is None:
        known, rows = halves(len(held_out), seed)
        reference, held_out = Reference(held_out.rows(known)), held_out.rows(rows)
    else:
        reference = Reference(_measured(model, training, seed))
    found = _measured(model, images, seed)
    return detect(found, held_out, reference, false_alarm_rate=false_alarm_rate, score=score)


def _measured(model: Model, images: object, seed: int) -> Measured:
    device: torch.device = next(model.parameters()).device
    return measure(model, read_images(images, model.image_shape).to(device), seed)


def detection_page(model: Model, images: object, found: Detections, names: Sequence[str]) -> str:
    """Return a page of the oddest images as HTML; `images` and `names` are those of `found`."""
    # It imports matplotlib, which takes a second that no other use of a model needs.
    from vaelab.report.detection import SHOWN, build_detection_page

    pixels = read_images(images, model.image_shape)
    oddest = pixels[torch.from_numpy(found.order[:SHOWN].copy())]
    decoded = reconstructions(model, oddest.to(next(model.parameters()).device))
    return build_detection_page(found, names, pixels.numpy(), decoded.cpu().numpy())
