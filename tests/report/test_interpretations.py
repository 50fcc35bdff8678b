"""What values of metrics mean for a model: a sentence and a rating for each."""

from dataclasses import replace

import numpy as np
import pytest

from tests.report.factories import description, info, made_up
from vaelab.config import ModelSettings
from vaelab.metrics import METRICS, SPECS, Thresholds
from vaelab.report import EvaluationResult
from vaelab.report.interpretations import INTERPRETATIONS, MetricContext, interpret
from vaelab.report.model_summary import model_summary
from vaelab.report.rows import Row, rows, summary
from vaelab.report.sections import SECTIONS, SUMMARY
from vaelab.runtime.formatting import with_error


def row(name: str, value: float, result: EvaluationResult | None = None, **others: float) -> Row:
    """The row of one number; the others are named with two underscores for the dot."""
    numbers = {key.replace("__", "."): number for key, number in others.items()}
    metrics = made_up({name: value}, numbers).metrics
    found = rows(replace(result or made_up(), metrics=metrics), [SPECS[name]])
    return next(each for each in found if each.name == name)


# --- every metric


def test_names_of_functions_and_of_the_summary_are_those_of_specs():
    assert set(INTERPRETATIONS) <= set(SPECS)
    assert set(SUMMARY) <= set(SPECS)


def test_every_metric_is_in_one_section():
    in_sections = [metric for section in SECTIONS for metric in section.metrics]
    assert sorted(metric.title for metric in in_sections) == sorted(m.title for m in METRICS)


def test_every_metric_has_sentences_or_a_function():
    """Unlike a new metric, which may use the default."""
    for metric in METRICS:
        assert metric.interpretation or metric.names[0] in INTERPRETATIONS, metric.names


@pytest.mark.parametrize(
    ("changes", "rating", "text"),
    [
        (
            {"thresholds": Thresholds(1.0, 5.0, "nats"), "interpretation": {}},
            "fair",
            "Thresholds: good up to 1, fair up to 5 (nats).",
        ),
        (
            {"thresholds": Thresholds(1.0, 5.0, "nats"), "interpretation": {"fair": "At {value}."}},
            "fair",
            "At 2.5.",
        ),
        ({"thresholds": None, "interpretation": {"none": "Many."}}, "none", "Many."),
        ({"thresholds": None, "interpretation": {}, "good": "Near 0."}, "none", "Near 0."),
    ],
)
def test_a_metric_without_a_function_is_interpreted_by_its_spec(changes, rating, text):
    metric = replace(SPECS["samples.count"], **changes)
    found = interpret(MetricContext(metric, 2.5, made_up()))
    assert (found.rating, found.text) == (rating, text)


# --- single metrics

K = "test__nll_importance_samples"
ESS = "test__nll_effective_sample_size"
EXCESS = "annealing__importance_weighted_excess_nats"
MI, MI_CAP = "latent__mutual_information_nats", "latent__mutual_information_cap_nats"
CAP = {MI_CAP: 9.2103}


