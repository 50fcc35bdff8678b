"""The figures of a report, their sections and their alternative texts."""

import numpy as np
import pytest

from tests.report.factories import description, info, made_up, real
from vaelab.config import ModelSettings
from vaelab.report import EvaluationResult
from vaelab.report.figures import ReportFigure, report_figures
from vaelab.report.sections import SECTIONS

BOUND = {
    "test.nll_nats": -5.0,
    "test.neg_elbo_nats": -3.0,
    "test.nll_change_on_doubling_nats": -0.5,
    "test.nll_importance_samples": 100,
}
SIMULATED = {
    "annealing.simulated_images": 16,
    "annealing.simulated_nll_upper_nats": 2.5,
    "annealing.simulated_nll_lower_nats": 2.25,
}
TERMS = {
    "latent.mutual_information_nats": 3.0,
    "latent.mutual_information_cap_nats": 9.0,
    "latent.marginal_kl_nats": 2.0,
}
TABLE = {
    "aggregate_mean": np.array([0.0, 0.25]),
    "aggregate_stddev": np.array([1.0, 0.5]),
    "mean_variance": np.array([0.75, 0.001]),
    "kl_nats": np.array([2.0, 0.125]),
    "active": np.array([True, False]),
}


def figures(result: EvaluationResult) -> dict[str, ReportFigure]:
    return {figure.name: figure for figure in report_figures(result)}


def test_the_ladder_has_the_bounds_with_half_the_samples_and_with_all():
    found = figures(made_up(BOUND, SIMULATED))["ladder"]
    assert found.section == "bound"
    assert found.alternative == (
        "300 test images: negative ELBO −3, NLL, K = 50 −4.5, NLL, K = 100 −5; "
        "16 images sampled from the model: annealed, upper 2.5, annealed, lower 2.25."
    )
    assert "ladder" not in figures(made_up({"test.nll_nats": -5.0, "test.neg_elbo_nats": -5.0}))


def test_the_ladder_has_no_bounds_of_different_images():
    found = figures(made_up(BOUND, SIMULATED, {"test.nll_images": 100}))["ladder"]
    assert found.alternative.startswith("16 images sampled from the model: annealed, upper 2.5")


def test_the_kl_loss_is_decomposed_into_the_measured_terms():
    split = {"latent.total_correlation_nats": 1.5, "latent.dimension_wise_kl_nats": 0.5}
    three = figures(made_up(TERMS, split, {"test.kl_loss_nats": 5.25}))["rate"]
    assert three.alternative == (
        "mutual information 3 nats, total correlation 1.5 nats, dimension-wise KL 0.5 nats."
    )
    assert "5.25 nats" in three.figure.get_suptitle()
    # Without a standard prior, and without a bound.
    correlation = {"latent.total_correlation_nats": 1.5}
    two = figures(made_up(TERMS, correlation))["rate"]
    assert two.alternative == "mutual information 3 nats, KL of the aggregate posterior 2 nats."
    assert "5 nats" in two.figure.get_suptitle()


def test_dimensions_are_drawn_from_their_table():
    found = figures(made_up(dimensions=TABLE))
    assert {name: figure.section for name, figure in found.items()} == {
        "moments": "latent",
        "collapse": "collapse",
        "variances": "collapse",
    }
    assert "standard deviations between 0.5 and 1." in found["moments"].alternative
    assert found["collapse"].alternative == "From 2 nats down to 0.12; not active: 1."
    assert "1 of 2 above 0.01." in found["variances"].alternative
    flow = description(model=ModelSettings(latent_dim=2, prior="flow"))
    assert "moments" not in figures(made_up(dimensions=TABLE, description=flow))


def test_the_scatter_plot_has_the_latent_means():
    means = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], np.float32)
    found = figures(made_up(means=means, labels=np.array([0, 1, 1])))["scatter"]
    assert found.alternative == (
        "Scatter plot of 3 latent means of 2 classes: their means are 1.5 apart."
    )
    assert "scatter" not in figures(made_up(means=means[:1]))


def test_the_alternative_text_of_a_scatter_plot():
    means = np.array([[0.0, 0.0], [0.2, 0.0], [1.0, 0.5], [9.0, -4.0]], np.float32)
    labels, names = np.array([0, 0, 1, 2]), info(class_names=("cat", "dog", "owl"))
    named = figures(made_up(means=means, labels=labels, info=names))["scatter"]
    assert named.alternative == (
        "Scatter plot of 4 latent means of 3 classes: the means of cat and dog are closest, those "
        "of cat and owl farthest apart."
    )
    for none in (None, np.zeros(4, np.int64)):
        plain = figures(made_up(means=means, labels=none, info=info(class_names=None)))["scatter"]
        assert plain.alternative == (
            "Scatter plot of 4 latent means; their largest variance is in z0, from 0 to 9."
        )


