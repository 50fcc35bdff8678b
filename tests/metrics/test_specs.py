"""The specs of metrics, compared with real evaluations and with the functions they name."""

import pkgutil
import re

import pytest

from tests.report.factories import measured
from vaelab import metrics
from vaelab.evaluation import GROUPS
from vaelab.metrics import (
    METRICS,
    NATS,
    SAME_AS_OF_THE_PRIOR,
    SPACES,
    SPECS,
    MetricSpec,
    Thresholds,
)

RECALL = SPECS["samples.pixels_recall"]
INCEPTION = {name for name in SPECS if name.partition(".")[2].startswith("inception_")}
# Of the prior only where the model sees labels
CONDITIONAL = {"samples.label_accuracy", "samples.label_diversity"}

# Of many images only
ROUNDING = {"test.nll_rounding_nats", "test.nll_rounding_standard_error_nats"}


def numbers(objective: str) -> set[str]:
    """The full names of all numbers in the evaluation of a model."""
    return {
        f"{group}.{name}"
        for group, values in measured(objective)[1].metrics.items()
        for name, value in values.items()
        if group != "dataset" and not isinstance(value, str)
    }


@pytest.mark.parametrize("objective", ["vae", "autoencoder", "vq_vae", "gan", "vae_gan"])
def test_every_number_of_an_evaluation_has_a_spec(objective: str) -> None:
    assert numbers(objective) - set(SPECS) == set()


def test_every_spec_is_of_a_number_that_is_measured() -> None:
    found = set().union(*(numbers(objective) for objective in ("vae", "autoencoder", "gan")))
    # The weights of the Inception network are not part of the repository.
    assert set(SPECS) - INCEPTION - CONDITIONAL - ROUNDING - found == set()


def test_names_and_titles_are_unique() -> None:
    names = [
        name
        for metric in METRICS
        for name in (*metric.names, *metric.references, metric.standard_error)
        if name
    ]
    names += [name for metric in SAME_AS_OF_THE_PRIOR for name in metric.names]
    assert len(set(names)) == len(names) == len(SPECS)
    titles = [metric.title for metric in METRICS]
    assert len(set(titles)) == len(titles)


def test_names_have_a_group_and_a_name_for_each_feature_space() -> None:
    for metric in METRICS:
        assert metric.group in (*GROUPS, "sampler")
        assert len(metric.names) == len(metric.spaces)
        assert len(metric.references) in (0, len(metric.names))
        assert bool(metric.references) == bool(metric.reference_of)
        stems = set()
        for space, name in zip(metric.spaces, metric.names, strict=True):
            prefix = f"{metric.group}.{space}_" if space else f"{metric.group}."
            assert name.startswith(prefix)
            stems.add(name.removeprefix(prefix))
        assert len(stems) == 1


def test_standard_errors_and_references_are_named_after_their_metrics() -> None:
    kinds = {"training images": "floor", "test images": "real", "chance": "chance"}
    kinds["mean image"] = "mean_image"
    for metric in METRICS:
        unit = {NATS: "_nats", "decibels": "_db"}.get(metric.unit, "")
        base = metric.names[0].removesuffix(unit)
        assert metric.standard_error in ("", f"{base}_standard_error{unit}")
        for name, reference in zip(metric.names, metric.references, strict=False):
            assert reference == f"{name}_{kinds[metric.reference_of]}"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.names[0])
def test_the_texts_of_a_spec_are_sentences(metric: MetricSpec) -> None:
    assert metric.title[0].isupper()
    assert not metric.title.endswith(".")
    assert not metric.source.endswith(".")
    assert not metric.source or re.search(r"[12]\d{3}", metric.source), "sources are papers"
    for text in (metric.what, metric.good, metric.caveat, *metric.interpretation.values()):
        assert "  " not in text
        assert not text or text[0].isupper() or text[0] in "0123456789−", text
        assert not text or text.endswith("."), text
    assert metric.what
    assert metric.direction == "neither" or metric.good, "what is better says what is good"


def test_interpretations_have_a_sentence_for_each_rating() -> None:
    for metric in METRICS:
        expected = {"good", "fair", "poor"} if metric.thresholds else {"none"}
        assert set(metric.interpretation) in (set(), expected)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.names[0])
