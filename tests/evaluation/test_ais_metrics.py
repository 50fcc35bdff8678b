"""The group `annealing`: likelihoods known in closed form or by a grid, and which metrics apply."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.objectives.factories import CPU, PIXELS, SHAPE, digits, randomise, settings
from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    layer,
    linear_model,
    linear_vae_optimum,
    log_normal,
    randn,
    set_linear,
    spectrum,
)
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import ais
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation import ais_evaluator, ais_metrics
from vaelab.evaluation.ais_evaluator import AisEvaluator, initial_distribution
from vaelab.evaluation.ais_metrics import annealing_metrics, fitted_variance
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model, build_model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as building

BYTES = (PIXELS * 255 / 16).round().astype(np.uint8)
TRAIN, TEST = ImageLoader(BYTES[:200], CPU), ImageLoader(BYTES[200:240], CPU)


def chosen(**values: Any) -> EvaluateSettings:
    few = {"annealing_images": 6, "annealing_temperatures": 3, "annealing_chains": 4}
    return EvaluateSettings.model_validate({"importance_samples": 20, **few, **values})


def measured(model: Model, test: ImageLoader = TEST, **values: Any) -> dict[str, float | int]:
    return annealing_metrics(model, test, TRAIN, chosen(**values), CPU)


def make_model(name: str = "vae", **more: object) -> Model:
    """A model of digits that was moved away from where it starts."""
    _, built = building.build(
        settings(name, model={"gaussian_variance": 0.05, "latent_dim": 2, **more}), SHAPE
    )
    built.initialize_from(digits(200).mean(0), digits(200))
    randomise(built)
    built.fit_prior(iter([(digits(200), None)]), rng_stream(0, "fit"))
    return built.eval()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on how good the bounds are."""
    monkeypatch.setattr(ais, "FITTED_TRANSITIONS", 2)
    monkeypatch.setattr(ais_evaluator, "FITTED_TRANSITIONS", 2)
    monkeypatch.setattr(ais_metrics, "FITTING_TRANSITIONS", 2)
    monkeypatch.setattr(ais_metrics, "FITTING_ROUNDS", 2)


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """For two latents, a start is found soon."""
    monkeypatch.setattr(ais, "FITTED_TRANSITIONS", 15)


def bounds(model: Model, images: Tensor, variance: float | None = None) -> Tensor:
    accurate = chosen(annealing_temperatures=10, annealing_chains=60)
    return AisEvaluator(model, variance, accurate, rng_stream(0, "test")).bounds(images)[0]


# Against a grid over the latent space

SPACING = 0.08


def log_likelihood_by_grid(model: Model, images: Tensor) -> Tensor:
    """ln p(x) [images], the integral over two latents by the trapezoidal rule."""
    line = torch.arange(-7, 7, SPACING)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        prior = model.log_prior(grid).double()
        cell = 2 * math.log(SPACING)
        assert prior.logsumexp(0).item() + cell == pytest.approx(0, abs=1e-3)
        joint = [model.decode(grid).log_prob(image).double() + prior for image in images]
    return torch.stack(joint).logsumexp(1) + cell


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize(
    "more",
    [
        {"prior": "flow"},
        {"prior": "vamp"},
        {"likelihood": "bernoulli"},
        {"likelihood": "continuous_bernoulli"},
        {"likelihood": "discretized_logistic"},
    ],
    ids=lambda more: next(iter(more.values())),
)
def test_every_differentiable_likelihood_and_prior_matches_a_grid(more):
    model, images = make_model(**more), digits(3)
    truth = log_likelihood_by_grid(model, images)
    torch.testing.assert_close(bounds(model, images), truth, rtol=0, atol=0.1)


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("prior", ["standard_normal", "flow"])
def test_a_generator_without_an_encoder_starts_from_its_prior(prior):
    own = settings("gan", model={"latent_dim": 2, "prior": prior, "gaussian_variance": 0.05}).model
    model = randomise(build_model(own, SHAPE, ("decoder",))).eval()
    truth = log_likelihood_by_grid(model, digits(4))
    found = bounds(model, digits(4), variance=0.05)
    torch.testing.assert_close(found, truth, rtol=0, atol=0.1)
    initial, scale = initial_distribution(model, digits(4))
    draws = initial.rsample(rng_stream(0, "test"), 500)
    assert draws.shape == (500, 4, 2)
    torch.testing.assert_close(initial.log_prob(draws), model.log_prior(draws))
    torch.testing.assert_close(scale, draws.std((0, 1)).expand(4, -1), rtol=0.1, atol=0)


