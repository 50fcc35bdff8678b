"""Samplers and pruners by name: seeds, ranges, grids, and when a trial is pruned."""

import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial, Trial, TrialState

from pipeline.study.samplers import build_pruner, build_sampler
from pipeline.study.search_space import decode_params, grid, suggest, total_trials
from pipeline.study.storage import study_directions
from vaelab.config import TrainSettings, TuneSettings
from vaelab.config.tune import Choices

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

SAMPLERS = ("tpe", "gp", "nsga2", "random", "qmc", "grid")
MIXED: dict[str, Any] = {
    "model.latent_dim": {"type": "int", "low": 2, "high": 64, "log": True},
    "train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0, "log": True},
    "train.learning_rate": {"type": "float", "low": 0.0015, "high": 0.012},
    "train.batch_size": {"type": "int", "low": 10, "high": 20},
    "model.hidden": {"type": "categorical", "choices": [[], [16], [32, 16]]},
    "model.gaussian_variance": {"type": "categorical", "choices": ["fitted", 0.5]},
    "train.gradient_clip_norm": {"type": "categorical", "choices": [None, 1.0]},
}


def tuned(space: Mapping[str, Any] = MIXED, **changes: Any) -> TuneSettings:
    return TuneSettings.model_validate({"search_space": space, **changes})


