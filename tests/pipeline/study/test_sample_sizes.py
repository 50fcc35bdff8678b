"""Warnings of small effective sample sizes."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from pipeline.study.final_trainings import decide
from pipeline.study.finalists import METRICS
from pipeline.study.report import console_summary, render_report
from pipeline.study.sample_sizes import NLL_WARNING, notes_of, warnings_of
from pipeline.study.summary import StudySummary
from vaelab.config import parse_settings


def summary_of(sizes: list[float | None], **tune: Any) -> StudySummary:
    """A study whose complete trials have these effective sample sizes."""
    settings = parse_settings({"tune": {"seeds": 0, **tune}})
    study = optuna.create_study()
    for size in sizes:
        metrics: dict[str, float] = {"closed_form_kl_weight": 1.0, "epochs": 3}
        metrics |= {} if size is None else {"nll_effective_sample_size": size}
        study.add_trial(create_trial(value=1.0, user_attrs={METRICS: metrics}))
    study.add_trial(create_trial(state=TrialState.PRUNED, value=9.0))
    decision = decide(study, None, settings.tune)
    return StudySummary(study, settings, "validation negative ELBO", ["x"], 40, decision, None)


@pytest.mark.parametrize(
    ("sizes", "samples", "expected"),
    [
        ([5.0, 60.0], 100, None),
        ([4.9, 60.0], 100, "below 5 % of K = 100 in 1 of 2 complete trials, 4.9 in the worst"),
        ([1.5, 1.2, 9.0], 100, "below 5 % of K = 100 in 2 of 3 complete trials, 1.2 in the worst"),
        ([1.5, 1.2], 20, None),
        ([1.0], 1, None),
        ([None, None], 100, None),
        ([None, 2.0], 100, "in 1 of 1 complete trials, 2.0 in the worst"),
    ],
)
def test_sizes_below_a_twentieth_of_k_are_warned_of(
    sizes: list[float | None], samples: int, expected: str | None
) -> None:
    summary = summary_of(sizes, importance_samples=samples, objective="nll")
    first, *warnings = warnings_of(summary)
    assert first == NLL_WARNING
    assert len(warnings) == (expected is not None)
    for text in warnings:
        assert expected is not None
        assert expected in text
        assert "cannot compare KL weights" in text
        assert f"**Warning**: {text}." in render_report(summary, [])
        assert f"warning: {text}" in console_summary(summary).splitlines()


def test_a_study_by_another_objective_has_a_note_and_no_warning() -> None:
    summary = summary_of([4.9, 60.0], importance_samples=100)
    assert list(warnings_of(summary)) == []
    (note,) = notes_of(summary)
    assert note.startswith("the effective sample size is below 5 % of K = 100 in 1 of 2")
    assert note.endswith(
        "less so for wide posteriors. The trials are compared by validation negative ELBO, which "
        "needs no such samples"
    )
    assert f"**Note**: {note}." in render_report(summary, []).split("\n\n")
    assert "sample size" not in console_summary(summary)


def test_a_study_by_nll_says_what_that_favors() -> None:
    summary = summary_of([50.0], objective="nll")
    assert list(warnings_of(summary)) == [NLL_WARNING]
    assert f"**Warning**: {NLL_WARNING}." in render_report(summary, [])
    assert "favors wide posteriors, such as those of large KL weights" in NLL_WARNING


def test_the_table_of_finalists_has_the_sizes() -> None:
    report = render_report(summary_of([1.5], importance_samples=100), [])
    rows = [line for line in report.splitlines() if line.startswith("|")]
    assert rows[0].endswith("| effective sample size (K = 100) |")
    assert rows[2].endswith("| 1.5 |")


@pytest.mark.parametrize(
    ("untried", "expected"),
    [
        ((), "**No smaller latent size is as good**."),
        (
            (7, 8),
            "**No smaller latent size is known to be as good**. Of the sizes 7 to 8 nothing is "
            "known: larger values of tune.smaller_sizes try them.",
        ),
    ],
)
def test_sizes_that_were_not_tried_are_not_called_worse(
    untried: tuple[int, ...], expected: str
) -> None:
    summary = summary_of([50.0])
    best = summary.decision.finalists[0]
    decision = replace(summary.decision, smallest=best, untried=untried)
    assert expected in render_report(replace(summary, decision=decision), []).split("\n\n")