@pytest.mark.parametrize(
    ("name", "value", "others", "rating", "words"),
    [
        ("test.nll_nats", 98.1, {"test__neg_elbo_nats": 103.0}, "none", "4.9 nats below"),
        (
            "test.nll_nats",
            98.1,
            {"test__neg_elbo_nats": 98.1, K: 1},
            "none",
            "equal to the negative ELBO",
        ),
        ("test.nll_nats", 98.11, {"test__neg_elbo_nats": 98.1}, "none", "0.01 nats above"),
        ("test.bits_per_dim", -0.4, {}, "none", "not dequantized: no code length."),
        ("test.generation_loss_nats", -128.0, {}, "none", "−2 nats per pixel"),
        ("test.kl_loss_nats", 26.8, {}, "good", "26.8 nats in 4 dimensions"),
        ("test.kl_loss_nats", 0.01, {}, "poor", "ignores the latent (posterior collapse)"),
        (
            "test.kl_loss_nats",
            10.0,
            {MI: 0.02, **CAP},
            "poor",
            "the latent carries no information.",
        ),
        ("test.kl_loss_nats", 10.0, {MI: 0.5, **CAP}, "good", "the decoder uses the latent"),
        ("test.kl_loss_nats", 0.01, {MI: 0.0, **CAP}, "poor", "ignores the latent"),
        # The information of one image is always 0.
        ("test.kl_loss_nats", 10.0, {MI: 0.0, MI_CAP: 0.0}, "good", "uses the latent"),
        ("test.mean_squared_error", 0.01, {}, "none", "error of 10.0%"),
        (
            "test.nll_nats",
            98.1,
            {"test__neg_elbo_nats": 98.0, "test__nll_images": 100},
            "none",
            "Mean of 100 test images; the negative ELBO is of all.",
        ),
        (
            "test.nll_rounding_nats",
            -0.06,
            {"test__nll_standard_error_nats": 2.38},
            "none",
            "The bound's standard error is 2.38 nats.",
        ),
        ("test.nll_images", 100, {}, "none", "Of 300."),
        ("test.nll_images", 300, {}, "none", "All test images."),
        ("test.psnr_db", 20.0, {}, "none", "error of 10.0% of the range."),
        (
            "test.psnr_db",
            20.0,
            {"test__psnr_db_mean_image": 14.0},
            "good",
            "6.0 dB above the mean training image: the latent says what is in the image.",
        ),
        (
            "test.psnr_db",
            12.0,
            {"test__psnr_db_mean_image": 12.5},
            "poor",
            "0.5 dB below the mean training image: a decoder that ignores its latent does as well.",
        ),
        ("test.ssim", 0.6, {}, "fair", "Edges and textures are partly lost"),
        ("test.nll_importance_samples", 100, {}, "none", "Published results use 5,000."),
        ("test.nll_importance_samples", 5000, {}, "none", "As many as in published results"),
        ("test.nll_change_on_doubling_nats", -0.05, {K: 100}, "good", "K is large enough"),
        ("test.nll_change_on_doubling_nats", 0.02, {K: 100}, "good", "does not increase"),
        ("test.nll_change_on_doubling_nats", -0.3, {K: 100}, "fair", "increases by 0.3 nats"),
        (
            "test.nll_change_on_doubling_nats",
            -0.05,
            {K: 5000, ESS: 1.2},
            "fair",
            "when K doubles, which is weak evidence: K = 5,000 samples are worth 1.2.",
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
            "more samples are needed for a tight bound",
        ),
        (
            "test.nll_change_on_doubling_nats",
            -0.8,
            {K: 100},
            "fair",
            "The bound increases by 0.8 nats when K doubles: too few samples; use 5000.",
        ),
        (
            "test.nll_change_on_doubling_nats",
            -0.8,
            {K: 5000},
            "fair",
            "too few samples; use annealing",
        ),
        (
            "test.nll_effective_sample_size",
            3.0,
            {K: 100},
            "fair",
            "Worth 3 of 100 samples: the posterior fits poorly",
        ),
        ("test.nll_effective_sample_size", 30.0, {K: 100}, "good", "fits well"),
        ("test.nll_effective_sample_size", 1.0, {K: 1}, "none", "as there is one sample"),
        ("test.nll_effective_sample_size", 1.4, {K: 2}, "none", "too few to measure"),
        ("test.nll_effective_sample_size", 20.0, {K: 20}, "none", "too few to measure"),
        ("test.nll_effective_sample_size", 1.0, {K: 21}, "fair", "fits poorly"),
        ("annealing.gap_nats", 0.4, {}, "good", "0.4 nats apart: the annealing has converged"),
        ("annealing.gap_nats", -0.1, {}, "good", "The bounds agree: the annealing has converged"),
        ("annealing.gap_nats", 30.0, {}, "fair", "increase evaluate.annealing_temperatures"),
        ("annealing.gap_nats", -4.0, {}, "fair", "cross by 4 nats: noise"),
        ("annealing.importance_weighted_excess_nats", 12.0, {}, "fair", "At most 12 nats too high"),
        (
            "annealing.importance_weighted_excess_nats",
            -0.06,
            {},
            "good",
            "Equal to the lower bound within noise: the importance-weighted bound can be quoted.",
        ),
        (
            "annealing.importance_weighted_excess_nats",
            32.0,
            {"annealing__gap_nats": 30.0},
            "none",
            "Unknown, because the gap between the bounds is too large.",
        ),
        (
            "annealing.importance_weighted_excess_nats",
            12.0,
            {"annealing__gap_nats": 4.0},
            "fair",
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
            "Equal to the lower bound within noise",
        ),
        (
            "annealing.nll_nats",
            80.0,
            {"annealing__test_images": 16, "annealing__gap_nats": 0.5},
            "none",
            "Mean of 16 test images; the gap on sampled images is 0.5 nats",
        ),
        ("annealing.observation_variance", 0.0025, {}, "none", "A standard deviation of 5.0%"),
        ("latent.dimensions", 4, {}, "none", "16 pixel values per dimension"),
        ("latent.active_units", 4, {}, "good", "4 of 4 dimensions are active."),
        ("latent.active_units", 3, {}, "good", "3 of 4 dimensions are active."),
        ("latent.active_units", 0, {MI: 0.01, **CAP}, "poor", "the posterior has collapsed."),
        ("latent.active_units", 0, {"test__kl_loss_nats": 0.01}, "poor", "has collapsed."),
        (
            "latent.active_units",
            0,
            {"test__kl_loss_nats": 40.0, MI: 5.0, **CAP},
            "none",
            "0 of 4 dimensions are active, but latents may carry information on a small scale.",
        ),
        (
            "latent.mutual_information_nats",
            9.2,
            CAP,
            "fair",
            "9.2 of at most 9.21 nats: near the upper limit, so the KL of the aggregate posterior "
            "is an upper bound.",
        ),
        ("latent.mutual_information_nats", 5.0, CAP, "good", "clearly below the upper limit"),
        ("latent.mutual_information_nats", 0.01, CAP, "poor", "carries no information"),
        # The true value is 7.5 nats.
        ("latent.mutual_information_nats", 6.38, {MI_CAP: 7.6}, "fair", "near the upper limit"),
        ("latent.mutual_information_nats", 0.0, {MI_CAP: 0.693}, "poor", "carries no information"),
        ("latent.mutual_information_nats", 0.6, {MI_CAP: 0.693}, "fair", "near the upper limit"),
        ("latent.mutual_information_cap_nats", 9.2103, {}, "none", "of 10,000 images"),
        ("latent.marginal_kl_nats", 7.0, {}, "poor", "are not distributed like the prior."),
        (
            "latent.marginal_kl_nats",
            7.0,
            {"latent__mutual_information_nats": 9.0, **CAP},
            "none",
            "upper bound",
        ),
        ("latent.total_correlation_nats", 0.2, {}, "good", "nearly independent"),
        ("latent.dimension_wise_kl_nats", 0.8, {}, "fair", "0.2 nats per dimension"),
        ("latent.gaussian_total_correlation_nats", 4.0, {}, "poor", "are correlated"),
        ("latent.mmd_squared", -0.001, {}, "good", "hard to distinguish"),
        (
            "latent.ks_statistic_max",
            0.11,
            {},
            "good",
            "what 300 samples of the prior have",
        ),
        ("latent.ks_statistic_max", 0.3, {}, "poor", "differ by up to 30%"),
        ("latent.squared_norm_ks_statistic", 0.2, {}, "fair", "differ by up to 20%"),
        ("latent.aggregate_mean_norm", 0.2, {}, "good", "differ from 0 by 0.1"),
        ("latent.aggregate_stddev_min", 0.5, {}, "poor", "0.5; the prior's is 1"),
        ("latent.aggregate_stddev_max", 1.2, {}, "fair", "1.2; the prior's is 1"),
        ("latent.aggregate_stddev_min", 3.0, {}, "poor", "3; the prior's is 1"),
        ("latent.aggregate_stddev_max", 0.2, {}, "poor", "0.2; the prior's is 1"),
        ("latent.aggregate_stddev_min", 0.95, {}, "good", "0.95; the prior's is 1"),
        ("latent.aggregate_stddev_min", 0.0, {}, "poor", "0; the prior's is 1"),
        (
            "latent.linear_probe_accuracy",
            0.43,
            {},
            "poor",
            "43% accuracy; always predicting the most frequent class reaches 10%",
        ),
        ("latent.knn_accuracy", 0.1, {}, "poor", "10% accuracy"),
        ("latent.kmeans_adjusted_rand_index", 0.9, {}, "good", "match the classes"),
        ("latent.linear_interpolation_largest_step", 4.0, {}, "poor", "images change abruptly"),
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
            "can be predicted from the latents.",
        ),
        ("disentanglement.dci_informativeness", 0.9, {}, "none", "is unknown"),
        (
            "samples.classifier_frechet_distance",
            13.6,
            {"samples__classifier_frechet_distance_floor": 3.4},
            "fair",
            "4 times the value for training images, 3.4.",
        ),
        (
            "samples.pixels_frechet_distance",
            3.0,
            {"samples__pixels_frechet_distance_floor": 0.0},
            "none",
            "no value for training images",
        ),
        ("samples.pixels_frechet_distance", 3.0, {}, "none", "no value for training images"),
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
            "0.001 below the value for training images.",
        ),
        (
            "samples.pixels_recall",
            0.45,
            {"samples__pixels_recall_floor": 0.9},
            "poor",
            "50% of the value for training images",
        ),
        (
            "samples.pixels_recall",
            0.45,
            {"samples__pixels_recall_floor": 0.0},
            "none",
            "no value for train",
        ),
        (
            "samples.pixels_density",
            9.0,
            {"samples__pixels_density_floor": 1.0},
            "fair",
            "9 times the value for training images: samples concentrate",
        ),
        (
            "samples.pixels_density",
            1.2,
            {"samples__pixels_density_floor": 1.0},
            "good",
            "120% of the value",
        ),
        ("samples.classifier_test_accuracy", 0.95, {}, "good", "features are reliable"),
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
            "sharper, perhaps because of noise",
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
        ("samples.classes_drawn", 7, {}, "none", "is unknown"),
        (
            "samples.largest_class_share",
            0.6,
            {"samples__largest_class_share_real": 0.1},
            "poor",
            "6 times the share among test images: one class dominates",
        ),
        (
            "sampler.neg_elbo_gain_nats",
            5.44,
            {
                "latent__marginal_kl_nats": 9.316,
                "samples__classifier_frechet_distance": 28.0,
                "sampler__classifier_frechet_distance": 9.0,
            },
            "none",
            "The latents of images are not distributed like the prior, by at most 9.32 nats. The "
            "sampler has learned 5.44 nats of the difference, which is why its samples are better.",
        ),
        (
            "sampler.neg_elbo_gain_nats",
            5.44,
            {
                "samples__classifier_frechet_distance": 8.0,
                "sampler__classifier_frechet_distance": 9.0,
            },
            "none",
            "The sampler has learned 5.44 nats of the difference.",
        ),
        ("sampler.neg_elbo_gain_nats", -0.1, {}, "poor", "fits the latents worse than the prior"),
        (
            "sampler.nll_nats",
            -34.0,
            {"sampler__nll_gain_nats": 4.9, "sampler__likelihood_images": 200},
            "none",
            "On 200 test images, where it is −29.1 with the prior.",
        ),
        (
            "samples.nearest_training_distance",
            0.1,
            {"samples__nearest_training_distance_real": 0.2},
            "none",
            "0.5 times the distance of test images: closer than these",
        ),
        ("samples.data_copying_z", -5.0, {}, "fair", "possible copies, or blur"),
        ("samples.data_copying_z", -30.0, {}, "poor", "copies, or blur"),
        ("samples.data_copying_z", 0.5, {}, "good", "no sign of copying"),
        ("samples.data_copying_z", 12.0, {}, "fair", "unlike the data"),
    ],
)
def test_interpretations(name, value, others, rating, words):
    found = row(name, value, **others).interpretation
    assert words in found.text
    assert found.rating == rating


