"""The points of a search space: steps, how many there are, and that each is tried once."""

import itertools
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
import pytest
from optuna import Study
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

from pipeline.study.samplers import build_pruner, build_sampler
from pipeline.study.search_space import (
    MAX_POINTS,
    all_points,
    decode_params,
    distributions,
    few_points,
    grid,
    point_key,
    present_point,
    suggest,
    total_trials,
)
from pipeline.study.storage import study_directions
from pipeline.study.trial_queue import SURPLUS, TrialQueue, TrialResult
from pipeline.study.trial_states import FAILURE, finished_trials
from tests.pipeline.study.conftest import Join, sequentially
from tests.pipeline.study.test_samplers import SAMPLERS
from tests.pipeline.study.test_samplers import tuned as space
from tests.pipeline.study.test_trial_queue import concurrently
from vaelab.config import TrainSettings, TuneSettings, UserError, parse_settings

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

TWO: dict[str, Any] = {"model.likelihood": {"type": "categorical", "choices": ["a", "b"]}}
SIX: dict[str, Any] = {
    "model.latent_dim": {"type": "int", "low": 2, "high": 4},
    "train.gradient_clip_norm": {"type": "categorical", "choices": [None, 1.0]},
}
STEPS: dict[str, Any] = {
    "train.kl_weight": {"type": "float", "low": 0.1, "high": 0.7, "step": 0.2},
    "model.latent_dim": {"type": "int", "low": 8, "high": 32, "step": 8},
}
# Trials are trained with numbers of four digits, of which there are few here.
NARROW: dict[str, Any] = {"train.kl_weight": {"type": "float", "low": 0.9994, "high": 1.002}}


def points(trials: Sequence[FrozenTrial], tune: TuneSettings) -> list[str]:
    return [point_key(trial.params, tune) for trial in trials]


# --- the settings' own point


@pytest.mark.parametrize(
    ("entries", "settings", "point"),
    [
        (
            SIX,
            {"model": {"latent_dim": 3}},
            {"model.latent_dim": 3, "train.gradient_clip_norm": None},
        ),
        (SIX, {"model": {"latent_dim": 5}}, None),
        (SIX, {"model": {"latent_dim": 3}, "train": {"gradient_clip_norm": 2.0}}, None),
        (
            STEPS,
            {"train": {"kl_weight": 0.5}, "model": {"latent_dim": 16}},
            {"train.kl_weight": 0.5, "model.latent_dim": 16},
        ),
        (STEPS, {"train": {"kl_weight": 0.4}, "model": {"latent_dim": 16}}, None),
        (STEPS, {"train": {"kl_weight": 0.5}, "model": {"latent_dim": 9}}, None),
        (NARROW, {"train": {"kl_weight": 1}}, {"train.kl_weight": 1.0}),
        # A trial would be trained with 1.0.
        (NARROW, {"train": {"kl_weight": 1.00001}}, None),
        (
            {"model.hidden": {"type": "categorical", "choices": [[8], [8, 4]]}},
            {"model": {"hidden": [8, 4]}},
            {"model.hidden": "[8, 4]"},
        ),
        (
            {"objectives.iwae.importance_samples": {"type": "int", "low": 1, "high": 9}},
            {"train": {"objective": "iwae"}, "objectives": {"iwae": {"importance_samples": 5}}},
            {"objectives.iwae.importance_samples": 5},
        ),
        (
            {"objectives.iwae.importance_samples": {"type": "int", "low": 1, "high": 9}},
            {"train": {"objective": "iwae"}},
            None,
        ),
    ],
)
def test_the_settings_are_a_point_if_the_space_has_it(
    entries: dict[str, Any], settings: dict[str, Any], point: dict[str, Any] | None
) -> None:
    parsed = parse_settings({**settings, "tune": {"search_space": entries}})
    assert present_point(parsed) == point


# --- how many there are


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        (TWO, 2),
        (SIX, 6),
        (STEPS, 16),
        ({"model.latent_dim": {"type": "int", "low": 2, "high": 64, "log": True}}, 63),
        ({"train.kl_weight": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}}, 5),
        # 0.9994 to 0.9999, 1.000, 1.001, 1.002
        (NARROW, 9),
        # Decoded to the lower end, 1.0, and the same again at the upper end
        ({"train.kl_weight": {"type": "float", "low": 0.999949, "high": 1.00005}}, 2),
        ({"train.kl_weight": {"type": "float", "low": 0.001, "high": 0.00101}}, 11),
    ],
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_has_no_more_trials_than_points(
    entries: dict[str, Any], count: int, sampler: str
) -> None:
    many, few = space(entries, trials=500, sampler=sampler), space(entries, trials=count)
    if sampler != "grid":
        assert total_trials(many) == count
        keys = [point_key(point, many) for point in all_points(many)]
        assert len(keys) == len(set(keys)) == count
    else:
        assert total_trials(many) == math.prod(map(len, grid(many).values()))
    assert total_trials(few) == count
    assert total_trials(space(entries, trials=1)) == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0, "log": True}},
        {"train.kl_weight": {"type": "float", "low": 0.0, "high": 1.0}},
        {"model.latent_dim": {"type": "int", "low": 1, "high": 60_000}},
    ],
)
def test_a_space_of_very_many_points_has_no_end(entries: dict[str, Any]) -> None:
    assert total_trials(space(entries, trials=40)) == 40
    assert total_trials(space(entries, trials=2 * MAX_POINTS)) == 2 * MAX_POINTS
    assert list(all_points(space(entries))) == []
    assert few_points(space(entries)) is None


