"""What the report of a study says, and does not say, of few and of many trials."""

from typing import Any, Literal

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from pipeline.study.figures import parameter_importances
from pipeline.study.final_trainings import Decision
from pipeline.study.finalists import METRICS, Finalist
from pipeline.study.report import console_summary, first_line, render_report
from pipeline.study.summary import StudySummary
from vaelab.config import parse_settings

LATENT, WEIGHT = "model.latent_dim", "train.kl_weight"


def summary_of(
    count: int,
    direction: Literal["minimize", "maximize"] = "minimize",
    difference: float = 0.5,
    **tune: Any,
) -> StudySummary:
    """A study whose second trial is the smallest that is as good as the first."""
    study = optuna.create_study(direction=direction)
    for number in range(count):
        study.add_trial(
            create_trial(
                value=float(number),
                params={LATENT: 2 + number % 7, WEIGHT: 0.1 + 0.05 * number},
                distributions={
                    LATENT: IntDistribution(2, 64),
                    WEIGHT: FloatDistribution(0.01, 10),
                },
                user_attrs={METRICS: {"closed_form_kl_weight": 1.0, "epochs": 3}},
            )
        )
    metrics = {"closed_form_kl_weight": 1.0}
    best = Finalist(study.trials[0], [-4.0], -4.0589, 1.4321, metrics=metrics)
    small = Finalist(study.trials[1], [-4.2], -4.2111, 1.3, difference, 0.8123, metrics=metrics)
    settings = parse_settings({"tune": tune})
    decision = Decision([best], [], [small], smallest=small)
    return StudySummary(study, settings, "validation negative ELBO", ["x"], count, decision, None)


@pytest.mark.parametrize(
    ("count", "changes", "expected"),
    [
        (
            6,
            {},
            "Lower is better. 6 trials, all chosen at random (the sampler starts after "
            "tune.startup_trials = 10): too few to locate a best value (fewer than 20 complete).",
        ),
        (
            25,
            {},
            "Lower is better. 25 trials, the first 10 chosen at random (the sampler starts after "
            "tune.startup_trials = 10).",
        ),
        (
            25,
            {"direction": "maximize", "sampler": "random"},
            "Higher is better. 25 trials, all chosen at random (tune.sampler: random).",
        ),
        (25, {"sampler": "qmc"}, "Lower is better. 25 trials, chosen by tune.sampler: qmc."),
    ],
)
def test_the_first_line_says_what_the_trials_can_carry(
    count: int, changes: dict[str, Any], expected: str
) -> None:
    summary = summary_of(count, **changes)
    assert first_line(summary) == expected
    assert render_report(summary, []).split("\n\n")[:2] == [
        f"# Search for {LATENT} and {WEIGHT} on digits",
        expected,
    ]
    assert console_summary(summary).splitlines()[0] == expected


def test_weight_and_importance_are_of_twenty_trials_and_more() -> None:
    few, many = summary_of(19), summary_of(20)
    assert parameter_importances(few) == {}
    assert set(parameter_importances(many)) == {LATENT, WEIGHT}
    assert "measured, 1 in closed form" in render_report(many, [])
    assert "Importance: " in render_report(many, [])
    assert "**KL weight**: 1 in closed form (" in render_report(few, [])
    assert "a factor of" not in render_report(few, [])


def test_a_smaller_model_with_the_better_mean_is_called_that() -> None:
    worse, better = summary_of(6), summary_of(6, difference=-0.1522)
    assert "**Smallest latent size that is as good, less than two" in render_report(worse, [])
    assert "\nsmallest latent size that is as good: " in console_summary(worse)
    report = render_report(better, [])
    assert "**Not worse, and smaller: with fewer latents the mean is even better**: " in report
    assert "\nnot worse, and smaller: " in console_summary(better)
    higher = summary_of(6, direction="maximize", difference=0.2)
    assert "Not worse, and smaller" in render_report(higher, [])


def test_values_have_the_digits_of_their_errors() -> None:
    report = render_report(summary_of(6), [])
    assert "−4.1 ± 1.4 (validation negative ELBO)" in report
    assert "difference 0.50 ± 0.81. " in report
    assert "4.0589" not in report
