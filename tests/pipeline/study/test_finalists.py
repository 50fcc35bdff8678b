"""The best few trials, trained again with other seeds: which, how often, and how they compare."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.final_trainings import (
    Decision,
    decide,
    finalists_name,
    open_finalists,
    smaller_sizes,
)
from pipeline.study.finalists import (
    GROUPS,
    Finalist,
    Training,
    choose_finalists,
    direction_sign,
    ranked,
    training_of,
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


def suggested(trial: optuna.Trial) -> tuple[int, int]:
    """Store the parameters of a queued training; return its trial and seed."""
    names = ("trial", "seed", "latent_dim")
    number, seed, _ = (trial.suggest_int(name, 0, 2**31 - 1) for name in names)
    return number, seed


def train(finalists: Study, values: dict[tuple[int, int], list[float]]) -> None:
    """Run the finalists' trainings; `values` has each one's groups, by trial and seed."""

    def objective(trial: optuna.Trial) -> float:
        pair = suggested(trial)
        trial.set_user_attr(GROUPS, values[pair])
        return float(np.mean(values[pair]))

    TrialQueue(finalists, len(values), stale_seconds=1).run(
        sequentially(objective), lambda trial: None
    )


def pairs_of(trials: list[FrozenTrial]) -> list[tuple[int, int]]:
    return sorted(training_of(trial)[:2] for trial in trials)


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
        assert pairs_of(finalists.trials) == expected
        assert finalists.study_name == finalists_name(study, settings)
        assert finalists.directions == study.directions
    train(finalists, {pair: [float(pair[0])] for pair in expected})
    again, total = open_finalists(join(), settings)
    assert total == 9, "the winner's further seeds are queued"
    assert [trial.state for trial in again.trials[:6]] == [TrialState.COMPLETE] * 6
    assert pairs_of(again.trials[:6]) == expected
    assert pairs_of(again.trials[6:]) == [(2, 4), (2, 5), (2, 6)]


def test_a_training_that_failed_counts_and_one_that_was_cut_off_is_queued_anew() -> None:
    study, settings = searched(), tune(finalists=1, seeds=3)
    finalists, _ = open_finalists(study, settings)
    for seed in (1, 2):
        trial = finalists.ask()
        assert suggested(trial) == (2, seed)
        if seed == 1:
            trial.set_user_attr(FAILURE, "the loss is not finite")
        finalists.tell(trial, state=TrialState.FAIL)
    finalists, total = open_finalists(study, settings)
    assert total == 3
    waiting = finalists.get_trials(states=(TrialState.WAITING,))
    assert pairs_of(waiting) == [(2, 2), (2, 3)]


def test_a_training_that_is_queued_again_already_is_not_queued_twice(join: Join) -> None:
    study, settings = join(), tune(finalists=1, seeds=2)
    add(study, 8, 1.0)
    finalists, total = open_finalists(study, settings)

    def interrupted(trial: optuna.Trial) -> float:
        suggested(trial)
        raise SystemExit

    with pytest.raises(SystemExit):
        TrialQueue(finalists, total, stale_seconds=1).run(
            sequentially(interrupted), lambda trial: None
        )
    finalists, total = open_finalists(study, settings)
    assert total == 2
    waiting = finalists.get_trials(states=(TrialState.WAITING,))
    assert pairs_of(waiting) == [(0, 1), (0, 2)]


def test_more_trials_that_change_the_choice_add_the_new_finalists() -> None:
    study, settings = searched(), tune(finalists=2, seeds=2)
    open_finalists(study, settings)
    add(study, 1, 50.0)
    finalists, total = open_finalists(study, settings)
    assert total == 6, "the best two, and the one that is no longer among them"
    assert pairs_of(finalists.trials) == [(n, s) for n in (2, 5, 6) for s in (1, 2)]


def test_without_new_seeds_nothing_is_trained_and_the_search_decides() -> None:
    study, settings = searched(), tune(finalists=3, seeds=0)
    finalists, total = open_finalists(study, settings)
    assert (total, finalists.trials) == (0, [])
    decision = decide(study, finalists, settings)
    entries = decision.finalists
    assert [entry.trial.number for entry in entries] == [2, 5, 4]
    assert [entry.mean for entry in entries] == [89.0, 89.5, 91.0]
    assert [entry.difference for entry in entries] == [0.0, 0.5, 2.0]
    assert {(entry.error, entry.difference_error) for entry in entries} == {(None, None)}
    assert all(entry.values == [] for entry in entries)
    assert decision.smallest is None
    assert decision.is_complete
    assert decide(study, None, settings) == decision


def test_other_epochs_have_a_study_of_their_own() -> None:
    study, names = searched(), set[str]()
    for epochs in (None, 10, 20):
        finalists, total = open_finalists(study, tune(finalist_epochs=epochs))
        assert total == 9
        names.add(finalists.study_name)
    assert names == {"study finalists", "study finalists, 10 epochs", "study finalists, 20 epochs"}


def test_a_training_of_an_earlier_version_is_one_with_the_trials_own_latent_size() -> None:
    study, settings = searched(), tune(finalists=1, seeds=1)
    old = optuna.create_study(storage=study._storage, study_name=finalists_name(study, settings))
    old.enqueue_trial({"trial": 2, "seed": 1})
    finalists, total = open_finalists(study, settings)
    assert (total, [training_of(trial) for trial in finalists.trials]) == (1, [Training(2, 1, 0)])


# --- the comparison

# The nats of a group of images, by its training.
Groups = Callable[[Training], list[float]]


def run_to_the_end(study: Study, settings: TuneSettings, groups: Groups) -> Decision:
    """Run all that is wanted after the search, step by step, as a worker does."""
    finalists, total = open_finalists(study, settings)
    while total > len(finished_trials(finalists)):
        for trial in finalists.get_trials(states=(TrialState.WAITING,)):
            running = finalists.ask()
            suggested(running)
            own = groups(training_of(trial))
            running.set_user_attr(GROUPS, own)
            finalists.tell(running, float(np.mean(own)))
        finalists, total = open_finalists(study, settings)
    decision = decide(study, finalists, settings)
    assert decision.is_complete
    return decision


def drawn(*means: tuple[int, float], smaller: dict[int, float] | None = None) -> Groups:
    """Groups of trainings with these means, by trial, and by latent size below the best one."""
    images = np.random.default_rng(4).normal(size=12)  # that are hard or easy for all models

    def groups(training: Training) -> list[float]:
        rng = np.random.default_rng(list(training))
        mean = (smaller or {}).get(training.latent_dim, 99.0)
        mean = mean if training.latent_dim else dict(means)[training.trial]
        return (mean + images + rng.normal(0, 0.3) + rng.normal(0, 0.2, 12)).tolist()  # type: ignore[no-any-return]

    return groups


def means_of(groups: Groups, number: int, *seeds: int) -> list[float]:
    return [float(np.mean(groups(Training(number, seed)))) for seed in seeds]


def test_one_half_of_the_seeds_chooses_the_best_and_the_other_reports_it() -> None:
    groups = drawn((2, 91.0), (5, 90.0), (4, 90.1))
    decision = run_to_the_end(searched(), tune(smaller_sizes=0), groups)
    chosen = {n: np.mean(means_of(groups, n, 1, 2, 3)) for n in (2, 5, 4)}
    order = sorted(chosen, key=lambda number: chosen[number])
    assert [entry.trial.number for entry in decision.finalists] == order
    assert order[-1] == 2, "the best of the search is the worst with new seeds"
    best, *others = decision.finalists
    assert best.chosen_by == pytest.approx(means_of(groups, order[0], 1, 2, 3))
    assert best.values == pytest.approx(means_of(groups, order[0], 4, 5, 6))
    assert best.seeds == (4, 5, 6)
    assert best.mean == pytest.approx(np.mean(best.values))
    for entry in others:
        assert entry.values == pytest.approx(means_of(groups, entry.trial.number, 1, 2, 3))
        assert entry.difference == pytest.approx(entry.mean - best.mean)
        assert not entry.chosen_by


def test_a_means_error_counts_seeds_and_images_and_a_differences_pairs_the_images() -> None:
    groups = drawn((2, 91.0), (5, 90.0), (4, 90.1))
    best, *others = run_to_the_end(searched(), tune(smaller_sizes=0), groups).finalists

    def table(entry: Finalist) -> np.ndarray:
        return np.array([groups(Training(entry.trial.number, seed)) for seed in entry.seeds])

    def over_seeds(entry: Finalist) -> float:
        return float(table(entry).mean(1).var(ddof=1)) / 3

    def over_images(groups_of_images: np.ndarray) -> float:
        return float(groups_of_images.var(ddof=1)) / 12

    assert (best.difference, best.difference_error) == (0.0, 0.0)
    for entry in (best, *others):
        variance = over_seeds(entry) + over_images(table(entry).mean(0))
        assert entry.error == pytest.approx(math.sqrt(variance))
    for entry in others:
        paired = table(entry).mean(0) - table(best).mean(0)
        variance = over_seeds(entry) + over_seeds(best) + over_images(paired)
        assert entry.difference_error == pytest.approx(math.sqrt(variance))
        assert entry.error is not None
        assert entry.difference_error is not None
        assert entry.difference_error < entry.error, "images that are hard for all cancel"


def test_before_the_further_seeds_are_trained_the_first_report_the_best() -> None:
    study, settings, groups = searched(), tune(finalists=2), drawn((2, 91.0), (5, 90.0))
    finalists, _ = open_finalists(study, settings)
    train(finalists, {(n, s): groups(Training(n, s)) for n in (2, 5) for s in (1, 2, 3)})
    decision = decide(study, finalists, settings)
    assert not decision.is_complete
    best = decision.finalists[0]
    assert (best.trial.number, best.seeds, best.chosen_by) == (5, (1, 2, 3), [])
    assert decision.smallest is None


def test_values_that_are_not_means_over_images_have_only_the_variance_over_seeds() -> None:
    values = {(2, 1): 1.0, (2, 2): 3.0, (2, 3): 2.0, (2, 4): 6.0, (5, 1): 10.0, (5, 2): 14.0}
    study, settings = searched(), tune(finalists=2, seeds=2, smaller_sizes=0)
    finalists, total = open_finalists(study, settings)
    for count in (total, 6):

        def objective(trial: optuna.Trial) -> float:
            trial.set_user_attr(GROUPS, [])
            return values[suggested(trial)]

        TrialQueue(finalists, count, stale_seconds=1).run(sequentially(objective), lambda _: None)
        open_finalists(study, settings)
    first, second = decide(study, finalists, settings).finalists
    assert (first.mean, first.error) == pytest.approx((4.0, 2.0))
    assert (second.mean, second.error) == pytest.approx((12.0, 2.0))
    assert second.difference_error == pytest.approx(math.sqrt(4 + 4))


def test_one_seed_gives_a_mean_without_an_error() -> None:
    groups = drawn((2, 91.0), (5, 90.0))
    decision = run_to_the_end(searched(), tune(finalists=2, seeds=1), groups)
    best, other = decision.finalists
    assert [entry.trial.number for entry in decision.finalists] == [5, 2]
    assert (best.seeds, other.seeds) == ((2,), (1,))
    assert {(entry.error, entry.difference_error) for entry in decision.finalists} == {(None, None)}
    assert other.difference == pytest.approx(other.mean - best.mean)
    assert (decision.smallest, decision.smaller) == (None, [])


def test_a_training_that_failed_is_left_out_of_the_mean() -> None:
    study, settings = searched(), tune(finalists=1, seeds=3, smaller_sizes=0)
    finalists, _ = open_finalists(study, settings)

    def objective(trial: optuna.Trial) -> float:
        _, seed = suggested(trial)
        if seed % 3 == 2:
            raise NonFiniteLossError("the loss is not finite")
        return float(seed)

    for count in (3, 6):
        TrialQueue(finalists, count, stale_seconds=1).run(sequentially(objective), lambda _: None)
        assert len(finished_trials(finalists)) == count
        open_finalists(study, settings)
    (entry,) = decide(study, finalists, settings).finalists
    assert (entry.chosen_by, entry.values) == ([1.0, 3.0], [4.0, 6.0])
    assert (entry.mean, entry.error) == pytest.approx((5.0, 1.0))


def test_a_high_value_is_the_best_one_among_finalists_too() -> None:
    settings = tune(objective="knn_accuracy", finalists=2, smaller_sizes=0)
    decision = run_to_the_end(searched(direction="maximize"), settings, drawn((3, 0.5), (1, 5.0)))
    assert [entry.trial.number for entry in decision.finalists] == [1, 3]
    assert decision.finalists[1].difference < 0
    assert decision.smallest is decision.finalists[0], "2 latents are too few"


# --- the smallest latent size


@pytest.mark.parametrize("smallest", range(2, 65))
def test_bisection_finds_every_size(smallest: int) -> None:
    asked, untried = smaller_sizes(range(2, 65), 64, lambda size: size >= smallest, limit=99)
    good = min([64, *(size for size in asked if size >= smallest)])
    assert (good, untried) == (smallest, ())
    assert len(asked) == len(set(asked)) <= 8


def test_the_budget_ends_the_bisection_and_what_is_unknown_is_said() -> None:
    asked, untried = smaller_sizes(range(2, 65), 64, lambda size: size >= 9, limit=2)
    assert (asked, untried) == ([8, 23], tuple(range(9, 23)))
    asked, untried = smaller_sizes(range(2, 65), 64, lambda size: True, limit=0)
    assert (asked, untried) == ([], tuple(range(2, 64)))
    asked, untried = smaller_sizes(range(2, 65), 64, lambda size: None, limit=9)
    assert (asked, untried) == ([8], tuple(range(2, 64))), "it waits for the first answer"


def test_the_best_settings_are_trained_with_smaller_latent_sizes() -> None:
    smaller = {size: 89.0 if size >= 6 else 95.0 for size in range(2, 8)}
    groups = drawn((2, 89.0), (5, 90.0), smaller=smaller)
    decision = run_to_the_end(searched(), tune(finalists=2), groups)
    assert [entry.latent_dim for entry in decision.smaller] == [3, 5, 6]
    assert decision.smallest is decision.smaller[-1]
    assert decision.smallest.latent_size == 6
    assert {entry.trial.number for entry in decision.smaller} == {2}
    assert {entry.seeds for entry in decision.smaller} == {(4, 5, 6)}
    assert decision.untried == ()


def test_a_smaller_finalist_that_is_as_good_is_where_the_bisection_starts() -> None:
    groups = drawn((2, 90.02), (5, 90.0), smaller={})
    decision = run_to_the_end(searched(), tune(finalists=2), groups)
    assert decision.finalists[0].latent_size == 16
    assert decision.smallest is decision.finalists[1], "16 latents are not needed"
    assert max(entry.latent_dim for entry in decision.smaller) < 8
    none = run_to_the_end(searched(), tune(finalists=2), drawn((2, 95.0), (5, 90.0)))
    assert none.smallest is none.finalists[0], "8 latents are too few"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_as_good_is_less_than_two_standard_errors_worse(direction: str) -> None:
    study = searched(direction=direction)
    factor = direction_sign(study)
    for difference, error, expected in ((0.9, 0.5, True), (1.1, 0.5, False), (-9.0, 0.5, True)):
        entry = Finalist(study.trials[0], [1.0], 1.0, 0.3, factor * difference, error)
        assert entry.is_as_good(factor) is expected
    assert not Finalist(study.trials[0], [1.0], 1.0, None).is_as_good(factor)


def test_no_latent_size_is_smallest_where_none_was_searched() -> None:
    settings = tune(finalists=2, search_space={WEIGHT: {"type": "float", "low": 0, "high": 9}})
    decision = run_to_the_end(searched(latent=False), settings, drawn((2, 89.0), (5, 90.0)))
    assert (decision.smallest, decision.smaller) == (None, [])


def named_size(rng: np.random.Generator) -> int:
    """Run a made study of which 8 latents and more are equally good; return the size it names.

    A missing latent costs 3 nats, the seed has a standard deviation of 1, images one of 10.
    """

    def nats(size: int, seed_noise: float) -> list[float]:
        images = 10 * np.random.default_rng(0).normal(size=50)
        own = rng.normal(0, 0.5, 50)
        return (3.0 * max(0, 8 - size) + seed_noise + images + own).tolist()  # type: ignore[no-any-return]

    sizes = np.rint(np.geomspace(2, 64, 1000)[rng.integers(0, 1000, 40)]).astype(int)
    study = searched([(int(size), float(np.mean(nats(int(size), rng.normal())))) for size in sizes])
    decision = run_to_the_end(
        study,
        tune(),
        lambda training: nats(training.latent_dim or int(sizes[training.trial]), rng.normal()),
    )
    assert decision.smallest is not None
    assert decision.smallest.latent_size is not None
    return decision.smallest.latent_size


def test_of_a_flat_truth_the_smallest_size_is_named_in_most_studies() -> None:
    rng, count = np.random.default_rng(0), 60
    named = [named_size(rng) for _ in range(count)]
    right = named.count(8) / count
    assert right >= 0.8, sorted(named)
