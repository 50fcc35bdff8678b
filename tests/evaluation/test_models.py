"""The evaluation of other kinds of models: metrics that do not apply are absent."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.factories import digit_images, evaluate_model, make_data, metric
from tests.evaluation.test_contract import (
    DATASET,
    LABEL_METRICS,
    LATENT_METRICS,
    PATHS,
    TEST_METRICS,
)
from tests.objectives.factories import SHAPE, digits, settings
from tests.oracles import STANDARD_ERRORS
from vaelab.evaluation import Evaluation
from vaelab.models.model import Model, build_model
from vaelab.models.priors.codebook import Codebook
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as building

# What N(0, I) alone has, and what noise alone has
STANDARD = {"ks_statistic_max", "squared_norm_ks_statistic"}
NOISY = {
    "mutual_information_nats",
    "mutual_information_cap_nats",
    "marginal_kl_nats",
    "total_correlation_nats",
    "gaussian_total_correlation_nats",
}
BOTH = {"dimension_wise_kl_nats"}
BOUND = {name for name in TEST_METRICS if name.startswith(("nll", "neg_elbo", "kl_loss"))}
EVERYTHING = LATENT_METRICS | PATHS | LABEL_METRICS


def make_objective_model(name: str, prior: str = "auto") -> Model:
    chosen = settings(name, model={"gaussian_variance": 0.05, "prior": prior})
    _, built = building.build(chosen, SHAPE)
    built.initialize_from(digits(200).mean(0), digits(200))
    built.fit_prior(iter([(digits(200), None)]), rng_stream(0, "fit"))
    return built.eval()


def absent(found: Evaluation) -> tuple[set[str], set[str]]:
    return (
        TEST_METRICS - set(found.metrics["test"]),
        EVERYTHING - set(found.metrics["latent"]),
    )


def columns(found: Evaluation) -> set[str]:
    assert found.latents is not None
    assert {len(column) for column in found.latents.dimension_table.values()} == {4}
    return set(found.latents.dimension_table)


ALWAYS = {"dimension", "mean_variance", "aggregate_mean", "aggregate_stddev"}


@pytest.mark.parametrize(
    ("name", "prior", "no_test", "no_latent", "more_columns"),
    [
        ("vae", "standard_normal", set(), set(), {"kl_nats", "ks_statistic", "active"}),
        ("vae", "vamp", set(), STANDARD | BOTH, {"active"}),
        ("vae", "flow", set(), STANDARD | BOTH, {"active"}),
        ("factor_vae", "auto", set(), set(), {"kl_nats", "ks_statistic", "active"}),
        ("autoencoder", "auto", BOUND, STANDARD | NOISY | BOTH | {"active_units"}, set()),
        ("wae", "auto", BOUND, NOISY | BOTH, {"ks_statistic", "active"}),
        (
            "vq_vae",
            "auto",
            {"nll_change_on_doubling_nats"},
            STANDARD | NOISY | BOTH | PATHS | {"active_units"},
            set(),
        ),
        (
            "vae_gan",
            "auto",
            BOUND | {"generation_loss_nats"},
            set(),
            {"kl_nats", "ks_statistic", "active"},
        ),
    ],
)
def test_only_metrics_that_apply_are_reported(name, prior, no_test, no_latent, more_columns):
    found = evaluate_model(make_objective_model(name, prior))
    assert set(found.metrics["dataset"]) == DATASET
    assert absent(found) == (no_test, no_latent)
    assert set(found.metrics["test"]) <= TEST_METRICS
    assert set(found.metrics["latent"]) <= EVERYTHING
    assert columns(found) == ALWAYS | more_columns
    assert json.loads(json.dumps(found.metrics, allow_nan=False)) == found.metrics
    # Eight-bit images have bits per dim if the model has a likelihood.
    eight_bit = evaluate_model(make_objective_model(name, prior), make_data(levels=256))
    assert ("bits_per_dim" in eight_bit.metrics["test"]) == (not no_test >= BOUND)


def test_a_model_without_encoder_has_only_the_sizes():
    found = evaluate_model(make_objective_model("gan"))
    assert found.metrics == {
        "dataset": {"name": "digits", "test_images": 123},
        "latent": {"dimensions": 4},
    }
    assert found.latents is None


def test_point_mass_posteriors_have_zero_stddevs():
    for name in ("autoencoder", "wae", "vq_vae"):
        model = make_objective_model(name)
        found = evaluate_model(model)
        assert found.latents is not None
        assert (found.latents.stddevs == 0).all()
        means = model.encode(digit_images()).mean.detach().numpy()
        np.testing.assert_allclose(found.latents.means, means, rtol=1e-4, atol=1e-5)
        deviations = found.latents.dimension_table["aggregate_stddev"]
        np.testing.assert_allclose(deviations, means.astype(np.float64).std(0), rtol=1e-4)
        pixels = model.decode(torch.from_numpy(means))
        squared = (pixels.mean - digit_images()).square().mean().item()
        assert metric(found, "test.mean_squared_error") == pytest.approx(squared, rel=1e-5)
        generation = -pixels.log_prob(digit_images()).mean().item()
        assert metric(found, "test.generation_loss_nats") == pytest.approx(generation, rel=1e-4)


def test_the_nll_of_discrete_latents_is_generation_loss_plus_code_length():
    model = make_objective_model("vq_vae")
    codebook = model.networks["prior"]
    assert isinstance(codebook, Codebook)
    found = evaluate_model(model, importance_samples=50)
    lengths = []
    for row in codebook.codes(model.encode(digit_images()).mean).tolist():
        chances = [codebook.log_frequencies[place, k].item() for place, k in enumerate(row)]
        lengths.append(-sum(chances))
    length = float(np.mean(lengths))
    assert metric(found, "test.kl_loss_nats") == pytest.approx(length, rel=1e-5)
    # Counted on other images, they are no longer the uniform ones.
    assert abs(length - 2 * math.log(8)) > 0.05
    total = metric(found, "test.generation_loss_nats") + length
    assert metric(found, "test.neg_elbo_nats") == pytest.approx(total, rel=1e-5)
    assert metric(found, "test.nll_nats") == pytest.approx(total, rel=1e-5)
    assert metric(found, "test.nll_importance_samples") == 1
    assert metric(found, "test.nll_effective_sample_size") == pytest.approx(1)
    error = metric(found, "test.nll_standard_error_nats")
    assert error == pytest.approx(metric(found, "test.neg_elbo_standard_error_nats"), rel=1e-5)


def test_a_flow_that_is_the_identity_changes_no_likelihood():
    plain, flow = (
        make_objective_model("vae", "standard_normal"),
        make_objective_model("vae", "flow"),
    )
    flow.load_state_dict(plain.state_dict(), strict=False)
    expected, found = evaluate_model(plain), evaluate_model(flow)
    for name in ("nll_nats", "generation_loss_nats", "nll_effective_sample_size"):
        assert metric(found, f"test.{name}") == pytest.approx(
            metric(expected, f"test.{name}"), rel=1e-5
        )
    # The KL is a draw's, where the unit Gaussian's is exact: of four chi-squared terms each.
    rate, exact = (metric(each, "test.kl_loss_nats") for each in (found, expected))
    assert 0 < abs(rate - exact) < STANDARD_ERRORS * math.sqrt(4 / 123)
    information = metric(found, "latent.mutual_information_nats")
    assert information == metric(expected, "latent.mutual_information_nats")
    # Of the same draws: ln q(z) - ln p(z), which for the unit Gaussian falls into two parts.
    parts = ("total_correlation_nats", "dimension_wise_kl_nats")
    both = sum(metric(expected, f"latent.{name}") for name in parts)
    assert metric(found, "latent.marginal_kl_nats") == pytest.approx(both, abs=1e-5)


def test_a_vamp_prior_of_the_images_themselves_has_no_marginal_kl():
    """p(z) is q(z) of the very images that are measured: KL(q(z) || p(z)) = 0."""
    chosen = settings("vae", model={"gaussian_variance": 0.05, "prior": "vamp"}).model
    chosen = chosen.model_copy(update={"pseudo_inputs": 123, "hidden": ()})
    model = build_model(chosen, SHAPE).eval()
    with torch.no_grad():
        encoder = model.networks["encoder"][1]  # type: ignore[index]
        encoder.weight[:4] *= 4
        encoder.bias[4:] = -2
    model.initialize_from(digit_images().mean(0), digit_images())
    found = evaluate_model(model)
    # Rate and information are of the same draws: no noise is left either.
    assert metric(found, "latent.mutual_information_nats") > 1
    assert abs(metric(found, "latent.marginal_kl_nats")) < 1e-5


def test_mmd_compares_latents_with_samples_of_the_models_prior():
    """Latents of an autoencoder, twice: with the mixture that fits them, and moved away."""
    model = make_objective_model("autoencoder")
    fitted = metric(evaluate_model(model), "latent.mmd_squared")
    means: Tensor = model.networks["prior"].means  # type: ignore[assignment]
    means += 20
    assert metric(evaluate_model(model), "latent.mmd_squared") > fitted + 1


@pytest.mark.parametrize("name", ["autoencoder", "wae", "vq_vae", "vae_gan", "gan"])
def test_the_seed_determines_the_metrics_of_every_model(name):
    model = make_objective_model(name)
    torch.manual_seed(1)
    first = evaluate_model(model, seed=3)
    torch.manual_seed(2)
    assert evaluate_model(model, seed=3).metrics == first.metrics
