"""Priors that are fitted after training: the mixture of Gaussians and the codes' frequencies."""

import math

import pytest
import torch

from tests.models.priors.test_priors import SHAPE, clusters, prior, unencoded
from tests.oracles import STANDARD_ERRORS, log_normal, rand, randn
from vaelab.config import ModelSettings, UserError
from vaelab.models.model import build_model
from vaelab.models.priors import build_prior
from vaelab.models.priors.codebook import Codebook
from vaelab.models.priors.mixture import Mixture, MixtureSettings
from vaelab.runtime.random_streams import rng_stream

# The mixture


def mixture(components: int) -> Mixture:
    return Mixture(MixtureSettings(mixture_components=components), 2, SHAPE)


def test_a_mixtures_density_is_that_of_torch():
    fitted = prior("mixture", mixture_components=3)
    assert isinstance(fitted, Mixture)
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=fitted.log_weights),
        torch.distributions.MultivariateNormal(fitted.means, scale_tril=fitted.factors),
    )
    latents = 2 * randn(20, 2)
    expected = reference.log_prob(latents)  # type: ignore[no-untyped-call]
    found = fitted.log_prob(latents, unencoded)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_mixture_finds_two_clusters():
    fitted = prior("mixture", mixture_components=2)
    assert isinstance(fitted, Mixture)
    right = int(fitted.means[:, 0].argmax())
    # 4000 points, 3 in 10 of them right: errors of 0.3 / sqrt(1200) and 0.6 / sqrt(2800)
    assert fitted.log_weights.exp()[right].item() == pytest.approx(0.3, abs=0.01)
    assert fitted.means[right].tolist() == pytest.approx([2, 1], abs=6 * 0.3 / 1200**0.5)
    assert fitted.means[1 - right].tolist() == pytest.approx([-1, 0], abs=6 * 0.6 / 2800**0.5)
    covariance = fitted.factors[right] @ fitted.factors[right].T
    torch.testing.assert_close(covariance, 0.09 * torch.eye(2), rtol=0, atol=0.02)


def test_a_mixture_of_one_is_the_mean_and_the_covariance():
    points = clusters()
    fitted = prior("mixture", mixture_components=1)
    assert isinstance(fitted, Mixture)
    torch.testing.assert_close(fitted.means[0], points.mean(0), rtol=1e-4, atol=1e-5)
    covariance = fitted.factors[0] @ fitted.factors[0].T
    expected = torch.cov(points.T, correction=0)
    torch.testing.assert_close(covariance, expected, rtol=1e-4, atol=1e-5)


def test_a_mixture_starts_as_the_unit_gaussian_and_needs_two_images_a_component():
    fitted = mixture(10)
    latents = randn(6, 2)
    expected = log_normal(latents)
    torch.testing.assert_close(fitted.log_prob(latents, unencoded), expected)
    fitted.fit(clusters(7), seed=0)
    assert fitted.log_weights.isfinite().sum() == 3
    assert fitted.log_prob(latents, unencoded).isfinite().all()
    assert fitted.sample(50, rng_stream(0, "prior"), unencoded).isfinite().all()


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_constant_dimension_gives_finite_densities(seed):
    points = clusters(200)
    points[:, 1] = 0.5
    fitted = mixture(2)
    fitted.fit(points, seed)
    assert fitted.log_prob(points, unencoded).isfinite().all()
    spread = (fitted.sample(100, rng_stream(0, "prior"), unencoded)[:, 1] - 0.5).abs().max()
    assert spread < 0.02


def test_only_fitted_priors_are_fitted_to_latents_of_the_images():
    settings = ModelSettings.model_validate(
        {"network": "mlp", "hidden": [], "latent_dim": 2, "prior": "mixture"}
    )
    batches = [(rand(40, *SHAPE), None), (rand(20, *SHAPE), None)]
    model = build_model(settings, SHAPE, posterior="point")
    model.fit_prior(iter(batches), rng_stream(0, "fit"))
    assert not model.training
    expected = mixture(settings.mixture_components)
    latents = torch.cat([model.encode(images).mean for images, _ in batches]).detach()
    expected.fit(latents, rng_stream(0, "fit").initial_seed())
    assert isinstance(model.networks["prior"], Mixture)
    assert torch.equal(model.networks["prior"].means, expected.means)
    plain = build_model(settings.model_copy(update={"prior": "flow"}), SHAPE)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    plain.fit_prior(iter(batches), rng_stream(0, "fit"))
    assert plain.training
    assert all(torch.equal(before[n], tensor) for n, tensor in plain.state_dict().items())


# Codes


def codebook() -> Codebook:
    settings = ModelSettings(prior="codebook", latent_dim=6, code_dimensions=2, codebook_size=4)
    built = build_prior(settings, SHAPE)
    assert isinstance(built, Codebook)
    return built


def test_codes_are_counted_at_each_position_plus_one():
    fitted = codebook()
    chosen = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 2, 3], [0, 1, 3]])
    latents = fitted.entries.detach()[chosen].flatten(-2)
    fitted.fit(latents, seed=0)
    # (count + 1) / (images + codes)
    expected = torch.tensor([[5, 1, 1, 1], [1, 4, 2, 1], [1, 1, 2, 4]]) / 8
    torch.testing.assert_close(fitted.log_frequencies.exp(), expected)
    found = fitted.log_prob(latents[:1], unencoded).item()
    assert found == pytest.approx(math.log(5 / 8) + math.log(4 / 8) + math.log(2 / 8))


@torch.no_grad()
def test_codes_are_sampled_by_their_frequencies_and_probabilities_sum_to_1():
    fitted = codebook()
    fitted.log_frequencies.copy_(torch.softmax(randn(3, 4), 1).log())
    drawn = fitted.sample(20_000, rng_stream(0, "prior"), unencoded)
    assert drawn.shape == (20_000, 6)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    latents = fitted.entries[every].flatten(-2)
    chances = fitted.log_prob(latents, unencoded).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    codes = fitted.codes(drawn)
    found = (codes[:, None] == every).all(-1).double()
    errors = (chances * (1 - chances) / 20_000).sqrt()
    assert ((found.mean(0) - chances).abs() < STANDARD_ERRORS * errors).all()


def test_codes_that_do_not_divide_the_latent_are_refused():
    settings = ModelSettings(prior="codebook", latent_dim=7, code_dimensions=2)
    with pytest.raises(UserError, match=r"latent_dim: 7 does not .* model\.code_dimensions: 2"):
        build_prior(settings, SHAPE)
