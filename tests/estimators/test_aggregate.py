"""Aggregate posterior: integrals and loops; perfect, useless and degenerate latents."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.oracles import STANDARD_ERRORS, assert_mean, data_with_eigenvalues, integral, randn
from vaelab.config import EvaluateSettings
from vaelab.estimators import as_float64, mean_over_images
from vaelab.estimators.aggregate import (
    MMD_SCALES,
    aggregate_moments,
    ks_statistics,
    log_aggregate_posterior,
    mean_variances,
    mmd_squared,
    squared_norm_ks_statistic,
)
from vaelab.estimators.decomposition import decompose_rate
from vaelab.estimators.latent_statistics import (
    dimension_table,
    information_metrics,
    prior_metrics,
    sample_rows,
)
from vaelab.models.distributions import DiagonalGaussian, standard_normal
from vaelab.runtime.random_streams import rng_stream


def mixture(count: int, size: int) -> DiagonalGaussian:
    return DiagonalGaussian(2 * randn(count, size, seed=1), randn(count, size, seed=2).exp())


def identity(count: int) -> DiagonalGaussian:
    """Images whose posteriors do not touch: 1,000 standard deviations apart."""
    return DiagonalGaussian(torch.arange(count)[:, None].float(), torch.full((count, 1), 1e-3))


def collapsed(count: int) -> DiagonalGaussian:
    return standard_normal(torch.empty(count, 3))


def mutual_information(posterior: DiagonalGaussian, latents: Tensor) -> float:
    return decompose_rate(posterior, latents).mutual_information.item()


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_aggregate_density_matches_the_mixture(block):
    posterior, z = mixture(7, 3), randn(11, 3)
    wide = DiagonalGaussian(posterior.mean.double(), posterior.stddev.double())
    expected = [
        math.log(sum(math.exp(value) for value in wide.log_prob(row.expand(7, 3)).tolist()) / 7)
        for row in z.double()
    ]
    found = log_aggregate_posterior(z, posterior, block)
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10
    )


def test_aggregate_density_of_sharp_posteriors_far_from_the_origin():
    posterior = DiagonalGaussian(torch.tensor([[100.0], [101.0]]), torch.full((2, 1), 1e-3))
    found = log_aggregate_posterior(posterior.mean, posterior)
    expected = -math.log(1e-3) - 0.5 * math.log(2 * math.pi) - math.log(2)
    assert found.tolist() == pytest.approx([expected, expected], abs=1e-4)


def test_information_of_disjoint_posteriors_is_its_cap():
    posterior = identity(64)
    latents = posterior.rsample(rng_stream(0, "test"))
    assert mutual_information(posterior, latents) == pytest.approx(math.log(64), abs=1e-7)


def test_information_of_duplicated_images_counts_them_once():
    once = identity(32)
    twice = DiagonalGaussian(once.mean.repeat(2, 1), once.stddev.repeat(2, 1))
    latents = twice.rsample(rng_stream(0, "test"))
    assert mutual_information(twice, latents) == pytest.approx(math.log(32), abs=1e-7)


def test_information_of_a_collapsed_posterior_is_zero():
    posterior = collapsed(64)
    latents = posterior.rsample(rng_stream(0, "test"))
    assert mutual_information(posterior, latents) == pytest.approx(0, abs=1e-12)
    assert mean_variances(posterior).eq(0).all()


def test_information_and_marginal_kl_match_their_integrals():
    means, stddevs, count = [-1.0, 0.3, 2.0], [0.5, 0.9, 0.3], 1_500
    parts = [stats.norm(m, s) for m, s in zip(means, stddevs, strict=True)]

    def q(z: float) -> float:
        return float(np.mean([part.pdf(z) for part in parts]))

    def information(z: float) -> float:
        densities = [float(part.pdf(z)) for part in parts]
        return sum(d * math.log(d / q(z)) for d in densities if d > 0) / 3

    expected = integral(information, -7, 7)
    marginal = integral(lambda z: q(z) * (math.log(q(z)) - float(stats.norm.logpdf(z))), -7, 7)
    posterior = DiagonalGaussian(
        torch.tensor(means).repeat(count)[:, None], torch.tensor(stddevs).repeat(count)[:, None]
    )
    # rate = information + marginal KL, by integrals alone
    assert posterior.kl().mean().item() == pytest.approx(expected + marginal, abs=1e-6)
    latents = posterior.rsample(rng_stream(0, "test"))
    conditional = DiagonalGaussian(as_float64(posterior.mean), as_float64(posterior.stddev))
    terms = conditional.log_prob(latents.double()) - log_aggregate_posterior(latents, posterior)
    assert_mean(terms, expected)
    found = information_metrics(posterior, latents, posterior.kl(), EvaluateSettings())
    assert found["mutual_information_nats"] == pytest.approx(terms.mean().item(), abs=1e-12)
    rate = found["mutual_information_nats"] + found["marginal_kl_nats"]
    assert rate == pytest.approx(mean_over_images(posterior.kl()), abs=1e-12)


def test_rate_is_information_plus_correlation_plus_dimension_wise_kl():
    count, stddev, s = 3_000, 0.8, [2.0, 1.5, 0.4]
    means = data_with_eigenvalues(s, count)
    posterior = DiagonalGaussian(means, torch.full_like(means, stddev))
    # A Gaussian aggregate: its covariance S is that of the means plus the noise's.
    covariance = means.double().T @ means.double() / count + stddev**2 * torch.eye(3).double()
    diagonal, log_det = covariance.diagonal(), torch.logdet(covariance)
    correlation = 0.5 * (diagonal.log().sum() - log_det)
    dimension_wise = 0.5 * (diagonal - diagonal.log() - 1).sum()
    information = 0.5 * (log_det - 3 * math.log(stddev**2))
    total = information + correlation + dimension_wise
    assert posterior.kl().mean().item() == pytest.approx(total.item(), abs=1e-5)
    assert correlation.item() > 0.02
    latents = posterior.rsample(rng_stream(0, "test"))
    found = information_metrics(posterior, latents, posterior.kl(), EvaluateSettings())
    # Per image the estimate is a difference of two chi-squared of 3 degrees, of variance below 3;
    # a mixture of N images for the Gaussian itself is off by about e^information / N.
    tolerance = STANDARD_ERRORS * math.sqrt(3 / count) + math.exp(information) / count
    assert abs(found["mutual_information_nats"] - information.item()) < tolerance
    marginal = (correlation + dimension_wise).item()
    assert abs(found["marginal_kl_nats"] - marginal) < tolerance


def test_information_is_measured_on_at_most_max_pairs_images():
    posterior = identity(64)
    latents = posterior.rsample(rng_stream(0, "test"))
    found = information_metrics(
        posterior, latents, posterior.kl(), EvaluateSettings(max_pairs_images=10)
    )
    assert found["mutual_information_cap_nats"] == math.log(10)
    assert found["mutual_information_nats"] == pytest.approx(math.log(10), abs=1e-7)


def test_aggregate_moments_match_samples():
    posterior = mixture(5, 3)
    mean, stddev = aggregate_moments(posterior)
    samples = posterior.rsample(rng_stream(0, "test"), 20_000).double()
    assert_mean(samples.mean(1), mean, rounding=1e-6)
    assert_mean(((samples - mean) ** 2).mean(1), stddev**2, rounding=1e-6)


def test_active_dimensions_have_a_varying_posterior_mean():
    means = torch.stack([torch.zeros(50), torch.full((50,), 3.0), randn(50)], 1)
    posterior = DiagonalGaussian(means, torch.ones(50, 3))
    variances = mean_variances(posterior)
    np.testing.assert_allclose(variances.numpy(), means.double().numpy().var(0))
    latents = posterior.rsample(rng_stream(0, "test"))
    table = dimension_table(posterior, latents, active_unit_threshold=0.01)
    assert table["active"].tolist() == [False, False, True]
    assert {len(column) for column in table.values()} == {3}
    # KL of N(m, 1): m^2 / 2
    expected = (means.double() ** 2 / 2).mean(0).tolist()
    assert table["kl_nats"].tolist() == pytest.approx(expected, abs=1e-6)


def test_ks_statistics_match_scipy():
    latents = (randn(200, 3) * torch.tensor([1.0, 2.0, 0.1])).numpy()
    for statistic, column in zip(ks_statistics(latents), latents.T.astype(float), strict=True):
        expected = float(stats.kstest(column, "norm").statistic)
        assert float(statistic) == pytest.approx(expected, rel=1e-12)
    chi2 = stats.kstest((latents.astype(float) ** 2).sum(1), "chi2", (3,)).statistic
    assert squared_norm_ks_statistic(latents) == pytest.approx(float(chi2), rel=1e-12)


def test_ks_statistics_of_the_prior_and_of_a_point():
    latents = randn(10_000, 3).numpy()
    # P(D > c / sqrt(n)) < 2 e^(-2 c^2), 2e-9 at 6 standard errors
    bound = math.sqrt(-math.log(1e-9) / 2) / 100
    assert ks_statistics(latents).max() < bound
    assert squared_norm_ks_statistic(latents) < bound
    assert ks_statistics(np.zeros((50, 2))).tolist() == [0.5, 0.5]
    # On a shell of the right radius in dependent dimensions, only |z|^2 differs.
    signs = np.sign(latents)
    assert squared_norm_ks_statistic(signs) > 0.4


def test_mmd_matches_the_sum_over_pairs():
    x, y = randn(5, 3).double(), 1 + randn(4, 3, seed=1).double()

    def kernel(a: Tensor, b: Tensor) -> float:
        constants = [2 * 3 * scale for scale in MMD_SCALES]
        return sum(c / (c + ((a - b) ** 2).sum().item()) for c in constants)

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    expected = float(within_x + within_y - 2 * between)
    assert mmd_squared(x.float(), y.float()).item() == pytest.approx(expected, abs=1e-5)


def test_mmd_is_unbiased_at_the_prior_and_detects_a_shift():
    same = [mmd_squared(randn(30, 2, seed=i), randn(30, 2, seed=i + 1000)) for i in range(200)]
    assert_mean(torch.stack(same), 0.0)
    moved = [mmd_squared(randn(30, 2, seed=i), 1 + randn(30, 2, seed=i + 1000)) for i in range(9)]
    assert torch.stack(moved).min() > torch.stack(same).max()


def test_mmd_of_points():
    assert mmd_squared(torch.zeros(3, 2), torch.zeros(4, 2)).item() == pytest.approx(0, abs=1e-12)
    # Two points infinitely far apart: seven kernels of 1 within each, of 0 between them.
    far = mmd_squared(torch.zeros(3, 2), torch.full((4, 2), 1e9)).item()
    assert far == pytest.approx(14, abs=1e-6)
    with pytest.raises(ValueError, match="at least 2 points a sample, got 1 and 4"):
        mmd_squared(torch.zeros(1, 2), torch.zeros(4, 2))


def test_prior_metrics_of_one_image_have_no_mmd():
    assert set(prior_metrics(randn(1, 2), None, EvaluateSettings())) == {
        "squared_norm_ks_statistic"
    }
    both = {"squared_norm_ks_statistic", "mmd_squared"}
    assert set(prior_metrics(randn(2, 2), None, EvaluateSettings())) == both


def test_rows_are_sampled_by_the_seed_without_replacement():
    chosen = sample_rows(100, 30, 1, "probe").tolist()
    assert len(set(chosen)) == 30
    assert chosen == sorted(chosen) == sample_rows(100, 30, 1, "probe").tolist()
    assert chosen != sample_rows(100, 30, 2, "probe").tolist()
    assert sample_rows(5, 30, 1, "probe").tolist() == [0, 1, 2, 3, 4]
