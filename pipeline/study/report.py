"""A study's outcome in words."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from optuna.trial import TrialState

from pipeline.study.figures import WEIGHT, importances
from pipeline.study.finalists import METRICS, Finalist, value_of
from pipeline.study.pareto import hypervolume
from pipeline.study.summary import StudySummary, epochs_spent
from pipeline.study.trial_queue import finished_trials
from vaelab.config.tune import Choices

CAPTIONS = {
    "history": "Every trial in its order, and the best so far.",
    "weight": "The KL weight of the best single trial, beside the closed form's; the finalists' "
    "new seeds may have chosen another.",
    "contour": "The measure over two settings.",
    "slice": "The measure over each setting alone.",
    "parallel_coordinates": "Each trial as a line through its settings.",
    "importance": "How much of the measure's variance each setting explains (functional ANOVA).",
    "rate_distortion": "KL loss against generation loss. Along a dotted line the ELBO is the same.",
    "samples_along_the_front": "The same draws from the prior, decoded by models along the front: "
    "what a weight does to the images.",
}


def text(outcome: StudySummary, figures: Sequence[str]) -> str:
    """Write the report, in Markdown."""
    parts = [
        f"# Study {outcome.study.study_name}",
        *_answer(outcome),
        "## Finalists",
        *_finalists(outcome),
        "## Trials",
        *_trials(outcome),
        *(
            f"## {name.replace('_', ' ').capitalize()}\n\n{CAPTIONS[name]}\n\n![{name}]({name}.png)"
            for name in figures
        ),
    ]
    return "\n\n".join(parts) + "\n"


def summary(outcome: StudySummary) -> str:
    """Say in a few lines what to do with it."""
    lines = [f"best: {named(outcome, outcome.best)}"]
    small = outcome.smallest
    if small and small is not outcome.best:
        lines.append(f"smallest within one standard error: {named(outcome, small)}")
    lines += [
        f"{name} lies at an end of its range; a wider one may hold a better one"
        for name in edges(outcome)
    ]
    lines.append(
        "results/tune/report.md says more; `make tune APPLY=1` writes the best into params.yaml"
    )
    return "\n".join(lines)


def named(outcome: StudySummary, finalist: Finalist) -> str:
    """Name a finalist by its settings and its value."""
    shown = ", ".join(f"{k} {_number(v)}" for k, v in outcome.changes(finalist.trial).items())
    return f"{shown}: {with_error(finalist.mean, finalist.error)} ({outcome.label})"


def with_error(value: float, error: float | None) -> str:
    """Write a value with its standard error, where there is one."""
    return f"{value:.5g}" if error is None else f"{value:.5g} ± {error:.2g}"


def edges(outcome: StudySummary) -> list[str]:
    """Name the winner's settings that lie in the outer twentieth of their ranges."""
    found = []
    for name, entry in outcome.settings.tune.search_space.items():
        value = outcome.changes(outcome.best.trial).get(name)
        if not isinstance(entry, Choices) and value is not None:
            scale = math.log if entry.log else float
            low, here, high = scale(entry.low), scale(value), scale(entry.high)
            if not 0.05 < (here - low) / (high - low) < 0.95:
                found.append(name)
    return found


def _answer(outcome: StudySummary) -> Iterator[str]:
    yield f"**Best**: {named(outcome, outcome.best)}."
    small = outcome.smallest
    if small and small is not outcome.best:
        yield (
            f"**Smallest latent size within one standard error of it**: {named(outcome, small)}. "
            "Dimensions that are not needed switch themselves off, so the measure is flat there; "
            "`python -m pipeline.tune --apply smallest` takes this one."
        )
    for name in edges(outcome):
        yield (
            f"**{name} lies at an end of its range** in tune.search_space: a wider one may hold "
            "a better one."
        )
    if outcome.test:
        shown = {name: value for name, value in outcome.test.items() if name.endswith("_nats")}
        numbers = ", ".join(f"{name} {value:.5g}" for name, value in shown.items())
        samples = outcome.settings.tune.final_importance_samples
        yield (
            f"**On the test split**, which no trial has read, once: {numbers} (NLL with K = "
            f"{samples}; a Gaussian's variance from the training split)."
        )
    if WEIGHT in outcome.best.trial.params:
        yield _weight(outcome)


def _weight(outcome: StudySummary) -> str:
    measured = outcome.best.trial.params[WEIGHT]
    metrics = outcome.best.trial.user_attrs[METRICS]
    closed = metrics["closed_form_kl_weight"]
    reason = "the bound itself has weight 1"
    model = outcome.settings.model
    if model.likelihood == "gaussian" and model.gaussian_variance != "fitted":
        reason = (
            "a weight w on a Gaussian of set variance s² stands for the variance w s², whose best "
            f"value is the mean squared error, {metrics['train_mean_squared_error']:.4g}"
        )
    return (
        f"**KL weight**: {measured:.4g} measured, {closed:.4g} in closed form ({reason}): "
        f"a factor of {measured / closed:.2f}."
    )


def _finalists(outcome: StudySummary) -> Iterator[str]:
    searched = list(outcome.settings.tune.search_space)
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
            *(outcome.changes(entry.trial).get(name) for name in searched),
            value_of(entry.trial),
            with_error(entry.mean, entry.error) if entry.values else "",
            len(entry.values),
            with_error(entry.difference, entry.difference_error) if entry.values else "",
        ]
        for entry in outcome.finalists
    ]
    yield _table(head, rows)
    if any(entry.values for entry in outcome.finalists):
        yield (
            f"{outcome.label}. Errors are standard errors: of a mean over seeds; of a difference "
            "over seeds and over images in pairs. The value in the search chose the finalists and "
            "is therefore too good; it does not count."
        )
    else:
        yield f"{outcome.label}. None was trained again, so there is no standard error."


def _trials(outcome: StudySummary) -> Iterator[str]:
    trials = finished_trials(outcome.study)
    states = [trial.state for trial in trials]
    spent, whole = epochs_spent(outcome)
    seconds = sum(trial.duration.total_seconds() for trial in trials if trial.duration)
    yield (
        f"{len(trials)} of {outcome.total}: {states.count(TrialState.COMPLETE)} complete, "
        f"{states.count(TrialState.PRUNED)} pruned, {states.count(TrialState.FAIL)} failed. "
        f"{spent} epochs of the {whole} that they would have taken without pruning; "
        f"{seconds / 60:.1f} minutes of work in all."
    )
    if len(outcome.study.directions) > 1:
        yield _front(outcome)
    shares = importances(outcome)
    if shares:
        yield "Importance: " + ", ".join(f"{k} {v:.2f}" for k, v in shares.items()) + "."


def _front(outcome: StudySummary) -> str:
    points = np.array([trial.values for trial in outcome.completed()])
    corner = points.max(0)
    return (
        f"Hypervolume of the front: {hypervolume(points, corner):.4g} nats², up to the worst "
        f"values seen (KL loss {corner[0]:.4g}, generation loss {corner[1]:.4g} nats)."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *[[_number(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(list(value) if isinstance(value, tuple) else value)
