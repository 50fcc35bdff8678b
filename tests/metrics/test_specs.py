"""The catalogue against real evaluations: no number without an entry, no entry without a number."""

import re

import pytest

from tests.report.factories import measured
from vaelab import metrics as catalogue
from vaelab.evaluation import GROUPS, Metrics
from vaelab.metrics import ENTRIES, METRICS, SPACES, Metric

KEYS = {f"{metric.group}.{metric.name}": metric for metric in METRICS}

# What numbers are held against: training images, test images, guesses
KINDS = ("floor", "real", "chance")


def numbers(name: str) -> set[str]:
    """The names of all numbers in the evaluation of a model."""
    return names(measured(name)[1].metrics)


def names(metrics: Metrics) -> set[str]:
    return {
        f"{group}.{name}"
        for group, values in metrics.items()
        for name, value in values.items()
        if group != "dataset" and not isinstance(value, str)
    }


@pytest.mark.parametrize("name", ["vae", "autoencoder", "vq_vae", "gan", "vae_gan"])
def test_every_number_of_an_evaluation_has_an_entry(name: str) -> None:
    assert numbers(name) - set(ENTRIES) == set()


def test_there_is_no_entry_for_a_number_that_nobody_measures() -> None:
    found = {name for subject in ("vae", "autoencoder", "gan") for name in numbers(subject)}
    # The Inception network's weights are not at hand; its names are made as the others are.
    measurable = {name for name, entry in ENTRIES.items() if entry.space != "inception"}
    assert measurable - found == set()


def test_names_are_unique() -> None:
    total = sum(len(metric.spaces) * len(list(metric.roles())) for metric in METRICS)
    assert len(ENTRIES) == total
    assert len(KEYS) == len(METRICS)
    titles = [metric.title for metric in METRICS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_is_made_of_whole_sentences(key: str) -> None:
    metric = KEYS[key]
    assert metric.title[0].isupper()
    assert not metric.title.endswith(".")
    assert metric.what.endswith(".")
    for text in (metric.good, metric.caveat):
        assert not text or text.endswith(".")
    assert not metric.source.endswith(".")
    for text in (metric.what, metric.good, metric.caveat):
        assert "  " not in text
        assert not text or text[0].isupper() or text[0] in "0123456789−", text


@pytest.mark.parametrize("key", KEYS)
def test_a_unit_agrees_with_the_name(key: str) -> None:
    metric = KEYS[key]
    assert (metric.unit == catalogue.NATS) == metric.name.endswith("_nats")
    assert ("bits" in metric.unit) == metric.name.startswith("bits")
    if metric.direction != "neither":
        assert metric.good, "what is better in one direction says what is good"


def test_sources_are_papers() -> None:
    for metric in METRICS:
        assert not metric.source or re.search(r"[12]\d{3}", metric.source), metric.name


def test_a_metric_is_found_by_either_name_in_every_space() -> None:
    recall = KEYS["samples.{space}_recall"]
    for space in SPACES:
        entry = catalogue.lookup(f"samples.{space}_recall")
        assert entry is not None
        assert (entry.metric, entry.role, entry.space) == (recall, "value", space)
        assert catalogue.lookup(f"{space}_recall") == entry
    floor = catalogue.lookup("pixels_recall_floor")
    assert floor is not None
    assert (floor.metric, floor.role, floor.space) == (recall, "reference", "pixels")
    assert catalogue.lookup("{space}_recall") is None
    assert catalogue.lookup("recall") is None
    assert catalogue.lookup("latent.pixels_recall") is None


def test_a_name_of_two_groups_is_the_test_splits() -> None:
    entry = catalogue.lookup("nll_nats")
    assert entry is catalogue.lookup("test.nll_nats")
    assert entry is not catalogue.lookup("annealing.nll_nats")


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("test.nll_nats", "lower"),
        ("test.nll_standard_error_nats", "neither"),
        ("test.kl_loss_nats", "neither"),
        ("test.nll_effective_sample_size", "higher"),
        ("latent.knn_accuracy", "higher"),
        ("latent.mmd_squared", "lower"),
        ("latent.aggregate_stddev_min", "neither"),
        ("latent.aggregate_stddev_max", "neither"),
        ("disentanglement.sap_score", "higher"),
        ("samples.pca_frechet_distance", "lower"),
        ("samples.pca_frechet_distance_floor", "neither"),
        ("samples.inception_coverage", "higher"),
        ("samples.data_copying_z", "neither"),
    ],
)
def test_directions(name: str, better: str) -> None:
    entry = catalogue.lookup(name)
    assert entry is not None
    assert entry.direction == better


def test_standard_errors_and_references_belong_to_their_metrics() -> None:
    for metric in METRICS:
        base = metric.name.removesuffix("_nats")
        assert metric.error in ("", f"{base}_standard_error_nats")
        assert metric.reference in ("", *(f"{metric.name}_{kind}" for kind in KINDS))


def test_an_entry_of_the_catalogue_is_its_own() -> None:
    assert all(isinstance(metric, Metric) for metric in METRICS)
    assert {metric.group for metric in METRICS} == set(GROUPS)


def test_a_source_is_of_the_formula_that_is_used() -> None:
    agreement = KEYS["latent.kmeans_normalized_mutual_information"]
    assert "over the mean of their entropies" in agreement.what
    assert "Vinh et al. 2010" in agreement.source, "Strehl & Ghosh take the geometric mean"


def test_the_cap_is_of_the_images_that_were_compared() -> None:
    assert "held against one another" in KEYS["latent.mutual_information_cap_nats"].what
