"""The report of a study, in Markdown, and its summary on the console."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import TrialState

from pipeline.study.figures import WEIGHT, parameter_importances
from pipeline.study.finalists import direction_sign
from pipeline.study.finalists_report import (
    finalist_line,
    finalists_table,
    present_settings,
    present_trial,
    seeds_note,
    smallest_in_short,
    smallest_size,
)
from pipeline.study.pareto import hypervolume
from pipeline.study.sample_sizes import notes_of, warnings_of
from pipeline.study.scorer import EFFECTIVE_SAMPLE_SIZE, ON_TEST
from pipeline.study.search_space import few_points
from pipeline.study.summary import ENOUGH_TRIALS, StudySummary, epochs_spent
from pipeline.study.trial_settings import epochs_note, finalist_epochs, trial_epochs
from pipeline.study.trial_states import finished_trials
from vaelab.config.tune import Choices
from vaelab.runtime.formatting import format_number

# These samplers learn from the trials after the first ones.
STARTED_AT_RANDOM = ("tpe", "gp")
CAPTIONS = {
    "history": "The value of each trial, and the best value so far.",
    "weight": "The value over the KL weight, with the weight in closed form. The best single trial "
    "has a star; another one may be best over the finalists' new seeds.",
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
        f"# {_title(summary)}",
        first_line(summary),
        *_answer(summary),
        "## Finalists",
        *finalists_table(summary),
        "## Trials",
        *_trials(summary),
        *(
            f"## {name.replace('_', ' ').capitalize()}\n\n{CAPTIONS[name]}\n\n![{name}]({name}.png)"
            for name in figures
        ),
    ]
    return "\n\n".join(parts) + "\n"


def first_line(summary: StudySummary) -> str:
    """Say which values are better, how the trials were chosen, and whether they are enough."""
    tune, count = summary.settings.tune, len(finished_trials(summary.study))
    better = "Lower" if direction_sign(summary.study) > 0 else "Higher"
    trials = f"{count} trial{'' if count == 1 else 's'}"
    chosen = f"chosen by tune.sampler: {tune.sampler}"
    if tune.sampler == "random":
        chosen = "all chosen at random (tune.sampler: random)"
    elif tune.sampler in STARTED_AT_RANDOM:
        startup = f"the sampler starts after tune.startup_trials = {tune.startup_trials}"
        share = "all" if count <= tune.startup_trials else f"the first {tune.startup_trials}"
        chosen = f"{share} chosen at random ({startup})"
    if present_trial(summary):
        chosen += ", apart from the settings of params.yaml"
    end = f": too few to locate a best value (fewer than {ENOUGH_TRIALS} complete)"
    return f"{better} is better. {trials}, {chosen}{end if summary.is_small else ''}."


def _title(summary: StudySummary) -> str:
    names = list(summary.settings.tune.search_space)
    searched = " and ".join(names) if len(names) < 4 else f"{len(names)} settings"
    return f"Search for {searched} on {summary.settings.data.name}"


def console_summary(summary: StudySummary) -> str:
    """Return the best settings in a few lines, and what to do next."""
    lines = [first_line(summary), f"best: {finalist_line(summary, summary.best)}"]
    small = summary.smallest
    if small and small is not summary.best:
        lines.append(f"{smallest_in_short(summary, small)}: {finalist_line(summary, small)}")
    lines += list(present_settings(summary))
    lines += [f"warning: {text}" for text in warnings_of(summary)]
    lines += [f"the best settings were {note}" for note in _epochs_notes(summary)]
    lines += [
        f"{name} is at an end of its range in tune.search_space; try a wider range"
        for name in settings_at_range_ends(summary)
    ]
    lines.append(
        "the full report is results/tune/report.md; `make tune APPLY=1` writes the best settings "
        "into params.yaml"
    )
    return "\n".join(lines)


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
    yield f"**Best**: {finalist_line(summary, summary.best)}.{seeds_note(summary.best)}"
    for sentence in present_settings(summary):
        yield f"{sentence[0].upper()}{sentence[1:]}."
    for note in _epochs_notes(summary):
        yield f"These settings were {note}."
    if summary.smallest:
        yield smallest_size(summary, summary.smallest)
    for text in warnings_of(summary):
        yield f"**Warning**: {text}."
    for text in notes_of(summary):
        yield f"**Note**: {text}."
    for name in settings_at_range_ends(summary):
        yield (
            f"**{name} is at an end of its range** in tune.search_space: a wider range may "
            "contain better values."
        )
    if summary.test:
        shown = ("_nats", EFFECTIVE_SAMPLE_SIZE)
        nats = {name: value for name, value in summary.test.items() if name.endswith(shown)}
        numbers = ", ".join(
            f"{ON_TEST}{name} {format_number(value)}" for name, value in nats.items()
        )
        samples = summary.settings.tune.final_importance_samples
        yield (
            f"**On the test split**, which no trial has read: {numbers} (NLL with K = {samples}; "
            "the variance of a Gaussian likelihood is fitted to the training split)."
        )
    if WEIGHT in summary.best.trial.params:
        yield _weight(summary)


def _epochs_notes(summary: StudySummary) -> Iterator[str]:
    settings = summary.settings
    epochs = trial_epochs(settings), finalist_epochs(settings)
    if note := epochs_note(*epochs, settings.train.epochs):
        yield note


def _weight(summary: StudySummary) -> str:
    measured = summary.best.trial.params[WEIGHT]
    metrics = summary.best.metrics
    closed = metrics["closed_form_kl_weight"]
    reason = "the evidence lower bound has weight 1"
    model = summary.settings.model
    if model.likelihood == "gaussian" and model.gaussian_variance != "fitted":
        reason = (
            "a weight w with a Gaussian likelihood of fixed variance s² is equivalent to the "
            "variance w s², whose optimum is the mean squared error, "
            f"{metrics['train_mean_squared_error']:.4g}"
        )
    if summary.is_small:
        return (
            f"**KL weight**: {closed:.4g} in closed form ({reason}). The trials are too few to "
            "measure the best one."
        )
    return (
        f"**KL weight**: {measured:.4g} measured, {closed:.4g} in closed form ({reason}): "
        f"a factor of {measured / closed:.2f}."
    )


def _trials(summary: StudySummary) -> Iterator[str]:
    trials = finished_trials(summary.study)
    states = [trial.state for trial in trials]
    spent, unpruned = epochs_spent(summary)
    seconds = sum(trial.duration.total_seconds() for trial in trials if trial.duration)
    yield (
        f"Study `{summary.study.study_name}`, {len(trials)} of {summary.total}: "
        f"{states.count(TrialState.COMPLETE)} complete, "
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