def test_a_deterministic_encoder_starts_around_its_point():
    model = make_model("wae")
    initial, scale = initial_distribution(model, digits(4))
    assert isinstance(initial, DiagonalGaussian)
    torch.testing.assert_close(initial.mean, model.encode(digits(4)).mean)
    # A tenth of the unit Gaussian's
    torch.testing.assert_close(scale, torch.full((4, 2), 0.1), rtol=0.1, atol=0)
    torch.testing.assert_close(initial.stddev, scale)


# Against linear models


def linear_truth(model: Model, images: Tensor, variance: float) -> Tensor:
    """ln N(x; b, W W^T + s2 I)."""
    linear = layer(model, "decoder")
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    covariance = weight @ weight.T + variance * torch.eye(len(bias)).double()
    values, vectors = torch.linalg.eigh(covariance)
    return log_normal((images.flatten(1).double() - bias) @ vectors, 0.0, values.sqrt())


def test_the_bounds_of_simulated_images_are_unbiased(monkeypatch):
    monkeypatch.setattr(ais, "FITTED_TRANSITIONS", 10)
    model, variance = linear_model(6, 2, variance=0.1, seed=3), 0.1
    with torch.no_grad():
        set_linear(layer(model, "decoder"), 0.5 * randn(6, 2), randn(6))
        noise = rng_stream(1, "test")
        latents = model.prior(1500, noise)
        images = model.decode(latents).sample(noise)
        rough = chosen(annealing_temperatures=2, annealing_chains=2)
        lower, upper = AisEvaluator(model, None, rough, noise).bounds(images, latents)
    truth = linear_truth(model, images, variance)
    # E[w] = p(x) and E[1 / w] = 1 / p(x), and the logarithms' means are on either side.
    assert_mean((lower - truth).exp(), 1)
    assert_mean((truth - upper).exp(), 1)
    for short in (truth - lower, upper - truth):
        assert short.mean() > STANDARD_ERRORS * short.std() / math.sqrt(1500)
        assert short.mean() < 1


def linear_data(count: int = 90, pixels: int = 12) -> tuple[ImageLoader, Tensor]:
    """Images of two strong directions and noise, as bytes, and as [count, pixels] in [0, 1]."""
    strong = torch.tensor([[0.10], [0.07]]) * torch.linalg.qr(randn(pixels, 2, seed=1)).Q.T
    points = 0.5 + randn(count, 2, seed=2) @ strong * 2 + 0.02 * randn(count, pixels, seed=3)
    stored = (points * 255).round().clamp(0, 255).to(torch.uint8)
    return ImageLoader(stored[:, None, None].numpy(), CPU), stored.float() / 255


@pytest.mark.usefixtures("fewer")
def test_metrics_match_the_probabilistic_pca_solution():
    test, data = linear_data()
    eigenvalues, _ = spectrum(data)
    variance = eigenvalues[2:].mean().item()
    model = linear_vae_optimum(data, 2, variance, 1.0)
    many = chosen(annealing_images=40, annealing_chains=100)
    found = annealing_metrics(model, test, test, many, CPU)
    rows = sample_rows(90, 40, 0, "annealing")
    nll = -linear_truth(model, data[rows], variance)
    assert found["nll_nats"] == pytest.approx(nll.mean().item(), abs=0.05)
    error = nll.std().item() / math.sqrt(40)
    assert found["nll_standard_error_nats"] == pytest.approx(error, rel=0.02)
    # The encoder is exact: there is nothing that more samples would find.
    assert found["gap_nats"] == pytest.approx(0, abs=0.1)
    assert found["importance_weighted_excess_nats"] == pytest.approx(0, abs=0.1)
    # Simulated images' NLL is the entropy of N(b, C) on average: its deviation is sqrt(D / 2).
    logs = eigenvalues[:2].log().sum() + 10 * math.log(variance)
    entropy = 0.5 * (logs.item() + 12 * math.log(2 * math.pi * math.e))
    tolerance = STANDARD_ERRORS * math.sqrt(12 / 2 / 40)
    assert found["simulated_nll_upper_nats"] == pytest.approx(entropy, abs=tolerance)


