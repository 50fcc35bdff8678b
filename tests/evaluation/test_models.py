"""The report on models of other sorts: what does not apply is not there."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.factories import data, images, number, run
from tests.evaluation.test_contract import (
    DATASET,
    LABEL_METRICS,
    LATENT_METRICS,
    TEST_METRICS,
    WAYS,
)
from tests.objectives.factories import SHAPE, digits, settings
from tests.oracles import STANDARD_ERRORS
from vaelab.evaluation import Evaluation
from vaelab.models.model import Model, build_model
from vaelab.models.priors.codebook import Codebook
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as assembly

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
EVERYTHING = LATENT_METRICS | WAYS | LABEL_METRICS


def model(name: str, prior: str = "auto") -> Model:
    chosen = settings(name, model={"gaussian_variance": 0.05, "prior": prior})
    _, built = assembly.build(chosen, SHAPE)
    built.initialize_from(digits(200).mean(0), digits(200))
    built.fit_prior(iter([digits(200)]), rng_stream(0, "fit"))
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
            STANDARD | NOISY | BOTH | WAYS | {"active_units"},
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
def test_what_applies_is_there_and_nothing_else(name, prior, no_test, no_latent, more_columns):
    found = run(model(name, prior))
    assert set(found.metrics["dataset"]) == DATASET
    assert absent(found) == (no_test, no_latent)
    assert set(found.metrics["test"]) <= TEST_METRICS
    assert set(found.metrics["latent"]) <= EVERYTHING
    assert columns(found) == ALWAYS | more_columns
    assert json.loads(json.dumps(found.metrics, allow_nan=False)) == found.metrics
    # Byte levels have bits where there is a likelihood at all.
    assert ("bits_per_dim" in run(model(name, prior), data(levels=256)).metrics["test"]) == (
        not no_test >= BOUND
    )


def test_a_generator_alone_is_only_described():
    found = run(model("gan"))
    assert found.metrics == {
        "dataset": {"name": "digits", "test_images": 123},
        "latent": {"dimensions": 4},
    }
    assert found.latents is None


def test_points_have_no_standard_deviation():
    for name in ("autoencoder", "wae", "vq_vae"):
        subject = model(name)
        found = run(subject)
        assert found.latents is not None
        assert (found.latents.stddevs == 0).all()
        means = subject.encode(images()).mean.detach().numpy()
        np.testing.assert_allclose(found.latents.means, means, rtol=1e-4, atol=1e-5)
        deviations = found.latents.dimension_table["aggregate_stddev"]
        np.testing.assert_allclose(deviations, means.astype(np.float64).std(0), rtol=1e-4)
        pixels = subject.decode(torch.from_numpy(means))
        squared = (pixels.mean - images()).square().mean().item()
        assert number(found, "test.mean_squared_error") == pytest.approx(squared, rel=1e-5)
        generation = -pixels.log_prob(images()).mean().item()
        assert number(found, "test.generation_loss_nats") == pytest.approx(generation, rel=1e-4)


def test_the_likelihood_of_codes_is_generation_and_code_length_of_one_sample():
    subject = model("vq_vae")
    codebook = subject.networks["prior"]
    assert isinstance(codebook, Codebook)
    found = run(subject, importance_samples=50)
    lengths = []
    for row in codebook.codes(subject.encode(images()).mean).tolist():
        chances = [codebook.log_frequencies[place, k].item() for place, k in enumerate(row)]
        lengths.append(-sum(chances))
    length = float(np.mean(lengths))
    assert number(found, "test.kl_loss_nats") == pytest.approx(length, rel=1e-5)
    # Counted on other images, they are no longer the uniform ones.
    assert abs(length - 2 * math.log(8)) > 0.05
    total = number(found, "test.generation_loss_nats") + length
    assert number(found, "test.neg_elbo_nats") == pytest.approx(total, rel=1e-5)
    assert number(found, "test.nll_nats") == pytest.approx(total, rel=1e-5)
    assert number(found, "test.nll_importance_samples") == 1
    assert number(found, "test.nll_effective_sample_size") == pytest.approx(1)
    error = number(found, "test.nll_standard_error_nats")
    assert error == pytest.approx(number(found, "test.neg_elbo_standard_error_nats"), rel=1e-5)


def test_a_flow_that_is_the_identity_changes_no_likelihood():
    plain, flow = model("vae", "standard_normal"), model("vae", "flow")
    flow.load_state_dict(plain.state_dict(), strict=False)
    expected, found = run(plain), run(flow)
    for name in ("nll_nats", "generation_loss_nats", "nll_effective_sample_size"):
        assert number(found, f"test.{name}") == pytest.approx(
            number(expected, f"test.{name}"), rel=1e-5
        )
    # The KL is a draw's, where the unit Gaussian's is exact: of four chi-squared terms each.
    rate, exact = (number(each, "test.kl_loss_nats") for each in (found, expected))
    assert 0 < abs(rate - exact) < STANDARD_ERRORS * math.sqrt(4 / 123)
    information = number(found, "latent.mutual_information_nats")
    assert information == number(expected, "latent.mutual_information_nats")
    # Of the same draws: ln q(z) - ln p(z), which for the unit Gaussian falls into two parts.
    parts = ("total_correlation_nats", "dimension_wise_kl_nats")
    both = sum(number(expected, f"latent.{name}") for name in parts)
    assert number(found, "latent.marginal_kl_nats") == pytest.approx(both, abs=1e-5)


def test_with_a_vamp_prior_of_the_images_themselves_nothing_is_left_between():
    """p(z) is q(z) of the very images that are measured: KL(q(z) || p(z)) = 0."""
    chosen = settings("vae", model={"gaussian_variance": 0.05, "prior": "vamp"}).model
    chosen = chosen.model_copy(update={"pseudo_inputs": 123, "hidden": ()})
    subject = build_model(chosen, SHAPE).eval()
    with torch.no_grad():
        encoder = subject.networks["encoder"][1]  # type: ignore[index]
        encoder.weight[:4] *= 4
        encoder.bias[4:] = -2
    subject.initialize_from(images().mean(0), images())
    found = run(subject)
    # Rate and information are of the same draws: no noise is left either.
    assert number(found, "latent.mutual_information_nats") > 1
    assert abs(number(found, "latent.marginal_kl_nats")) < 1e-5


def test_draws_of_the_prior_at_hand_are_compared_with_the_latents():
    """Latents of an autoencoder, twice: with the mixture that fits them, and moved away."""
    subject = model("autoencoder")
    fitted = number(run(subject), "latent.mmd_squared")
    means: Tensor = subject.networks["prior"].means  # type: ignore[assignment]
    means += 20
    assert number(run(subject), "latent.mmd_squared") > fitted + 1


@pytest.mark.parametrize("name", ["autoencoder", "wae", "vq_vae", "vae_gan", "gan"])
def test_the_seed_alone_decides_here_too(name):
    subject = model(name)
    torch.manual_seed(1)
    first = run(subject, seed=3)
    torch.manual_seed(2)
    assert run(subject, seed=3).metrics == first.metrics
