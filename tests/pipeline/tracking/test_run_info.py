"""Names that tell runs apart, and the settings that MLflow is told."""

from typing import Any

import pytest

from pipeline.tracking.run_info import HEADLINE, MAX_NAME, logged_params, model_name, run_name
from tests import ROOT
from vaelab.config import Settings, load_settings, with_changes
from vaelab.models.sizes import with_sizes
from vaelab.training.fingerprint import training_settings


def named(**changes: Any) -> str:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return run_name(training_settings(with_changes(Settings(), dotted)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "digits vae"),
        ({"train__epochs": 12}, "digits vae, 12 epochs"),
        ({"train__kl_weight": 4, "model__latent_dim": 2}, "digits vae, z2, KL weight 4"),
        ({"data__name": "mnist", "train__objective": "iwae"}, "mnist iwae"),
        ({"train__batch_size": 50, "train__seed": 3}, "digits vae, seed 3, batch_size=50"),
        ({"model__network": "mlp", "model__hidden": [9]}, "digits vae, mlp, hidden=[9]"),
    ],
)
def test_a_name_has_what_differs_from_the_defaults(changes: dict[str, Any], expected: str) -> None:
    name = named(**changes)
    # An objective's own settings have no place in a name.
    assert name == expected


def test_a_size_that_fits_the_images_has_no_place_in_a_name() -> None:
    shape = (3, 64, 64)
    settings = training_settings(with_sizes(Settings(), shape))
    assert run_name(settings, shape) == "digits vae"
    assert logged_params(settings)["model.latent_dim"] == 128
    assert isinstance(logged_params(settings)["model.channels"], list)
    assert run_name(settings, (1, 8, 8)).startswith("digits vae, z128, channels=[")
    assert run_name(settings | {"model.latent_dim": 20}, shape) == "digits vae, z20"


def test_a_long_name_is_shortened() -> None:
    assert len(named(data__folder="f" * 500)) <= MAX_NAME


def test_few_settings_are_parameters() -> None:
    default = training_settings(load_settings(ROOT / "params.yaml"))
    assert logged_params(default).keys() == set(HEADLINE)
    changed = default | {"train.free_bits_nats": 0.5, "objectives.iwae.importance_samples": 5}
    more = logged_params(changed).keys() - set(HEADLINE)
    assert more == {"train.free_bits_nats", "objectives.iwae.importance_samples"}


def test_models_are_registered_by_data_and_objective() -> None:
    assert model_name(training_settings(Settings())) == "digits-vae"
