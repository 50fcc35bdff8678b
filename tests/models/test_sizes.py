"""Sizes that follow from the images, and settings that say which they are."""

import pytest

from vaelab.config import ModelSettings, Settings, network_names
from vaelab.models.model import build_model
from vaelab.models.networks import level_sizes
from vaelab.models.saving import ModelDescription
from vaelab.models.sizes import (
    auto_channels,
    auto_latent_dim,
    resolve_sizes,
    sizes_note,
    with_sizes,
)

SMALL = [(1, 1, 1), (1, 8, 8), (1, 28, 28), (1, 28, 20), (3, 28, 28)]
LARGE = [(1, 29, 29), (1, 32, 32), (3, 32, 32), (1, 64, 64), (3, 64, 64), (3, 48, 64), (3, 65, 33)]
HUGE = [(1, 128, 128), (3, 128, 128), (3, 256, 256), (3, 250, 201), (3, 300, 20)]


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_small_images_keep_the_networks_of_mnist(shape: tuple[int, int, int]) -> None:
    sizes = resolve_sizes(ModelSettings(), shape)
    assert (sizes.channels, sizes.latent_dim) == ((16, 32), 20)


@pytest.mark.parametrize("shape", LARGE + HUGE, ids=str)
def test_larger_images_are_halved_to_4_to_8_pixels(shape: tuple[int, int, int]) -> None:
    channels = auto_channels(shape)
    assert 4 <= max(level_sizes(shape, len(channels))[-1]) <= 8
    assert list(channels) == sorted(channels)


def test_latents_grow_with_the_image_and_with_colors() -> None:
    sides = (28, 32, 64, 128, 256)
    grey, color = ([auto_latent_dim((c, side, side)) for side in sides] for c in (1, 3))
    assert grey == sorted(grey)
    assert color == sorted(color)
    assert all(one <= three for one, three in zip(grey, color, strict=True))
    assert auto_latent_dim((3, 64, 64)) == 128
    assert auto_latent_dim((3, 2000, 2000)) == 256


def test_numbers_are_kept() -> None:
    settings = ModelSettings(latent_dim=7, channels=(3, 5))
    assert resolve_sizes(settings, (3, 64, 64)).model_dump() == settings.model_dump()
    one = resolve_sizes(ModelSettings(latent_dim=7), (3, 64, 64))
    assert (one.latent_dim, one.channels) == (7, auto_channels((3, 64, 64)))


def test_resolving_twice_changes_nothing() -> None:
    sizes = resolve_sizes(ModelSettings(activation="gelu"), (3, 64, 64))
    assert resolve_sizes(sizes, (1, 8, 8)) is sizes
    assert sizes.activation == "gelu"
    settings = with_sizes(Settings(), (3, 64, 64))
    assert settings.model == sizes.model_copy(update={"activation": "relu"})
    assert settings.train == Settings().train


@pytest.mark.parametrize("network", network_names())
@pytest.mark.parametrize("shape", [*SMALL, *LARGE], ids=str)
def test_a_model_is_built_with_the_sizes(network: str, shape: tuple[int, int, int]) -> None:
    model = build_model(ModelSettings(network=network, hidden=(4,)), shape)
    assert model.latent_dim == auto_latent_dim(shape)
    latents = model.prior(2)
    assert model.decode(latents).mean.shape == (2, *shape)


def test_a_description_has_numbers() -> None:
    found = ModelDescription(
        objective="vae",
        networks=("encoder", "decoder"),
        image_shape=(3, 64, 64),
        model=ModelSettings(),
        dataset="folder",
        levels=256,
        settings={},
    )
    assert '"auto"' not in found.model_dump_json(exclude={"model": {"prior"}})
    assert found.model.latent_dim == 128
    assert ModelDescription.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("settings", "shape", "note"),
    [
        (
            {},
            (1, 28, 28),
            "auto, for grey images of 28x28 pixels: model.latent_dim 20, model.channels [16, 32]",
        ),
        (
            {"channels": [4]},
            (3, 64, 48),
            "auto, for colour images of 64x48 pixels: model.latent_dim 128",
        ),
        (
            {"network": "mlp"},
            (2, 8, 9),
            "auto, for 2-channel images of 8x9 pixels: model.latent_dim 20",
        ),
        ({"channels": [4], "latent_dim": 3}, (3, 64, 64), None),
        ({"network": "mlp", "latent_dim": 3}, (3, 64, 64), None),
    ],
)
def test_the_note_names_the_sizes_that_are_read(
    settings: dict[str, object], shape: tuple[int, int, int], note: str | None
) -> None:
    assert sizes_note(ModelSettings.model_validate(settings), shape) == note
