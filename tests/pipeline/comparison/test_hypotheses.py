"""The hypotheses tested on numbers with known results."""

import numpy as np
import pytest

from pipeline.comparison.hypotheses import (
    HYPOTHESES,
    Hypothesis,
    hypothesis_result,
    hypothesis_results,
)
from vaelab.estimators.statistics import mean_and_standard_error

HYPOTHESIS = Hypothesis("a is lower than b", "group.metric", "a", "b")


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
    printed = hypothesis_result(HYPOTHESIS, lower, higher)
    assert word in printed
    assert printed.lower().startswith("a is lower than b")


def test_the_difference_and_its_error_are_reported() -> None:
    # Differences 1.9 and 2.1: of two values the standard error is half their distance.
    printed = hypothesis_result(HYPOTHESIS, [0.9, 1.1], [2.8, 3.2])
    assert "1 against 3, difference +2 ± 0.1)" in printed


def test_a_hypothesis_needs_both_variants() -> None:
    hypothesis = HYPOTHESES[0]
    assert not list(hypothesis_results({hypothesis.lower: {hypothesis.metric: [1.0, 2.0]}}))
    both = {
        hypothesis.lower: {hypothesis.metric: [1.0, 2.0]},
        hypothesis.higher: {hypothesis.metric: [5.0, 6.0]},
    }
    (line,) = hypothesis_results(both)
    assert hypothesis.text[1:] in line


def test_variants_without_a_likelihood_are_named() -> None:
    lines = list(hypothesis_results({"vae": {"test.nll_nats": [1.0, 2.0]}, "gan": {}}))
    (line,) = lines
    assert line.startswith("- Only vae have a bound on their likelihood. gan have none")