def test_without_a_standard_prior_latents_are_not_compared_with_n_0_1():
    flow = description(model=ModelSettings(latent_dim=4, prior="flow"))
    result = made_up(description=flow)
    for name in ("aggregate_mean_norm", "aggregate_stddev_min", "aggregate_stddev_max"):
        found = row(f"latent.{name}", 9.0, result).interpretation
        assert found.rating == "none"
        assert "not N(0, I)" in found.text
    for name in ("total_correlation_nats", "gaussian_total_correlation_nats"):
        found = row(f"latent.{name}", 12.0, result).interpretation
        assert (found.rating, "may depend on one another" in found.text) == ("none", True)
    capped = row("latent.total_correlation_nats", 12.0, result, **{MI: 9.0, MI_CAP: 9.21})
    assert "upper bound" in capped.interpretation.text


def test_latents_without_noise_are_not_rated_as_collapsed():
    points = made_up(description=description("wae", posterior="point"))
    for count, words in {0: "0 of 4", 3: "3 of 4"}.items():
        found = row("latent.active_units", count, points).interpretation
        assert found.rating == "none"
        assert found.text == (
            f"{words} dimensions are active. Latents have no noise, so the others may carry "
            "information too."
        )
    assert (
        row("latent.active_units", 4, points).interpretation.text == "4 of 4 dimensions are active."
    )


