"""A study's figures: what was tried, what mattered, and what a weight does to the images."""

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import optuna
import torch
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import LATENT, METRICS, sign, value_of
from pipeline.study.pareto import on_front
from pipeline.study.run_info import settings_of_trial
from pipeline.study.samplers import settings_of
from pipeline.study.summary import StudySummary
from pipeline.study.trial_queue import finished_trials
from pipeline.study.trial_runner import TrialRunner
from vaelab.config.tune import Choices
from vaelab.figures import pareto_front
from vaelab.figures import study as drawn
from vaelab.figures.study_table import Parameter, State, StudyTable
from vaelab.inference import decoding
from vaelab.runtime.random_streams import rng_stream

Named = Iterator[tuple[str, Figure]]
WEIGHT = "train.kl_weight"
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
SHOWN, COLUMNS = 6, 12


def figures(outcome: StudySummary, laboratory: TrialRunner) -> Named:
    """Draw all that applies, one figure at a time."""
    table = table_of(outcome)
    space = outcome.settings.tune.search_space
    numeric = [name for name, entry in space.items() if not isinstance(entry, Choices)]
    yield "history", drawn.history_figure(table)
    yield "slice", drawn.slice_figure(table)
    if len(table.parameters) > 1:
        yield "parallel_coordinates", drawn.parallel_figure(table)
    if len(numeric) > 1:
        pair = (LATENT, WEIGHT) if {LATENT, WEIGHT} <= set(numeric) else tuple(numeric[:2])
        yield "contour", drawn.contour_figure(table, *pair)
    weights = importances(outcome)
    if weights:
        yield "importance", drawn.importance_figure(weights)
    if WEIGHT in numeric:
        closed = outcome.best.trial.user_attrs[METRICS]["closed_form_kl_weight"]
        color_by = LATENT if LATENT in numeric else None
        yield "weight", drawn.weight_figure(table, WEIGHT, closed, color_by)
    yield from _front(outcome, laboratory)


def table_of(outcome: StudySummary) -> StudyTable:
    """Give the finished trials as the figures take them."""
    trials = finished_trials(outcome.study)
    tune = outcome.settings.tune
    changes = [settings_of(trial.params, tune) for trial in trials]
    return StudyTable(
        measure=outcome.label,
        minimize=sign(outcome.study) > 0,
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


def importances(outcome: StudySummary) -> dict[str, float]:
    """Give each setting's share in the variance of the value; none where that says nothing."""
    if len(outcome.completed()) < 4 or len(outcome.settings.tune.search_space) < 2:
        return {}
    target = value_of if len(outcome.study.directions) > 1 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(
                outcome.study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
                target=target,
            )
        except (ValueError, RuntimeError):  # all values or all settings are the same
            return {}


def _front(outcome: StudySummary, laboratory: TrialRunner) -> Named:
    trials = outcome.completed()
    points = np.array([_rate_and_distortion(trial) for trial in trials])
    best = on_front(points)
    weights = [trial.params.get(WEIGHT) for trial in trials]
    chosen = _along(points, best, trials.index(outcome.best.trial))
    yield (
        "rate_distortion",
        pareto_front.rate_distortion_figure(
            points[:, 0],
            points[:, 1],
            np.array(weights, np.float64) if None not in weights else None,
            best,
            chosen,
        ),
    )
    images = np.stack([_samples(trials[index], outcome, laboratory) for index in chosen])
    labels = [_name(trials[index], letter) for index, letter in _lettered(chosen)]
    yield "samples_along_the_front", pareto_front.front_samples_figure(images, labels)


def _rate_and_distortion(trial: FrozenTrial) -> tuple[float, float]:
    metrics = trial.user_attrs[METRICS]
    return metrics["kl_loss_nats"], metrics["generation_loss_nats"]


def _along(points: np.ndarray, front: np.ndarray, winner: int) -> list[int]:
    """Choose a few points of the front, as evenly spread in rate as they lie, and the winner."""
    order = [int(i) for i in np.argsort(points[:, 0]) if front[i]]
    rates = points[order, 0]
    wanted = np.linspace(rates[0], rates[-1], SHOWN)
    chosen = {order[int(np.abs(rates - rate).argmin())] for rate in wanted} | {winner}
    return sorted(chosen, key=lambda index: float(points[index, 0]))


def _lettered(chosen: Sequence[int]) -> Iterator[tuple[int, str]]:
    yield from zip(chosen, "ABCDEFGHIJ", strict=False)


def _samples(trial: FrozenTrial, outcome: StudySummary, laboratory: TrialRunner) -> np.ndarray:
    """Decode the same draws from the prior, as far as the latent sizes agree."""
    model = laboratory.load_or_retrain(settings_of_trial(outcome.settings, trial))
    noise = rng_stream(outcome.settings.tune.seed, "tune/samples")
    latents = torch.randn(65_536, COLUMNS, generator=noise)[: model.latent_dim].T
    images = decoding.decode_means(model, latents.contiguous().to(laboratory.device))
    array: np.ndarray = images.cpu().numpy()
    return array


def _name(trial: FrozenTrial, letter: str) -> str:
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
