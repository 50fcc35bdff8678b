"""How many images are measured where they are large: what `auto` is then.

Annealing and the fit of proposals take seconds an image, in proportion to its numbers. As many
large images as small ones would take longer to measure than the model to train; fewer have a wider
standard error, which is reported.
"""

import math
from collections.abc import Mapping

from vaelab.config import EvaluateSettings
from vaelab.models.networks import Shape

# Numbers (channels x height x width) of an image up to which the level alone decides: MNIST's
SMALL = 784
# The K-sample bound is of at most so many small images, where it is of all.
MOST_BOUNDS = 10_000
FEWEST: Mapping[str, int] = {"bound_images": 100, "likelihood_images": 4, "annealing_images": 2}
"""The settings that depend on the size of the images, with the fewest images of each."""


def for_images(settings: EvaluateSettings, shape: Shape) -> EvaluateSettings:
    """Return the settings with fewer images where these are large, of those that are `auto`.

    As many fewer as an image has more numbers than `SMALL`, and no fewer than `FEWEST`.
    """
    if math.prod(shape) <= SMALL:
        return settings
    fewer = {
        name: _fewer(getattr(settings, name), fewest, math.prod(shape))
        for name, fewest in FEWEST.items()
        if name not in settings.model_fields_set
    }
    return settings.model_copy(update=fewer)


def _fewer(images: int | None, fewest: int, numbers: int) -> int:
    count = MOST_BOUNDS if images is None else images
    return min(count, max(fewest, round(count * SMALL / numbers)))


def large_images_note(settings: EvaluateSettings, shape: Shape) -> str | None:
    """Return a line on what fewer images are measured for as they are large; None if nothing."""
    found = for_images(settings, shape)
    names = [name for name in FEWEST if getattr(found, name) != getattr(settings, name)]
    if not names:
        return None
    counts = ", ".join(f"evaluate.{name} {getattr(found, name)}" for name in names)
    return f"auto, for images of {math.prod(shape):,} numbers: {counts}"
