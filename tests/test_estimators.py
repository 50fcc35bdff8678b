"""Estimators against closed forms, integrals and loops; on perfect, useless and odd input."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    data_with_eigenvalues,
    integral,
    layer,
    linear_model,
    linear_vae_optimum,
    pca_log_likelihood,
    set_linear,
)
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.distributions import DiagonalGaussian, standard_normal
from vaelab.estimators import as_float64, mean_over_images
from vaelab.estimators.aggregate import (
    MMD_SCALES,
    aggregate_moments,
    ks_statistics,
    log_aggregate_posterior,
    mean_variances,
    mmd_squared,
    mutual_information,
    squared_norm_ks_statistic,
)
from vaelab.estimators.importance import (
    bits_per_dim,
    importance_weighted_log_likelihood,
    log_importance_weights,
)
from vaelab.estimators.probes import knn_accuracy, linear_probe_accuracy
from vaelab.estimators.summary import choose, dimension_table, information_metrics, prior_metrics
from vaelab.likelihoods import build_likelihood
from vaelab.models import Model
from vaelab.randomness import stream


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=stream(0, "test"))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "test"))


# Importance weighting. p(x|z) = N(z, 1), so p(x) = N(0, 2), and the posterior of x is N(x/2, 1/2).

TRUE_STDDEV = math.sqrt(0.5)


def one_dimensional_model() -> Model:
    model = linear_model(1, 1, variance=1.0)
    with torch.no_grad():
        set_linear(layer(model, "decoder"), torch.ones(1, 1), torch.zeros(1))
    return model


def copies(x: float, count: int) -> Tensor:
    return torch.full((count, 1, 1, 1), x)


def gaussian(count: int, mean: float, stddev: float) -> DiagonalGaussian:
    return DiagonalGaussian(torch.full((count, 1), mean), torch.full((count, 1), stddev))


def log_evidence(x: float) -> float:
    return float(stats.norm.logpdf(x, 0, math.sqrt(2)))


@torch.inference_mode()
def estimate(mean: float, stddev: float, x: float, samples: int, count: int) -> Tensor:
    return importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(x, count),
        gaussian(count, mean, stddev),
        samples,
        stream(samples, "test"),
    ).log_likelihood


@pytest.mark.parametrize("samples", [1, 2, 64])
def test_the_exact_posterior_has_no_variance(samples):
    result = importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(1.3, 5),
        gaussian(5, 0.65, TRUE_STDDEV),
        samples,
        stream(0, "test"),
    )
    expected = torch.full((5,), log_evidence(1.3), dtype=torch.float64)
    torch.testing.assert_close(result.log_likelihood, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(
        result.effective_sample_size, torch.full_like(expected, samples), rtol=1e-6, atol=0
    )
    if samples > 1:
        assert result.log_likelihood_at_half is not None
        torch.testing.assert_close(result.log_likelihood_at_half, expected, rtol=0, atol=2e-6)
    else:
        assert result.log_likelihood_at_half is None


def test_it_is_probabilistic_pcas_likelihood_at_the_optimum():
    eigenvalues, latents, variance = [9.0, 4.0, 2.0, 1.0, 0.5], 2, 0.8
    data = data_with_eigenvalues(eigenvalues, 30)
    model, images = linear_vae_optimum(data, latents, variance, 1.0), data[:, None, None]
    with torch.inference_mode():
        result = importance_weighted_log_likelihood(
            model, images, model.encode(images), 10, stream(0, "test")
        )
    expected = pca_log_likelihood(torch.tensor(eigenvalues), latents, variance)
    assert mean_over_images(result.log_likelihood) == pytest.approx(expected, abs=1e-5)
    assert result.effective_sample_size.min() > 10 - 1e-3


def test_one_sample_falls_short_by_the_kl_to_the_posterior():
    mean, stddev, x = 0.2, 1.1, 1.3
    values = estimate(mean, stddev, x, 1, 20_000)
    # KL(N(m, s^2) || N(x/2, 1/2))
    ratio = (stddev / TRUE_STDDEV) ** 2
    shift = ((mean - x / 2) / TRUE_STDDEV) ** 2
    kl = 0.5 * (ratio + shift - 1 - math.log(ratio))
    assert_mean(values, log_evidence(x) - kl)


def test_more_samples_come_nearer_from_below():
    means = {}
    for samples in (1, 2, 3, 8, 32):
        values = estimate(-0.5, 1.2, 1.3, samples, 10_000)
        error = (values.std() / math.sqrt(len(values))).item()
        means[samples] = values.mean().item(), error
    ordered = list(means.values())
    for (low, low_error), (high, high_error) in pairwise(ordered):
        assert high - low > STANDARD_ERRORS * math.hypot(low_error, high_error)
    last, error = ordered[-1]
    assert last < log_evidence(1.3) + STANDARD_ERRORS * error


def test_the_gap_is_the_weights_variance_over_twice_their_number():
    mean, stddev, x, samples = 0.2, 0.9, 1.3, 10
    posterior, q = stats.norm(x / 2, TRUE_STDDEV), stats.norm(mean, stddev)
    # w / p(x) = p(z|x) / q(z), of mean 1 under q
    second = integral(lambda z: float(posterior.pdf(z) ** 2 / q.pdf(z)), -9, 9)
    gap = log_evidence(x) - estimate(mean, stddev, x, samples, 100_000)
    expected = (second - 1) / (2 * samples)
    # The next term of the expansion is of order 1 / K^2, and no larger than the first here.
    assert_mean(gap, expected, rounding=expected / samples)
    assert expected > 20 * (gap.std() / math.sqrt(len(gap))).item()


def test_one_sample_is_the_sampled_bound():
    model, images = linear_model(6, 3, variance=0.5, seed=4), rand(9, 1, 1, 6)
    posterior = model.encode(images)
    result = importance_weighted_log_likelihood(model, images, posterior, 1, stream(7, "noise"))
    latents = posterior.rsample(stream(7, "noise"), 1)[0]
    bound = (
        model.decode(latents).log_prob(images)
        + standard_normal(latents).log_prob(latents)
        - posterior.log_prob(latents)
    )
    torch.testing.assert_close(result.log_likelihood, bound.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(result.effective_sample_size, torch.ones(9).double())


class Replayed(DiagonalGaussian):
    """Gives noise from a list, so that no chunking changes what is drawn."""

    draws: Iterator[Tensor]

    def rsample(
        self, generator: torch.Generator | None = None, samples: int | None = None
    ) -> Tensor:
        noise = torch.stack([next(self.draws) for _ in range(samples or 1)])
        return self.mean + self.stddev * noise


@pytest.mark.parametrize("at_a_time", [1, 3, 8, 1000])
@pytest.mark.parametrize("samples", [7, 8])
def test_streaming_is_the_sum_over_all_weights_at_once(at_a_time, samples):
    model, images = linear_model(6, 3, variance=1e-3, seed=4), rand(4, 1, 1, 6)
    posterior, noise = model.encode(images), randn(samples, 4, 3)
    replayed = Replayed(posterior.mean, posterior.stddev)
    object.__setattr__(replayed, "draws", iter(noise))
    decoded: list[int] = []
    result = importance_weighted_log_likelihood(
        model,
        images,
        replayed,
        samples,
        stream(0, "unused"),
        decoded_numbers=at_a_time * images.numel(),
        progress=decoded.append,
    )
    latents = posterior.mean + posterior.stddev * noise
    weights = log_importance_weights(model, images, posterior, latents)
    assert weights.min() < -1000  # e^-745 is 0 in float64: only logarithms survive
    half = weights[: samples // 2].logsumexp(0) - math.log(samples // 2)
    relative = (weights - weights.max(0).values).exp()
    torch.testing.assert_close(
        result.log_likelihood, weights.logsumexp(0) - math.log(samples), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(result.log_likelihood_at_half, half, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        result.effective_sample_size,
        relative.sum(0) ** 2 / (relative**2).sum(0),
        rtol=1e-3,  # float32 log-likelihoods of size 1e3 are good to 1e-4
        atol=0,
    )
    assert sum(decoded) == samples * 4
    assert max(decoded) <= at_a_time * 4


def test_a_batch_above_the_budget_is_decoded_a_sample_at_a_time():
    decoded: list[int] = []
    importance_weighted_log_likelihood(
        one_dimensional_model(),
        copies(0.0, 50),
        gaussian(50, 0.0, 1.0),
        3,
        stream(0, "test"),
        decoded_numbers=10,
        progress=decoded.append,
    )
    assert decoded == [50, 50, 50]


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="needs 1 sample or more, not 0"):
        estimate(0.0, 1.0, 0.0, 0, 2)


# Bits per dimension


def bits(nll: float, levels: int = 256, **settings: object) -> float | None:
    likelihood = build_likelihood(ModelSettings.model_validate(settings), 10)
    return bits_per_dim(nll, likelihood, 10, levels)


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli"])
def test_the_uniform_density_takes_eight_bits(likelihood):
    assert bits(0.0, likelihood=likelihood) == pytest.approx(8)
    # One nat a pixel is 1 / ln 2 bits.
    assert bits(10.0, likelihood=likelihood) == pytest.approx(8 + 1 / math.log(2))


def test_the_uniform_probability_takes_eight_bits():
    assert bits(10 * math.log(256), likelihood="discretized_logistic") == pytest.approx(8)


def test_bits_are_for_eight_bit_pixels_alone():
    assert bits(1.0, likelihood="bernoulli") is None
    assert bits(1.0, levels=17, likelihood="gaussian") is None


# The aggregate posterior


def mixture(count: int, size: int) -> DiagonalGaussian:
    return DiagonalGaussian(2 * randn(count, size, seed=1), randn(count, size, seed=2).exp())


def identity(count: int) -> DiagonalGaussian:
    """Images whose posteriors do not touch: 1,000 standard deviations apart."""
    return DiagonalGaussian(torch.arange(count)[:, None].float(), torch.full((count, 1), 1e-3))


def collapsed(count: int) -> DiagonalGaussian:
    return standard_normal(torch.empty(count, 3))


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_aggregate_density_is_the_mixtures(block):
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


def test_information_of_an_identity_is_its_cap():
    posterior = identity(64)
    latents = posterior.rsample(stream(0, "test"))
    assert mutual_information(posterior, latents).item() == pytest.approx(math.log(64), abs=1e-7)


def test_information_of_duplicated_images_counts_them_once():
    once = identity(32)
    twice = DiagonalGaussian(once.mean.repeat(2, 1), once.stddev.repeat(2, 1))
    latents = twice.rsample(stream(0, "test"))
    assert mutual_information(twice, latents).item() == pytest.approx(math.log(32), abs=1e-7)


def test_information_of_a_collapsed_posterior_is_zero():
    posterior = collapsed(64)
    latents = posterior.rsample(stream(0, "test"))
    assert mutual_information(posterior, latents).item() == pytest.approx(0, abs=1e-12)
    assert mean_variances(posterior).eq(0).all()


def test_information_and_marginal_kl_are_their_integrals():
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
    latents = posterior.rsample(stream(0, "test"))
    own = DiagonalGaussian(as_float64(posterior.mean), as_float64(posterior.stddev))
    terms = own.log_prob(latents.double()) - log_aggregate_posterior(latents, posterior)
    assert_mean(terms, expected)
    found = information_metrics(posterior, latents, EvaluateSettings())
    assert found["mutual_information_nats"] == pytest.approx(terms.mean().item(), abs=1e-12)
    rate = found["mutual_information_nats"] + found["marginal_kl_nats"]
    assert rate == pytest.approx(mean_over_images(posterior.kl()), abs=1e-12)


def test_rate_is_information_and_correlation_and_dimension_wise_kl():
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
    latents = posterior.rsample(stream(0, "test"))
    found = information_metrics(posterior, latents, EvaluateSettings())
    # Per image the estimate is a difference of two chi-squared of 3 degrees, of variance below 3;
    # a mixture of N images for the Gaussian itself is off by about e^information / N.
    tolerance = STANDARD_ERRORS * math.sqrt(3 / count) + math.exp(information) / count
    assert abs(found["mutual_information_nats"] - information.item()) < tolerance
    marginal = (correlation + dimension_wise).item()
    assert abs(found["marginal_kl_nats"] - marginal) < tolerance


def test_information_is_measured_on_at_most_so_many_images():
    posterior = identity(64)
    latents = posterior.rsample(stream(0, "test"))
    found = information_metrics(posterior, latents, EvaluateSettings(max_pairs_images=10))
    assert found["mutual_information_cap_nats"] == math.log(10)
    assert found["mutual_information_nats"] == pytest.approx(math.log(10), abs=1e-7)


def test_moments_are_those_of_samples():
    posterior = mixture(5, 3)
    mean, stddev = aggregate_moments(posterior)
    drawn = posterior.rsample(stream(0, "test"), 20_000).double()
    assert_mean(drawn.mean(1), mean, rounding=1e-6)
    assert_mean(((drawn - mean) ** 2).mean(1), stddev**2, rounding=1e-6)


def test_active_dimensions_are_those_whose_mean_moves():
    means = torch.stack([torch.zeros(50), torch.full((50,), 3.0), randn(50)], 1)
    posterior = DiagonalGaussian(means, torch.ones(50, 3))
    variances = mean_variances(posterior)
    np.testing.assert_allclose(variances.numpy(), means.double().numpy().var(0))
    latents = posterior.rsample(stream(0, "test"))
    table = dimension_table(posterior, latents, active_unit_threshold=0.01)
    assert table["active"].tolist() == [False, False, True]
    assert {len(column) for column in table.values()} == {3}
    # KL of N(m, 1): m^2 / 2
    expected = (means.double() ** 2 / 2).mean(0).tolist()
    assert table["kl_nats"].tolist() == pytest.approx(expected, abs=1e-6)


def test_ks_statistics_are_scipys():
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
    # On a shell of the right radius in dependent dimensions, only |z|^2 tells.
    signs = np.sign(latents)
    assert squared_norm_ks_statistic(signs) > 0.4


def test_mmd_is_the_sum_over_pairs():
    x, y = randn(5, 3).double(), 1 + randn(4, 3, seed=1).double()

    def kernel(a: Tensor, b: Tensor) -> float:
        constants = [2 * 3 * scale for scale in MMD_SCALES]
        return sum(c / (c + ((a - b) ** 2).sum().item()) for c in constants)

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    expected = float(within_x + within_y - 2 * between)
    assert mmd_squared(x.float(), y.float()).item() == pytest.approx(expected, abs=1e-5)


def test_mmd_is_unbiased_at_the_prior_and_sees_a_shift():
    same = [mmd_squared(randn(30, 2, seed=i), randn(30, 2, seed=i + 1000)) for i in range(200)]
    assert_mean(torch.stack(same), 0.0)
    moved = [mmd_squared(randn(30, 2, seed=i), 1 + randn(30, 2, seed=i + 1000)) for i in range(9)]
    assert torch.stack(moved).min() > torch.stack(same).max()


def test_mmd_of_points():
    assert mmd_squared(torch.zeros(3, 2), torch.zeros(4, 2)).item() == pytest.approx(0, abs=1e-12)
    # Two points infinitely far apart: seven kernels of 1 within each, of 0 between them.
    far = mmd_squared(torch.zeros(3, 2), torch.full((4, 2), 1e9)).item()
    assert far == pytest.approx(14, abs=1e-6)
    with pytest.raises(ValueError, match="2 points or more, not 1 and 4"):
        mmd_squared(torch.zeros(1, 2), torch.zeros(4, 2))


def test_prior_metrics_of_one_image_leave_out_what_needs_two():
    assert set(prior_metrics(randn(1, 2), EvaluateSettings())) == {"squared_norm_ks_statistic"}
    both = {"squared_norm_ks_statistic", "mmd_squared"}
    assert set(prior_metrics(randn(2, 2), EvaluateSettings())) == both


def test_images_are_chosen_once_each_by_the_seed():
    chosen = choose(100, 30, 1, "probe").tolist()
    assert len(set(chosen)) == 30
    assert chosen == sorted(chosen) == choose(100, 30, 1, "probe").tolist()
    assert chosen != choose(100, 30, 2, "probe").tolist()
    assert choose(5, 30, 1, "probe").tolist() == [0, 1, 2, 3, 4]


# Probes


def labelled(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = 10 * np.eye(classes)
    return (centres[labels] + rng.normal(size=(count, classes))).astype(np.float32), labels


def accuracies(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray):
    return (
        linear_probe_accuracy(train, labels, test, truth),
        knn_accuracy(train, labels, test, truth, neighbours=10),
    )


def test_probes_read_separable_classes():
    assert accuracies(*labelled(300, 4, 0), *labelled(200, 4, 1)) == (1.0, 1.0)


def test_probes_of_a_duplicated_code_read_the_same():
    (train, labels), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    doubled = np.concatenate([train, train], 1), labels, np.concatenate([test, test], 1), truth
    assert accuracies(*doubled) == (1.0, 1.0)


def test_probes_of_shuffled_labels_guess():
    (train, _), (test, _) = labelled(300, 4, 0), labelled(1000, 4, 1)
    rng = np.random.default_rng(2)
    # Labels drawn anew say nothing of the code: each guess is right with probability 1/4.
    error = math.sqrt(0.25 * 0.75 / 1000)
    guesses = accuracies(train, rng.integers(0, 4, 300), test, rng.integers(0, 4, 1000))
    assert all(abs(accuracy - 0.25) < STANDARD_ERRORS * error for accuracy in guesses)


def test_probes_of_a_collapsed_code_give_one_answer_to_all():
    _, labels = labelled(300, 4, 0)
    _, truth = labelled(200, 4, 1)
    nothing = np.zeros((300, 2), np.float32), labels, np.zeros((200, 2), np.float32), truth
    shares = np.bincount(truth) / 200
    linear, nearest = accuracies(*nothing)
    assert linear == shares[np.bincount(labels).argmax()]
    assert nearest in shares


def test_probes_learn_from_train_alone():
    (train, labels), (test, truth) = labelled(300, 4, 0), labelled(200, 4, 1)
    # A probe that had seen the test labels would follow them; this one follows train's.
    assert accuracies(train, (labels + 1) % 4, test, truth) == (0.0, 0.0)


def test_neighbours_are_no_more_than_there_are():
    train, labels = np.array([[0.0], [0.1], [5.0]], np.float32), np.array([1, 1, 2])
    assert knn_accuracy(train, labels, train, np.array([1, 1, 1]), neighbours=10) == 1.0
    assert knn_accuracy(train, labels, train, labels, neighbours=1) == 1.0


def test_labels_of_one_class_are_refused():
    train, labels = np.zeros((3, 1), np.float32), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="at least 2 classes"):
        linear_probe_accuracy(train, labels, train, labels)
