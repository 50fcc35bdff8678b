"""The parts of the KL loss: a slow oracle, what they add up to, and Gaussians of known ones."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.objectives.factories import build, digits, gradients, settings
from tests.oracles import STANDARD_ERRORS, assert_mean, randn
from vaelab.models.distributions import Bernoulli, DiagonalGaussian
from vaelab.objectives.beta_tc_vae import BetaTcVae, log_stratified_weights
from vaelab.objectives.vae import VaeOutput
from vaelab.runtime.random_streams import rng_stream

PARTS = ("mutual_information_nats", "total_correlation_nats", "dimension_kl_nats")


@pytest.mark.parametrize(("batch", "images"), [(2, 2), (2, 9), (5, 5), (5, 1000), (64, 60_000)])
def test_the_shares_of_each_latent_sum_to_1(batch, images):
    shares = log_stratified_weights(batch, images).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(batch))
    torch.testing.assert_close(shares.diagonal(), torch.full((batch,), 1 / images))
    # One of the others stands for all images outside the batch too, each row another one.
    stratified = (images - batch + 1) / (images * (batch - 1))
    assert stratified == pytest.approx(shares.gather(1, _next(batch))[:, 0].tolist()[0])
    if batch > 2:
        rest = shares.sum(1) - shares.diagonal() - shares.gather(1, _next(batch))[:, 0]
        torch.testing.assert_close(rest / (batch - 2), torch.full((batch,), 1 / (batch - 1)))
    # So each posterior counts as often as any other.
    torch.testing.assert_close(shares.sum(0), torch.ones(batch))


def _next(batch: int) -> Tensor:
    return ((torch.arange(batch) + 1) % batch)[:, None]


def test_one_image_is_its_own_aggregate():
    assert log_stratified_weights(1, 50).tolist() == [[0.0]]
    objective, model = build(settings("beta_tc_vae"))
    terms = objective.losses(model, digits(1), rng_stream(0, "noise"))["vae"].terms
    assert terms["mutual_information_nats"].item() == pytest.approx(0, abs=1e-5)
    assert terms["total_correlation_nats"].item() == pytest.approx(0, abs=1e-5)


def test_a_batch_is_never_larger_than_the_training_split():
    assert torch.equal(log_stratified_weights(5, 1), log_stratified_weights(5, 5))


def parts_of(posterior: DiagonalGaussian, latents: Tensor, images: int) -> dict[str, Tensor]:
    nothing = torch.zeros(len(latents))
    pixels = Bernoulli(nothing[:, None, None, None])
    step = VaeOutput(posterior, latents, pixels, nothing, nothing)
    _, model = build(settings("beta_tc_vae"))
    objective = BetaTcVae().with_dataset_size(images)
    assert isinstance(objective, BetaTcVae)
    _, parts = objective.latent_loss(model, step, rng_stream(0, "noise"))
    return parts


def some_posterior(count: int, size: int) -> DiagonalGaussian:
    return DiagonalGaussian(randn(count, size), 0.3 + randn(count, size, seed=1).abs())


def test_the_parts_are_those_of_a_loop():
    batch, images, size = 4, 10, 3
    posterior = some_posterior(batch, size)
    latents = posterior.rsample(rng_stream(0, "noise"))
    found = parts_of(posterior, latents, images)
    others = batch - 1
    for i in range(batch):
        each = [
            [
                float(stats.norm.pdf(latents[i, d], posterior.mean[j, d], posterior.stddev[j, d]))
                for d in range(size)
            ]
            for j in range(batch)
        ]
        # Chen et al. 2018, appendix C.2: own, stratified, and all others
        share = [1 / others] * batch
        share[i] = 1 / images
        share[(i + 1) % batch] = (images - others) / (images * others)
        aggregate = sum(s * math.prod(row) for s, row in zip(share, each, strict=True))
        product = math.prod(
            sum(s * row[d] for s, row in zip(share, each, strict=True)) for d in range(size)
        )
        prior = math.prod(float(stats.norm.pdf(latents[i, d])) for d in range(size))
        expected = (
            math.log(math.prod(each[i]) / aggregate),
            math.log(aggregate / product),
            math.log(product / prior),
        )
        assert [found[name][i].item() for name in PARTS] == pytest.approx(expected, abs=1e-4)


def test_the_parts_sum_to_the_sampled_kl_whatever_the_shares():
    posterior = some_posterior(7, 4)
    latents = posterior.rsample(rng_stream(0, "noise"))
    unit = DiagonalGaussian(torch.zeros(7, 4), torch.ones(7, 4))
    kl = posterior.log_prob(latents) - unit.log_prob(latents)
    for images in (7, 100, 60_000):
        total = torch.stack(list(parts_of(posterior, latents, images).values())).sum(0)
        torch.testing.assert_close(total, kl, rtol=1e-5, atol=1e-4)


def test_at_weights_of_1_it_is_the_vae_with_a_sampled_kl():
    equal = {"total_correlation_weight": 1.0}
    objective, model = build(settings("beta_tc_vae", equal, kl_weight=3.0))
    found = objective.losses(model, digits(9), rng_stream(0, "noise"))["vae"]
    posterior = model.encode(digits(9))
    latents = posterior.rsample(rng_stream(0, "noise"))
    kl = posterior.log_prob(latents) - model.log_prior(latents)
    expected = found.terms["generation_loss_nats"] + 3.0 * kl
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=1e-3)
    # In expectation it is the KL in closed form, and so are its gradients.
    plain, _ = build(settings("vae", kl_weight=3.0))
    differences = []
    for seed in range(60):
        pair = [
            gradients(each.losses(model, digits(9), rng_stream(seed, "noise"))["vae"], model)[-3]
            for each in (objective, plain)
        ]
        differences.append((pair[0] - pair[1]).flatten())
    assert_mean(torch.stack(differences), 0.0, rounding=1e-3)


def test_each_weight_is_that_of_its_part():
    names = ("mutual_information_weight", "total_correlation_weight", "dimension_kl_weight")
    weights = dict(zip(names, (2.0, 5.0, 0.5), strict=True))
    objective, model = build(settings("beta_tc_vae", weights, kl_weight=1.5))
    output = objective.losses(model, digits(6), rng_stream(0, "noise"))["vae"]
    parts = [output.terms[name] for name in PARTS]
    latent_loss = 1.5 * (2.0 * parts[0] + 5.0 * parts[1] + 0.5 * parts[2])
    torch.testing.assert_close(output.loss, output.terms["generation_loss_nats"] + latent_loss)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_total_correlation_of_gaussians(correlation):
    """The aggregate is N(0, S), S_01 = correlation, seen through all of its images at once."""
    count, noise = 1500, 0.4
    # Var z = Var mean + stddev^2 = 1
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]]) - noise**2 * torch.eye(2)
    means = randn(count, 2) @ torch.linalg.cholesky(covariance).T
    posterior = DiagonalGaussian(means, torch.full((count, 2), noise))
    latents = posterior.rsample(rng_stream(0, "noise"))
    found = parts_of(posterior, latents, count)["total_correlation_nats"]
    # TC = (sum ln S_jj - ln det S) / 2, and the information ln(1 / stddev) a dimension at most
    expected = -0.5 * math.log(1 - correlation**2)
    bias = math.exp(2 * math.log(1 / noise)) / count
    assert_mean(found, expected, rounding=4 * bias)
    error = (found.std() / count**0.5).item()
    assert STANDARD_ERRORS * error + 4 * bias < 0.15
