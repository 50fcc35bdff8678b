"""The parts of the rate: loops, closed forms of Gaussians, and disjoint posteriors."""

import math

import pytest
import torch
from torch import Tensor

from tests.objectives.factories import digits, settings, trainer
from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    data_with_eigenvalues,
    gaussian_posterior,
    linear_vae_optimum,
    randn,
)
from vaelab.config import EvaluateSettings
from vaelab.estimators import decomposition
from vaelab.estimators.aggregate import log_aggregate_posterior
from vaelab.estimators.decomposition import (
    RateDecomposition,
    decompose_rate,
    gaussian_total_correlation,
    log_marginals,
)
from vaelab.estimators.latent_statistics import information_metrics
from vaelab.models.distributions import DiagonalGaussian, standard_normal
from vaelab.runtime.random_streams import rng_stream


def mixture(count: int, size: int) -> DiagonalGaussian:
    return DiagonalGaussian(2 * randn(count, size, seed=1), (randn(count, size, seed=2) - 1).exp())


def along_the_diagonal(count: int, size: int) -> DiagonalGaussian:
    """Posteriors 1,000 standard deviations apart in every dimension, in the same order."""
    mean = torch.arange(count)[:, None].float().expand(count, size)
    return DiagonalGaussian(mean, torch.full((count, size), 1e-3))


def sample(posterior: DiagonalGaussian, seed: int = 0) -> Tensor:
    return posterior.rsample(rng_stream(seed, "drawn"))


def total(parts: RateDecomposition) -> float:
    dimensions = parts.dimension_wise_kl.sum()
    return (parts.mutual_information + parts.total_correlation + dimensions).item()


def log_density(z: float, mean: float, stddev: float) -> float:
    return -0.5 * ((z - mean) / stddev) ** 2 - math.log(stddev) - 0.5 * math.log(2 * math.pi)


@pytest.mark.parametrize("pairs", [1, 14, 2**15])
def test_parts_match_two_loops_over_images(pairs):
    posterior, count, size = mixture(7, 3), 7, 3
    latents = sample(posterior)
    z, m, s = (t.double().tolist() for t in (latents, posterior.mean, posterior.stddev))
    information, correlation, dimension_wise = [], [], []
    for i in range(count):
        each = [[log_density(z[i][j], m[k][j], s[k][j]) for j in range(size)] for k in range(count)]
        joint = math.log(sum(math.exp(sum(row)) for row in each) / count)
        marginals = [math.log(sum(math.exp(row[j]) for row in each) / count) for j in range(size)]
        information.append(sum(each[i]) - joint)
        correlation.append(joint - sum(marginals))
        dimension_wise.append(
            [q - log_density(x, 0, 1) for q, x in zip(marginals, z[i], strict=True)]
        )
    found = decompose_rate(posterior, latents, pairs)
    for name, terms in (
        ("mutual_information", information),
        ("total_correlation", correlation),
        ("dimension_wise_kl", dimension_wise),
    ):
        expected = torch.tensor(terms, dtype=torch.float64)
        torch.testing.assert_close(getattr(found, name), expected.mean(0), rtol=0, atol=1e-12)
        error = expected.std(0) / math.sqrt(count)
        torch.testing.assert_close(
            getattr(found, f"{name}_standard_error"), error, rtol=1e-10, atol=0
        )


def test_marginals_match_aggregates_of_one_dimension():
    posterior, points = mixture(50, 4), 3 * randn(30, 4, seed=5)
    found = log_marginals(points, posterior)
    for j in range(4):
        one = DiagonalGaussian(posterior.mean[:, [j]], posterior.stddev[:, [j]])
        expected = log_aggregate_posterior(points[:, [j]], one)
        torch.testing.assert_close(found[:, j], expected, rtol=1e-10, atol=1e-10)


def test_marginals_of_sharp_posteriors_far_from_the_origin():
    mean, stddev = torch.tensor([[100.0], [101.0]]), torch.full((2, 1), 1e-6)
    found = log_marginals(mean, DiagonalGaussian(mean, stddev))
    expected = math.log(1e6) - 0.5 * math.log(2 * math.pi) - math.log(2)
    # The standard deviation is 1e-6 up to the rounding of float32.
    assert found.flatten().tolist() == pytest.approx([expected, expected], abs=1e-7)


@pytest.mark.parametrize("size", [1, 3])
def test_parts_of_random_posteriors_add_up_to_the_rate(size):
    posterior = mixture(400, size)
    latents = sample(posterior)
    found = total(decompose_rate(posterior, latents))
    wide = DiagonalGaussian(posterior.mean.double(), posterior.stddev.double())
    z = latents.double()
    terms = wide.log_prob(z) - standard_normal(z).log_prob(z)
    # At the sampled latents nothing else is in ln q(z|x) - ln p(z), ...
    assert found == pytest.approx(terms.mean().item(), abs=1e-10)
    # ... whose mean over latents is the KL, for every image.
    assert_mean(terms - posterior.kl().double(), 0.0)