@pytest.mark.parametrize(
    ("likelihood", "dequantize", "bits", "words"),
    [
        (
            "gaussian",
            False,
            6.0,
            "pixels that are not dequantized: no code length.",
        ),
        ("continuous_bernoulli", False, 6.0, "no code length."),
        ("gaussian", True, 6.0, "25% fewer than the 8 bits without compression."),
        ("gaussian", True, 8.5, "Not fewer than the 8 bits without compression."),
        ("discretized_logistic", False, 6.0, "25% fewer than the 8 bits"),
    ],
)
def test_bits_are_a_code_length_only_of_probabilities(likelihood, dequantize, bits, words):
    model = ModelSettings(latent_dim=4, prior="standard_normal", likelihood=likelihood)
    chosen = description(model=model, settings={"data.dequantize": dequantize})
    found = row("test.bits_per_dim", bits, made_up(description=chosen)).interpretation
    assert found.rating == "none", "the glossary has no threshold"
    assert words in found.text


def test_chance_is_the_share_of_the_most_frequent_class_of_test_images():
    unequal = made_up(labels=np.array([0] * 90 + [1] * 10), info=info(class_names=("a", "b")))
    found = row("latent.knn_accuracy", 0.9, unequal).interpretation
    assert found.rating == "poor"
    assert found.text == "90% accuracy; always predicting the most frequent class reaches 90%."
    for labels in (None, np.zeros(5, np.int64)):
        assert (
            row("latent.knn_accuracy", 0.9, made_up(labels=labels)).interpretation.rating == "none"
        )


