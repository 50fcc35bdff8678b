"""A study's figures: its trials, the importance of settings, and samples along the front."""

import math
import warnings
from collections.abc import Iterator

import numpy as np
import optuna
import torch
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import LATENT, METRICS, direction_sign, value_of
from pipeline.study.pareto import on_front
from pipeline.study.run_info import settings_of_trial
from pipeline.study.search_space import decode_params
from pipeline.study.summary import StudySummary
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_states import finished_trials
from vaelab.config.tune import Choices
from vaelab.figures import pareto_front
from vaelab.figures import study as figures
from vaelab.figures.study_table import Parameter, State, StudyTable
from vaelab.inference import decoding
from vaelab.runtime.random_streams import rng_stream

NamedFigures = Iterator[tuple[str, Figure]]
WEIGHT = "train.kl_weight"
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
# Models on the front that samples are shown of, and samples of each.
MODELS, SAMPLES = 6, 12


def study_figures(summary: StudySummary, runner: TrialRunner) -> NamedFigures:
    """Yield the name and the figure of each plot that the study has the data for."""
    table = study_table(summary)
    space = summary.settings.tune.search_space
    numeric = [name for name, entry in space.items() if not isinstance(entry, Choices)]
    yield "history", figures.history_figure(table)
    yield "slice", figures.slice_figure(table)
    if len(table.parameters) > 1:
        yield "parallel_coordinates", figures.parallel_figure(table)
    if len(numeric) > 1:
        pair = (LATENT, WEIGHT) if {LATENT, WEIGHT} <= set(numeric) else tuple(numeric[:2])
        yield "contour", figures.contour_figure(table, *pair)
    weights = parameter_importances(summary)
    if weights:
        yield "importance", figures.importance_figure(weights)
    if WEIGHT in numeric:
        closed = summary.best.trial.user_attrs[METRICS]["closed_form_kl_weight"]
        color_by = LATENT if LATENT in numeric else None
        located = not summary.is_small
        yield "weight", figures.weight_figure(table, WEIGHT, closed, color_by, located=located)
    yield from _front(summary, runner)


def study_table(summary: StudySummary) -> StudyTable:
    """Return the finished trials as the table that the figures are drawn from."""
    trials = finished_trials(summary.study)
    tune, minimize = summary.settings.tune, direction_sign(summary.study) > 0
    changes = [decode_params(trial.params, tune) for trial in trials]
    return StudyTable(
        measure=f"{summary.label}, {'lower' if minimize else 'higher'} is better",
        minimize=minimize,
        numbers=tuple(trial.number for trial in trials),
        values=tuple(value_of(trial) if trial.values else math.nan for trial in trials),
        states=tuple(STATES[trial.state] for trial in trials),
        parameters=tuple(
            Parameter(
                name,
                tuple(_plain(row.get(name)) for row in changes),
                log=not isinstance(entry, Choices) and entry.log,
            )
            for name, entry in tune.search_space.items()
        ),
    )


def parameter_importances(summary: StudySummary) -> dict[str, float]:
    """Return each setting's share of the value's variance; nothing of too few trials."""
    if summary.is_small or len(summary.settings.tune.search_space) < 2:
        return {}
    target = value_of if len(summary.study.directions) > 1 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(
                summary.study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
                target=target,
            )
        except (ValueError, RuntimeError):  # all values or all settings are the same
            return {}


def _front(summary: StudySummary, runner: TrialRunner) -> NamedFigures:
    trials = summary.completed()
    points = np.array([_rate_and_distortion(trial) for trial in trials])
    optimal = on_front(points)
    weights = [trial.params.get(WEIGHT) for trial in trials]
    chosen = _spread(points, optimal, trials.index(summary.best.trial))
    yield (
        "rate_distortion",
        pareto_front.rate_distortion_figure(
            points[:, 0],
            points[:, 1],
            np.array(weights, np.float64) if None not in weights else None,
            optimal,
            chosen,
        ),
    )
    images = np.stack([_samples(trials[index], summary, runner) for index in chosen])
    labels = [
        _label(letter, trials[index]) for letter, index in zip("ABCDEFGHIJ", chosen, strict=False)
    ]
    yield "samples_along_the_front", pareto_front.front_samples_figure(images, labels)


def _rate_and_distortion(trial: FrozenTrial) -> tuple[float, float]:
    metrics = trial.user_attrs[METRICS]
    return metrics["kl_loss_nats"], metrics["generation_loss_nats"]


def _spread(points: np.ndarray, front: np.ndarray, winner: int) -> list[int]:
    """Return a few points of the front, spread as evenly in rate as possible, and the winner."""
    order = [int(i) for i in np.argsort(points[:, 0]) if front[i]]
    rates = points[order, 0]
    targets = np.linspace(rates[0], rates[-1], MODELS)
    chosen = {order[int(np.abs(rates - rate).argmin())] for rate in targets} | {winner}
    return sorted(chosen, key=lambda index: float(points[index, 0]))


def _samples(trial: FrozenTrial, summary: StudySummary, runner: TrialRunner) -> np.ndarray:
    """Decode samples from the prior; all models share the latents of their first dimensions."""
    model = runner.load_or_retrain(settings_of_trial(summary.settings, trial))
    noise = rng_stream(summary.settings.tune.seed, "tune/samples")
    latents = torch.randn(65_536, SAMPLES, generator=noise)[: model.latent_dim].T
    images = decoding.decode_means(model, latents.contiguous().to(runner.device))
    array: np.ndarray = images.cpu().numpy()
    return array


def _label(letter: str, trial: FrozenTrial) -> str:
    parts = []
    if WEIGHT in trial.params:
        parts.append(f"weight {trial.params[WEIGHT]:.3g}")
    if LATENT in trial.params:
        parts.append(f"{trial.params[LATENT]} latents")
    return f"{letter}  {', '.join(parts) or f'trial {trial.number}'}"


def _plain(value: object) -> float | int | str | None:
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    return str(list(value) if isinstance(value, tuple) else value)
