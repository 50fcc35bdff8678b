"""What distinguishes a training: the name of its run, and the settings that MLflow is told."""

import operator
from collections.abc import Mapping
from functools import cache, reduce
from typing import Any

from vaelab.config import ModelSettings, Settings, flatten, network_names
from vaelab.models.component_settings import component_settings
from vaelab.models.networks import Shape
from vaelab.models.sizes import SIZES, resolve_sizes

# Logged for every run, as columns of the table; of the other settings, those that differ.
HEADLINE = ("data.name", "train.objective", "model.latent_dim", "train.kl_weight", "train.epochs")
# How the settings that are changed most often read in a name.
PHRASES: Mapping[str, str] = {
    "model.latent_dim": "z{}",
    "train.kl_weight": "KL weight {:g}",
    "train.epochs": "{} epochs",
    "model.network": "{}",
    "model.likelihood": "{}",
    "train.seed": "seed {}",
}
IN_EVERY_NAME = ("data.name", "train.objective")
MAX_NAME = 120


@cache
def _defaults() -> Mapping[str, Any]:
    networks = (component_settings(ModelSettings(network=name)) for name in network_names())
    return reduce(operator.or_, networks, flatten(Settings()))


def differing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by dotted name, that differ from the defaults.

    An objective's and a prior's own settings are among them, and a network's that differ.
    """
    unset = object()
    return {k: v for k, v in settings.items() if _defaults().get(k, unset) != v}


def logged_params(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that MLflow shows: the headline ones, and those that differ."""
    headline = {name: settings[name] for name in HEADLINE if name in settings}
    return headline | differing(settings)


def run_name(settings: Mapping[str, Any], image_shape: Shape | None = None) -> str:
    """Return data and objective, and each setting that differs from the defaults.

    Sizes differ where they are not what `auto` is for images of a shape.
    """
    usual = _auto_sizes(settings, image_shape) | {
        name: settings.get(name) for name in IN_EVERY_NAME
    }
    changed = {k: v for k, v in differing(settings).items() if k not in usual or usual[k] != v}
    known = [text.format(changed.pop(k)) for k, text in PHRASES.items() if k in changed]
    other = [f"{k.rpartition('.')[2]}={v}" for k, v in changed.items() if k in _defaults()]
    name = ", ".join([" ".join(_base(settings)), *known, *other])
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 4]} ..."


def model_name(settings: Mapping[str, Any]) -> str:
    """Return the name under which models of the same data and objective are registered."""
    return "-".join(_base(settings))


def _auto_sizes(settings: Mapping[str, Any], image_shape: Shape | None) -> dict[str, Any]:
    """Return what `auto` is for images of a shape and the network of these settings."""
    if image_shape is None:
        return {}
    network = str(settings.get("model.network", ModelSettings().network))
    found = resolve_sizes(ModelSettings(network=network), image_shape)
    sizes = found.model_dump(mode="json", include=set(SIZES))
    return {f"model.{name}": size for name, size in sizes.items()} | component_settings(found)


def _base(settings: Mapping[str, Any]) -> list[str]:
    """Return data and objective; the description of a model made by hand may lack them."""
    return [str(settings[k]) for k in IN_EVERY_NAME if k in settings] or ["model"]