def test_classes_are_compared_with_those_of_as_many_test_images():
    real_shares = np.array([0.5] * 2 + [0.0] * 8)
    few = made_up(arrays={"class_shares_real": real_shares})
    found = row("samples.classes_drawn", 2, few).interpretation
    assert found.rating == "good"
    assert found.text == "2 of 10 classes; 2 among as many test images."
    all_real = made_up(arrays={"class_shares_real": np.full(10, 0.1)})
    assert row("samples.classes_drawn", 7, all_real).interpretation.rating == "poor"


def test_chance_counts_the_factors_that_were_measured():
    with_factors = made_up(info=info(factor_names=("a", "b", "c", "d")))
    text = row("disentanglement.factor_vae_score", 0.7, with_factors).interpretation.text
    assert text == "The factor is identified correctly 70% of the time; chance is 25%."
    measured = replace(with_factors, arrays={"factor_columns": np.array([0, 2])})
    text = row("disentanglement.factor_vae_score", 0.7, measured).interpretation.text
    assert text == "The factor is identified correctly 70% of the time; chance is 50%."


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
def test_a_value_is_rounded_to_its_standard_error(value, error, text):
    assert with_error(value, error) == text


def test_errors_and_references_are_in_the_row_of_their_value():
    found = row("test.nll_nats", 98.1, test__nll_standard_error_nats=0.2)
    assert found.value == "98.1 ± 0.2"
    assert found.references == []
    floor = row("samples.pixels_recall", 0.5, samples__pixels_recall_floor=0.9)
    assert (floor.title, floor.references) == ("Recall, pixels", ["training images 0.9"])
    real_ = row("samples.spectrum_slope", -2.0, samples__spectrum_slope_real=-2.3)
    assert real_.references == ["test images −2.3"]
    informativeness = row(
        "disentanglement.dci_informativeness",
        0.5,
        disentanglement__dci_informativeness_chance=0.125,
    )
    assert informativeness.references == ["chance 0.125"]
    slopes = {"samples.spectrum_slope": -3.0, "sampler.spectrum_slope": -2.5}
    measured = made_up(slopes, {"samples.spectrum_slope_real": -2.3})
    (sampled,) = rows(measured, [SPECS["samples.spectrum_slope"]])
    assert (sampled.name, sampled.value) == ("sampler.spectrum_slope", "−2.5")
    assert sampled.references == ["prior −3", "test images −2.3"]


