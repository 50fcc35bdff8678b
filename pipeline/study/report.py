"""The report of a study, in Markdown, and its summary on the console."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from optuna.trial import TrialState

from pipeline.study.figures import WEIGHT, parameter_importances
from pipeline.study.finalists import METRICS, Finalist, value_of
from pipeline.study.pareto import hypervolume
from pipeline.study.scorer import ON_TEST
from pipeline.study.search_space import few_points
from pipeline.study.summary import StudySummary, epochs_spent
from pipeline.study.trial_states import finished_trials
from vaelab.config.tune import Choices

CAPTIONS = {
    "history": "The value of each trial, and the best value so far.",
    "weight": "The value over the KL weight, with the weight in closed form. The best single trial "
    "is marked; another one may be best over the finalists' new seeds.",
    "contour": "The value over two settings.",
    "slice": "The value over each setting.",
    "parallel_coordinates": "Each complete trial as a line through its settings and its value.",
    "importance": "The share of the value's variance that each setting explains (functional "
    "ANOVA).",
    "rate_distortion": "KL loss against generation loss. The ELBO is constant along each dotted "
    "line.",
    "samples_along_the_front": "The same samples from the prior, decoded by models along the "
    "Pareto front: the effect of the KL weight on the images.",
}


def render_report(summary: StudySummary, figures: Sequence[str]) -> str:
    """Return the report, in Markdown."""
    parts = [
        f"# Study {summary.study.study_name}",
        *_answer(summary),
        "## Finalists",
        *_finalists(summary),
        "## Trials",
        *_trials(summary),
        *(
            f"## {name.replace('_', ' ').capitalize()}\n\n{CAPTIONS[name]}\n\n![{name}]({name}.png)"
            for name in figures
        ),
    ]
    return "\n\n".join(parts) + "\n"


def console_summary(summary: StudySummary) -> str:
    """Return the best settings in a few lines, and what to do next."""
    lines = [f"best: {finalist_line(summary, summary.best)}"]
    small = summary.smallest
    if small and small is not summary.best:
        lines.append(f"smallest within one standard error: {finalist_line(summary, small)}")
    lines += [
        f"{name} is at an end of its range in tune.search_space; try a wider range"
        for name in settings_at_range_ends(summary)
    ]
    lines.append(
        "the full report is results/tune/report.md; `make tune APPLY=1` writes the best settings "
        "into params.yaml"
    )
    return "\n".join(lines)


def finalist_line(summary: StudySummary, finalist: Finalist) -> str:
    """Return a finalist's settings and its value in one line."""
    shown = ", ".join(f"{k} {_number(v)}" for k, v in summary.settings_of(finalist.trial).items())
    return f"{shown}: {format_with_error(finalist.mean, finalist.error)} ({summary.label})"


def format_with_error(value: float, error: float | None) -> str:
    """Return a value with its standard error, if there is one."""
    return f"{value:.5g}" if error is None else f"{value:.5g} ± {error:.2g}"


def settings_at_range_ends(summary: StudySummary) -> list[str]:
    """Return the winner's settings that are in the outer 5 % of their ranges, at either end."""
    found = []
    for name, entry in summary.settings.tune.search_space.items():
        value = summary.settings_of(summary.best.trial).get(name)
        if not isinstance(entry, Choices) and value is not None:
            scale = math.log if entry.log else float
            low, here, high = scale(entry.low), scale(value), scale(entry.high)
            if not 0.05 < (here - low) / (high - low) < 0.95:
                found.append(name)
    return found


