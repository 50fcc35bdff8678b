"""Images changed to another class, or along an attribute, by directions in the latent space."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.api.class_means import Means, directions, means_of_images
from vaelab.api.inputs import label_numbers, one_label, read_images
from vaelab.config import UserError
from vaelab.inference.attributes import attribute_direction
from vaelab.inference.decoding import encode_means
from vaelab.models.model import Model

Examples = tuple[object, object]
"""Images and, for each, its class, or whether it has the attribute (0 or 1)."""
CLASS, ATTRIBUTE = "class", "attribute"
MAX_CLASSES = 65536


def requested_change(changes: object) -> tuple[str, object]:
    """Return what is to be changed, `class` or `attribute`, and to what. Raises UserError."""
    if isinstance(changes, Mapping) and len(changes) == 1:
        (what, value), *_ = changes.items()
        if what in (CLASS, ATTRIBUTE):
            return what, value
    raise UserError(
        "edit changes the class, as in edit(images, {'class': 8}), or an attribute, as in "
        "edit(images, {'attribute': 1}, examples=(other_images, has_it)), "
        f"not {changes!r:.60}"
    )


def class_shifts(
    model: Model,
    images: Tensor,
    labels: object,
    target: object,
    means: Means,
    names: tuple[str, ...],
) -> Float[Tensor, "count latent"]:
    """Return how each image's latent is shifted to the target class. Raises UserError."""
    number = one_label(target, len(means), names)
    source = None if labels is None else label_numbers(labels, len(images), len(means), names)
    return directions(encode_means(model, images), means, source, number)


def attribute_shifts(
    model: Model, count: int, strength: object, examples: Examples | None
) -> Float[Tensor, "count latent"]:
    """Return the direction from examples without an attribute to those with it, times strength.

    Raises UserError without examples of both.
    """
    if examples is None:
        raise UserError(
            "an attribute needs examples=(images, has_it): images, and 1 or 0 for each, whether it "
            "has the attribute"
        )
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise UserError(f"the strength of an attribute is a number, not {strength!r:.60}")
    latents, present = _encoded(model, examples, classes=2)
    known = present >= 0
    try:
        direction = attribute_direction(latents[known], present[known] == 1)
    except ValueError as error:
        raise UserError(f"examples: {error}") from error
    return (strength * direction).expand(count, -1)


def example_means(model: Model, examples: Examples, names: tuple[str, ...]) -> Means:
    """Return the mean latent of each class of the examples. Raises UserError."""
    latents, labels = _encoded(model, examples, MAX_CLASSES, names)
    return means_of_images(latents, labels, int(labels.max()) + 1)


def _encoded(
    model: Model, examples: Examples, classes: int, names: tuple[str, ...] = ()
) -> tuple[Tensor, Tensor]:
    device: torch.device = next(model.parameters()).device
    pixels = read_images(examples[0], model.image_shape).to(device)
    labels = label_numbers(examples[1], len(pixels), classes, names).to(device)
    return encode_means(model, pixels), labels
