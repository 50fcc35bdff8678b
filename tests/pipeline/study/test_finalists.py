"""The best few trials, trained again with other seeds: which, how often, and how they compare."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from pipeline.study.finalists import (
    GROUPS,
    Finalist,
    choose_finalists,
    compare_finalists,
    direction_sign,
    finalists_name,
    open_finalists,
    ranked,
    smallest_latent,
    trial_and_seed,
    value_of,
)
from pipeline.study.trial_queue import TrialQueue
from pipeline.study.trial_states import FAILURE, finished_trials
from tests.pipeline.study.conftest import Join, sequentially
from vaelab.config import TuneSettings
from vaelab.training.progress import NonFiniteLossError

LATENT, WEIGHT = "model.latent_dim", "train.kl_weight"
SPACE: dict[str, BaseDistribution] = {
    LATENT: IntDistribution(1, 64),
    WEIGHT: FloatDistribution(0, 9),
}

# Latent size and value of each trial, by number.
TRIALS = [(8, 90.0), (4, 92.0), (8, 89.0), (2, 97.0), (4, 91.0), (16, 89.5)]


@pytest.fixture(autouse=True)
def _in_a_folder(workdir: object) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def searched(
    trials: list[tuple[int, Any]] = TRIALS, direction: str = "minimize", *, latent: bool = True
) -> Study:
    """A study of complete trials with these latent sizes and values."""
    values = [value for _, value in trials]
    count = len(values[0]) if isinstance(values[0], tuple) else 1
    directions: list[Any] = [direction] * count
    study = optuna.create_study(
        storage=InMemoryStorage(), study_name="study", directions=directions
    )
    for size, value in trials:
        add(study, size, value, latent=latent)
    return study


def add(
    study: Study,
    size: int,
    value: Any,
    state: TrialState = TrialState.COMPLETE,
    *,
    latent: bool = True,
) -> None:
    params = {WEIGHT: 0.5} | ({LATENT: size} if latent else {})
    study.add_trial(
        optuna.create_trial(
            state=state,
            params=params,
            distributions={name: SPACE[name] for name in params},
            values=None if value is None else list(np.atleast_1d(value)),
        )
    )


def tune(**changes: Any) -> TuneSettings:
    return TuneSettings(**changes)


def train(finalists: Study, values: dict[tuple[int, int], list[float]]) -> None:
    """Run the finalists' trainings; `values` has each one's groups, by trial and seed."""

    def objective(trial: optuna.Trial) -> float:
        pair = trial.suggest_int("trial", 0, 2**31 - 1), trial.suggest_int("seed", 0, 2**31 - 1)
        trial.set_user_attr(GROUPS, values[pair])
        return float(np.mean(values[pair]))

    TrialQueue(finalists, len(values), stale_seconds=1).run(
        sequentially(objective), lambda trial: None
    )


def numbers(study: Study, settings: TuneSettings) -> list[int]:
    return [trial.number for trial in choose_finalists(study, settings)]


# --- the choice


def test_the_best_of_each_latent_size_are_chosen_best_first() -> None:
    study = searched()
    assert numbers(study, tune(finalists=3)) == [2, 5, 4]
    assert numbers(study, tune(finalists=1)) == [2]
    assert numbers(study, tune(finalists=9)) == [2, 5, 4, 3]


def test_high_values_are_best_where_they_are_to_be_high() -> None:
    study = searched(direction="maximize")
    settings = tune(objective="knn_accuracy")
    assert numbers(study, settings) == [3, 1, 0]
    assert (direction_sign(study), direction_sign(searched())) == (-1, 1)


def test_two_objectives_are_ranked_by_their_sum_the_bound() -> None:
    study = searched([(8, (5.0, 80.0)), (4, (20.0, 60.0)), (4, (1.0, 90.0)), (2, (2.0, 70.0))])
    assert numbers(study, tune(objective="rate_distortion")) == [3, 1, 0]
    assert [value_of(trial) for trial in ranked(study)] == [72.0, 80.0, 85.0, 91.0]


def test_where_the_latent_size_is_not_searched_every_trial_is_its_own() -> None:
    assert numbers(searched(latent=False), tune(finalists=3)) == [2, 5, 0]


def test_only_complete_trials_are_chosen() -> None:
    study = searched()
    add(study, 32, 1.0, TrialState.PRUNED)
    add(study, 33, None, TrialState.FAIL)
    add(study, 34, None, TrialState.RUNNING)
    assert numbers(study, tune(finalists=9)) == [2, 5, 4, 3]
    assert choose_finalists(optuna.create_study(), tune()) == []


# --- the queue


def test_pairs_are_queued_once_however_often_they_are_opened(join: Join) -> None:
    study = join()
    for size, value in TRIALS:
        add(study, size, value)
    settings = tune(finalists=2, seeds=3)
    expected = [(2, 1), (2, 2), (2, 3), (5, 1), (5, 2), (5, 3)]
    for _ in range(3):
        finalists, total = open_finalists(join(), settings)
        assert total == 6
        assert sorted(map(trial_and_seed, finalists.trials)) == expected
        assert finalists.study_name == finalists_name(study)
        assert finalists.directions == study.directions
    train(finalists, {pair: [1.0] for pair in expected})
    again, total = open_finalists(join(), settings)
    assert total == 6
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE] * 6
    assert sorted(map(trial_and_seed, again.trials)) == expected


def test_a_training_that_failed_counts_and_one_that_was_cut_off_is_queued_anew() -> None:
    study, settings = searched(), tune(finalists=1, seeds=3)
    finalists, _ = open_finalists(study, settings)
    for seed in (1, 2):
        trial = finalists.ask()
        pair = trial.suggest_int("trial", 0, 2**31 - 1), trial.suggest_int("seed", 0, 2**31 - 1)
        assert pair == (2, seed)
        if seed == 1:
            trial.set_user_attr(FAILURE, "the loss is not finite")
        finalists.tell(trial, state=TrialState.FAIL)
    finalists, total = open_finalists(study, settings)
    assert total == 3
    waiting = finalists.get_trials(states=(TrialState.WAITING,))
    assert sorted(map(trial_and_seed, waiting)) == [(2, 2), (2, 3)]


def test_a_training_that_is_queued_again_already_is_not_queued_twice(join: Join) -> None:
    study, settings = join(), tune(finalists=1, seeds=2)
    add(study, 8, 1.0)
    finalists, total = open_finalists(study, settings)

    def interrupted(trial: optuna.Trial) -> float:
        trial.suggest_int("trial", 0, 2**31 - 1)
        trial.suggest_int("seed", 0, 2**31 - 1)
        raise SystemExit

    with pytest.raises(SystemExit):
        TrialQueue(finalists, total, stale_seconds=1).run(
            sequentially(interrupted), lambda trial: None
        )
    finalists, total = open_finalists(study, settings)
    assert total == 2
    waiting = finalists.get_trials(states=(TrialState.WAITING,))
    assert sorted(map(trial_and_seed, waiting)) == [(0, 1), (0, 2)]


def test_more_trials_that_change_the_choice_add_the_new_finalists() -> None:
    study, settings = searched(), tune(finalists=2, seeds=2)
    open_finalists(study, settings)
    add(study, 1, 50.0)
    finalists, total = open_finalists(study, settings)
    assert total == 6, "the best two, and the one that is no longer among them"
    assert sorted(map(trial_and_seed, finalists.trials)) == [
        (n, s) for n in (2, 5, 6) for s in (1, 2)
    ]


def test_without_new_seeds_nothing_is_trained_and_the_search_decides() -> None:
    study, settings = searched(), tune(finalists=3, seeds=0)
    finalists, total = open_finalists(study, settings)
    assert (total, finalists.trials) == (0, [])
    entries = compare_finalists(study, finalists, settings)
    assert [entry.trial.number for entry in entries] == [2, 5, 4]
    assert [entry.mean for entry in entries] == [89.0, 89.5, 91.0]
    assert [entry.difference for entry in entries] == [0.0, 0.5, 2.0]
    assert {(entry.error, entry.difference_error) for entry in entries} == {(None, None)}
    assert all(entry.values == [] for entry in entries)
    assert smallest_latent(entries, direction_sign(study)) is None
    assert compare_finalists(study, None, settings) == entries


# --- the comparison


def trained(
    groups: dict[tuple[int, int], list[float]], direction: str = "minimize", **changes: Any
) -> tuple[Study, list[Finalist]]:
    study = searched(direction=direction)
    settings = tune(
        objective="nll" if direction == "minimize" else "knn_accuracy",
        finalists=len({number for number, _ in groups}),
        seeds=len({seed for _, seed in groups}),
        **changes,
    )
    finalists, total = open_finalists(study, settings)
    assert total == len(groups)
    train(finalists, groups)
    return study, compare_finalists(study, finalists, settings)


def drawn_groups(*means: tuple[int, float], seeds: int = 3) -> dict[tuple[int, int], list[float]]:
    rng = np.random.default_rng(4)
    images = rng.normal(size=12)  # images that are hard or easy for all models
    return {
        (number, seed): (mean + images + rng.normal(0, 0.3) + rng.normal(0, 0.2, 12)).tolist()
        for number, mean in means
        for seed in range(1, seeds + 1)
    }


def test_means_errors_and_differences_are_those_of_the_new_trainings() -> None:
    groups = drawn_groups((2, 91.0), (5, 90.0), (4, 90.1))
    _, entries = trained(groups)
    values = {n: [np.mean(groups[n, seed]) for seed in (1, 2, 3)] for n in (2, 5, 4)}
    order = sorted(values, key=lambda number: np.mean(values[number]))
    assert [entry.trial.number for entry in entries] == order
    assert order[-1] == 2, "the best of the search is the worst with new seeds"
    best = entries[0]
    for entry in entries:
        own = values[entry.trial.number]
        assert sorted(entry.values) == pytest.approx(sorted(own))
        assert entry.mean == pytest.approx(sum(own) / 3)
        spread = math.sqrt(sum((value - sum(own) / 3) ** 2 for value in own) / 2)
        assert entry.error == pytest.approx(spread / math.sqrt(3))
        assert entry.difference == pytest.approx(entry.mean - best.mean)
    assert (best.difference, best.difference_error) == (0.0, 0.0)
    for entry in entries[1:]:
        # Each group's difference, both averaged over the seeds, and how far these scatter.
        number, first = entry.trial.number, best.trial.number
        pairs = [
            sum(groups[number, s][g] for s in (1, 2, 3)) / 3
            - sum(groups[first, s][g] for s in (1, 2, 3)) / 3
            for g in range(12)
        ]
        assert sum(pairs) / 12 == pytest.approx(entry.difference)
        variance = sum((pair - entry.difference) ** 2 for pair in pairs) / 11
        assert entry.error is not None
        assert best.error is not None
        expected = math.sqrt(entry.error**2 + best.error**2 + variance / 12)
        assert entry.difference_error == pytest.approx(expected)


def test_images_that_are_hard_for_all_models_are_no_error_of_a_difference() -> None:
    plain = drawn_groups((2, 89.0), (5, 90.0))
    hard = {pair: (np.array(g) + 40 * np.arange(12)).tolist() for pair, g in plain.items()}
    errors = [trained(groups)[1][1].difference_error for groups in (plain, hard)]
    assert errors[0] == pytest.approx(errors[1])


def test_values_that_are_not_means_over_images_have_only_the_variance_over_seeds() -> None:
    study, settings = searched(), tune(finalists=2, seeds=2)
    finalists, _ = open_finalists(study, settings)
    values = {(2, 1): 1.0, (2, 2): 3.0, (5, 1): 10.0, (5, 2): 14.0}

    def objective(trial: optuna.Trial) -> float:
        pair = trial.suggest_int("trial", 0, 2**31 - 1), trial.suggest_int("seed", 0, 2**31 - 1)
        trial.set_user_attr(GROUPS, [])
        return values[pair]

    TrialQueue(finalists, 4, stale_seconds=1).run(sequentially(objective), lambda trial: None)
    first, second = compare_finalists(study, finalists, settings)
    assert (first.mean, first.error) == pytest.approx((2.0, 1.0))
    assert (second.mean, second.error) == pytest.approx((12.0, 2.0))
    assert second.difference_error == pytest.approx(math.sqrt(1 + 4))


def test_one_seed_gives_a_mean_without_an_error() -> None:
    study, entries = trained(drawn_groups((2, 91.0), (5, 90.0), seeds=1))
    assert [entry.trial.number for entry in entries] == [5, 2]
    assert [len(entry.values) for entry in entries] == [1, 1]
    assert {(entry.error, entry.difference_error) for entry in entries} == {(None, None)}
    assert entries[1].difference == pytest.approx(entries[1].mean - entries[0].mean)
    assert smallest_latent(entries, direction_sign(study)) is None


def test_a_training_that_failed_is_left_out_of_the_mean() -> None:
    study, settings = searched(), tune(finalists=1, seeds=3)
    finalists, _ = open_finalists(study, settings)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("trial", 0, 2**31 - 1)
        seed = trial.suggest_int("seed", 0, 2**31 - 1)
        if seed == 2:
            raise NonFiniteLossError("the loss is not finite")
        return float(seed)

    TrialQueue(finalists, 3, stale_seconds=1).run(sequentially(objective), lambda trial: None)
    assert len(finished_trials(finalists)) == 3
    (entry,) = compare_finalists(study, finalists, settings)
    assert sorted(entry.values) == [1.0, 3.0]
    assert (entry.mean, entry.error) == pytest.approx((2.0, 1.0))


@pytest.mark.parametrize("factor", [1.0, -1.0])
@pytest.mark.parametrize(
    ("differences", "chosen"),
    [
        # Latent sizes 8, 4 and 2, of which 8 is best; the error of a difference is 0.5.
        ((0.0, 0.4, 0.6), 4),
        ((0.0, 0.4, 0.5), 2),
        ((0.0, 0.6, 0.7), 8),
        ((0.0, 0.6, 0.4), 2),
    ],
)
def test_the_smallest_within_one_standard_error_is_found(
    factor: float, differences: tuple[float, ...], chosen: int
) -> None:
    study = searched([(8, 1.0), (4, 1.0), (2, 1.0)])
    entries = [
        Finalist(
            trial,
            [1.0, 1.0],
            mean=factor * (90 + difference),
            error=0.3,
            difference=factor * difference,
            difference_error=0.5 if difference else 0.0,
        )
        for trial, difference in zip(study.trials, differences, strict=True)
    ]
    found = smallest_latent(entries, factor)
    assert found is not None
    assert found.trial.params[LATENT] == chosen


def test_the_smallest_of_a_real_comparison() -> None:
    study, entries = trained(drawn_groups((2, 90.0), (5, 90.02)))
    found = smallest_latent(entries, direction_sign(study))
    assert found is not None
    assert found.trial.params[LATENT] == 8, "16 latents are not needed"
    study, entries = trained(drawn_groups((2, 95.0), (5, 90.0)))
    found = smallest_latent(entries, direction_sign(study))
    assert found is not None
    assert found.trial.params[LATENT] == 16, "8 latents are too few"


def test_a_high_value_is_the_best_one_among_finalists_too() -> None:
    study, entries = trained(drawn_groups((3, 0.5), (1, 5.0)), "maximize")
    assert [entry.trial.number for entry in entries] == [1, 3]
    assert entries[1].difference < 0
    found = smallest_latent(entries, direction_sign(study))
    assert found is not None
    assert found.trial.params[LATENT] == 4, "2 latents are too few"


def test_no_latent_size_is_smallest_where_none_was_searched() -> None:
    study = searched([(8, 1.0), (4, 2.0)], latent=False)
    entries = [Finalist(trial, [1.0, 1.0], 1.0, 0.1, 0.0, 0.1) for trial in study.trials]
    assert smallest_latent(entries, 1.0) is None
    assert smallest_latent([], 1.0) is None