def test_a_unit_agrees_with_the_name(metric: MetricSpec) -> None:
    for name in metric.names:
        assert (metric.unit == NATS) == name.endswith("_nats")
        assert ("bits" in metric.unit) == ("bits" in name)


def test_a_metric_is_computed_by_a_function_that_exists() -> None:
    for metric in METRICS:
        assert callable(pkgutil.resolve_name(metric.computed_by)), metric.names
        assert metric.computed_by.startswith("vaelab.")


def test_a_metric_is_found_by_its_full_name_and_without_its_group() -> None:
    for space in SPACES:
        assert metrics.lookup(f"samples.{space}_recall") is RECALL
        assert metrics.lookup(f"{space}_recall") is RECALL
        assert RECALL.in_space(space) == (
            f"samples.{space}_recall",
            f"samples.{space}_recall_floor",
        )
    floor = metrics.lookup("pixels_recall_floor")
    assert floor is not None
    assert (floor.names, floor.direction) == (RECALL.names, "neither")
    assert metrics.lookup("recall") is None
    assert metrics.lookup("latent.pixels_recall") is None
    assert metrics.lookup("") is None


def test_a_name_of_two_groups_is_the_test_splits() -> None:
    assert metrics.lookup("nll_nats") is SPECS["test.nll_nats"]
    assert metrics.lookup("nll_nats") is not SPECS["annealing.nll_nats"]


@pytest.mark.parametrize(
    ("name", "direction"),
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
def test_directions(name: str, direction: str) -> None:
    assert SPECS[name].direction == direction


def test_a_source_is_of_the_formula_that_is_used() -> None:
    agreement = SPECS["latent.kmeans_normalized_mutual_information"]
    assert "over the mean of their entropies" in agreement.what
    assert "Vinh et al. 2010" in agreement.source, "Strehl & Ghosh take the geometric mean"


# --- thresholds


@pytest.mark.parametrize(
    ("thresholds", "ratings"),
    [
        (
            Thresholds(1.0, 5.0, ""),
            {-9: "good", 1.0: "good", 1.01: "fair", 5.0: "fair", 5.01: "poor"},
        ),
        (
            Thresholds(0.9, 0.6, ""),
            {2: "good", 0.9: "good", 0.89: "fair", 0.6: "fair", 0.59: "poor"},
        ),
    ],
)
def test_a_limit_belongs_to_the_better_rating(
    thresholds: Thresholds, ratings: dict[float, str]
) -> None:
    assert {measure: thresholds.rating(measure) for measure in ratings} == ratings


def test_thresholds_in_words() -> None:
    assert str(Thresholds(1.0, 5.0, "nats")) == "good up to 1, fair up to 5 (nats)"
    assert str(Thresholds(0.9, 0.6, "share")) == "good from 0.9, fair from 0.6 (share)"


def test_thresholds_agree_with_the_direction() -> None:
    rated_by_its_negative = {"test.nll_change_on_doubling_nats"}
    for metric in METRICS:
        if metric.thresholds and metric.names[0] not in rated_by_its_negative:
            lower_is_better = metric.thresholds.good < metric.thresholds.fair
            assert metric.direction != ("higher" if lower_is_better else "lower"), metric.names


def test_metrics_with_a_direction_have_thresholds_unless_they_have_no_scale() -> None:
    without = {
        metric.names[0]
        for metric in METRICS
        if metric.direction != "neither" and not metric.thresholds
    }
    assert without == {
        "likelihood.nll_nats",
        "likelihood.effective_sample_size",
        "test.nll_nats",
        "test.bits_per_dim",
        "test.neg_elbo_nats",
        "test.generation_loss_nats",
        "test.mean_squared_error",
        "annealing.nll_nats",
        "samples.classifier_kernel_distance",
        "sampler.neg_elbo_nats",
        "sampler.neg_elbo_gain_nats",
        "sampler.kl_loss_nats",
        "sampler.nll_nats",
        "sampler.nll_gain_nats",
        "sampler.nll_effective_sample_size",
    }