def test_samples_of_the_sampler_are_above_those_of_the_prior():
    black, white = np.zeros((2, 1, 4, 4), np.uint8), np.full((2, 1, 4, 4), 255, np.uint8)
    both = {"samples_shown": white, "sampler_samples_shown": black}
    drawn = figures(made_up(arrays=both))
    assert drawn["samples"].alternative == (
        "Samples of the fitted sampler, and below them samples of the prior."
    )
    (axes,) = drawn["samples"].figure.axes
    canvas = np.asarray(axes.get_images()[0].get_array())
    assert (canvas[0, 0] == 0).all()
    assert (canvas[-1, -1] == 255).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sampler", "prior"]
    alone = figures(made_up(arrays={"samples_shown": white}))["samples"]
    assert alone.alternative == "Samples of the prior."


def test_random_binarization_is_mentioned_in_the_caption():
    shown = {name: np.zeros((2, 1, 4, 4), np.uint8) for name in ("samples_shown", "nearest_shown")}
    fresh = made_up(arrays=shown, info=info(binarization="fresh"))
    assert "at random from the gray image that is shown." in figures(fresh)["nearest"].caption
    assert figures(made_up(arrays=shown))["nearest"].caption.endswith(
        "Distances are between pixels."
    )


def test_the_worst_reconstructions_are_named_with_their_scores():
    shown = np.zeros((3, 1, 8, 8), np.uint8)
    arrays = {"worst_shown": shown / np.float32(255), "worst_reconstructions_shown": shown}
    arrays["worst_psnr_db"] = np.array([9.04, 11.0, 12.5])
    found = figures(made_up(arrays=arrays, worst_names=("a.png", "b/c.png", "d.png")))
    figure = found["worst_reconstructions"]
    assert "Line by line: a.png 9.0 dB, b/c.png 11.0 dB, d.png 12.5 dB." in figure.caption
    assert figure.alternative == "3 test images, each above its reconstruction, from 9.0 dB on."
    assert "worst_reconstructions" not in figures(made_up())


def test_the_files_of_the_nearest_images_are_named():
    shown = {name: np.zeros((2, 1, 4, 4), np.uint8) for name in ("samples_shown", "nearest_shown")}
    found = made_up(arrays={**shown, "nearest_rows": np.array([2, 0])}, train_names=list("abc"))
    assert figures(found)["nearest"].caption.endswith(
        " Files of the nearest images, line by line: c, a."
    )


def test_the_classes_with_the_largest_differences_are_named():
    shares, real_shares = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
    arrays = {"class_shares": shares, "class_shares_real": real_shares}
    named = made_up(info=info(class_names=("cat", "dog", "owl")), arrays=arrays)
    assert (
        figures(named)["classes"].alternative
        == "Most overrepresented: cat; most underrepresented: owl."
    )
    unnamed = made_up(info=info(class_names=None), arrays=arrays)
    assert (
        figures(unnamed)["classes"].alternative
        == "Most overrepresented: 0; most underrepresented: 2."
    )


def test_feature_spaces_with_reference_values_are_compared():
    numbers = {
        "samples.pixels_frechet_distance": 3.0,
        "samples.pixels_frechet_distance_floor": 1.5,
        "samples.pca_frechet_distance": 3.0,
        "samples.classifier_frechet_distance": 3.0,
        "samples.classifier_frechet_distance_floor": 0.0,
    }
    assert figures(made_up(numbers))["distances"].alternative == (
        "pixels: 2 times the value for training images."
    )
    shares = {
        f"samples.pca_{name}{suffix}": value
        for name, value in (("precision", 0.9), ("recall", 0.5), ("density", 1.1))
        for suffix in ("", "_floor")
    }
    assert "manifold" not in figures(made_up(shares)), "one of four is missing"
    complete = made_up(shares, {"samples.pca_coverage": 0.75, "samples.pca_coverage_floor": 1.0})
    assert figures(complete)["manifold"].alternative == (
        "principal components: precision 0.9, recall 0.5, density 1.1, coverage 0.75."
    )


def test_effective_sample_sizes_of_one_sample_are_not_drawn():
    arrays = {"effective_sample_size": np.ones(9)}
    assert figures(made_up({"test.nll_importance_samples": 1}, arrays=arrays)) == {}
    found = figures(made_up({"test.nll_importance_samples": 4}, arrays=arrays))
    assert found["effective_samples"].alternative == (
        "Histogram: between 1 and 1 of 4 samples, 1 on average."
    )


@pytest.mark.parametrize("name", ["vae", "gan", "vq_vae"])
def test_every_figure_has_a_name_a_section_and_texts(name):
    found = list(report_figures(real(name)))
    names = [figure.name for figure in found]
    assert len(set(names)) == len(names) > 3
    for figure in found:
        assert figure.section in {"pictures", *(section.name for section in SECTIONS)}
        for text in (figure.alternative, figure.caption):
            assert text.endswith(".")
            assert "nan" not in text