def test_what_is_said_of_few_points() -> None:
    expected = "the search space has 2 points, each tried once, fewer than tune.trials: 6"
    assert few_points(space(TWO, trials=6)) == expected
    assert few_points(space(TWO, trials=2)) is None
    one = {"model.latent_dim": {"type": "categorical", "choices": [4]}}
    assert str(few_points(space(one, trials=6))).startswith("the search space has 1 point, ")
    assert str(few_points(space(SIX, trials=9, sampler="grid"))).startswith("the grid has 6 points")


# --- steps


def test_steps_are_exact_numbers() -> None:
    tune = space(STEPS)
    values = [point["train.kl_weight"] for point in all_points(tune)]
    assert sorted(set(values)) == [0.1, 0.3, 0.5, 0.7], "not 0.30000000000000004"
    stored = FixedTrial({"train.kl_weight": 0.1 + 2 * 0.2, "model.latent_dim": 16})
    assert suggest(stored, tune) == {  # type: ignore[arg-type]
        "train.kl_weight": 0.5,
        "model.latent_dim": 16,
    }
    small = space({"train.kl_weight": {"type": "float", "low": 1, "high": 2, "step": 0.00001}})
    assert decode_params({"train.kl_weight": 1.00012}, small) == {"train.kl_weight": 1.00012}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_stays_on_the_steps(sampler: str) -> None:
    tune = space(STEPS, sampler=sampler, trials=10, startup_trials=4)
    study = new_study(tune)
    study.optimize(lambda trial: suggest(trial, tune)["train.kl_weight"], n_trials=10)
    for trial in study.trials:
        drawn = decode_params(trial.params, tune)
        assert drawn["train.kl_weight"] in (0.1, 0.3, 0.5, 0.7)
        assert drawn["model.latent_dim"] in (8, 16, 24, 32)


def test_a_grid_is_spread_over_the_steps() -> None:
    assert grid(space(STEPS, sampler="grid", trials=4)) == {
        "train.kl_weight": [0.1, 0.7],
        "model.latent_dim": [8, 32],
    }
    assert grid(space(STEPS, sampler="grid", trials=100)) == {
        "train.kl_weight": [0.1, 0.3, 0.5, 0.7],
        "model.latent_dim": [8, 16, 24, 32],
    }


# --- each once


def new_study(tune: TuneSettings) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=InMemoryStorage(),
        sampler=build_sampler(tune),
        pruner=build_pruner(tune, TrainSettings(epochs=20)),
        directions=study_directions(tune),
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize("entries", [TWO, SIX, STEPS, NARROW])
def test_every_sampler_tries_every_point_once(
    sampler: str, pruner: str, entries: dict[str, Any]
) -> None:
    tune = space(entries, sampler=sampler, pruner=pruner, trials=500, startup_trials=3)
    total = total_trials(tune)
    study = new_study(tune)
    study.optimize(lambda trial: len(str(suggest(trial, tune))), n_trials=total)
    assert len(set(points(study.trials, tune))) == total


def test_a_failed_point_is_not_tried_again_and_an_interrupted_one_is(join: Join) -> None:
    tune = space(SIX, trials=100)
    seen: list[str] = []

    def objective(trial: Trial) -> float:
        drawn = suggest(trial, tune)
        seen.append(str(drawn))
        if len(seen) == 2:
            raise UserError("these settings contradict each other")
        if len(seen) == 4:
            raise KeyboardInterrupt
        return float(drawn["model.latent_dim"])

    study = join(sampler=build_sampler(tune))
    with pytest.raises(KeyboardInterrupt):
        run(study, tune, objective)
    run(join(sampler=build_sampler(tune)), tune, objective)
    assert len(finished_trials(study)) == 6
    assert Counter(Counter(seen).values()) == {1: 5, 2: 1}
    assert [FAILURE in trial.user_attrs for trial in finished_trials(study)].count(True) == 1
    assert seen.count(seen[3]) == 2


def run(study: Study, tune: TuneSettings, objective: Any, at_once: int = 1) -> list[FrozenTrial]:
    ended: list[FrozenTrial] = []
    deadline = time.monotonic() + 60
    queue = TrialQueue(study, total_trials(tune), 60, deadline, at_once, tune)
    queue.run(sequentially(objective), ended.append)
    assert time.monotonic() < deadline
    return ended