def test_all_feature_spaces_of_a_metric_have_one_description():
    numbers = {f"samples.{space}_recall": 0.5 for space in ("pixels", "pca", "classifier")}
    metrics = [SPECS["samples.count"], SPECS["samples.pixels_recall"]]
    found = rows(made_up(numbers, {"samples.count": 9}), metrics)
    assert [each.rowspan for each in found] == [1, 3, 0, 0]
    assert [each.name for each in found][1:] == [
        "samples.classifier_recall",
        "samples.pixels_recall",
        "samples.pca_recall",
    ]


def test_the_summary_has_each_metric_in_one_feature_space():
    numbers = {f"samples.{space}_frechet_distance": 1.0 for space in ("pixels", "pca")}
    found = summary(made_up(numbers, {"test.nll_nats": 1.0}))
    assert [each.name for each in found] == ["test.nll_nats", "samples.pca_frechet_distance"]


def test_bounds_of_a_model_that_sees_labels_are_given_the_label():
    model = ModelSettings(prior="flow", conditional="labels")
    seeing = description(class_names=tuple("0123456789"), model=model)
    conditional = made_up(description=seeing)
    found = row("test.nll_nats", 90.0, conditional, test__neg_elbo_nats=92.0).interpretation.text
    assert found == "2 nats below the negative ELBO. Of p(x|y), given the image's label y."
    assert "p(x|y)" not in row("test.nll_nats", 90.0, test__neg_elbo_nats=92.0).interpretation.text
    classes = row("latent.knn_accuracy", 0.12, conditional).interpretation
    assert classes.rating == "none"
    assert classes.text.endswith("The model sees the label, so a latent need not contain it.")
    assert row("latent.knn_accuracy", 0.12).interpretation.rating == "poor"
    facts = dict(model_summary(conditional))
    assert facts["Labels"] == "seen by encoder, prior and decoder: likelihoods are of p(x|y)"
    assert "Labels" not in dict(model_summary(made_up()))
