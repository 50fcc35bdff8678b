"""The settings that networks and priors declare in their own files."""

from typing import Any

from vaelab.config import ModelSettings, own_defaults
from vaelab.models.networks import network_class
from vaelab.models.priors import prior_class


def component_settings(settings: ModelSettings) -> dict[str, Any]:
    """Return the chosen network's and prior's own settings, with defaults, by dotted name.

    Without the prior's where `model.prior` is `auto`.
    """
    resolved = with_component_settings(settings)
    return {
        f"model.{kind}.{name}.{key}": value
        for kind, sections in (("networks", resolved.networks), ("priors", resolved.priors))
        for name, own in sections.items()
        for key, value in own.items()
    }


def with_component_settings(settings: ModelSettings) -> ModelSettings:
    """Return the settings with all own ones of the chosen network and prior, and of no other."""
    network, prior = settings.network, settings.prior
    defaults = own_defaults(network_class(network), ModelSettings)
    networks = {network: defaults | settings.networks.get(network, {})}
    defaults = own_defaults(prior_class(prior).settings_class, ModelSettings)
    priors = {prior: defaults | settings.priors.get(prior, {})}
    return settings.model_copy(
        update={
            "networks": {name: own for name, own in networks.items() if own},
            "priors": {name: own for name, own in priors.items() if own},
        }
    )
