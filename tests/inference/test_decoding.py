"""The latents that are decoded for each figure, and the order of the decoded images."""

import math

import pytest
import torch

from vaelab.config import ModelSettings
from vaelab.inference import decoding
from vaelab.models.model import Model, build_model

SHAPE = (1, 6, 4)
LATENTS = 5


def make_model(latents: int = LATENTS, networks=("encoder", "decoder"), **settings) -> Model:
    chosen = ModelSettings(network="mlp", hidden=(16,), latent_dim=latents, **settings)
    return build_model(chosen, SHAPE, networks).eval()


def make_images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_reconstructions_are_decoded_posterior_means():
    model, images = make_model(), make_images(3)
    expected = model.decode(model.encode(images).mean).mean
    torch.testing.assert_close(decoding.reconstructions(model, images), expected)


def test_decoded_images_are_in_the_unit_interval_and_have_no_gradient():
    model = make_model(gaussian_mean="linear")
    wild = 100 * torch.randn(2, 3, LATENTS, generator=torch.Generator().manual_seed(0))
    raw = model.decode(wild).mean
    images = decoding.decode_means(model, wild)
    assert raw.min() < 0
    assert raw.max() > 1
    torch.testing.assert_close(images, raw.clamp(0, 1))
    assert not images.requires_grad


def test_decoding_in_batches_changes_nothing():
    model = make_model()
    latents = model.prior(1203, torch.Generator().manual_seed(1))  # three parts, the last short
    torch.testing.assert_close(decoding.decode_means(model, latents), model.decode(latents).mean)


def test_prior_samples_repeat_with_their_generator():
    model = make_model(networks=("decoder",))
    first, again, other = (
        decoding.prior_samples(model, 4, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert first.shape == (4, *SHAPE)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("path", ["spherical", "linear"])
@pytest.mark.parametrize("steps", [2, 3, 10])
def test_interpolations_end_exactly_at_the_encoded_means(path, steps):
    model, first, second = make_model(), make_images(4, 1), make_images(4, 2)
    ends = decoding.encode_means(model, first), decoding.encode_means(model, second)
    latents = decoding.interpolate(*ends, steps, path)
    assert latents.shape == (4, steps, LATENTS)
    assert torch.equal(latents[:, 0], ends[0])
    assert torch.equal(latents[:, -1], ends[1])
    images = decoding.interpolations(model, first, second, steps, path)
    torch.testing.assert_close(images[:, 0], decoding.reconstructions(model, first))
    torch.testing.assert_close(images[:, -1], decoding.reconstructions(model, second))


def test_the_spherical_path_has_constant_norm_and_angular_speed():
    noise = torch.randn(2, 6, 20, generator=torch.Generator().manual_seed(0))
    first, second = 3 * torch.nn.functional.normalize(noise, dim=-1)
    path = decoding.interpolate(first, second, 9)
    torch.testing.assert_close(path.norm(dim=-1), torch.full((6, 9), 3.0))
    cosines = torch.cosine_similarity(path[:, 1:], path[:, :-1], dim=-1)
    torch.testing.assert_close(cosines, cosines[:, :1].expand(-1, 8), atol=1e-5, rtol=0)


def test_the_spherical_path_of_a_right_angle():
    # Halfway between the axes at 90 degrees: sin(45) = 1 / sqrt(2) of each.
    middle = decoding.interpolate(torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]]), 3)[0, 1]
    torch.testing.assert_close(middle, torch.full((2,), math.sqrt(0.5)))


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0, 2], [2.0, 4]), ([1.0, 2], [1.0, 2]), ([1.0, 2], [-1.0, -2]), ([0.0, 0], [3.0, 4])],
    ids=["parallel", "equal", "opposite", "zero"],
)
def test_the_spherical_path_falls_back_to_the_line(first, second):
    ends = torch.tensor([first]), torch.tensor([second])
    path = decoding.interpolate(*ends, 5, "spherical")
    torch.testing.assert_close(path, decoding.interpolate(*ends, 5, "linear"))


def test_nearly_parallel_vectors_are_interpolated_exactly():
    # At small angles the arc differs from the line by angle^2 / 8 of the length at most.
    first = torch.tensor([[1.0, 0.0]])
    for angle in (1e-6, 1e-4, 1e-3, 1e-2):
        second = torch.tensor([[math.cos(angle), math.sin(angle)]])
        middle = decoding.interpolate(first, second, 3)[0, 1]
        exact = torch.tensor([math.cos(angle / 2), math.sin(angle / 2)])
        torch.testing.assert_close(middle, exact, atol=2e-7, rtol=0)


def test_top_kl_dimensions_are_sorted_and_ties_are_by_index():
    kl = torch.tensor([0.5, 2.0, 0.5, 3.0])
    assert decoding.top_kl_dimensions(kl, 3) == [3, 1, 0]
    assert decoding.top_kl_dimensions(kl, 10) == [3, 1, 0, 2]


def test_a_traversal_varies_its_dimension_only():
    centre = torch.tensor([0.5, -1.0, 2.0])
    latents = decoding.traversal_latents(centre, [2, 0], steps=5, radius=2.0)
    values = torch.tensor([-2.0, -1, 0, 1, 2])
    assert torch.equal(latents[0, :, 2], values)
    assert torch.equal(latents[1, :, 0], values)
    assert torch.equal(latents[0, :, :2], centre[:2].expand(5, 2))
    assert torch.equal(latents[1, :, 1:], centre[1:].expand(5, 2))


def test_traversals_are_around_the_prior_mean_or_the_image():
    model, image = make_model(), make_images(1)[0]
    around_prior = decoding.traversals(model, [3, 1], steps=7)
    assert around_prior.shape == (2, 7, *SHAPE)
    mean = decoding.decode_means(model, torch.zeros(1, LATENTS))[0]
    torch.testing.assert_close(around_prior[:, 3], mean.expand(2, *SHAPE))
    centre = decoding.encode_means(model, image[None])[0]
    around_image = decoding.traversals(model, [3], 2, radius=1.5, image=image)
    centre[3] = 1.5
    torch.testing.assert_close(around_image[0, 1], decoding.decode_means(model, centre[None])[0])


def test_the_manifold_is_at_the_gaussian_quantiles():
    latents = decoding.manifold_latents(20, 4, (3, 1))
    # Phi^-1(0.5 / 20) = -1.959964 (the 2.5% point); the first dimension grows to the right,
    # the second one upwards.
    edge = 1.959964
    corners = {(0, 0): (-edge, edge), (0, -1): (edge, edge), (-1, 0): (-edge, -edge)}
    for (row, column), (first, second) in corners.items():
        expected = torch.tensor([0.0, second, 0.0, first])
        torch.testing.assert_close(latents[row, column], expected, atol=1e-5, rtol=0)
    # Phi of the quantiles rises by equal steps.
    shares = torch.special.ndtr(latents[0, :, 3])
    torch.testing.assert_close(shares.diff(), torch.full((19,), 1 / 20), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("latents", "dimensions", "rows"), [(1, (0,), 1), (2, (0, 1), 6)])
def test_the_manifold_needs_no_encoder(latents, dimensions, rows):
    model = make_model(latents, networks=("decoder",))
    images = decoding.manifold(model, 6, dimensions)
    assert images.shape == (rows, 6, *SHAPE)
    corner = torch.special.ndtri(torch.tensor([[0.5 / 6] + [5.5 / 6] * (latents - 1)]))
    torch.testing.assert_close(images[0, 0], decoding.decode_means(model, corner)[0])
