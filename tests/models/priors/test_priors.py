"""Priors: densities against slow oracles, samples against densities."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import assert_mean, log_normal, rand, randn
from vaelab.config import ModelSettings, prior_names
from vaelab.models.distributions import DiagonalGaussian, PointMass, Posterior
from vaelab.models.model import Model, build_model
from vaelab.models.priors import Prior, build_prior, prior_class
from vaelab.models.priors.flow import Flow
from vaelab.models.priors.mixture import Mixture
from vaelab.models.priors.vamp import Vamp
from vaelab.runtime.random_streams import rng_stream

SHAPE = (1, 2, 2)
CONTINUOUS = [name for name in prior_names() if prior_class(name).kind != "codes"]


def encode(images: Tensor) -> Posterior:
    """Return a posterior with two pixels as mean and two as standard deviation."""
    flat = images.flatten(1)
    return DiagonalGaussian(4 * flat[:, :2] - 2, 0.3 + flat[:, 2:])


def unencoded(images: Tensor) -> Posterior:
    raise AssertionError("this prior uses no encoder")


def scrambled(module: nn.Module, scale: float) -> None:
    noise = rng_stream(0, "weights")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=noise))


def clusters(count: int = 4000) -> Tensor:
    """Return points [count, 2], three in ten around (2, 1), the others around (-1, 0)."""
    left = torch.tensor([-1.0, 0.0]) + randn(count, 2) @ torch.tensor([[0.5, 0.0], [0.3, 0.2]])
    right = torch.tensor([2.0, 1.0]) + 0.3 * randn(count, 2, seed=1)
    return torch.where((torch.arange(count) % 10 < 3)[:, None], right, left)


def prior(name: str, **settings: object) -> Prior:
    """Return a two-dimensional prior with other than its initial parameters."""
    chosen = {"latent_dim": 2, "pseudo_inputs": 4, "flow_layers": 4, "flow_width": 8} | settings
    built = build_prior(ModelSettings.model_validate({"prior": name} | chosen), SHAPE)
    if isinstance(built, Flow):
        scrambled(built, 0.25)
    if isinstance(built, Vamp):
        built.initialize_from(rand(4, *SHAPE))
    if isinstance(built, Mixture):
        built.fit(clusters(), seed=0)
    return built


# All that have a density


def grid(points: int = 401, edge: float = 12.0) -> tuple[Tensor, float]:
    """Return midpoints that cover a square, [points^2, 2], and the area of each."""
    step = 2 * edge / points
    line = -edge + step * (torch.arange(points) + 0.5)
    return torch.cartesian_prod(line, line), step**2


@pytest.mark.parametrize("name", CONTINUOUS)
@torch.no_grad()
def test_densities_integrate_to_1_and_samples_follow_them(name):
    density = prior(name)
    points, area = grid()
    mass = density.log_prob(points, encode).double().exp() * area
    assert mass.sum().item() == pytest.approx(1, abs=2e-3)
    drawn = density.sample(20_000, rng_stream(0, "prior"), encode)
    assert drawn.shape == (20_000, 2)
    for x, y, radius in product((-1.2, 0.1, 2.0), (0.0, 1.0), (0.7, 1.5)):
        centre = torch.tensor([x, y])
        inside = ((points - centre).norm(dim=1) < radius).double()
        found = ((drawn - centre).norm(dim=1) < radius).double()
        # The grid cuts a disc's edge into squares.
        assert_mean(found, (inside * mass).sum().item(), rounding=2e-3)


@pytest.mark.parametrize("name", CONTINUOUS)
@torch.no_grad()
def test_leading_dimensions_are_kept(name):
    density = prior(name)
    latents = randn(3, 5, 2)
    found = density.log_prob(latents, encode)
    assert found.shape == (3, 5)
    torch.testing.assert_close(found[2], density.log_prob(latents[2], encode))
    torch.testing.assert_close(found[1, 4], density.log_prob(latents[1, 4], encode))


@pytest.mark.parametrize("name", prior_names())
@torch.no_grad()
def test_samples_depend_on_the_generator_only(name):
    density = prior(name)
    first = density.sample(5, rng_stream(1, "prior"), encode)
    torch.manual_seed(3)
    assert torch.equal(density.sample(5, rng_stream(1, "prior"), encode), first)
    assert not torch.equal(density.sample(5, rng_stream(2, "prior"), encode), first)


# The mixture of posteriors


def test_a_vamp_prior_of_unit_gaussians_is_the_unit_gaussian():
    def unit(images: Tensor) -> Posterior:
        return DiagonalGaussian(torch.zeros(len(images), 2), torch.ones(len(images), 2))

    latents = randn(6, 2)
    expected = log_normal(latents)
    torch.testing.assert_close(prior("vamp").log_prob(latents, unit), expected)


def test_a_vamp_prior_is_the_mean_of_its_posteriors_densities():
    density = prior("vamp")
    assert isinstance(density, Vamp)
    latents = randn(6, 2)
    found = density.log_prob(latents, encode)
    for i, latent in enumerate(latents):
        total = 0.0
        for image in density.pseudo_inputs.detach():
            component = encode(image[None])
            assert isinstance(component, DiagonalGaussian)
            total += log_normal(latent, component.mean[0], component.stddev[0]).exp().item()
        assert found[i].item() == pytest.approx(math.log(total / 4), abs=1e-5)


def test_pseudo_inputs_start_from_images_and_every_pixel_has_a_gradient():
    density = prior("vamp", pseudo_inputs=5)
    assert isinstance(density, Vamp)
    images = rand(3, *SHAPE)
    density.initialize_from(images)
    assert torch.equal(density.pseudo_inputs.data, images[[0, 1, 2, 0, 1]])
    with torch.no_grad():
        # Outside of [0, 1], where clamped pixels would have no gradient
        density.pseudo_inputs.mul_(4).sub_(2)
    (gradient,) = torch.autograd.grad(
        density.log_prob(randn(6, 2), encode).sum(), density.pseudo_inputs
    )
    assert (gradient != 0).all()


# The flow


@pytest.mark.parametrize(("size", "layers"), [(2, 1), (3, 2), (5, 6), (1, 2)])
def test_a_flow_inverts_its_samples_to_their_noise(size, layers):
    density = prior("flow", latent_dim=size, flow_layers=layers)
    assert isinstance(density, Flow)
    drawn = density.sample(50, rng_stream(0, "prior"), unencoded)
    noise = drawn
    for coupling in density.couplings:
        noise, _ = coupling(noise)
    expected = torch.randn(50, size, generator=rng_stream(0, "prior"))
    torch.testing.assert_close(noise, expected, rtol=1e-4, atol=1e-4)
    if size > 1:
        assert not torch.allclose(drawn, expected, atol=0.05)


@pytest.mark.parametrize(("size", "layers"), [(2, 1), (3, 2), (5, 6)])
def test_a_flows_density_is_that_of_its_jacobian(size, layers):
    density = prior("flow", latent_dim=size, flow_layers=layers)
    assert isinstance(density, Flow)

    def through(latents: Tensor) -> Tensor:
        for coupling in density.couplings:
            latents, _ = coupling(latents)
        return latents

    for latents in randn(6, size):
        jacobian = torch.autograd.functional.jacobian(through, latents)  # type: ignore[no-untyped-call]
        assert isinstance(jacobian, Tensor)
        noise = log_normal(through(latents))
        _, log_determinant = torch.linalg.slogdet(jacobian)
        found = density.log_prob(latents, unencoded)
        torch.testing.assert_close(found, noise + log_determinant, rtol=1e-4, atol=1e-4)
        assert abs(log_determinant.item()) > 1e-3


def test_a_fresh_flow_is_the_unit_gaussian():
    settings = ModelSettings(prior="flow", latent_dim=3, flow_width=8)
    density = build_prior(settings, SHAPE)
    latents = randn(6, 3)
    expected = log_normal(latents)
    torch.testing.assert_close(density.log_prob(latents, unencoded), expected)
    drawn = density.sample(6, rng_stream(0, "prior"), unencoded)
    assert torch.equal(drawn, torch.randn(6, 3, generator=rng_stream(0, "prior")))


def test_every_dimension_of_a_flow_is_transformed():
    density = prior("flow", latent_dim=4, flow_layers=2)
    assert isinstance(density, Flow)
    transformed = sum(1 - coupling.mask for coupling in density.couplings)  # type: ignore[operator, misc]
    assert torch.equal(torch.as_tensor(transformed), torch.ones(4))


# A model around its prior


def test_a_point_mass_samples_its_point():
    point = PointMass(randn(3, 2))
    assert torch.equal(point.rsample(rng_stream(0, "noise"), 4), point.mean.expand(4, 3, 2))
    assert torch.equal(point.log_prob(point.mean), torch.zeros(3))


def with_prior(name: str, **settings: object) -> Model:
    small = {"network": "mlp", "hidden": [], "latent_dim": 2, "prior": name} | settings
    return build_model(ModelSettings.model_validate(small), SHAPE)


def test_the_kl_is_exact_for_the_unit_gaussian_and_its_estimate_has_the_same_mean():
    plain, flow = with_prior("standard_normal"), with_prior("flow")
    assert plain.has_standard_prior
    assert not flow.has_standard_prior
    posterior = DiagonalGaussian(randn(3, 2).repeat(8000, 1), torch.full((24_000, 2), 0.6))
    latents = posterior.rsample(rng_stream(0, "noise"))
    exact = plain.kl(posterior, latents)
    torch.testing.assert_close(exact, posterior.kl())
    # A new flow is N(0, I) too, but has no closed form.
    sampled = flow.kl(posterior, latents)
    assert_mean((sampled - exact).detach().reshape(8000, 3), 0.0)


def kl_gradients(name: str, mean: float, stddev: float, count: int) -> Tensor:
    """Return the gradient of each sample's KL by the posterior's mean and standard deviation."""
    means = torch.full((count, 2), mean, requires_grad=True)
    stddevs = torch.full((count, 2), stddev, requires_grad=True)
    posterior = DiagonalGaussian(means, stddevs)
    kl = with_prior(name).kl(posterior, posterior.rsample(rng_stream(0, "noise")))
    return torch.stack(torch.autograd.grad(kl.sum(), [means, stddevs]), dim=1)


def test_the_sampled_kl_has_the_exact_gradient_on_average_and_no_noise_at_the_prior():
    # d/dm = m, d/ds = s - 1/s: Kingma & Welling 2014, appendix B
    exact = kl_gradients("standard_normal", 0.7, 0.5, 1)[0]
    torch.testing.assert_close(exact, torch.tensor([[0.7, 0.7], [-1.5, -1.5]]))
    assert_mean(kl_gradients("flow", 0.7, 0.5, 20_000) - exact, 0.0)
    # Through the sample only: d/dz (ln q - ln p) is 0 everywhere where q = p.
    assert kl_gradients("flow", 0.0, 1.0, 50).abs().max() < 1e-5
