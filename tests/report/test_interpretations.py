"""Where a model stands, in a sentence and a mark for each number."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.report.factories import description, info, made_up
from vaelab.config import ModelSettings
from vaelab.metrics import METRICS
from vaelab.metrics.thresholds import BANDS, Thresholds
from vaelab.report import EvaluationResult
from vaelab.report.interpretations import RULES
from vaelab.report.rows import Row, rows, summary, with_error
from vaelab.report.sections import SECTIONS, SUMMARY

KEYS = [f"{metric.group}.{metric.name}" for metric in METRICS]


def row(key: str, value: float, subject: EvaluationResult | None = None, **others: float) -> Row:
    """The row of one number; the others are named with two underscores for the dot."""
    numbers = {name.replace("__", "."): number for name, number in others.items()}
    base = subject or made_up()
    metrics = made_up({key: value}, numbers).metrics
    (found,) = [
        each for each in rows(replace(base, metrics=metrics), _keys(key)) if each.name == key
    ]
    return found


def _keys(key: str) -> list[str]:
    return [
        re.sub(r"^samples\.(classifier|pixels|pca|inception)_(?!test)", "samples.{space}_", key)
    ]


# --- every number


def test_every_metric_has_one_place_and_one_verdict():
    placed = [key for section in SECTIONS for key in section.metrics]
    assert sorted(placed) == sorted(KEYS)
    assert set(RULES) == set(KEYS)
    assert set(BANDS) <= set(KEYS)
    assert set(SUMMARY) <= set(KEYS)


def test_bands_lean_to_the_side_that_the_catalogue_calls_better():
    judged_by_another_measure = {"test.nll_change_on_doubling_nats"}
    for metric, key in zip(METRICS, KEYS, strict=True):
        if key in BANDS and key not in judged_by_another_measure:
            low_is_good = BANDS[key].good < BANDS[key].fair
            assert metric.direction != ("higher" if low_is_good else "lower"), key


def test_every_metric_with_a_better_direction_but_a_few_is_marked():
    better = {
        key for metric, key in zip(METRICS, KEYS, strict=True) if metric.direction != "neither"
    }
    no_scale = {
        "test.nll_nats",
        "test.bits_per_dim",
        "test.neg_elbo_nats",
        "test.generation_loss_nats",
        "test.mean_squared_error",
        "annealing.nll_nats",
        "samples.{space}_kernel_distance",
    }
    assert better - set(BANDS) == no_scale


# --- thresholds


@pytest.mark.parametrize(
    ("band", "marks"),
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
def test_a_band_ends_with_its_last_good_and_its_last_fair_value(band, marks):
    assert {measure: band.mark(measure) for measure in marks} == marks


def test_a_band_says_where_it_ends():
    assert str(Thresholds(1.0, 5.0, "nats")) == "good up to 1, fair up to 5 (nats)"
    assert str(Thresholds(0.9, 0.6, "share")) == "good from 0.9, fair from 0.6 (share)"


K = "test__nll_importance_samples"
ESS = "test__nll_effective_sample_size"
EXCESS = "annealing__importance_weighted_excess_nats"
MI, MI_CAP = "latent__mutual_information_nats", "latent__mutual_information_cap_nats"
CAP = {MI_CAP: 9.2103}


@pytest.mark.parametrize(
    ("key", "value", "others", "mark", "words"),
    [
        ("test.nll_nats", 98.1, {"test__neg_elbo_nats": 103.0}, "none", "4.9 nats below"),
        ("test.nll_nats", 98.1, {"test__neg_elbo_nats": 98.1, K: 1}, "none", "the bound itself"),
        ("test.nll_nats", 98.11, {"test__neg_elbo_nats": 98.1}, "none", "0.01 nats above"),
        ("test.bits_per_dim", -0.4, {}, "none", "undequantised pixels: not a code length."),
        ("test.generation_loss_nats", -128.0, {}, "none", "−2 nats a pixel"),
        ("test.kl_loss_nats", 26.8, {}, "good", "26.8 nats pass through 4 dimensions"),
        ("test.kl_loss_nats", 0.01, {}, "poor", "has collapsed"),
        ("test.kl_loss_nats", 10.0, {MI: 0.02, **CAP}, "poor", "tell nothing of the image."),
        ("test.kl_loss_nats", 10.0, {MI: 0.5, **CAP}, "good", "the decoder uses its latents"),
        ("test.kl_loss_nats", 0.01, {MI: 0.0, **CAP}, "poor", "has collapsed"),
        # Of one image nothing can be told.
        ("test.kl_loss_nats", 10.0, {MI: 0.0, MI_CAP: 0.0}, "good", "uses its latents"),
        ("test.mean_squared_error", 0.01, {}, "none", "error of 10.0%"),
        ("test.nll_importance_samples", 100, {}, "none", "Papers use 5,000."),
        ("test.nll_importance_samples", 5000, {}, "none", "As many as papers"),
        ("test.nll_change_on_doubling_nats", -0.05, {K: 100}, "good", "K is large enough"),
        ("test.nll_change_on_doubling_nats", 0.02, {K: 100}, "good", "no longer rises"),
        ("test.nll_change_on_doubling_nats", -0.3, {K: 100}, "fair", "rises by 0.3 nats"),
        (
            "test.nll_change_on_doubling_nats",
            -0.05,
            {K: 5000, ESS: 1.2},
            "fair",
            "doubling K, which proves little: K = 5,000 samples are worth 1.2.",
        ),
        ("test.nll_change_on_doubling_nats", -0.05, {K: 5000, ESS: 2000.0}, "good", "large enough"),
        (
            "test.nll_change_on_doubling_nats",
            -0.05,
            {K: 5000, ESS: 2000.0, EXCESS: 12.0},
            "fair",
            "annealing does not confirm it.",
        ),
        (
            "test.nll_change_on_doubling_nats",
            -0.05,
            {K: 5000, ESS: 2000.0, EXCESS: 0.5},
            "good",
            "K is large enough",
        ),
        ("test.nll_change_on_doubling_nats", 0.3, {K: 2, ESS: 1.4}, "fair", "K = 2 is small."),
        (
            "test.nll_change_on_doubling_nats",
            -0.3,
            {K: 5000, ESS: 1.2},
            "fair",
            "a tight table needs more samples",
        ),
        (
            "test.nll_change_on_doubling_nats",
            -0.8,
            {K: 100},
            "poor",
            "The bound still rises by 0.8 nats on doubling K: too few samples, use 5000.",
        ),
        ("test.nll_change_on_doubling_nats", -0.8, {K: 5000}, "poor", "too few samples, anneal"),
        (
            "test.nll_effective_sample_size",
            3.0,
            {K: 100},
            "poor",
            "Worth 3 of 100 samples: the posterior fits badly",
        ),
        ("test.nll_effective_sample_size", 30.0, {K: 100}, "good", "fits well"),
        ("test.nll_effective_sample_size", 1.0, {K: 1}, "none", "One sample"),
        ("test.nll_effective_sample_size", 1.4, {K: 2}, "none", "too few to tell"),
        ("test.nll_effective_sample_size", 20.0, {K: 20}, "none", "too few to tell"),
        ("test.nll_effective_sample_size", 1.0, {K: 21}, "poor", "fits badly"),
        ("annealing.gap_nats", 0.4, {}, "good", "0.4 nats apart: the truth lies between"),
        ("annealing.gap_nats", -0.1, {}, "good", "The bounds meet: the truth lies between"),
        ("annealing.gap_nats", 30.0, {}, "poor", "raise evaluate.annealing_temperatures"),
        ("annealing.gap_nats", -4.0, {}, "fair", "have crossed by 4 nats: noise"),
        ("annealing.importance_weighted_excess_nats", 12.0, {}, "poor", "At most 12 nats too high"),
        (
            "annealing.importance_weighted_excess_nats",
            -0.06,
            {},
            "good",
            "As low as the lower bound, within noise: the importance-weighted bound can be quoted.",
        ),
        (
            "annealing.importance_weighted_excess_nats",
            32.0,
            {"annealing__gap_nats": 30.0},
            "none",
            "The gap is too wide to tell.",
        ),
        (
            "annealing.importance_weighted_excess_nats",
            12.0,
            {"annealing__gap_nats": 4.0},
            "poor",
            "quote the annealed bound",
        ),
        (
            "annealing.simulated_nll_upper_nats",
            81.0,
            {"annealing__simulated_nll_lower_nats": 80.5},
            "none",
            "0.5 nats above the lower bound",
        ),
        (
            "annealing.simulated_nll_upper_nats",
            80.4,
            {"annealing__simulated_nll_lower_nats": 80.5},
            "none",
            "As low as the lower bound, within noise",
        ),
        (
            "annealing.nll_nats",
            80.0,
            {"annealing__test_images": 16, "annealing__gap_nats": 0.5},
            "none",
            "Of 16 test images, at a gap of 0.5 nats",
        ),
        ("annealing.observation_variance", 0.0025, {}, "none", "Noise of 5.0%"),
        ("latent.dimensions", 4, {}, "none", "16 pixel values for each"),
        ("latent.active_units", 4, {}, "good", "4 of 4 dimensions are active."),
        ("latent.active_units", 3, {}, "good", "3 of 4 dimensions are active."),
        ("latent.active_units", 0, {MI: 0.01, **CAP}, "poor", "the posterior has collapsed."),
        ("latent.active_units", 0, {"test__kl_loss_nats": 0.01}, "poor", "has collapsed."),
        (
            "latent.active_units",
            0,
            {"test__kl_loss_nats": 40.0, MI: 5.0, **CAP},
            "none",
            "0 of 4 dimensions are active, though latents may tell something on a small scale.",
        ),
        (
            "latent.mutual_information_nats",
            9.2,
            CAP,
            "fair",
            "9.2 of at most 9.21 nats: near its cap, so the marginal KL is an upper bound.",
        ),
        ("latent.mutual_information_nats", 5.0, CAP, "good", "clear of its cap"),
        ("latent.mutual_information_nats", 0.01, CAP, "poor", "tells nothing"),
        # 7.5 nats in truth
        ("latent.mutual_information_nats", 6.38, {MI_CAP: 7.6}, "fair", "near its cap"),
        ("latent.mutual_information_nats", 0.0, {MI_CAP: 0.693}, "poor", "tells nothing"),
        ("latent.mutual_information_nats", 0.6, {MI_CAP: 0.693}, "fair", "near its cap"),
        ("latent.mutual_information_cap_nats", 9.2103, {}, "none", "of 10,000 images"),
        ("latent.marginal_kl_nats", 7.0, {}, "poor", "places without latents."),
        (
            "latent.marginal_kl_nats",
            7.0,
            {"latent__mutual_information_nats": 9.0, **CAP},
            "none",
            "upper bound",
        ),
        ("latent.total_correlation_nats", 0.2, {}, "good", "nearly independent"),
        ("latent.dimension_wise_kl_nats", 0.8, {}, "fair", "0.2 nats for each dimension"),
        ("latent.gaussian_total_correlation_nats", 4.0, {}, "poor", "are correlated"),
        ("latent.mmd_squared", -0.001, {}, "good", "hard to tell apart"),
        ("latent.ks_statistic_max", 0.11, {}, "good", "what 300 draws of the prior have by chance"),
        ("latent.ks_statistic_max", 0.3, {}, "poor", "Off by 30%"),
        ("latent.squared_norm_ks_statistic", 0.2, {}, "fair", "Off by 20%"),
        ("latent.aggregate_mean_norm", 0.2, {}, "good", "off the centre by 0.1"),
        ("latent.aggregate_stddev_min", 0.5, {}, "poor", "0.5 where the prior has 1"),
        ("latent.aggregate_stddev_max", 1.2, {}, "fair", "1.2 where the prior has 1"),
        ("latent.aggregate_stddev_min", 3.0, {}, "poor", "3 where the prior has 1"),
        ("latent.aggregate_stddev_max", 0.2, {}, "poor", "0.2 where the prior has 1"),
        ("latent.aggregate_stddev_min", 0.95, {}, "good", "0.95 where the prior has 1"),
        ("latent.aggregate_stddev_min", 0.0, {}, "poor", "0 where the prior has 1"),
        (
            "latent.linear_probe_accuracy",
            0.43,
            {},
            "poor",
            "43% right, where the commonest class alone gives 10%",
        ),
        ("latent.knn_accuracy", 0.1, {}, "poor", "10% right"),
        ("latent.kmeans_adjusted_rand_index", 0.9, {}, "good", "are the classes"),
        ("latent.linear_interpolation_largest_step", 4.0, {}, "poor", "the way jumps"),
        ("disentanglement.mutual_information_gap", 0.01, {}, "poor", "no dimension of their own"),
        ("disentanglement.factor_vae_score", 0.7, {}, "fair", "70% of the time."),
        (
            "disentanglement.dci_informativeness",
            0.9,
            {"disentanglement__dci_informativeness_chance": 0.85},
            "poor",
            "other scores mean little",
        ),
        (
            "disentanglement.dci_informativeness",
            0.9,
            {"disentanglement__dci_informativeness_chance": 0.2},
            "good",
            "can be read from the latents.",
        ),
        ("disentanglement.dci_informativeness", 0.9, {}, "none", "is not known"),
        (
            "samples.classifier_frechet_distance",
            13.6,
            {"samples__classifier_frechet_distance_floor": 3.4},
            "fair",
            "4 times the floor 3.4.",
        ),
        (
            "samples.pixels_frechet_distance",
            3.0,
            {"samples__pixels_frechet_distance_floor": 0.0},
            "none",
            "No floor",
        ),
        ("samples.pixels_frechet_distance", 3.0, {}, "none", "No floor"),
        (
            "samples.pca_kernel_distance",
            0.3,
            {"samples__pca_kernel_distance_floor": -0.1},
            "none",
            "0.4 above",
        ),
        (
            "samples.pca_kernel_distance",
            0.001,
            {"samples__pca_kernel_distance_floor": 0.002},
            "none",
            "0.001 below what training images have.",
        ),
        (
            "samples.pixels_recall",
            0.45,
            {"samples__pixels_recall_floor": 0.9},
            "poor",
            "50% of what training images reach",
        ),
        ("samples.pixels_recall", 0.45, {"samples__pixels_recall_floor": 0.0}, "none", "No train"),
        (
            "samples.pixels_density",
            9.0,
            {"samples__pixels_density_floor": 1.0},
            "fair",
            "9 times what training images reach: samples crowd",
        ),
        (
            "samples.pixels_density",
            1.2,
            {"samples__pixels_density_floor": 1.0},
            "good",
            "120% of what",
        ),
        ("samples.classifier_test_accuracy", 0.95, {}, "good", "can be trusted"),
        (
            "samples.sharpness_ratio",
            0.3,
            {"samples__sharpness_ratio_floor": 1.0},
            "poor",
            "0.3 times as sharp as training images: much blurrier.",
        ),
        (
            "samples.sharpness_ratio",
            1.8,
            {"samples__sharpness_ratio_floor": 1.0},
            "fair",
            "sharper, perhaps by noise",
        ),
        ("samples.sharpness_ratio", 0.0, {"samples__sharpness_ratio_floor": 1.0}, "poor", "blurr"),
        (
            "samples.spectrum_slope",
            -3.0,
            {"samples__spectrum_slope_real": -2.3},
            "poor",
            "−2.3: samples are much smoother",
        ),
        (
            "samples.spectrum_slope",
            -2.0,
            {"samples__spectrum_slope_real": -2.3},
            "fair",
            "samples are noisier",
        ),
        ("samples.classes_drawn", 7, {}, "none", "is not known"),
        (
            "samples.largest_class_share",
            0.6,
            {"samples__largest_class_share_real": 0.1},
            "poor",
            "6 times the share among real images: one class crowds out",
        ),
        (
            "samples.nearest_training_distance",
            0.1,
            {"samples__nearest_training_distance_real": 0.2},
            "none",
            "0.5 times the distance of test images: nearer than these",
        ),
        ("samples.data_copying_z", -5.0, {}, "fair", "it may copy, or blur"),
        ("samples.data_copying_z", -30.0, {}, "poor", "it copies, or blurs"),
        ("samples.data_copying_z", 0.5, {}, "good", "no sign of copying"),
        ("samples.data_copying_z", 12.0, {}, "fair", "off the data"),
    ],
)
def test_verdicts(key, value, others, mark, words):
    verdict = row(key, value, **others).interpretation
    assert words in verdict.text
    assert verdict.rating == mark


def test_where_the_prior_is_another_one_the_unit_gaussian_is_no_measure():
    flow = description(model=ModelSettings(latent_dim=4, prior="flow"))
    subject = made_up(description=flow)
    for name in ("aggregate_mean_norm", "aggregate_stddev_min", "aggregate_stddev_max"):
        verdict = row(f"latent.{name}", 9.0, subject).interpretation
        assert verdict.rating == "none"
        assert "not N(0, I)" in verdict.text
    for name in ("total_correlation_nats", "gaussian_total_correlation_nats"):
        verdict = row(f"latent.{name}", 12.0, subject).interpretation
        assert (verdict.rating, "may depend on one another" in verdict.text) == ("none", True)
    capped = row("latent.total_correlation_nats", 12.0, subject, **{MI: 9.0, MI_CAP: 9.21})
    assert "upper bound too" in capped.interpretation.text


def test_points_are_not_said_to_have_collapsed():
    points = made_up(description=description("wae", posterior="point"))
    for count, words in {0: "0 of 4", 3: "3 of 4"}.items():
        verdict = row("latent.active_units", count, points).interpretation
        assert verdict.rating == "none"
        assert verdict.text == (
            f"{words} dimensions are active. Without noise the others may tell something too."
        )
    assert (
        row("latent.active_units", 4, points).interpretation.text == "4 of 4 dimensions are active."
    )


@pytest.mark.parametrize(
    ("likelihood", "dequantize", "bits", "words"),
    [
        ("gaussian", False, 6.0, "Of a density on undequantised pixels: not a code length."),
        ("continuous_bernoulli", False, 6.0, "not a code length."),
        ("gaussian", True, 6.0, "25% fewer than the 8 bits of a pixel that nobody models."),
        ("gaussian", True, 8.5, "No fewer than the 8 bits of a pixel that nobody models."),
        ("discretized_logistic", False, 6.0, "25% fewer than the 8 bits"),
    ],
)
def test_bits_are_a_code_length_of_probabilities_alone(likelihood, dequantize, bits, words):
    model = ModelSettings(latent_dim=4, prior="standard_normal", likelihood=likelihood)
    chosen = description(model=model, settings={"data.dequantize": dequantize})
    verdict = row("test.bits_per_dim", bits, made_up(description=chosen)).interpretation
    assert verdict.rating == "none", "the glossary has no threshold"
    assert words in verdict.text


def test_chance_is_the_commonest_class_among_the_test_images():
    unequal = made_up(labels=np.array([0] * 90 + [1] * 10), info=info(class_names=("a", "b")))
    verdict = row("latent.knn_accuracy", 0.9, unequal).interpretation
    assert verdict.rating == "poor"
    assert verdict.text == "90% right, where the commonest class alone gives 90%."
    for labels in (None, np.zeros(5, np.int64)):
        assert (
            row("latent.knn_accuracy", 0.9, made_up(labels=labels)).interpretation.rating == "none"
        )


def test_classes_drawn_are_held_against_those_of_as_many_real_images():
    real_shares = np.array([0.5] * 2 + [0.0] * 8)
    few = made_up(arrays={"class_shares_real": real_shares})
    verdict = row("samples.classes_drawn", 2, few).interpretation
    assert verdict.rating == "good"
    assert verdict.text == "2 of 10 classes appear, 2 among as many real images."
    all_real = made_up(arrays={"class_shares_real": np.full(10, 0.1)})
    assert row("samples.classes_drawn", 7, all_real).interpretation.rating == "poor"


def test_chance_counts_the_factors_that_were_measured():
    with_factors = made_up(info=info(factor_names=("a", "b", "c", "d")))
    text = row("disentanglement.factor_vae_score", 0.7, with_factors).interpretation.text
    assert text == "The right factor 70% of the time, where chance is 25%."
    measured = replace(with_factors, arrays={"factor_columns": np.array([0, 2])})
    text = row("disentanglement.factor_vae_score", 0.7, measured).interpretation.text
    assert text == "The right factor 70% of the time, where chance is 50%."


# --- rows


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (98.1234, 0.2134, "98.1 ± 0.2"),
        (-742.81, 3.9, "−743 ± 4"),
        (1234.5, 12.0, "1,234 ± 10"),
        (0.5, 0.00123, "0.500 ± 0.001"),
        (98.1234, None, "98.12"),
        (98.1234, 0.0, "98.12"),
        (5, None, "5"),
        (-0.0001, None, "−0.0001"),
        (12345, None, "12,345"),
    ],
)
def test_a_value_has_the_digits_that_its_error_leaves_it(value, error, text):
    assert with_error(value, error) == text


def test_errors_and_references_stand_beside_their_values():
    found = row("test.nll_nats", 98.1, test__nll_standard_error_nats=0.2)
    assert found.value == "98.1 ± 0.2"
    assert found.reference == ""
    floor = row("samples.pixels_recall", 0.5, samples__pixels_recall_floor=0.9)
    assert (floor.title, floor.reference) == ("Recall, pixels", "training images 0.9")
    real_ = row("samples.spectrum_slope", -2.0, samples__spectrum_slope_real=-2.3)
    assert real_.reference == "test images −2.3"
    read = row(
        "disentanglement.dci_informativeness",
        0.5,
        disentanglement__dci_informativeness_chance=0.125,
    )
    assert read.reference == "chance 0.125"


def test_one_explanation_serves_all_spaces_of_a_metric():
    numbers = {f"samples.{space}_recall": 0.5 for space in ("pixels", "pca", "classifier")}
    found = rows(
        made_up(numbers, {"samples.count": 9}), ["samples.count", "samples.{space}_recall"]
    )
    assert [each.explained for each in found] == [1, 3, 0, 0]
    assert [each.name for each in found][1:] == [
        "samples.classifier_recall",
        "samples.pixels_recall",
        "samples.pca_recall",
    ]


def test_the_summary_has_each_metric_in_its_most_telling_space():
    numbers = {f"samples.{space}_frechet_distance": 1.0 for space in ("pixels", "pca")}
    found = summary(made_up(numbers, {"test.nll_nats": 1.0}))
    assert [each.name for each in found] == ["test.nll_nats", "samples.pca_frechet_distance"]