@pytest.mark.usefixtures("fewer")
def test_the_bound_of_a_bad_encoder_is_detected_as_too_high():
    test, data = linear_data()
    many = {"annealing_images": 40, "annealing_chains": 100}
    model = linear_vae_optimum(data, 2, spectrum(data)[0][2:].mean().item(), 1.0)
    with torch.no_grad():
        layer(model, "encoder").weight[:2] *= 0.7
    found, better = (
        annealing_metrics(model, test, test, chosen(importance_samples=samples, **many), CPU)
        for samples in (20, 2000)
    )
    excess = found["importance_weighted_excess_nats"]
    assert excess > 0.5
    assert found["gap_nats"] == pytest.approx(0, abs=0.2)
    higher = found["simulated_importance_weighted_nll_nats"]
    assert higher - found["simulated_nll_lower_nats"] == pytest.approx(excess)
    # It is the evaluation's own bound: more samples make it better.
    assert better["importance_weighted_excess_nats"] < excess - 0.2


@pytest.mark.parametrize("networks", [("decoder",), ("encoder", "decoder")])
def test_the_fitted_variance_matches_probabilistic_pca(networks):
    train, data = linear_data()
    eigenvalues, _ = spectrum(data)
    truth = eigenvalues[2:].mean().item()
    exact = linear_vae_optimum(data, 2, truth, 1.0)
    own = ModelSettings(
        network="mlp", hidden=(), latent_dim=2, gaussian_mean="linear", gaussian_variance=1.0
    )
    model = build_model(own, (1, 1, 12), networks, posterior="point").eval()
    model.networks["decoder"] = exact.networks["decoder"]
    found = fitted_variance(model, train, chosen(), CPU)
    # An image's posterior error is about s2 chi-squared(2) / 12, and ten draws are worth three.
    error = truth * math.sqrt(2 * 2) / 12 / math.sqrt(3 * 90)
    # EM moves by 2 / 12 of an error, and ends where that is less than a hundredth.
    assert abs(found - truth) < (STANDARD_ERRORS * error + 0.01 * truth) / (1 - 2 / 12)


@pytest.mark.usefixtures("quick")
def test_a_generator_compares_with_a_model_of_its_variance():
    """The very same numbers, for a likelihood that is Gaussian of this variance."""
    model = make_model()
    latents = model.prior(5, rng_stream(1, "test"))
    own, noisy = (AisEvaluator(model, v, chosen(), rng_stream(0, "test")) for v in (None, 0.05))
    expected = own.bounds(digits(5), latents)
    assert expected.shape == (2, 5)
    torch.testing.assert_close(noisy.bounds(digits(5), latents), expected)
    samples = noisy.conditional(latents).sample(rng_stream(2, "test"))
    torch.testing.assert_close(samples, own.conditional(latents).sample(rng_stream(2, "test")))


# What there is

