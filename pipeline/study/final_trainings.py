"""What is trained after the search, step by step, and what it decides.

First the finalists, with new seeds: the best mean chooses the winner. Then the winner once more,
with further seeds, which report its value. Then its settings with smaller latent sizes, by
bisection, to find the smallest that is as good. Each step follows from the results in the storage,
so that any worker can continue.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna import Study
from optuna.trial import FrozenTrial

from pipeline.study.finalists import (
    LATENT,
    Finalist,
    TrainedFinalists,
    Training,
    choose_finalists,
    direction_sign,
    training_of,
)
from pipeline.study.storage import set_metric_names, study_directions, study_lock
from pipeline.study.trial_states import counts_toward_total
from vaelab.config import TuneSettings
from vaelab.config.tune import Choices


@dataclass(frozen=True)
class Decision:
    """The finalists, best first, the smaller latent sizes, and the trainings wanted so far.

    `smallest` has the smallest latent size that is as good as the best one; None if there is none
    or there are no errors. `untried` are the sizes below it of which nothing is known.
    """

    finalists: list[Finalist]
    wanted: list[Training]
    smaller: list[Finalist]
    smallest: Finalist | None = None
    untried: tuple[int, ...] = ()
    is_complete: bool = False


def decide(study: Study, finalists: Study | None, tune: TuneSettings) -> Decision:
    """Compare what is trained, and return what is to be trained next."""
    trained, chosen = TrainedFinalists(finalists), choose_finalists(study, tune)
    first = {trial.number: _seeds(trial, 1, tune) for trial in chosen}
    entries = [trained.finalist(trial, first[trial.number]) for trial in chosen]
    entries.sort(key=lambda entry: direction_sign(study) * entry.mean)
    wanted = [training for trainings in first.values() for training in trainings]
    if not wanted or not trained.has(wanted):
        compared = [trained.compare(entry, entries[0]) for entry in entries]
        return Decision(compared, wanted, [], is_complete=bool(entries) and not wanted)
    again = _seeds(entries[0].trial, tune.seeds + 1, tune)
    wanted += again
    fresh = trained.finalist(entries[0].trial, again)
    best = replace(fresh, chosen_by=entries[0].values) if fresh.values else entries[0]
    entries = [trained.compare(entry, best) for entry in (best, *entries[1:])]
    if not trained.has(again):
        return Decision(entries, wanted, [])
    return _with_smaller_sizes(study, Decision(entries, wanted, []), trained, tune)


def smaller_sizes(
    sizes: Sequence[int], good: int, is_good: Callable[[int], bool | None], limit: int
) -> tuple[list[int], tuple[int, ...]]:
    """Bisect the latent sizes below `good`, at most `limit` of them, for the smallest good one.

    Returns the sizes that were asked for, of which the last may be undecided (None), and those of
    which nothing is known: they lie between the largest that is worse and the smallest good one.
    """
    worse, asked = 0, list[int]()
    while between := tuple(size for size in sizes if worse < size < good):
        if len(asked) == limit:
            return asked, between
        middle = math.sqrt(max(worse, 1) * good)
        asked.append(min(between, key=lambda size: abs(math.log(size / middle))))
        answer = is_good(asked[-1])
        if answer is None:
            return asked, between
        good, worse = (asked[-1], worse) if answer else (good, asked[-1])
    return asked, ()


def finalists_name(study: Study, tune: TuneSettings) -> str:
    """Return the name of the Optuna study of a study's finalists."""
    epochs = f", {tune.finalist_epochs} epochs" if tune.finalist_epochs else ""
    return f"{study.study_name} finalists{epochs}"


def load_finalists(study: Study, tune: TuneSettings) -> Study | None:
    """Return the Optuna study of the finalists' trainings; None if it does not exist yet."""
    try:
        return optuna.load_study(study_name=finalists_name(study, tune), storage=study._storage)
    except KeyError:
        return None


def open_finalists(study: Study, tune: TuneSettings) -> tuple[Study, int]:
    """Return the Optuna study of the finalists' trainings, and the number of those known by now.

    All are queued that are wanted by now.
    """
    with study_lock():
        finalists = optuna.create_study(
            storage=study._storage,
            sampler=optuna.samplers.RandomSampler(seed=0),
            study_name=finalists_name(study, tune),
            load_if_exists=True,
            directions=study_directions(tune),
        )
        if study.metric_names:
            set_metric_names(finalists, study.metric_names)
        present = {training_of(trial) for trial in finalists.trials if counts_toward_total(trial)}
        for training in decide(study, finalists, tune).wanted:
            if training not in present:
                finalists.enqueue_trial(training._asdict())
    return finalists, sum(map(counts_toward_total, finalists.trials))


def _seeds(
    trial: FrozenTrial, first: int, tune: TuneSettings, latent_dim: int = 0
) -> list[Training]:
    return [Training(trial.number, first + n, latent_dim) for n in range(tune.seeds)]


def _with_smaller_sizes(
    study: Study, decision: Decision, trained: TrainedFinalists, tune: TuneSettings
) -> Decision:
    """Add the smaller latent sizes of the best settings, as far as they are trained."""
    best, factor = decision.finalists[0], direction_sign(study)
    good = [e for e in decision.finalists if e.latent_size and e.is_as_good(factor)]
    smallest = min(good, key=lambda entry: entry.latent_size or 0, default=None)
    if smallest is None or smallest.latent_size is None:
        return replace(decision, is_complete=True)
    tried, wanted = dict[int, Finalist](), list(decision.wanted)

    def is_good(size: int) -> bool | None:
        trainings = _seeds(best.trial, tune.seeds + 1, tune, size)
        wanted.extend(trainings)
        if not trained.has(trainings):
            return None
        tried[size] = trained.compare(trained.finalist(best.trial, trainings), best)
        return tried[size].is_as_good(factor)

    asked, untried = smaller_sizes(
        _all_sizes(tune), smallest.latent_size, is_good, tune.smaller_sizes
    )
    found = [entry for entry in tried.values() if entry.is_as_good(factor)]
    return Decision(
        decision.finalists,
        wanted,
        list(tried.values()),
        found[-1] if found else smallest,
        untried,
        is_complete=len(tried) == len(asked),
    )


def _all_sizes(tune: TuneSettings) -> list[int]:
    entry = tune.search_space[LATENT]
    if isinstance(entry, Choices):
        return sorted(size for size in entry.choices if isinstance(size, int))
    return list(range(int(entry.low), int(entry.high) + 1, int(entry.step or 1)))
