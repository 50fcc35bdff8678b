"""Hamiltonian Monte Carlo and annealed importance sampling, against Gaussians known in full."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.oracles import assert_mean, layer, linear_model, randn, set_linear
from vaelab.estimators import ais, hmc
from vaelab.estimators.ais import (
    AnnealingPath,
    CorrelatedGaussian,
    forward_log_weights,
    lower_bound,
    reverse_log_weights,
    sigmoidal_schedule,
    tune_step_sizes,
    upper_bound,
    with_fitted_initial,
)
from vaelab.estimators.hmc import HamiltonianMonteCarlo, adapt_step_size, evaluate_terms
from vaelab.estimators.importance import log_importance_weights
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

ONE = torch.ones(1)


def normal(mean: Tensor, covariance: Tensor) -> Callable[[Tensor], Tensor]:
    """ln N(z; mean, covariance) of latents [chains, images, latent]."""
    law = torch.distributions.MultivariateNormal(mean, covariance)
    return lambda latents: law.log_prob(latents)  # type: ignore[no-untyped-call]


# Hamiltonian Monte Carlo

MEAN = torch.tensor([1.0, -2.0])
COVARIANCE = torch.tensor([[2.0, 0.9], [0.9, 0.5]])
# A scale for each dimension and a matrix, each with a step size that is long for it
SCALES = {
    "numbers": (torch.tensor([[1.2, 0.6]]), 0.9),
    "matrix": (torch.tensor([[[1.3, 0.0], [0.5, 0.4]]]), 1.6),
}


def moves(
    start: Tensor, terms: Sequence[Callable[[Tensor], Tensor]], scale: Tensor, step: float, n: int
) -> tuple[Tensor, Tensor]:
    """Return the latents after n transitions, and the last acceptance probabilities."""
    noise, weights = rng_stream(1, "test"), torch.ones(len(terms))
    state = evaluate_terms(start, terms)
    for _ in range(n):
        state, probabilities = HamiltonianMonteCarlo(terms, scale).transition(
            state, weights, torch.full((start.shape[1],), step), noise
        )
    return state.latents, probabilities


@pytest.mark.parametrize(("scale", "step"), SCALES.values(), ids=SCALES.keys())
def test_transitions_leave_a_gaussian_invariant(scale, step):
    draws = MEAN + randn(20_000, 1, 2) @ torch.linalg.cholesky(COVARIANCE).T
    moved, probabilities = moves(draws, [normal(MEAN, COVARIANCE)], scale, step, 3)
    # Without the correction the moments would be others.
    assert 0.5 < probabilities.mean() < 0.9
    assert (moved != draws).double().mean() > 0.8
    centered = moved[:, 0] - MEAN
    assert_mean(centered, 0)
    assert_mean(centered[:, :, None] * centered[:, None], COVARIANCE)
    assert_mean((centered**4).sum(1), 3 * (COVARIANCE.diagonal() ** 2).sum())


def quartic(count: int) -> Tensor:
    """Draws [count, 1, 1] of the density in proportion to exp(-z^4 / 4)."""
    law = torch.distributions.Gamma(0.25, 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = (4 * law.sample((count, 1, 1))) ** 0.25
    return sizes * randn(count, 1, 1).sign()


def minus_quarter_power(latents: Tensor) -> Tensor:
    return -0.25 * latents[..., 0] ** 4


def test_transitions_leave_a_quartic_density_invariant_and_are_reversible():
    draws = quartic(40_000)
    moved, probabilities = moves(draws, [minus_quarter_power], torch.ones(1, 1), 1.2, 1)
    assert 0.4 < probabilities.mean() < 0.9
    before, after = draws[:, 0, 0].double(), moved[:, 0, 0].double()
    # E z^4 = 1 by parts; E z^2 = 2 Gamma(3/4) / Gamma(1/4)
    assert_mean(after, 0)
    assert_mean(after**4, 1)
    assert_mean(after**2, 2 * math.gamma(0.75) / math.gamma(0.25))
    # Detailed balance: before and after may be exchanged.
    assert_mean(before**2 * after**4 - after**2 * before**4, 0)
    assert_mean(before * after**3 - after * before**3, 0)


def test_terms_are_weighted():
    draws = math.sqrt(1 / 3) * randn(20_000, 1, 1)
    state = evaluate_terms(draws, [lambda z: -(z[..., 0] ** 2), minus_quarter_power])
    weights = torch.tensor([1.5, 0.0])
    kernel = HamiltonianMonteCarlo(
        [lambda z: -(z[..., 0] ** 2), minus_quarter_power], torch.ones(1, 1)
    )
    noise = rng_stream(1, "test")
    for _ in range(2):
        state, _ = kernel.transition(state, weights, torch.full((1,), 0.8), noise)
    assert_mean(state.latents[:, 0, 0] ** 2, 1 / 3)
    expected = evaluate_terms(state.latents, kernel.terms)
    torch.testing.assert_close(state.values, expected.values)
    torch.testing.assert_close(state.gradients, expected.gradients)
    torch.testing.assert_close(state.gradients[1], -(state.latents**3))


def test_leapfrog_of_an_oscillator_is_a_power_of_its_matrix():
    step, wide = 0.7, torch.float64
    start, momenta = randn(5, 1, 1, dtype=wide), randn(5, 1, 1, seed=1, dtype=wide)
    kernel = HamiltonianMonteCarlo([lambda z: -0.5 * z[..., 0] ** 2], torch.ones(1, 1, dtype=wide))
    end, last = kernel.leapfrog(
        evaluate_terms(start, kernel.terms),
        momenta,
        ONE.double(),
        torch.full((1,), step, dtype=wide),
    )
    # One step of z'' = -z, from (z, r): half a kick, a drift, half a kick
    once = torch.tensor(
        [[1 - step**2 / 2, step], [-step * (1 - step**2 / 4), 1 - step**2 / 2]], dtype=wide
    )
    power = torch.linalg.matrix_power(once, hmc.LEAPFROG_STEPS)
    expected = torch.cat([start, momenta], dim=-1) @ power.T
    torch.testing.assert_close(torch.cat([end.latents, last], dim=-1), expected)


@pytest.mark.parametrize("scale", [scale for scale, _ in SCALES.values()], ids=SCALES.keys())
def test_leapfrog_is_reversible_and_preserves_volume(scale):
    def uneven(latents: Tensor) -> Tensor:
        return -(latents[..., 0] ** 4) - (latents[..., 1] - latents[..., 0] ** 2).cosh()

    kernel = HamiltonianMonteCarlo([uneven], scale.double())
    weights, step = ONE.double(), torch.full((1,), 0.2).double()

    def lead(phase: Tensor) -> Tensor:
        latents, momenta = phase[:, None, :2], phase[:, None, 2:]
        end, last = kernel.leapfrog(evaluate_terms(latents, kernel.terms), momenta, weights, step)
        return torch.cat([end.latents, last], dim=-1)[:, 0]

    turn = torch.tensor([1.0, 1, -1, -1]).double()
    start = 0.5 * randn(1, 4, dtype=torch.float64)
    end = lead(start)
    assert (end - start).abs().max() > 0.1
    torch.testing.assert_close(lead(end * turn) * turn, start)
    shift = 1e-5 * torch.eye(4).double()
    jacobian = (lead(start + shift) - lead(start - shift)) / 2e-5
    assert torch.linalg.det(jacobian).item() == pytest.approx(1, abs=1e-7)


def test_each_image_has_its_own_scale_and_step_size():
    """The same density in other units, and the same noise: the same trajectory in other units."""
    units = torch.tensor([1.0, 0.01])
    start = randn(50, 1, 1).expand(50, 2, 1) * units[:, None]
    kernel = HamiltonianMonteCarlo([lambda z: -0.5 * (z[..., 0] / units) ** 2], units[:, None])
    momenta = randn(50, 1, 1, seed=1).expand(50, 2, 1)
    end, _ = kernel.leapfrog(
        evaluate_terms(start, kernel.terms), momenta, ONE, torch.full((2,), 0.5)
    )
    torch.testing.assert_close(end.latents[:, 1], 0.01 * end.latents[:, 0])
    longer, _ = kernel.leapfrog(
        evaluate_terms(start, kernel.terms), momenta, ONE, torch.tensor([0.5, 0.1])
    )
    torch.testing.assert_close(longer.latents[:, 0], end.latents[:, 0])
    assert (longer.latents[:, 1] - end.latents[:, 1]).abs().max() > 1e-3


def test_proposals_where_the_density_is_not_finite_are_rejected():
    def half(latents: Tensor) -> Tensor:
        return latents[..., 0].log() - latents[..., 0]

    moved, _ = moves(torch.full((2_000, 1, 1), 0.3), [half], torch.ones(1, 1), 0.8, 20)
    assert (moved > 0).all()
    # Gamma(2, 1) has the mean 2.
    assert_mean(moved[:, 0, 0], 2)


@pytest.mark.parametrize("width", [1e-3, 1.0, 50.0])
def test_step_sizes_adapt_to_the_target_acceptance(width):
    kernel = HamiltonianMonteCarlo([lambda z: -0.5 * ((z / width) ** 2).sum(-1)], torch.ones(2, 10))
    state, sizes = evaluate_terms(width * randn(50, 2, 10), kernel.terms), torch.full((2,), 0.25)
    noise, found = rng_stream(0, "test"), []
    for _ in range(120):
        state, probabilities = kernel.transition(state, ONE, sizes, noise)
        sizes = adapt_step_size(sizes, probabilities)
        found.append(probabilities.mean(0))
    torch.testing.assert_close(
        torch.stack(found[-40:]).mean(0), torch.full((2,), 0.65), rtol=0, atol=0.03
    )


def test_parameters_get_no_gradient_in_any_autograd_mode():
    model, images = linear_model(4, 2, variance=0.5, seed=3), randn(3, 1, 1, 4)
    annealing = path(model, images, standard(3, 2))
    expected = weigh(annealing, 4)
    with torch.no_grad():
        torch.testing.assert_close(weigh(annealing, 4), expected)
    with torch.inference_mode():
        torch.testing.assert_close(weigh(annealing, 4), expected)
    assert not expected.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


# Annealing. p(x|z) = N(W z + b, s2 I): p(x) and p(z|x) are Gaussians.

PIXELS, LATENTS, VARIANCE = 5, 2, 0.3


def small_vae() -> Model:
    model = linear_model(PIXELS, LATENTS, VARIANCE, seed=3)
    with torch.no_grad():
        set_linear(layer(model, "decoder"), randn(PIXELS, LATENTS), randn(PIXELS, seed=1))
    return model


def decoder(model: Model) -> tuple[Tensor, Tensor]:
    linear = layer(model, "decoder")
    return linear.weight.detach().double(), linear.bias.detach().double()


def log_evidence(model: Model, images: Tensor) -> Tensor:
    """ln p(x) = ln N(x; b, W W^T + s2 I)."""
    weight, bias = decoder(model)
    covariance = weight @ weight.T + VARIANCE * torch.eye(len(bias)).double()
    return normal(bias, covariance)(images.flatten(1).double())


def exact_posterior(model: Model, images: Tensor) -> CorrelatedGaussian:
    """N(S W^T (x - b) / s2, S), S^-1 = I + W^T W / s2."""
    weight, bias = decoder(model)
    precision = torch.eye(weight.shape[1]).double() + weight.T @ weight / VARIANCE
    covariance = torch.linalg.inv(precision)
    mean = (images.flatten(1).double() - bias) @ weight @ covariance / VARIANCE
    factor = torch.linalg.cholesky(covariance).expand(len(images), -1, -1)
    return CorrelatedGaussian(mean.float(), factor.float())


def simulate(model: Model, count: int) -> tuple[Tensor, Tensor]:
    noise = rng_stream(5, "test")
    latents = model.prior(count, noise)
    return model.decode(latents).sample(noise).detach(), latents


def gaussian(images: int, mean: float, stddev: float) -> DiagonalGaussian:
    return DiagonalGaussian(
        torch.full((images, LATENTS), mean), torch.full((images, LATENTS), stddev)
    )


def standard(images: int, latents: int = LATENTS) -> DiagonalGaussian:
    return DiagonalGaussian(torch.zeros(images, latents), torch.ones(images, latents))


def path(
    model: Model, images: Tensor, initial: DiagonalGaussian | CorrelatedGaussian
) -> AnnealingPath:
    def log_joint(latents: Tensor) -> Tensor:
        return model.decode(latents).log_prob(images) + model.log_prior(latents)

    scale = initial.stddev if isinstance(initial, DiagonalGaussian) else initial.factor
    return AnnealingPath(initial, log_joint, scale)


def steps_of(temperatures: int, images: int, size: float = 0.4) -> Tensor:
    return torch.full((temperatures, images), size)


def weigh(annealing: AnnealingPath, temperatures: int, chains: int = 3) -> Tensor:
    steps = steps_of(temperatures, len(annealing.scale))
    schedule = sigmoidal_schedule(temperatures)
    return forward_log_weights(annealing, schedule, steps, chains, rng_stream(0, "test"))


def both_bounds(
    annealing: AnnealingPath, latents: Tensor, temperatures: int, chains: int = 16
) -> tuple[Tensor, Tensor]:
    """The whole recipe: step sizes of other chains, then there and back."""
    noise, schedule = rng_stream(8, "test"), sigmoidal_schedule(temperatures)
    steps = tune_step_sizes(annealing, schedule, 4, noise)
    forward = forward_log_weights(annealing, schedule, steps, chains, noise)
    reverse = reverse_log_weights(annealing, schedule, steps, latents, chains, noise)
    return lower_bound(forward), upper_bound(reverse)


BAD = {"far": (2.0, 0.7), "narrow": (0.0, 0.3), "wide": (0.0, 1.5)}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_forward_and_reverse_bounds_meet_at_the_evidence_from_any_initial_distribution(bad):
    model = small_vae()
    images, latents = simulate(model, 100)
    annealing = path(model, images, gaussian(100, *bad))
    lower, upper = both_bounds(annealing, latents, temperatures=100, chains=100)
    truth = log_evidence(model, images)
    assert -0.1 < (upper - lower).mean() < 0.1
    assert_mean(lower - truth, 0)
    assert_mean(upper - truth, 0)


def test_few_temperatures_leave_a_gap_around_the_evidence():
    model = small_vae()
    images, latents = simulate(model, 400)
    lower, upper = both_bounds(path(model, images, gaussian(400, 0.5, 0.7)), latents, 2, chains=1)
    truth = log_evidence(model, images)
    for short in (truth - lower, upper - truth):
        assert short.mean() > 6 * short.std() / math.sqrt(400)
        assert short.mean() > 0.1


@pytest.mark.parametrize("schedule", [[0.0, 1.0], [0.0, 0.2, 1.0], [0.0, 0.1, 0.5, 0.6, 1.0]])
def test_forward_weights_and_inverse_reverse_weights_are_unbiased(schedule):
    model, count = small_vae(), 20_000
    # One image many times, so that each chain's is a run of its own
    images = randn(1, 1, 1, PIXELS, seed=4).expand(count, 1, 1, PIXELS)
    posterior, truth = exact_posterior(model, images), log_evidence(model, images[:1])
    steps = steps_of(len(schedule) - 1, count, 0.8)
    # A wide start for w, a narrow one for 1 / w: else their variance is not finite.
    wide = CorrelatedGaussian(posterior.mean + 0.3, 1.5 * posterior.factor)
    annealing = path(model, images, wide)
    forward = forward_log_weights(annealing, schedule, steps, 1, rng_stream(0, "test"))[0]
    assert_mean((forward - truth).exp(), 1)
    assert (forward - truth).std() > 0.2
    narrow = CorrelatedGaussian(posterior.mean + 0.1, 0.6 * posterior.factor)
    annealing, latents = path(model, images, narrow), posterior.rsample(rng_stream(1, "test"), 1)[0]
    reverse = reverse_log_weights(annealing, schedule, steps, latents, 1, rng_stream(2, "test"))[0]
    assert_mean((truth - reverse).exp(), 1)
    assert (reverse - truth).std() > 0.2


def test_one_temperature_is_importance_sampling():
    model, images = linear_model(6, 3, variance=0.5, seed=4), randn(9, 1, 1, 6)
    with torch.no_grad():
        posterior = model.encode(images)
        assert isinstance(posterior, DiagonalGaussian)
        found = weigh(path(model, images, posterior), 1, chains=7)
        latents = posterior.rsample(rng_stream(0, "test"), 7)
        expected = log_importance_weights(model, images, posterior, latents)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperatures", [1, 2, 7])
def test_from_the_exact_posterior_every_weight_is_the_likelihood(temperatures):
    model = small_vae()
    images, latents = simulate(model, 6)
    annealing, truth = (
        path(model, images, exact_posterior(model, images)),
        log_evidence(model, images),
    )
    schedule, steps = sigmoidal_schedule(temperatures), steps_of(temperatures, 6)
    forward = forward_log_weights(annealing, schedule, steps, 5, rng_stream(0, "test"))
    reverse = reverse_log_weights(annealing, schedule, steps, latents, 4, rng_stream(0, "test"))
    torch.testing.assert_close(forward, truth.expand(5, -1), rtol=0, atol=2e-5)
    torch.testing.assert_close(reverse, truth.expand(4, -1), rtol=0, atol=2e-5)
    torch.testing.assert_close(lower_bound(forward), truth, rtol=0, atol=2e-5)
    torch.testing.assert_close(upper_bound(reverse), truth, rtol=0, atol=2e-5)


def test_the_bounds_average_weights_and_inverse_weights():
    log_weights = torch.tensor([[1.0, -2000.0], [3.0, -2001.0]]).log_softmax(0).double() - 2000
    low, high = lower_bound(log_weights), upper_bound(log_weights)
    shares = (log_weights + 2000).exp()
    torch.testing.assert_close(low, shares.mean(0).log() - 2000)
    torch.testing.assert_close(high, -(1 / shares).mean(0).log() - 2000)
    assert (high < low).all()


# The schedule


def test_the_schedule_is_a_logistic_function_from_zero_to_one():
    schedule = sigmoidal_schedule(8)
    assert schedule[0] == 0
    assert schedule[-1] == 1
    assert len(schedule) == 9
    assert all(before < after for before, after in pairwise(schedule))
    # The logistic function is (1 + tanh(x / 2)) / 2: ends at 4 leave tanh(x / 2) / tanh(2).
    for step, value in enumerate(schedule):
        assert value == pytest.approx(0.5 + 0.5 * math.tanh(step / 2 - 2) / math.tanh(2))


def test_no_temperature_is_refused():
    with pytest.raises(ValueError, match="needs at least 1 temperature, got 0"):
        sigmoidal_schedule(0)


# Where to start, and how far to step


def test_the_fitted_initial_distribution_is_near_the_posterior():
    model = small_vae()
    images, _ = simulate(model, 4)
    bad = path(model, images, gaussian(4, 2.0, 0.2))
    fitted = with_fitted_initial(bad, sigmoidal_schedule(20), 100, rng_stream(0, "test"))
    assert isinstance(fitted.initial, CorrelatedGaussian)
    assert fitted.scale is fitted.initial.factor
    exact = exact_posterior(model, images)
    covariance = exact.factor @ exact.factor.mT
    stddev = covariance.diagonal(dim1=1, dim2=2).sqrt()
    # 6,000 points that depend on one another: worth a hundred at the very least
    assert ((fitted.initial.mean - exact.mean) / stddev).abs().max() < 0.2
    found = fitted.initial.factor @ fitted.initial.factor.mT
    torch.testing.assert_close(found, covariance, rtol=0.2, atol=0)


def test_correlations_are_shrunk_as_by_one_uncorrelated_point_a_dimension():
    points = randn(40, 3, 5)
    points = (points - points.mean(0)) / points.std(0)
    factor = ais._correlation_factor(points)
    for image in range(3):
        found = points[:, image].T.corrcoef() * 39 + 5 * torch.eye(5)
        torch.testing.assert_close((factor @ factor.mT)[image], found / 45)
    assert ais._correlation_factor(torch.full((9, 1, 2), math.nan)).isnan().any()


def test_the_fitted_gaussian_of_many_dimensions_is_diagonal(monkeypatch):
    monkeypatch.setattr(ais, "MAX_CORRELATED_DIMENSIONS", 1)
    model = small_vae()
    images, latents = simulate(model, 30)
    bad = path(model, images, gaussian(30, 2.0, 0.2))
    fitted = with_fitted_initial(bad, sigmoidal_schedule(20), 8, rng_stream(0, "test"))
    assert isinstance(fitted.initial, DiagonalGaussian)
    assert fitted.scale is fitted.initial.stddev
    lower, upper = both_bounds(fitted, latents, 20)
    assert (upper - lower).mean() < 0.1


def test_the_fitted_initial_distribution_closes_the_gap_with_few_temperatures():
    model = small_vae()
    images, latents = simulate(model, 40)
    bad = path(model, images, gaussian(40, 2.0, 0.2))
    lower, upper = both_bounds(bad, latents, 10)
    fitted = with_fitted_initial(bad, sigmoidal_schedule(10), 4, rng_stream(0, "test"))
    nearer, over = both_bounds(fitted, latents, 10)
    assert (upper - lower).mean() > 1
    assert (over - nearer).mean() < 0.1
    assert_mean(nearer - log_evidence(model, images), 0, rounding=0.02)


def test_step_sizes_are_tuned_for_each_temperature_and_image():
    widths = torch.tensor([1.0, 0.05])

    def log_joint(latents: Tensor) -> Tensor:
        return -0.5 * ((latents / widths[:, None]) ** 2).sum(-1)

    annealing = AnnealingPath(standard(2, 8), log_joint, torch.ones(2, 8))
    steps = tune_step_sizes(annealing, sigmoidal_schedule(100), 8, rng_stream(0, "test"))
    assert steps.shape == (100, 2)
    # Both start at N(0, I); the second ends twenty times as narrow.
    assert steps[10, 1] / steps[10, 0] > 0.3
    assert 0.02 < steps[-1, 1] / steps[-1, 0] < 0.1


def test_a_correlated_gaussian_has_its_moments_and_density():
    law = CorrelatedGaussian(MEAN[None], torch.linalg.cholesky(COVARIANCE)[None])
    draws = law.rsample(rng_stream(0, "test"), 20_000)
    assert draws.shape == (20_000, 1, 2)
    centered = draws[:, 0] - MEAN
    assert_mean(centered, 0)
    assert_mean(centered[:, :, None] * centered[:, None], COVARIANCE)
    expected = normal(MEAN, COVARIANCE)(draws)
    torch.testing.assert_close(law.log_prob(draws), expected, rtol=1e-5, atol=1e-4)


def test_progress_is_called_with_the_number_of_chains():
    model, counts = small_vae(), list[int]()
    images, _ = simulate(model, 3)
    annealing = path(model, images, standard(3))
    watched = AnnealingPath(annealing.initial, annealing.log_joint, annealing.scale, counts.append)
    weigh(watched, 5, chains=4)
    assert counts == [12] * 5