ALWAYS = {
    "simulated_images",
    "temperatures",
    "chains",
    "initial_fits",
    "simulated_nll_upper_nats",
    "simulated_nll_lower_nats",
    "gap_nats",
    "test_images",
    "nll_nats",
    "nll_standard_error_nats",
}
WEIGHTED = {"simulated_importance_weighted_nll_nats", "importance_weighted_excess_nats"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vae", WEIGHTED),
        ("factor_vae", WEIGHTED),
        ("autoencoder", {"observation_variance"}),
        ("wae", {"observation_variance"}),
        ("vae_gan", {"observation_variance"}),
        ("gan", {"observation_variance"}),
    ],
)
@pytest.mark.usefixtures("quick")
def test_only_metrics_that_apply_are_reported(name, more):
    found = measured(make_model(name))
    assert set(found) == ALWAYS | more
    assert all(math.isfinite(value) for value in found.values())
    assert (found["simulated_images"], found["test_images"]) == (6, 6)
    assert (found["temperatures"], found["chains"]) == (3, 4)
    upper, lower = found["simulated_nll_upper_nats"], found["simulated_nll_lower_nats"]
    assert found["gap_nats"] == pytest.approx(upper - lower)


@pytest.mark.usefixtures("quick")
def test_discrete_latents_and_zero_images_have_no_metrics():
    assert measured(make_model("vq_vae", latent_dim=4)) == {}
    assert measured(make_model(), annealing_images=0) == {}
    assert measured(make_model(), ImageLoader(BYTES[:0], CPU)) == {}


@pytest.mark.usefixtures("quick")
def test_a_small_test_split_is_measured_completely():
    found = measured(make_model(), ImageLoader(BYTES[:4], CPU))
    assert (found["simulated_images"], found["test_images"]) == (6, 4)
    alone = measured(make_model(), ImageLoader(BYTES[:1], CPU))
    assert set(alone) == (ALWAYS | WEIGHTED) - {"nll_standard_error_nats"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["vae", "wae", "gan"])
def test_the_seed_determines_the_metrics_also_in_inference_mode(name):
    model = make_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(1)
    first = measured(model, seed=3)
    torch.manual_seed(2)
    with torch.inference_mode():
        assert measured(model, seed=3) == first
    assert measured(model, seed=4)["nll_nats"] != first["nll_nats"]
    assert all(parameter.grad is None for parameter in model.parameters())
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.usefixtures("fewer")
def test_chunks_of_images_limit_memory_and_do_not_change_the_result(monkeypatch):
    model, images = make_model(), digits(4)
    expected = bounds(model, images)
    sizes: set[int] = set()
    original = Model.decode

    def watched(self: Model, latents: Tensor) -> object:
        sizes.add(latents[..., 0].numel())
        return original(self, latents)

    monkeypatch.setattr(Model, "decode", watched)
    # Three images of 64 pixels, sixty chains each
    monkeypatch.setattr(ais_evaluator, "MAX_DIFFERENTIATED_PIXELS", 3 * 60 * 64)
    torch.testing.assert_close(bounds(model, images), expected, rtol=0, atol=0.15)
    assert max(sizes) == 3 * 60
    monkeypatch.setattr(ais_evaluator, "MAX_DIFFERENTIATED_PIXELS", 1)
    sizes.clear()
    AisEvaluator(model, None, chosen(), rng_stream(0, "test")).bounds(images[:2])
    assert max(sizes) == 4


class Bar:
    """The counts of a progress bar; tqdm itself does not count when it is disabled."""

    def __init__(self, *, total: int, desc: str, **how: object) -> None:
        self.total, self.desc, self.moved = total, desc, 0

    def update(self, chains: int) -> None:
        self.moved += chains

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("tolerated", [-math.inf, math.inf])
def test_the_progress_bars_reach_their_totals(monkeypatch, tolerated):
    bars: list[Bar] = []

    def open_bar(**how: Any) -> Bar:
        bars.append(Bar(**how))
        return bars[-1]

    monkeypatch.setattr(ais_evaluator, "tqdm", open_bar)
    monkeypatch.setattr(ais_metrics, "MAX_GAP_NATS", tolerated)
    found = measured(make_model(), ImageLoader(BYTES[:4], CPU))
    assert all(bar.moved == bar.total for bar in bars)
    # An image: two fits of 3 + 2 transitions and 3 to tune, of 4 chains, then 4 chains there
    first, last = bars[0], bars[-1]
    fitted, tuned = 4 * 2 * 5, 4 * 3
    assert first.total == 6 * (fitted + tuned + 2 * 4 * 3)
    assert last.total == 4 * (fitted * (found["initial_fits"] > 0) + tuned + 4 * 3)
    names = [bar.desc for bar in bars]
    if tolerated == math.inf:
        assert names == ["annealing simulated images", "annealing test images"]
    else:
        assert bars[1].desc == "annealing simulated images, from the prior"
        assert bars[1].total == 3 * (tuned + 2 * 4 * 3)
        assert len(bars) == 4