def open_study(storage: InMemoryStorage, tune: TuneSettings, name: str = "study") -> Study:
    """Open a study as a new worker does."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=build_sampler(tune),
        pruner=build_pruner(tune, TrainSettings(epochs=20)),
        directions=study_directions(tune),
        load_if_exists=True,
    )


def draws(*studies: Study, tune: TuneSettings, each: int) -> None:
    """Run one trial of each worker in turn, `each` times."""
    for study in studies * each:
        study.optimize(lambda trial: len(str(suggest(trial, tune))), n_trials=1)


def points(study: Study, tune: TuneSettings) -> list[tuple[Any, ...]]:
    return [tuple(decode_params(trial.params, tune).values()) for trial in study.trials]


# --- seeds


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_start_up_points_are_those_of_one_uninterrupted_run(sampler: str) -> None:
    tune = tuned(sampler=sampler)
    single = open_study(InMemoryStorage(), tune)
    draws(single, tune=tune, each=8)

    shared = InMemoryStorage()
    draws(open_study(shared, tune), open_study(shared, tune), tune=tune, each=4)

    interrupted = InMemoryStorage()
    draws(open_study(interrupted, tune), tune=tune, each=3)
    draws(open_study(interrupted, tune), tune=tune, each=5)

    expected = points(single, tune)
    assert len(expected) == len(set(expected)) == 8
    assert points(open_study(shared, tune), tune) == expected
    assert points(open_study(interrupted, tune), tune) == expected


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_another_seed_gives_other_points(sampler: str) -> None:
    found = []
    for seed in (0, 1):
        tune = tuned(sampler=sampler, seed=seed)
        study = open_study(InMemoryStorage(), tune)
        draws(study, tune=tune, each=4)
        found.append(points(study, tune))
    assert found[0] != found[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_warns_of_nothing(sampler: str) -> None:
    tune = tuned(sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws(open_study(InMemoryStorage(), tune), tune=tune, each=2)


def test_what_tpe_draws_after_the_start_depends_on_what_was_measured() -> None:
    tune = tuned(startup_trials=3)
    found = []
    for sign in (1, -1):

        def objective(trial: Trial, sign: int = sign) -> float:
            return sign * float(suggest(trial, tune)["train.kl_weight"])

        study = open_study(InMemoryStorage(), tune)
        study.optimize(objective, n_trials=8)
        found.append(points(study, tune))
    assert found[0][:3] == found[1][:3]
    assert found[0][3:] != found[1][3:]


# --- ranges


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "changes", [{"pruner": "hyperband"}, {"objective": "rate_distortion"}], ids=str
)
def test_every_sampler_runs_a_mixed_space(sampler: str, changes: dict[str, Any]) -> None:
    tune = tuned(sampler=sampler, startup_trials=4, trials=20, **changes)
    study = open_study(InMemoryStorage(), tune)

    def objective(trial: Trial) -> float | tuple[float, float]:
        drawn = suggest(trial, tune)
        assert_in_range(drawn)
        value: float = math.log(drawn["train.kl_weight"]) ** 2 + drawn["model.latent_dim"]
        if "objective" in changes:
            return value, -value
        for epoch in range(1, 21):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=7)
    states = {trial.state for trial in study.trials}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(set(points(study, tune))) > 5
    for trial in study.trials:
        assert_in_range(decode_params(trial.params, tune))


def assert_in_range(drawn: Mapping[str, Any]) -> None:
    assert list(drawn) == list(MIXED)
    assert isinstance(drawn["model.latent_dim"], int)
    assert 2 <= drawn["model.latent_dim"] <= 64
    assert isinstance(drawn["train.batch_size"], int)
    assert 10 <= drawn["train.batch_size"] <= 20
    for name, (low, high) in (
        ("train.kl_weight", (0.01, 10.0)),
        ("train.learning_rate", (0.0015, 0.012)),
    ):
        assert isinstance(drawn[name], float)
        assert low <= drawn[name] <= high
        assert drawn[name] == float(f"{drawn[name]:.4g}")
    assert drawn["model.hidden"] in [(), (16,), (32, 16)]
    assert drawn["model.gaussian_variance"] in ["fitted", 0.5]
    assert drawn["train.gradient_clip_norm"] in [None, 1.0]


@pytest.mark.parametrize(
    ("choices", "stored"),
    [
        ([[], [16], [32, 16]], [[], [16], [32, 16]]),
        (["relu", None, 0.5, 2], ["relu", None, 0.5, 2]),
        ([True, False], [True, False]),
    ],
)
def test_choices_survive_the_storage(choices: list[Any], stored: list[Any]) -> None:
    tune = tuned({"model.hidden": {"type": "categorical", "choices": choices}})
    entry = tune.search_space["model.hidden"]
    assert isinstance(entry, Choices)
    study = open_study(InMemoryStorage(), tune)
    drawn: list[Any] = []

    def objective(trial: Trial) -> float:
        drawn.append(suggest(trial, tune)["model.hidden"])
        return 0.0

    study.optimize(objective, n_trials=25)
    assert {repr(value) for value in drawn} == {repr(choice) for choice in entry.choices}
    again = [decode_params(trial.params, tune)["model.hidden"] for trial in study.trials]
    assert list(map(repr, again)) == list(map(repr, drawn))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.123456, 0.987654), (0.999949, 1.000051)])
def test_floats_have_four_digits_but_at_the_ends_of_their_range(
    log: bool, low: float, high: float
) -> None:
    space = {"train.kl_weight": {"type": "float", "low": low, "high": high, "log": log}}
    tune = tuned(space)
    for part in (0.0, 1e-9, 0.3, 1 - 1e-9, 1.0):
        stored = {"train.kl_weight": low + part * (high - low)}
        trained = suggest(FixedTrial(stored), tune)["train.kl_weight"]  # type: ignore[arg-type]
        assert low <= trained <= high
        assert trained in (low, high, float(f"{trained:.4g}"))
        assert trained == pytest.approx(stored["train.kl_weight"], rel=5e-4)
        assert decode_params(stored, tune) == {"train.kl_weight": trained}, "the same later on"


def test_a_parameter_that_is_no_longer_searched_stays_as_it_is() -> None:
    tune = tuned({"train.kl_weight": MIXED["train.kl_weight"]})
    assert decode_params({"model.latent_dim": 7, "train.kl_weight": 0.123456}, tune) == {
        "model.latent_dim": 7,
        "train.kl_weight": 0.1235,
    }


# --- grids

WEIGHT, LATENT = MIXED["train.kl_weight"], MIXED["model.latent_dim"]
HIDDEN = MIXED["model.hidden"]
SMALL = {"type": "int", "low": 1, "high": 3}


@pytest.mark.parametrize(
    ("space", "trials", "sizes"),
    [
        ({"train.kl_weight": WEIGHT}, 7, [7]),
        ({"train.kl_weight": WEIGHT, "model.latent_dim": LATENT}, 40, [6, 6]),
        ({"train.kl_weight": WEIGHT, "model.latent_dim": LATENT}, 36, [6, 6]),
        ({"train.kl_weight": WEIGHT, "model.latent_dim": LATENT}, 35, [5, 5]),
        ({"train.kl_weight": WEIGHT, "model.hidden": HIDDEN}, 40, [13, 3]),
        ({"model.hidden": HIDDEN}, 40, [3]),
        ({"model.latent_dim": SMALL}, 40, [3]),
        ({"train.kl_weight": WEIGHT, "model.latent_dim": SMALL}, 25, [5, 3]),
        ({"train.kl_weight": WEIGHT, "model.latent_dim": LATENT}, 3, [2, 2]),
        ({"model.hidden": HIDDEN}, 2, [3]),
    ],
)
def test_a_grid_is_spread_over_its_ranges(
    space: dict[str, Any], trials: int, sizes: list[int]
) -> None:
    tune = tuned(space, sampler="grid", trials=trials)
    found = grid(tune)
    assert [len(values) for values in found.values()] == sizes
    assert total_trials(tune) == min(trials, math.prod(sizes))
    for name, values in found.items():
        entry = tune.search_space[name]
        assert len(set(values)) == len(values)
        if not isinstance(entry, Choices):
            assert (min(values), max(values)) == (entry.low, entry.high)
            assert all(type(value) is type(entry.low) for value in values)
    weights = found.get("train.kl_weight", [])
    ratios = [b / a for a, b in itertools.pairwise(weights)]
    assert ratios == pytest.approx(ratios[:1] * len(ratios)), "evenly, in the logarithm"


@pytest.mark.parametrize("trials", range(1, 45, 4))
def test_a_grid_has_no_more_points_than_trials(trials: int) -> None:
    for names in itertools.chain.from_iterable(itertools.combinations(MIXED, k) for k in (1, 2, 3)):
        tune = tuned({name: MIXED[name] for name in names}, sampler="grid", trials=trials)
        size = math.prod(map(len, grid(tune).values()))
        entries = tune.search_space.values()
        # The ends of each range and every choice are in it, however few the trials are.
        least = math.prod(len(e.choices) if isinstance(e, Choices) else 2 for e in entries)
        assert size <= max(trials, least)
        assert total_trials(tune) == min(trials, size) <= trials


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_grid_is_visited_once_by_two_workers(pruner: str) -> None:
    space = {"train.kl_weight": WEIGHT, "model.hidden": HIDDEN}
    tune = tuned(space, sampler="grid", trials=12, pruner=pruner)
    storage = InMemoryStorage()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws(open_study(storage, tune), open_study(storage, tune), tune=tune, each=6)
    found = points(open_study(storage, tune), tune)
    weights = {float(f"{0.01 * 10**exponent:.4g}") for exponent in range(4)}
    assert sorted(map(repr, found)) == sorted(
        repr((weight, hidden)) for weight in weights for hidden in [(), (16,), (32, 16)]
    )


# --- pruners


def first_pruned_epochs(pruner: BasePruner, epochs: int, trials: int = 30) -> list[int]:
    """Return the epochs at which trials that are far behind the first half are pruned."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=pruner, study_name="pruned")
    ends: list[int] = []

    def objective(trial: Trial) -> float:
        value = 0.0 if trial.number < trials // 2 else 100.0
        for epoch in range(1, epochs + 1):
            trial.report(value + 0.01 * trial.number, epoch)
            if trial.should_prune():
                ends.append(epoch)
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=trials)
    return ends


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize(
    ("changes", "warmup", "first"),
    [
        ({"pruning_after": 0.3}, 0, 6),
        ({"pruning_after": 0.31}, 0, 7),
        ({"pruning_after": 0.0}, 0, 1),
        ({"pruning_after": 0.3}, 9, 9),
        ({"pruning_after": 0.3}, 100, 20),
        ({"pruning_after": 0.5, "epochs": 10}, 0, 5),
    ],
)
def test_no_trial_is_pruned_before_its_warm_up_ends(
    pruner: str, changes: dict[str, Any], warmup: int, first: int
) -> None:
    tune = tuned(pruner=pruner, **changes)
    built = build_pruner(tune, TrainSettings(epochs=20), warmup)
    assert isinstance(built, MedianPruner if pruner == "median" else HyperbandPruner)
    epochs = tune.epochs or 20
    ends = first_pruned_epochs(built, epochs)
    assert ends, "trials far behind are pruned"
    assert min(ends) == first


def test_the_median_pruner_needs_some_trials() -> None:
    built = build_pruner(tuned(pruner="median", startup_trials=3), TrainSettings())
    assert isinstance(built, MedianPruner)
    assert (built._n_startup_trials, built._percentile) == (3, 50.0)
    many = build_pruner(tuned(pruner="median", startup_trials=30), TrainSettings())
    assert isinstance(many, MedianPruner)
    assert many._n_startup_trials == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": "none"},
        {"pruner": "median", "objective": "rate_distortion"},
        {"pruner": "hyperband", "objective": "rate_distortion"},
    ],
)
def test_nothing_is_pruned_without_a_pruner_or_with_two_objectives(
    changes: dict[str, Any],
) -> None:
    built = build_pruner(tuned(**changes), TrainSettings(epochs=20))
    assert isinstance(built, NopPruner)
    assert first_pruned_epochs(built, 20, trials=8) == []