@pytest.mark.parametrize("at_once", [4, 16])
def test_trials_that_are_run_together_are_different_points(join: Join, at_once: int) -> None:
    tune = space(STEPS, trials=500, trials_together=at_once)
    study = join(sampler=build_sampler(tune))
    batches: list[int] = []

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        batches.append(len(trials))
        for trial in trials:
            yield trial, float(suggest(trial, tune)["train.kl_weight"])

    TrialQueue(study, total_trials(tune), 60, None, at_once, tune).run(batch, lambda trial: None)
    assert batches == [at_once] * (16 // at_once)
    assert len(set(points(study.trials, tune))) == len(study.trials) == 16


def test_workers_try_every_point_once(join: Join) -> None:
    tune = space(STEPS, trials=500, startup_trials=3)

    def objective(trial: Trial) -> float:
        time.sleep(0.01 * (trial.number % 3))
        return float(suggest(trial, tune)["train.kl_weight"])

    studies = [join(sampler=build_sampler(tune)) for _ in range(4)]
    concurrently(*(lambda s=study: run(s, tune, objective) for study in studies))
    assert len(set(points(studies[0].trials, tune))) == len(studies[0].trials) == 16


def test_of_two_machines_with_the_same_point_the_later_trial_is_dropped(join: Join) -> None:
    """They have no lock in common, so both may sample before either is stored."""
    tune = space(TWO, trials=500)
    study = join(sampler=build_sampler(tune))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage")
        other = study.ask(distributions(tune))
    point = other.params

    class Blind(TrialQueue):
        def _take(self, running: dict[int, Trial]) -> None:
            if len(self.study.trials) == 1:
                self.study.enqueue_trial(point)
            super()._take(running)

    ended: list[FrozenTrial] = []

    def objective(trial: Trial) -> float:
        suggest(trial, tune)
        study.tell(other.number, 0.5) if other.number == 0 and not finished_trials(study) else None
        return 1.0

    Blind(study, 2, 60, time.monotonic() + 60, 1, tune).run(sequentially(objective), ended.append)
    found = study.get_trials(deepcopy=False)
    assert [trial.state for trial in found] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert SURPLUS in found[1].user_attrs
    assert found[1].params == point
    assert len(set(points(finished_trials(study), tune))) == 2


def test_a_study_without_the_settings_of_one_is_not_compared(join: Join) -> None:
    study = join()
    TrialQueue(study, 3, 60).run(sequentially(lambda trial: 1.0), lambda trial: None)
    assert len(finished_trials(study)) == 3


def test_equal_choices_are_one(join: Join) -> None:
    for choices in ([1, 1.0], [[1, 2], [1.0, 2.0]], ["a", "a"]):
        with pytest.raises(ValueError, match="each choice must be listed once"):
            space({"model.hidden": {"type": "categorical", "choices": choices}})
    space({"model.hidden": {"type": "categorical", "choices": [True, 1, "1", None]}})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "int", "low": 2, "high": 9, "step": 0}, "greater than or equal to 1"),
        ({"type": "int", "low": 2, "high": 9, "step": 0.5}, "valid integer"),
        ({"type": "float", "low": 2, "high": 9, "step": 0}, "greater than 0"),
        ({"type": "float", "low": 2, "high": 9, "step": True}, "not valid here"),
        ({"type": "int", "low": 2, "high": 8, "step": 2, "log": True}, "step and log exclude"),
        ({"type": "float", "low": 1, "high": 2, "step": 0.5, "log": True}, "step and log exclude"),
        (
            {"type": "int", "low": 2, "high": 11, "step": 2},
            r"a whole number of steps: 10 or 12 \(it is 11, low is 2 and step is 2\)",
        ),
        ({"type": "float", "low": 0.1, "high": 1.0, "step": 0.2}, r"steps: 0.9 or 1.1 \(it is 1.0"),
        ({"type": "int", "low": 2, "high": 11, "step": 20}, r"steps: 22 \(it is 11"),
        ({"type": "categorical", "choices": [1, 2], "step": 1}, "unknown setting .*step"),
    ],
)
def test_a_wrong_step_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_settings({"tune": {"search_space": {"model.latent_dim": entry}}})


def test_all_steps_are_checked_against_their_setting() -> None:
    def parse(low: int, high: int) -> None:
        entry = {"type": "int", "low": low, "high": high, "step": 2}
        parse_settings({"tune": {"search_space": {"model.kernel_size": entry}}})

    parse(3, 9)  # all odd
    with pytest.raises(UserError, match=r"model.kernel_size cannot be 2: .*must be odd"):
        parse(2, 8)


def test_points_are_told_apart_by_what_is_trained() -> None:
    tune = space({"train.kl_weight": {"type": "float", "low": 0.1, "high": 10}})
    same, other = ({"train.kl_weight": value} for value in (1.00001, 1.00002))
    assert point_key(same, tune) == point_key(other, tune), "both are trained with 1.0"
    assert point_key(same, tune) != point_key({"train.kl_weight": 1.001}, tune)
    assert len({point_key(p, space(SIX)) for p in all_points(space(SIX))}) == len(
        list(itertools.product(range(3), range(2)))
    )