# Posteriors of two modes


class Even(nn.Module):
    """d(z) + d(-z), which does not tell z from -z."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, latents: Tensor) -> Tensor:
        return cast(Tensor, self.inner(latents) + self.inner(-latents))


def two_modes() -> Model:
    """A model of 16 pixels whose posteriors have two modes, at z and -z."""
    own = ModelSettings(
        network="mlp",
        hidden=(16,),
        activation="tanh",
        latent_dim=2,
        gaussian_variance=0.01,
    )
    model = build_model(own, (1, 4, 4)).eval()
    with torch.no_grad():
        for parameter in model.networks["decoder"].parameters():
            parameter.mul_(2.5)
    model.networks["decoder"] = Even(model.networks["decoder"])
    return model


def simulated_errors(fits: int) -> Tensor:
    """Lower and upper bound less the truth by a grid, [2, images]."""
    model, noise = two_modes(), rng_stream(0, "test")
    with torch.no_grad():
        latents = model.prior(12, noise)
        images = model.decode(latents).sample(noise)
        usual = chosen(annealing_temperatures=100, annealing_chains=8)
        evaluator = AisEvaluator(model, None, usual, rng_stream(1, "test"), fits)
        return evaluator.bounds(images, latents) - log_likelihood_by_grid(model, images)


def test_a_fitted_start_misses_a_mode_and_the_gap_shows_it():
    lower, upper = simulated_errors(fits=2)
    # Half of the posterior's mass is missed in one image of two or so.
    assert -math.log(2) < lower.mean() < -0.1
    assert upper.mean() > 2


def test_the_prior_as_start_finds_both_modes():
    lower, upper = simulated_errors(fits=0)
    assert lower.mean() == pytest.approx(0, abs=0.3)
    assert upper.mean() == pytest.approx(0, abs=0.3)


def test_the_start_of_the_smaller_gap_is_taken_for_all_images():
    model = two_modes()
    with torch.no_grad():
        images = model.decode(model.prior(8, rng_stream(3, "test"))).sample(rng_stream(4, "test"))
    test = ImageLoader((255 * images.clamp(0, 1)).byte().numpy(), CPU)
    usual = chosen(annealing_images=16, annealing_temperatures=60, annealing_chains=8)
    found = annealing_metrics(model, test, test, usual, CPU)
    assert found["initial_fits"] == 0
    assert abs(found["gap_nats"]) < 1
    pixels = test.gather(torch.arange(8), rng_stream(0, "test"))
    truth = -log_likelihood_by_grid(model, pixels).mean().item()
    assert found["nll_nats"] == pytest.approx(truth, abs=0.6)


@pytest.mark.usefixtures("quick")
def test_a_choice_is_reported_on_images_that_it_was_not_made_on(monkeypatch):
    asked: list[tuple[int, Tensor]] = []
    original = AisEvaluator.bounds

    def watched(self: AisEvaluator, images: Tensor, latents: Tensor | None = None) -> Tensor:
        asked.append((self.initial_fits, images))
        found = original(self, images, latents)
        # The fitted start is the better one, by far.
        return found + torch.tensor([[-1000.0 * (self.initial_fits == 0)], [0.0]])[: len(found)]

    monkeypatch.setattr(AisEvaluator, "bounds", watched)
    monkeypatch.setattr(ais_metrics, "MAX_GAP_NATS", -math.inf)
    found = measured(make_model())
    assert found["initial_fits"] == 2
    assert [fits for fits, _ in asked] == [2, 0, 2, 2]
    first, second, third, _ = (images for _, images in asked)
    assert second.equal(first[: math.ceil(len(first) / 2)])
    assert not third.equal(first)
