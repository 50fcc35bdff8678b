"""Sections of metrics in MLflow, and what is left out there."""

import re

import pytest

from pipeline.tracking.metric_names import for_mlflow, mlflow_name, without_constants
from vaelab.metrics import SPECS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.loss", "curves/train/loss"),
        ("validation.neg_elbo_nats", "curves/validation/neg_elbo_nats"),
        ("kl_weight", "curves/schedule/kl_weight"),
        ("test.nll_nats", "test/nll_nats"),
        ("annealing.nll_nats", "test/ais_nll_nats"),
        ("latent.active_units", "latent/active_units"),
        ("disentanglement.sap_score", "latent/disentanglement/sap_score"),
        ("samples.classifier_recall", "samples/classifier_recall"),
        ("sampler.classifier_recall", "sampler/classifier_recall"),
        ("mine.my_own", "mine/my_own"),
        ("system/cpu.percent", "system/cpu.percent"),
        ("finished_trials", "finished_trials"),
        ("test.nll_standard_error_nats", None),
        ("test.psnr_db", "test/psnr_db"),
        ("test.psnr_standard_error_db", None),
        ("test.psnr_db_mean_image", None),
        ("test.nll_importance_samples", None),
        ("annealing.chains", None),
        ("latent.dimensions", None),
        ("samples.count", None),
        ("samples.classifier_frechet_distance_floor", None),
        ("samples.largest_class_share_real", None),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert mlflow_name(name) == expected


def test_every_number_of_the_files_has_a_section_of_its_own_or_none() -> None:
    names = [found for name in SPECS if (found := mlflow_name(name))]
    assert len(set(names)) == len(names)
    assert all("/" in name for name in names)
    assert not [name for name in names if re.search("standard_error|floor|_real$|count", name)]
    # Those of an unlabeled data set without factors, and of one with both, beside eight curves.
    assert 20 < len(names) < 47


def test_references_and_standard_errors_are_left_out() -> None:
    for spec in SPECS.values():
        for name in filter(None, (spec.standard_error, *spec.references)):
            assert mlflow_name(name) is None, name


def test_scheduled_settings_are_logged_where_they_change() -> None:
    rows = [{"kl_weight": w, "train.loss": 1.0} for w in (0.5, 1.0, 1.0)]
    kept = [without_constants(*pair) for pair in zip(rows, [None, *rows], strict=False)]
    assert kept == [{"train.loss": 1.0}, rows[1], {"train.loss": 1.0}]


def test_values_are_kept() -> None:
    assert for_mlflow({"test.nll_nats": 2.5, "samples.count": 9}) == {"test/nll_nats": 2.5}