def test_parts_of_a_trained_model_add_up_to_its_kl_loss():
    training = trainer(settings("vae", epochs=20, learning_rate=0.01), images=400)
    training.fit(show_progress=False)
    posterior = gaussian_posterior(training.model, digits(600)).detach()
    rates = posterior.kl().double()
    assert rates.mean() > 1
    latents = sample(posterior)
    terms = posterior.log_prob(latents) - standard_normal(latents).log_prob(latents)
    error = (terms - rates).std().item() / math.sqrt(600)
    found = decompose_rate(posterior, latents)
    assert abs(total(found) - rates.mean().item()) < STANDARD_ERRORS * error
    metrics = information_metrics(posterior, latents, posterior.kl(), EvaluateSettings())
    parts = metrics["total_correlation_nats"] + metrics["dimension_wise_kl_nats"]
    assert abs(metrics["marginal_kl_nats"] - parts) < STANDARD_ERRORS * error
    assert metrics["total_correlation_nats"] == found.total_correlation.item()
    assert metrics["dimension_wise_kl_nats"] == found.dimension_wise_kl.sum().item()


# Gaussian aggregates


def test_at_the_probabilistic_pca_optimum_the_rate_is_all_information():
    data, variance = data_with_eigenvalues([4.0, 2.0, 1.0, 1.0], 3_000), 1.0
    optimum = linear_vae_optimum(data, 2, variance, kl_weight=1.0)
    posterior = gaussian_posterior(optimum, data[:, None, None]).detach()
    found = decompose_rate(posterior, sample(posterior))
    # A mixture of N images for the Gaussian itself is off by about e^information / N.
    information = 0.5 * math.log(4 * 2)
    bias = math.exp(information) / 3_000
    for value, error, expected in (
        (found.mutual_information, found.mutual_information_standard_error, information),
        (found.total_correlation, found.total_correlation_standard_error, 0),
        (found.dimension_wise_kl[0], found.dimension_wise_kl_standard_error[0], 0),
        (found.dimension_wise_kl[1], found.dimension_wise_kl_standard_error[1], 0),
    ):
        assert 0 < error < 0.03
        assert abs(value - expected) < STANDARD_ERRORS * error + bias
    assert gaussian_total_correlation(posterior).item() == pytest.approx(0, abs=1e-6)


def test_the_total_correlation_of_a_gaussian_aggregate_matches_its_formula():
    count, stddev = 3_000, 0.8
    means = data_with_eigenvalues([2.0, 1.5, 0.4], count)
    posterior = DiagonalGaussian(means + 5, torch.full_like(means, stddev))
    covariance = means.double().T @ means.double() / count + stddev**2 * torch.eye(3).double()
    expected = 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)).item()
    assert expected > 0.02
    assert gaussian_total_correlation(posterior).item() == pytest.approx(expected, abs=1e-6)
    found = decompose_rate(posterior, sample(posterior))
    bias = math.exp(0.5 * (torch.logdet(covariance).item() - 3 * math.log(stddev**2))) / count
    error = found.total_correlation_standard_error.item()
    assert abs(found.total_correlation.item() - expected) < STANDARD_ERRORS * error + bias
    # KL(N(5, S_jj) || N(0, 1))
    variances = covariance.diagonal()
    each = 0.5 * (variances + 25 - variances.log() - 1)
    distance = (found.dimension_wise_kl - each).abs()
    assert (distance < STANDARD_ERRORS * found.dimension_wise_kl_standard_error + bias).all()


@pytest.mark.parametrize(("count", "size"), [(1, 3), (4, 6), (40, 3), (5, 5)])
def test_gaussian_total_correlation_matches_the_covariance(count, size):
    posterior = mixture(count, size)
    mean, stddev = posterior.mean.double(), posterior.stddev.double()
    centered = mean - mean.mean(0)
    covariance = centered.T @ centered / count + torch.diag(stddev.square().mean(0))
    expected = 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance))
    found = gaussian_total_correlation(posterior)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found > 0.01) == (count > 1)


def test_gaussian_total_correlation_of_copied_dimensions_has_no_cap():
    signal = data_with_eigenvalues([1.0], 50)
    posterior = DiagonalGaussian(signal.repeat(1, 3), torch.full((50, 3), 1e-4))
    # S = v I + 11^T has the determinant v^2 (v + 3).
    v = 1e-8
    expected = 0.5 * (3 * math.log1p(v) - 2 * math.log(v) - math.log(v + 3))
    assert expected > 4 * math.log(50)
    assert gaussian_total_correlation(posterior).item() == pytest.approx(expected, rel=1e-4)


# Bias of a finite mixture


