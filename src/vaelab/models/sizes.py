"""Sizes of networks and latents that follow from the images: what `auto` is for their shape."""

import math
from typing import Any

from vaelab.config import AUTO, ModelSettings, Settings, Width, Widths
from vaelab.models.networks import Shape, is_small, level_sizes, network_class

SIZES = ("latent_dim", "channels")
"""Settings of `model` that may be `auto`."""

# Larger images than MNIST's are halved to at most this many pixels a side.
LAST_SIDE = 8
WIDEST, MAX_LATENTS = 128, 256


class SizedModelSettings(ModelSettings):
    """Settings in which no size is `auto`."""

    latent_dim: Width = 20
    channels: Widths = (16, 32)


def resolve_sizes(settings: ModelSettings, image_shape: Shape) -> SizedModelSettings:
    """Replace sizes that are `auto` by those for images of a shape [channel, height, width]."""
    if isinstance(settings, SizedModelSettings):
        return settings
    found = dict(settings)
    if settings.latent_dim == AUTO:
        found["latent_dim"] = auto_latent_dim(image_shape)
    if settings.channels == AUTO:
        found["channels"] = auto_channels(image_shape)
        found["networks"] = _with_auto(settings, image_shape)
    return SizedModelSettings.model_construct(**found)


def _with_auto(settings: ModelSettings, image_shape: Shape) -> dict[str, dict[str, Any]]:
    """Return the own settings of networks, with those that go with the channels of a shape."""
    name = settings.network
    auto = network_class(name).auto_settings(image_shape)
    own = auto | settings.networks.get(name, {})
    return settings.networks | ({name: own} if own else {})


def with_sizes(settings: Settings, image_shape: Shape) -> Settings:
    """Return all settings, those of the model with `resolve_sizes`."""
    return settings.model_copy(update={"model": resolve_sizes(settings.model, image_shape)})


def auto_channels(image_shape: Shape) -> tuple[int, ...]:
    """Return the filters of each level: one more level for each doubling of the side."""
    levels = 2
    while not is_small(image_shape) and max(level_sizes(image_shape, levels)[-1]) > LAST_SIDE:
        levels += 1
    return tuple(min(WIDEST, 16 * 2**level) for level in range(levels))


def auto_latent_dim(image_shape: Shape) -> int:
    """Return 20 for small images, and more for larger ones and for colors."""
    channels, height, width = image_shape
    if is_small(image_shape):
        return 20
    doublings = max(0, round(math.log2(math.sqrt(height * width) / 32)))
    return min(MAX_LATENTS, (64 if channels > 1 else 32) << doublings)


def sizes_note(settings: ModelSettings, image_shape: Shape) -> str | None:
    """Return a line on the sizes that `auto` is for images of a shape; None if none is read."""
    read = ("latent_dim", *network_class(settings.network).model_fields)
    names = [name for name in SIZES if name in read and getattr(settings, name) == AUTO]
    if not names:
        return None
    chosen, (channels, height, width) = resolve_sizes(settings, image_shape), image_shape
    found = (f"model.{name} {_written(getattr(chosen, name))}" for name in names)
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    return f"auto, for {kind} images of {height}x{width} pixels: {', '.join(found)}"


def _written(value: int | tuple[int, ...]) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
