"""Which trainings can be one batch, and which are faster so."""

import math

import pytest

from tests.training.vectorized.factories import CONV, chosen, groups
from vaelab.config import Settings
from vaelab.training.vectorized import grouping


@pytest.mark.parametrize(
    ("other", "is_kin"),
    [
        (chosen(30), True),
        (chosen(4, kl_weight=3.0, learning_rate=0.1, seed=5, gradient_clip_norm=2.0), True),
        (chosen(4, {"hidden": [25]}), False),
        (chosen(4, {"activation": "tanh"}), False),
        (chosen(4, {"likelihood": "bernoulli"}), False),
        (chosen(4, {"gaussian_variance": 0.5}), False),
        (chosen(4, {"prior": "standard_normal"}), True),
        (chosen(4, {"prior": "vamp"}), False),
        (chosen(4, {"network": "conv"}), False),
        (chosen(4, batch_size=51), False),
        (chosen(4, augment_flip=0.5), False),
        (chosen(4, ema_decay=0.9), False),
        (chosen(4, accumulate_grad_batches=2), False),
        (chosen(4, precision="bfloat16"), False),
        (chosen(4, precision="auto"), False),
        (chosen(4, objective="beta_vae"), False),
        (chosen(4, objective="info_vae"), False),
        (chosen(4, objective="autoencoder"), False),
    ],
)
def test_what_differs_in_more_than_the_latent_size_is_trained_apart(
    other: Settings, is_kin: bool
) -> None:
    assert groups([chosen(4), other]) == ([[0, 1]] if is_kin else [[0], [1]])
    assert groups([other, chosen(4), other, chosen(5)])[0][0] == 0


def test_what_cannot_be_is_a_group_of_its_own() -> None:
    wrong = chosen(4, {"prior": "mixture"})
    assert groups([wrong, wrong, chosen(4)]) == [[0], [1], [2]]
    assert math.prod(map(len, groups([chosen(4), chosen(5), wrong]))) == 2
    labels = chosen(4, {"conditional": "labels"})
    assert groups([labels, chosen(4), labels]) == [[0], [1], [2]]


def test_convolutions_are_trained_together_on_small_images_only() -> None:
    settings = [chosen(4, CONV), chosen(5, CONV), chosen(4)]
    assert grouping.group_compatible(settings, (3, 12, 12)) == [[0, 1], [2]]
    assert grouping.group_compatible(settings, (1, 12, 13)) == [[0], [1], [2]]
    assert grouping.group_compatible(settings[2:] * 2, (1, 512, 512)) == [[0, 1]]


def test_sizes_that_follow_from_the_images_are_numbers() -> None:
    settings = [chosen("auto", CONV | {"channels": size}) for size in ("auto", [16, 32])]
    assert grouping.group_compatible(settings, (1, 8, 8)) == [[0, 1]]
    assert grouping.group_compatible([*settings, chosen(20)], (1, 8, 8)) == [[0, 1], [2]]
    free = [chosen(latents, free_bits_nats=0.1) for latents in ("auto", 20, 21)]
    assert grouping.group_compatible(free, (1, 8, 8)) == [[0, 1], [2]]


def test_many_are_cut_into_groups_of_similar_latent_size() -> None:
    found = groups([chosen(1 + (7 * i) % 33) for i in range(33)] + [chosen(4, batch_size=7)])
    assert [len(group) for group in found] == [11, 11, 11, 1]
    assert sorted(number for group in found for number in group) == list(range(34))
    sizes = [[1 + (7 * number) % 33 for number in group] for group in found[:3]]
    assert [max(part) for part in sizes] == [11, 22, 33]
