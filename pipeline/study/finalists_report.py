"""A study's finalists in words: who is best, by how much, and how few latents are enough."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import Finalist, direction_sign, value_of
from pipeline.study.scorer import EFFECTIVE_SAMPLE_SIZE
from pipeline.study.search_space import point_key, present_point, trial_key
from pipeline.study.summary import StudySummary
from pipeline.study.trial_states import finished_trials
from vaelab.runtime.formatting import format_number, to_error, with_error

DIGITS = 2  # of standard errors


def finalist_line(summary: StudySummary, finalist: Finalist) -> str:
    """Return a finalist's settings and its value in one line."""
    shown = ", ".join(f"{k} {number(v)}" for k, v in summary.settings_of_finalist(finalist).items())
    return f"{shown}: {with_error(finalist.mean, finalist.error, DIGITS)} ({summary.label})"


def seeds_note(best: Finalist) -> str:
    """Say which seeds chose the best one, and which its mean is of."""
    if not best.chosen_by:
        return ""
    return (
        f" It was chosen by its mean over other seeds, {_chosen_by(best)}; this mean is "
        f"of seeds {_range(best.seeds)}, which chose nothing. The standard error counts seeds and "
        "images."
    )


def present_trial(summary: StudySummary) -> FrozenTrial | None:
    """Return the finished trial of the settings of params.yaml; None if the search has none."""
    tune, point = summary.settings.tune, present_point(summary.settings)
    key = point_key(point, tune) if point else None
    own = (trial for trial in finished_trials(summary.study) if trial_key(trial, tune) == key)
    return next(own, None) if key else None


def present_settings(summary: StudySummary) -> Iterator[str]:
    """Say in a sentence how the settings of params.yaml did, if the search tried them."""
    if trial := present_trial(summary):
        yield _present(summary, trial)


def _present(summary: StudySummary, trial: FrozenTrial) -> str:
    own = f"the settings of params.yaml (trial {trial.number})"
    best = summary.best
    if best.trial.number == trial.number:
        return f"{own} are the best of those that were tried"
    if trial.state == TrialState.PRUNED:
        return f"{own} were stopped after epoch {trial.last_step}, as worse than other trials"
    if not trial.values:
        return f"{own} failed"
    values = [format_number(value_of(each)) for each in (trial, best.trial)]
    found = f"{values[0]} in the search and the best ones {values[1]}, with one seed each"
    return f"{own} had {found}{_verdict(summary, value_of(trial))}"


def _verdict(summary: StudySummary, own: float) -> str:
    """Say whether the best settings are better than a value, by their other seeds; "" if none."""
    best = summary.best
    if best.error is None:
        return ""
    difference = direction_sign(summary.study) * (own - best.mean)
    if difference > 2 * best.error:
        return f": with other seeds the best ones are {format_number(difference)} better"
    return ": it is not shown that the best ones are better"


def smallest_size(summary: StudySummary, small: Finalist) -> str:
    """Say which latent size is enough, and what is known of those below."""
    if small is summary.best:
        known = "known to be " if summary.decision.untried else ""
        parts = [f"**No smaller latent size is {known}as good**."]
    else:
        parts = [
            f"**{_praise(summary, small)}**: {finalist_line(summary, small)}, difference "
            f"{with_error(small.difference, small.difference_error, DIGITS)}. "
            "`python -m pipeline.tune --apply smallest` writes these settings into params.yaml."
        ]
    if untried := summary.decision.untried:
        parts.append(
            f"Of the sizes {_range(untried)} nothing is known: larger values of "
            "tune.smaller_sizes try them."
        )
    return " ".join(parts)


def smallest_in_short(summary: StudySummary, small: Finalist) -> str:
    """Say in a few words what the smallest latent size is."""
    better = _has_better_mean(summary, small)
    return "not worse, and smaller" if better else "smallest latent size that is as good"


def _praise(summary: StudySummary, small: Finalist) -> str:
    if _has_better_mean(summary, small):
        return "Not worse, and smaller: with fewer latents the mean is even better"
    return "Smallest latent size that is as good, less than two standard errors worse"


def _has_better_mean(summary: StudySummary, small: Finalist) -> bool:
    return direction_sign(summary.study) * small.difference < 0


def finalists_table(summary: StudySummary) -> Iterator[str]:
    searched = list(summary.settings.tune.search_space)
    head = [
        "trial",
        *searched,
        "value in the search",
        "mean, seeds that chose",
        "mean, further seeds",
        "difference to the best",
        f"effective sample size (K = {summary.settings.tune.importance_samples})",
    ]
    entries = [*summary.decision.finalists, *summary.decision.smaller]
    yield table(head, [_row(summary, entry, searched) for entry in entries])
    if any(entry.values for entry in entries):
        yield (
            f"{summary.label}. Errors are standard errors: of a mean, over seeds and images; of a "
            "difference, over the seeds of both and over images, compared in pairs. The value in "
            "the search selected the finalists, and the mean of the first seeds the best of them: "
            "both are biased, so the best one's difference and value are of further seeds. Rows "
            "without a value in the search are the best settings with fewer latent dimensions."
        )
    else:
        yield f"{summary.label}. No finalist was trained again, so there are no standard errors."


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *[[number(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(list(value) if isinstance(value, tuple) else value)


def _row(summary: StudySummary, entry: Finalist, searched: Sequence[str]) -> list[Any]:
    mean = with_error(entry.mean, entry.error, DIGITS) if entry.values else ""
    is_further = bool(entry.chosen_by or entry.latent_dim)
    first = _chosen_by(entry) if entry.chosen_by else ""
    settings = summary.settings_of_finalist(entry)
    return [
        entry.trial.number,
        *(settings.get(name) for name in searched),
        "" if entry.latent_dim else value_of(entry.trial),
        first if is_further else mean,
        mean if is_further else "",
        with_error(entry.difference, entry.difference_error, DIGITS) if entry.values else "",
        entry.metrics.get(EFFECTIVE_SAMPLE_SIZE, ""),
    ]


def _chosen_by(finalist: Finalist) -> str:
    """Return the mean of the values that chose it, with the digits of its error."""
    mean = float(np.mean(finalist.chosen_by))
    return to_error(mean, finalist.error, DIGITS) if finalist.error else format_number(mean)


def _range(numbers: Sequence[int]) -> str:
    ends = sorted({min(numbers), max(numbers)})
    return " to ".join(map(str, ends))