def _answer(summary: StudySummary) -> Iterator[str]:
    yield f"**Best**: {finalist_line(summary, summary.best)}."
    small = summary.smallest
    if small and small is not summary.best:
        yield (
            "**Smallest latent size within one standard error of it**: "
            f"{finalist_line(summary, small)}. "
            "Latent dimensions that are not needed become inactive, so larger sizes give similar "
            "values. `python -m pipeline.tune --apply smallest` writes these settings into "
            "params.yaml."
        )
    for name in settings_at_range_ends(summary):
        yield (
            f"**{name} is at an end of its range** in tune.search_space: a wider range may "
            "contain better values."
        )
    if summary.test:
        nats = {name: value for name, value in summary.test.items() if name.endswith("_nats")}
        numbers = ", ".join(f"{ON_TEST}{name} {value:.5g}" for name, value in nats.items())
        samples = summary.settings.tune.final_importance_samples
        yield (
            f"**On the test split**, which no trial has read: {numbers} (NLL with K = {samples}; "
            "the variance of a Gaussian likelihood is fitted to the training split)."
        )
    if WEIGHT in summary.best.trial.params:
        yield _weight(summary)


def _weight(summary: StudySummary) -> str:
    measured = summary.best.trial.params[WEIGHT]
    metrics = summary.best.trial.user_attrs[METRICS]
    closed = metrics["closed_form_kl_weight"]
    reason = "the evidence lower bound has weight 1"
    model = summary.settings.model
    if model.likelihood == "gaussian" and model.gaussian_variance != "fitted":
        reason = (
            "a weight w with a Gaussian likelihood of fixed variance s² is equivalent to the "
            "variance w s², whose optimum is the mean squared error, "
            f"{metrics['train_mean_squared_error']:.4g}"
        )
    return (
        f"**KL weight**: {measured:.4g} measured, {closed:.4g} in closed form ({reason}): "
        f"a factor of {measured / closed:.2f}."
    )


def _finalists(summary: StudySummary) -> Iterator[str]:
    searched = list(summary.settings.tune.search_space)
    head = [
        "trial",
        *searched,
        "value in the search",
        "mean of new seeds",
        "seeds",
        "difference to the best",
    ]
    rows = [
        [
            entry.trial.number,
            *(summary.settings_of(entry.trial).get(name) for name in searched),
            value_of(entry.trial),
            format_with_error(entry.mean, entry.error) if entry.values else "",
            len(entry.values),
            format_with_error(entry.difference, entry.difference_error) if entry.values else "",
        ]
        for entry in summary.finalists
    ]
    yield _table(head, rows)
    if any(entry.values for entry in summary.finalists):
        yield (
            f"{summary.label}. Errors are standard errors: of a mean, over seeds; of a difference, "
            "over seeds and over images, compared in pairs. The value in the search selected the "
            "finalists and is therefore biased; it is not part of the mean."
        )
    else:
        yield f"{summary.label}. No finalist was trained again, so there are no standard errors."


def _trials(summary: StudySummary) -> Iterator[str]:
    trials = finished_trials(summary.study)
    states = [trial.state for trial in trials]
    spent, unpruned = epochs_spent(summary)
    seconds = sum(trial.duration.total_seconds() for trial in trials if trial.duration)
    yield (
        f"{len(trials)} of {summary.total}: {states.count(TrialState.COMPLETE)} complete, "
        f"{states.count(TrialState.PRUNED)} pruned, {states.count(TrialState.FAIL)} failed. "
        f"They were trained for {spent} epochs, of {unpruned} without pruning, in "
        f"{seconds / 60:.1f} minutes in total."
    )
    if few := few_points(summary.settings.tune):
        yield f"{few[0].upper()}{few[1:]}."
    if len(summary.study.directions) > 1:
        yield _front(summary)
    shares = parameter_importances(summary)
    if shares:
        yield "Importance: " + ", ".join(f"{k} {v:.2f}" for k, v in shares.items()) + "."


def _front(summary: StudySummary) -> str:
    points = np.array([trial.values for trial in summary.completed()])
    corner = points.max(0)
    return (
        f"Hypervolume of the Pareto front: {hypervolume(points, corner):.4g} nats², with the worst "
        f"values as the reference point (KL loss {corner[0]:.4g}, generation loss {corner[1]:.4g} "
        "nats)."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *[[_number(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(list(value) if isinstance(value, tuple) else value)
