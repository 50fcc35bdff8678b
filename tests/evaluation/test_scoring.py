"""Scores of trained models: the linear model's are known in closed form."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    data_with_eigenvalues,
    exact_losses,
    gaussian_posterior,
    layer,
    linear_model,
    linear_vae_optimum,
    pca_log_likelihood,
    spectrum,
)
from vaelab.config import ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.scoring import (
    closed_form_weight,
    mean_effective_sample_size,
    normalized_bound,
    score_images,
    with_fitted_variance,
)
from vaelab.models.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    build_likelihood,
)
from vaelab.models.model import Model, build_model
from vaelab.objectives.vae import Vae
from vaelab.runtime.random_streams import rng_stream

LATENTS = 3
# Standard deviations from 0.12 to 0.02, so that almost all pixels lie in [0, 1].
EIGENVALUES = [0.0016 * value for value in (9.0, 4.0, 2.0, 1.0, 0.5, 0.25)]
PIXELS = len(EIGENVALUES)
CPU = torch.device("cpu")


def quantised(count: int = 1200) -> np.ndarray:
    """Images [N, 1, 1, 6] of linear-Gaussian data, as bytes; more than two batches of them."""
    data = 0.5 + data_with_eigenvalues(EIGENVALUES, count).numpy()
    rounded: np.ndarray = np.rint(255 * data.clip(0, 1)).astype(np.uint8)
    return rounded[:, None, None]


BYTES = quantised()
IMAGES = torch.from_numpy(BYTES).float() / 255  # as the batches give them
ROWS = IMAGES[:, 0, 0]
# The noise that is best for the quantised data: the mean of its last eigenvalues.
BEST_VARIANCE = spectrum(ROWS)[0][LATENTS:].mean().item()


def batches() -> ImageLoader:
    return ImageLoader(BYTES, CPU)


def log_density(model: Model, variance: float) -> Tensor:
    """ln p(x) [N] of a linear model: x is normal with covariance W W^T + s2 I."""
    decoder = layer(model, "decoder")
    weight = decoder.weight.detach().double()
    covariance = weight @ weight.T + variance * torch.eye(PIXELS).double()
    centre = decoder.bias.detach().double()
    normal: Any = torch.distributions.MultivariateNormal(centre, covariance)
    density: Tensor = normal.log_prob(ROWS.double())
    return density


def squared_error(model: Model) -> tuple[float, float]:
    """Mean squared error of a pixel over the noise of q, and its standard error over N images.

    With A = W diag(s) and r = x - W m - b, the error of an image is |r - A noise|^2, whose
    mean is |r|^2 + tr(A^T A) and whose variance is 4 |A^T r|^2 + 2 tr((A^T A)^2).
    """
    with torch.no_grad():
        posterior = gaussian_posterior(model, IMAGES)
        decoder = layer(model, "decoder")
        residual = (ROWS - decoder(posterior.mean)).double()
        noisy = (decoder.weight[None] * posterior.stddev[:, None]).double()  # A, [N, D, d]
        square = noisy.mT @ noisy
        mean = residual.square().sum(1) + square.diagonal(dim1=1, dim2=2).sum(1)
        along = (noisy.mT @ residual[:, :, None]).square().sum((1, 2))
        variance = 4 * along + 2 * (square @ square).diagonal(dim1=1, dim2=2).sum(1)
    count = len(ROWS) * PIXELS
    return mean.sum().item() / count, variance.sum().sqrt().item() / count


def untrained(seed: int = 1) -> Model:
    """A linear model whose encoder is far from its posterior."""
    model = linear_model(PIXELS, LATENTS, variance=0.02, seed=seed)
    with torch.no_grad():
        layer(model, "decoder").bias.copy_(ROWS.mean(0))
        layer(model, "decoder").weight.mul_(0.3)
    return model


# --- the likelihood


@pytest.mark.parametrize("samples", [1, 10])
def test_the_score_of_the_optimum_matches_probabilistic_pca(samples):
    model = linear_vae_optimum(ROWS, LATENTS, BEST_VARIANCE, kl_weight=1.0)
    scores = score_images(model, batches(), samples, seed=0)
    # q is the exact posterior, so that every weight is p(x): no noise is left but rounding.
    expected = log_density(model, BEST_VARIANCE)
    torch.testing.assert_close(-scores.nll, expected, rtol=0, atol=1e-4)
    closed = pca_log_likelihood(spectrum(ROWS)[0], LATENTS, BEST_VARIANCE)
    assert -scores.means()["nll_nats"] == pytest.approx(closed, abs=1e-4)
    assert scores.means()["neg_elbo_nats"] == pytest.approx(
        scores.generation_loss.mean().item() + scores.kl_loss.mean().item()
    )


def test_all_samples_count_where_the_encoder_is_the_posterior_and_few_elsewhere():
    optimum = linear_vae_optimum(ROWS, LATENTS, BEST_VARIANCE, kl_weight=1.0)
    assert score_images(optimum, batches(), 20, seed=0).means()[
        "nll_effective_sample_size"
    ] == pytest.approx(20, abs=0.01)
    assert mean_effective_sample_size(optimum, batches(), 20, seed=0) == pytest.approx(20, abs=0.01)
    assert 1 <= mean_effective_sample_size(untrained(), batches(), 20, seed=0) < 10


@pytest.mark.parametrize("set_variance", [0.02, 0.5, 3.0])
def test_a_fixed_variance_is_replaced_by_the_best_one_on_train(set_variance):
    weight = BEST_VARIANCE / set_variance
    model = linear_vae_optimum(ROWS, LATENTS, set_variance, weight)
    with with_fitted_variance(model, batches(), seed=0) as variance:
        scores = score_images(model, batches(), 10, seed=0)
    mean, error = squared_error(model)
    # SSE = sum_{i<=k} min(l_i, s) + sum_{i>k} l_i, which is D s where s is the best variance.
    assert mean == pytest.approx(BEST_VARIANCE, rel=1e-4)
    assert variance == pytest.approx(mean, abs=STANDARD_ERRORS * error)
    # ln p at its best variance: an error there costs D/4 of its relative square.
    rounding = PIXELS * (STANDARD_ERRORS * error / BEST_VARIANCE) ** 2
    expected = log_density(model, BEST_VARIANCE)
    assert_mean(-scores.nll - expected, 0.0, rounding)
    assert (-scores.nll - expected).abs().max() < 0.5, "each image has its own"


def test_scores_do_not_depend_on_the_fixed_variance():
    model = untrained()
    found = []
    for variance in (0.02, 0.5):
        model.likelihood = GaussianLikelihood(variance, linear=True).eval()
        with with_fitted_variance(model, batches(), seed=0):
            found.append(score_images(model, batches(), 3, seed=0).means())
    assert found[0] == found[1]


def test_the_fitted_variance_gives_the_lowest_bound():
    model = untrained()
    with with_fitted_variance(model, batches(), seed=0) as best:
        found = score_images(model, batches(), 1, seed=0)
    assert best is not None
    bounds = {}
    # Another noise fits a variance a few percent away: far less than these factors.
    for factor in (0.5, 0.7, 1.5, 2.0):
        model.likelihood = GaussianLikelihood(factor * best, linear=True).eval()
        bounds[factor] = score_images(model, batches(), 1, seed=0).means()["neg_elbo_nats"]
    assert found.means()["neg_elbo_nats"] < min(bounds[0.7], bounds[1.5]) - 0.05
    assert bounds[0.7] < bounds[0.5]
    assert bounds[1.5] < bounds[2.0]


# --- the bounds


def test_one_sample_gives_the_bound_on_average():
    model = untrained()
    scores = score_images(model, batches(), 1, seed=0)
    assert_mean(scores.nll - (scores.generation_loss + scores.kl_loss), 0.0)
    generation, kl = exact_losses(model, IMAGES)
    assert_mean(scores.generation_loss - generation.detach(), 0.0, 1e-5)
    torch.testing.assert_close(scores.kl_loss, kl.detach().double(), rtol=1e-5, atol=1e-5)


def test_more_samples_tighten_the_bound_on_the_nll():
    model = untrained()
    exact = -log_density(model, 0.02)
    means = [score_images(model, batches(), k, seed=0).means()["nll_nats"] for k in (1, 8, 64)]
    generation, kl = exact_losses(model, IMAGES)
    assert means[0] == pytest.approx((generation + kl).mean().item(), rel=0.1)
    assert means[0] > means[1] + 0.1 > means[2] + 0.11
    last = score_images(model, batches(), 2000, seed=0)
    assert_mean(last.nll - exact, 0.0, 0.01)
    assert means[2] > exact.mean().item()


# --- the noise


def test_the_seed_determines_the_scores():
    model = untrained()
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        Vae().losses(model, IMAGES[:10], rng_stream(global_seed, "noise"))
        with with_fitted_variance(model, batches(), seed=5) as variance:
            found.append((variance, score_images(model, batches(), 3, seed=5)))
    (variance, scores), (again, repeated) = found
    assert variance == again
    for name, values in vars(scores).items():
        assert torch.equal(values, getattr(repeated, name)), name


def test_another_seed_gives_other_noise():
    model = untrained()
    first, second = (score_images(model, batches(), 1, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.nll, second.nll)
    with (
        with_fitted_variance(model, batches(), seed=0) as variance,
        with_fitted_variance(model, batches(), 1) as other,
    ):
        assert variance != other


def test_all_images_are_scored_in_the_order_of_the_files():
    model = linear_vae_optimum(ROWS, LATENTS, BEST_VARIANCE, kl_weight=1.0)
    backwards = ImageLoader(BYTES[::-1].copy(), CPU)
    found = [score_images(model, images, 1, seed=0).nll for images in (batches(), backwards)]
    assert len(found[0]) == len(BYTES)
    torch.testing.assert_close(found[0], found[1].flip(0), rtol=0, atol=2e-4)


# --- the likelihood's place in the model


@pytest.mark.parametrize("variance", [0.5, None])
def test_the_likelihood_is_restored(variance):
    model = untrained()
    model.likelihood = own = GaussianLikelihood(variance, linear=True).eval()
    before = own.variance.item()
    with with_fitted_variance(model, batches(), seed=0) as best:
        assert model.likelihood is not own
        assert model.decode(torch.zeros(1, LATENTS)).mean.shape == (1, 1, 1, PIXELS)
    assert model.likelihood is own
    with pytest.raises(KeyError), with_fitted_variance(model, batches(), seed=0):
        raise KeyError
    assert model.likelihood is own
    assert own.variance.item() == before != best


def test_the_likelihood_is_restored_if_the_fit_fails():
    model = untrained()
    own = model.likelihood
    with (
        pytest.raises(RuntimeError),
        with_fitted_variance(model, ImageLoader(BYTES[..., :2], CPU), seed=0),
    ):
        pytest.fail("images of another shape have no variance")
    assert model.likelihood is own


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bernoulli", BernoulliLikelihood),
        ("continuous_bernoulli", ContinuousBernoulliLikelihood),
        ("discretized_logistic", DiscretizedLogisticLikelihood),
    ],
)
def test_other_likelihoods_are_unchanged(name, kind):
    settings = ModelSettings(network="mlp", hidden=(), latent_dim=2, likelihood=name)
    model = build_model(settings, (1, 1, PIXELS)).eval()
    own = model.likelihood
    before = score_images(model, batches(), 2, seed=0)
    with with_fitted_variance(model, batches(), seed=0) as variance:
        assert variance is None
        assert model.likelihood is own
        scores = score_images(model, batches(), 2, seed=0)
    assert isinstance(own, kind)
    assert torch.equal(scores.nll, before.nll)
    assert closed_form_weight(own, variance) == 1.0


# --- the weight in closed form


@pytest.mark.parametrize("set_variance", [0.5, 1.0])
@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_closed_form_weight_is_stationary(set_variance, factor):
    best = BEST_VARIANCE / set_variance  # 2 s2_ML for the sum of squared errors
    model = linear_vae_optimum(ROWS, LATENTS, set_variance, factor * best)
    with with_fitted_variance(model, batches(), seed=0) as variance:
        pass
    weight = closed_form_weight(model.likelihood, variance)
    # Trained at s = weight * variance: SSE = sum_{i<=k} min(l_i, s) + sum_{i>k} l_i.
    values = spectrum(ROWS)[0]
    s = factor * BEST_VARIANCE
    expected = (values[:LATENTS].clamp_max(s).sum() + values[LATENTS:].sum()).item() / PIXELS
    mean, error = squared_error(model)
    assert mean == pytest.approx(expected, rel=1e-4)
    tolerance = STANDARD_ERRORS * error / set_variance
    assert weight == pytest.approx(expected / set_variance, abs=tolerance)
    if factor == 1:
        assert weight == pytest.approx(best, abs=tolerance), "a fixed point"
    else:
        away, back = factor * best, weight
        assert min(away, best) < back < max(away, best), "others are led towards it"


def test_the_bound_is_best_at_the_weight_in_closed_form():
    bounds = {}
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        model = linear_vae_optimum(ROWS, LATENTS, 0.5, factor * BEST_VARIANCE / 0.5)
        with with_fitted_variance(model, batches(), seed=0):
            bounds[factor] = score_images(model, batches(), 1, seed=0).means()["neg_elbo_nats"]
    assert min(bounds, key=lambda factor: bounds[factor]) == 1


def test_a_fitted_variance_has_closed_form_weight_one():
    assert closed_form_weight(GaussianLikelihood(None), 0.01) == 1.0
    settings = ModelSettings(gaussian_variance="mean_squared_error")
    # The mean squared error plus w KL stands for w P / 2: its weight is 2 MSE / P.
    assert closed_form_weight(build_likelihood(settings, 784), 0.01) == pytest.approx(0.02 / 784)


# --- the bound of an epoch


def gaussian_bound(variance: float, error: float, kl: float, pixels: int) -> float:
    return pixels * (error / variance + math.log(2 * math.pi * variance)) / 2 + kl


@pytest.mark.parametrize(("error", "kl", "pixels"), [(0.03, 12.5, 784), (2.0, 0.0, 3)])
def test_the_bound_of_an_epoch_is_the_lowest_of_all_variances(error, kl, pixels):
    metrics = {
        "validation.neg_elbo_nats": 1e6,  # of a set variance: not comparable
        "validation.mean_squared_error": error,
        "validation.kl_loss_nats": kl,
    }
    found: Any = optimize.minimize_scalar(
        lambda log_variance: gaussian_bound(math.exp(log_variance), error, kl, pixels),
        bounds=(-12, 6),
        method="bounded",
        options={"xatol": 1e-10},
    )
    for likelihood in (GaussianLikelihood(0.5), GaussianLikelihood(None)):
        bound = normalized_bound(metrics, likelihood, pixels)
        assert bound == pytest.approx(found.fun, rel=1e-9)
    assert found.fun < gaussian_bound(1.1 * error, error, kl, pixels)


def test_the_bound_of_an_epoch_matches_its_validation_pass():
    model, losses = untrained(), {}
    for variance in (0.5, *np.geomspace(0.004, 0.2, 200)):
        model.likelihood = GaussianLikelihood(float(variance), linear=True).eval()
        measured = Vae().validate_batch(model, IMAGES, rng_stream(0, "validation"))
        means = {f"validation.{k}": v.mean().item() for k, v in measured.items()}
        losses[variance] = means["validation.neg_elbo_nats"]
        if variance == 0.5:
            bound = normalized_bound(means, model.likelihood, PIXELS)
    # The grid's steps are 2 %, which costs at most P/4 * 0.01^2.
    lowest = min(losses.values())
    assert bound == pytest.approx(lowest, abs=PIXELS / 4 * 1e-4 + 1e-5)
    assert losses[0.5] > lowest + 1


def test_perfect_reconstructions_have_a_finite_bound():
    metrics = {f"validation.{name}": 0.0 for name in ("neg_elbo_nats", "kl_loss_nats")}
    bound = normalized_bound(
        metrics | {"validation.mean_squared_error": 0.0}, GaussianLikelihood(0.5), 10
    )
    assert bound == pytest.approx(5 * (math.log(2 * math.pi * 1e-6) + 1))


@pytest.mark.parametrize(
    "likelihood",
    [BernoulliLikelihood(), ContinuousBernoulliLikelihood(), DiscretizedLogisticLikelihood()],
)
def test_the_bound_of_an_epoch_is_the_measured_one_for_other_likelihoods(likelihood):
    metrics = {
        "validation.neg_elbo_nats": 81.5,
        "validation.mean_squared_error": 0.03,
        "validation.kl_loss_nats": 20.0,
    }
    assert normalized_bound(metrics, likelihood, 784) == 81.5


def test_an_objective_without_a_bound_has_none():
    metrics = {"validation.mean_squared_error": 0.03, "validation.kl_loss_nats": 1.0}
    assert normalized_bound(metrics, GaussianLikelihood(0.5), 784) is None


def test_the_variance_is_fitted_on_evenly_spaced_images():
    """The first half is black and the second white: half of them would give another variance."""
    images = np.zeros((12_000, 1, 1, PIXELS), np.uint8)
    images[6_000:] = 255
    model = untrained()
    with torch.no_grad():
        layer(model, "decoder").weight.zero_()
        layer(model, "decoder").bias.fill_(0.25)
    with with_fitted_variance(model, ImageLoader(images, CPU), seed=0) as variance:
        assert variance == pytest.approx((0.25**2 + 0.75**2) / 2, rel=1e-4)
