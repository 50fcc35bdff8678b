"""The largest step of a path: linear decoders, jumps, and equal images."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.oracles import layer, linear_model, rand, randn, set_linear
from vaelab.estimators.interpolation import largest_step_ratio
from vaelab.inference import decoding
from vaelab.models.model import Model

STEPS = 9


def decoder() -> Model:
    """A linear decoder of 3 latents whose images stay inside of [0, 1], where none are clipped."""
    model = linear_model(7, 3, variance=1.0)
    with torch.no_grad():
        set_linear(layer(model, "decoder"), 0.01 * randn(7, 3), torch.full((7,), 0.5))
    return model


def decoded_path(path: decoding.Path, first: Tensor, second: Tensor) -> Tensor:
    return decoding.decode_means(decoder(), decoding.interpolate(first, second, STEPS, path))


def test_a_linear_decoder_makes_a_straight_path_even():
    found = largest_step_ratio(decoded_path("linear", randn(5, 3, seed=1), randn(5, 3, seed=2)))
    torch.testing.assert_close(found, torch.ones(5).double(), rtol=0, atol=1e-4)


def test_an_arc_between_equal_norms_is_even_where_the_decoder_keeps_distances():
    model = decoder()
    turn, _ = torch.linalg.qr(randn(7, 3))
    with torch.no_grad():
        layer(model, "decoder").weight.copy_(0.1 * turn)
    first, second = torch.nn.functional.normalize(randn(2, 5, 3, seed=1), dim=-1)
    latents = decoding.interpolate(first, second, STEPS, "spherical")
    found = largest_step_ratio(decoding.decode_means(model, latents))
    torch.testing.assert_close(found, torch.ones(5).double(), rtol=0, atol=1e-4)


def test_an_arc_between_unequal_norms_has_the_steps_of_its_formula():
    # From radius 1 to radius 3 at a right angle: z(t) = (cos(pi t / 2), 3 sin(pi t / 2))
    points = [
        (math.cos(math.pi * t / 16), 3 * math.sin(math.pi * t / 16), 0.0) for t in range(STEPS)
    ]
    weight = layer(decoder(), "decoder").weight.detach().double()
    images = [weight @ torch.tensor(point, dtype=torch.float64) for point in points]
    steps = [(b - a).norm().item() for a, b in pairwise(images)]
    expected = max(steps) / (sum(steps) / len(steps))
    first, second = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 3, 0]])
    assert expected > 1.1
    found = largest_step_ratio(decoded_path("spherical", first, second)).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 5)])
def test_the_ratio_matches_a_loop(shape):
    images = rand(4, 6, *shape)
    for found, frames in zip(largest_step_ratio(images).tolist(), images.double(), strict=True):
        steps = [((b - a) ** 2).sum().sqrt().item() for a, b in pairwise(frames)]
        assert found == pytest.approx(5 * max(steps) / sum(steps), rel=1e-12)


def test_a_single_jump_has_the_largest_ratio():
    images = torch.zeros(2, STEPS, 1, 3, 3)
    images[0, 4:] = 1
    images[1, -1, 0, 1, 1] = 0.1
    assert largest_step_ratio(images).tolist() == pytest.approx([STEPS - 1, STEPS - 1])
    # There and back: two steps of equal size
    images[0, 5:] = 0
    assert largest_step_ratio(images)[0].item() == pytest.approx((STEPS - 1) / 2)


def test_a_path_of_equal_images_is_even():
    images = rand(1, 1, 1, 3, 3).expand(1, STEPS, 1, 3, 3)
    assert largest_step_ratio(images).tolist() == [1]
    assert largest_step_ratio(rand(3, 2, 1, 3, 3)).tolist() == [1, 1, 1]


def test_a_path_of_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        largest_step_ratio(rand(2, 1, 1, 3, 3))