def test_few_images_underestimate_information_and_overestimate_the_other_parts():
    count, size, variance = 100, 3, 0.25
    information = -0.5 * size * math.log(variance)
    assert information < 0.5 * math.log(count)
    rows = []
    for seed in range(200):
        means = math.sqrt(1 - variance) * randn(count, size, seed=seed)
        posterior = DiagonalGaussian(means, torch.full((count, size), math.sqrt(variance)))
        parts = decompose_rate(posterior, sample(posterior, seed))
        excess = parts.mutual_information - information, parts.total_correlation
        gaussian = gaussian_total_correlation(posterior)
        rows.append(torch.stack([*excess, parts.dimension_wise_kl.sum(), gaussian]))
    found, error = torch.stack(rows).mean(0), torch.stack(rows).std(0) / math.sqrt(200)
    assert found[0] < -STANDARD_ERRORS * error[0]
    assert (found[1:] > STANDARD_ERRORS * error[1:]).all()
    assert found[1] < 0.1
    assert found[3] < size * (size - 1) / (4 * count)


def test_information_beyond_the_cap_is_counted_as_correlation():
    count, size, variance = 100, 10, 1e-3
    means = math.sqrt(1 - variance) * randn(count, size)
    posterior = DiagonalGaussian(means, torch.full((count, size), math.sqrt(variance)))
    parts = decompose_rate(posterior, sample(posterior))
    assert parts.mutual_information.item() == pytest.approx(math.log(count), abs=1e-3)
    # The law's dimensions are independent: what is found is the information less ln N.
    surplus = -0.5 * size * math.log(variance) - math.log(count)
    rest = parts.total_correlation + parts.dimension_wise_kl.sum()
    assert surplus > 20
    assert rest.item() == pytest.approx(surplus, abs=2)
    assert parts.total_correlation > 0.7 * surplus


# Degenerate codes


def test_equal_posteriors_have_neither_information_nor_correlation():
    posterior = DiagonalGaussian(torch.full((30, 3), 0.5), torch.full((30, 3), 2.0))
    found = decompose_rate(posterior, sample(posterior))
    assert found.mutual_information.item() == pytest.approx(0, abs=1e-12)
    assert found.total_correlation.item() == pytest.approx(0, abs=1e-12)
    assert found.mutual_information_standard_error.item() == pytest.approx(0, abs=1e-12)
    assert gaussian_total_correlation(posterior).item() == pytest.approx(0, abs=1e-12)
    # KL(N(0.5, 4) || N(0, 1))
    distance = (found.dimension_wise_kl - (1.625 - math.log(2))).abs()
    assert (distance < STANDARD_ERRORS * found.dimension_wise_kl_standard_error).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_disjoint_posteriors_identify_the_image_in_every_dimension(size):
    posterior = along_the_diagonal(40, size)
    found = decompose_rate(posterior, sample(posterior))
    assert found.mutual_information.item() == pytest.approx(math.log(40), abs=1e-6)
    # Each dimension's entropy has the ln N that the joint one has but once.
    expected = (size - 1) * math.log(40)
    assert found.total_correlation.item() == pytest.approx(expected, abs=1e-6)


def test_one_image_has_no_information_and_no_standard_error():
    posterior = mixture(1, 2)
    found = decompose_rate(posterior, sample(posterior))
    assert found.mutual_information.item() == pytest.approx(0, abs=1e-12)
    assert found.total_correlation.item() == pytest.approx(0, abs=1e-12)
    assert found.mutual_information_standard_error.isnan()
    assert found.dimension_wise_kl_standard_error.isnan().all()


# How it is measured


def test_the_number_of_densities_is_limited_by_evenly_spaced_latents(monkeypatch):
    posterior = mixture(40, 3)
    latents = sample(posterior)
    monkeypatch.setattr(decomposition, "MAX_DENSITIES", 40 * 40 * 3 // 4)
    found = decompose_rate(posterior, latents)
    rows = torch.arange(0, 40, 4)
    conditional = DiagonalGaussian(posterior.mean[rows].double(), posterior.stddev[rows].double())
    z = latents[rows].double()
    terms = conditional.log_prob(z) - log_aggregate_posterior(z, posterior)
    assert found.mutual_information.item() == pytest.approx(terms.mean().item(), abs=1e-12)
    error = terms.std().item() / math.sqrt(10)
    assert found.mutual_information_standard_error.item() == pytest.approx(error, rel=1e-9)


def test_other_priors_have_no_dimension_wise_kl():
    posterior = mixture(30, 3)
    latents, chosen = sample(posterior), EvaluateSettings(max_pairs_images=10)
    standard = information_metrics(posterior, latents, posterior.kl(), chosen)
    learned = information_metrics(posterior, latents, posterior.kl(), chosen, standard_prior=False)
    dimension_wise = standard.pop("dimension_wise_kl_nats")
    assert learned == standard
    assert dimension_wise > 0
    # Of all images, while what compares pairs has ten
    assert learned["mutual_information_cap_nats"] == math.log(10)
    expected = gaussian_total_correlation(posterior).item()
    assert learned["gaussian_total_correlation_nats"] == expected
