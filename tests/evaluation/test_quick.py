"""`evaluate.level: quick` beside `full`, on the digits: the same numbers, within their errors."""

import math
from functools import cache

import pytest

from tests.evaluation.factories import CPU, make_data, make_model
from vaelab.config import EvaluateSettings
from vaelab.evaluation import Evaluation, evaluate

ERRORS = {
    "test.neg_elbo_nats": "test.neg_elbo_standard_error_nats",
    "test.nll_nats": "test.nll_standard_error_nats",
    "likelihood.nll_nats": "likelihood.nll_standard_error_nats",
}


@cache
def evaluated(level: str, **given: int) -> Evaluation:
    settings = EvaluateSettings.model_validate({"level": level, "batch_size": 50} | given)
    groups = ("test", "latent", "likelihood")
    return evaluate(make_model(), make_data(), settings, CPU, groups=groups)


def value(found: Evaluation, name: str) -> float:
    group, _, key = name.partition(".")
    return float(found.metrics[group][key])


def test_quick_has_every_number_of_full_but_annealing() -> None:
    full, quick = evaluated("full"), evaluated("quick", bound_images=30)
    assert {g: set(m) for g, m in full.metrics.items()} == {
        g: set(m) for g, m in quick.metrics.items()
    }


@pytest.mark.parametrize("name", ERRORS)
def test_quick_is_within_its_standard_errors_of_full(name: str) -> None:
    full, quick = evaluated("full"), evaluated("quick", bound_images=30)
    errors = [value(found, ERRORS[name]) for found in (full, quick)]
    assert abs(value(full, name) - value(quick, name)) < 3 * math.hypot(*errors)
    assert errors[1] > 1.3 * errors[0] or name == "test.neg_elbo_nats"


def test_the_k_sample_bound_is_of_the_chosen_images_and_the_elbo_of_all() -> None:
    quick = evaluated("quick", bound_images=30)
    assert quick.metrics["test"]["nll_images"] == 30
    assert quick.arrays["nll"].shape == quick.arrays["effective_sample_size"].shape == (30,)
    assert quick.arrays["nll"].mean() == pytest.approx(value(quick, "test.nll_nats"))
    assert quick.latents is not None
    assert len(quick.latents.means) == 123
    whole = evaluated("quick", bound_images=500)
    assert whole.metrics["test"]["nll_images"] == 123
    assert whole.metrics["test"] == evaluated("full").metrics["test"]


def test_the_k_sample_bound_of_one_image_has_no_standard_error() -> None:
    found = evaluated("quick", bound_images=1).metrics["test"]
    assert found["nll_images"] == 1
    assert "nll_standard_error_nats" not in found
