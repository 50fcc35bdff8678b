"""The hypotheses tested on numbers with known results."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from pipeline.comparison.hypotheses import (
    HYPOTHESES,
    Hypothesis,
    Value,
    describe,
    holm,
    hypothesis_results,
    paired_t_test,
)
from pipeline.comparison.variants import ComparisonConfig
from tests import ROOT
from vaelab.estimators.statistics import mean_and_standard_error

HYPOTHESIS = Hypothesis("a is lower than b", Value("a", "group.metric"), Value("b", "group.metric"))


def test_the_standard_error_is_that_of_the_mean() -> None:
    values = [1.0, 4.0, 2.5, 3.0]
    mean, error = mean_and_standard_error(values)
    assert mean == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.std(values, ddof=1) / 2)
    assert mean_and_standard_error([2.0]) == (2.0, None)


@pytest.mark.parametrize(
    ("lower", "higher", "word"),
    [
        ([1.0, 2.1, 2.9], [2.0, 3.0, 4.0], "confirmed"),
        ([2.0, 3.0, 4.0], [1.0, 2.1, 2.9], "refuted"),
        ([1.0, 2.0, 3.0], [1.5, 1.5, 4.0], "not decided"),
        # Differences 1 and 2: 1.5 +- 0.5, which of two seeds is no evidence (t = 3 < 12.7).
        ([1.0, 1.0], [2.0, 3.0], "not decided"),
        ([1.0], [9.0], "not decided by one seed"),
    ],
)
def test_a_difference_decides_by_students_t_over_pairs_of_seeds(
    lower: list[float], higher: list[float], word: str
) -> None:
    tested = paired_t_test(HYPOTHESIS, lower, higher)
    printed = describe(tested, *holm([tested.p_value]))
    assert word in printed
    assert printed.lower().startswith("a is lower than b")


def test_the_p_value_is_that_of_the_paired_t_test() -> None:
    lower, higher = [1.0, 2.1, 2.9, 4.0], [1.5, 3.0, 2.8, 5.1]
    assert paired_t_test(HYPOTHESIS, lower, higher).p_value == pytest.approx(
        ttest_rel(lower, higher).pvalue
    )


def test_the_difference_and_its_error_are_reported() -> None:
    # Differences 1.9 and 2.1: of two values the standard error is half their distance.
    tested = paired_t_test(HYPOTHESIS, [0.9, 1.1], [2.8, 3.2])
    assert "(metric 1 against 3, difference +2 ± 0.1, p = 0.032)" in describe(tested, True)


def test_distances_are_compared_as_ratios() -> None:
    name = "samples.classifier_frechet_distance"
    hypothesis = Hypothesis("a is lower", Value("a", name), Value("b", name))
    tested = paired_t_test(hypothesis, [2.0, 20.0], [4.0, 40.0])
    difference, error = tested.difference
    assert difference == pytest.approx(math.log(2))
    assert error == pytest.approx(0, abs=1e-12)


def test_holms_correction() -> None:
    # Thresholds 0.05 / 4, / 3, / 2, / 1 in order of the p values; 0.03 > 0.05 / 2 ends it, and the
    # larger one, which alone would be rejected, is kept.
    assert holm([0.03, 0.001, None, 0.04, 0.016]) == [False, True, False, False, True]
    assert holm([0.04]) == [True]
    assert holm([]) == []


def test_a_test_among_many_needs_a_smaller_p_value() -> None:
    assert holm([0.04, 0.9]) == [False, False]


def test_a_hypothesis_needs_both_variants() -> None:
    hypothesis = HYPOTHESES[0]
    lower, higher = hypothesis.lower, hypothesis.higher
    assert not list(hypothesis_results({lower.variant: {lower.metric: [1.0, 2.0]}}))
    both = {lower.variant: {lower.metric: [1.0, 2.0]}, higher.variant: {higher.metric: [5.0, 6.1]}}
    (line,) = hypothesis_results(both)
    assert hypothesis.text[1:] in line


def test_hypotheses_are_about_variants_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    comparison = ComparisonConfig.load().comparison
    for value in (v for h in HYPOTHESES for v in (h.lower, h.higher)):
        assert value.variant in comparison.variants
        group = value.metric.rpartition(".")[0]
        sampled = {"samples", *(f"sampler.{name}" for name in comparison.samplers)}
        assert group in {"test", "likelihood", "reconstructions"} | sampled


def test_variants_without_a_likelihood_are_named() -> None:
    lines = list(hypothesis_results({"vae": {"test.neg_elbo_nats": [1.0, 2.0]}, "gan": {}}))
    (line,) = lines
    assert line.startswith("- Only vae have a bound on their likelihood. gan have none")
