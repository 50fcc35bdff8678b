"""What a study says of its finalists."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.study.final_trainings import decide
from pipeline.study.finalists import METRICS
from pipeline.study.finalists_report import present_settings
from pipeline.study.report import console_summary, first_line, render_report
from pipeline.study.search_space import distributions
from pipeline.study.summary import StudySummary
from pipeline.study.trial_states import FAILURE
from vaelab.config import parse_settings

# A study has the numbers that `auto` is for its images.
SETTINGS = parse_settings({"model": {"latent_dim": 20}, "tune": {"seeds": 0}})
OWN = "the settings of params.yaml (trial 0)"


def trial(latent_dim: int, **options: Any) -> FrozenTrial:
    """A trial at the KL weight of the settings."""
    return create_trial(
        params={"model.latent_dim": latent_dim, "train.kl_weight": 1.0},
        distributions=distributions(SETTINGS.tune),
        user_attrs={METRICS: {"closed_form_kl_weight": 1.0, "epochs": 3}}
        | options.pop("attrs", {}),
        **options,
    )


def summary_of(*trials: FrozenTrial) -> StudySummary:
    study = optuna.create_study()
    study.add_trials(trials)
    decision = decide(study, None, SETTINGS.tune)
    return StudySummary(study, SETTINGS, "negative ELBO", ["x"], 40, decision, None)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            {"value": 5.25},
            f"{OWN} had 5.25 in the search and the best ones 3, with one seed each",
        ),
        ({"value": 2.5}, f"{OWN} are the best of those that were tried"),
        (
            {"state": TrialState.PRUNED, "intermediate_values": {1: 9.0, 2: 8.0}},
            f"{OWN} were stopped after epoch 2, as worse than other trials",
        ),
        ({"state": TrialState.FAIL, "attrs": {FAILURE: "no memory"}}, f"{OWN} failed"),
    ],
)
def test_the_settings_that_were_there_are_compared_with_the_best(
    own: dict[str, Any], expected: str
) -> None:
    summary = summary_of(trial(20, **own), trial(8, value=3.0))
    assert list(present_settings(summary)) == [expected]
    assert ", apart from the settings of params.yaml" in first_line(summary)
    assert expected in console_summary(summary).splitlines()
    assert f"T{expected[1:]}." in render_report(summary, []).split("\n\n")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (1.0, ": with other seeds the best ones are 2.25 better"),
        (1.2, ": it is not shown that the best ones are better"),
    ],
)
def test_the_best_are_better_if_their_other_seeds_show_it(error: float, verdict: str) -> None:
    summary = summary_of(trial(20, value=5.25), trial(8, value=2.0))
    best = replace(summary.best, mean=3.0, error=error)
    summary = replace(summary, decision=replace(summary.decision, finalists=[best]))
    (sentence,) = present_settings(summary)
    assert sentence.endswith(f" and the best ones 2, with one seed each{verdict}")


def test_nothing_is_said_of_settings_that_were_not_tried() -> None:
    assert list(present_settings(summary_of(trial(8, value=3.0)))) == []
