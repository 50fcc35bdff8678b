"""Every trial is finished once, whichever worker dies, and none beyond the total."""

import contextlib
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from filelock import FileLock
from optuna import Study, TrialPruned
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import text

from pipeline.study import trial_queue
from pipeline.study.samplers import build_sampler
from pipeline.study.search_space import grid, suggest, total_trials
from pipeline.study.storage import requeue
from pipeline.study.trial_queue import STARTED, SURPLUS, TrialQueue, TrialResult, retry_history
from pipeline.study.trial_states import FAILURE, counts_toward_total, finished_trials, is_finished
from tests.pipeline.study.conftest import Join, sequentially
from vaelab.config import TuneSettings, UserError
from vaelab.training.progress import NonFiniteLossError

STALE_SECONDS = 0.2


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_queue, "POLL_SECONDS", 0.02)


def draw(trial: Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def work(
    study: Study,
    total: int,
    objective: Callable[[Trial], Any] = draw,
    stale_seconds: float = STALE_SECONDS,
    deadline: float | None = None,
    at_once: int = 1,
) -> list[FrozenTrial]:
    """Run a study.s trials for a minute at most; return those that ended here."""
    ended: list[FrozenTrial] = []
    worker = TrialQueue(study, total, stale_seconds, deadline or time.monotonic() + 60, at_once)
    worker.run(sequentially(objective), ended.append)
    return ended


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def assert_all_is_done(study: Study, total: int) -> None:
    """Check the total, no point finished twice, and nothing left to do."""
    finished = finished_trials(study)
    assert len(finished) == total
    assert len({trial.params["x"] for trial in finished}) == total
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


def concurrently(*works: Callable[[], Any]) -> list[Any]:
    """Call several functions at once; return what each returned, or its interruption."""

    def attempt(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (KeyboardInterrupt, SystemExit) as interruption:
            return interruption

    # Threads overwrite each other's filters of warnings.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(works)) as pool:
        warnings.simplefilter("ignore")
        return [future.result() for future in [pool.submit(attempt, work) for work in works]]


def abandon(study: Study, *, heartbeat: str) -> FrozenTrial:
    """Leave a trial running; its heartbeats have not begun yet, have stopped, or go on."""
    trial = Trial(study, study._storage.create_new_trial(study._study_id))
    trial.suggest_float("x", 0, 1)
    if heartbeat != "none yet":
        trial.set_user_attr(STARTED, trial.number)
        study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    if heartbeat == "stopped":
        stop_heartbeats(study)
    return study.trials[trial.number]


def stop_heartbeats(study: Study) -> None:
    """Set the heartbeats of the running trials, one each, to a time long ago."""
    backend: Any = study._storage
    set_back = text(
        "UPDATE trial_heartbeats SET heartbeat = '2000-01-01' WHERE trial_id IN "
        "(SELECT trial_id FROM trials WHERE study_id = :study AND state = 'RUNNING')"
    )
    for _ in range(500):
        with backend._backend.engine.begin() as connection:
            if connection.execute(set_back, {"study": study._study_id}).rowcount:
                return
        time.sleep(0.02)
    raise AssertionError("no heartbeat within ten seconds")


# --- the total


def test_a_single_worker_runs_all_trials_and_no_more(join: Join) -> None:
    study = join()
    ended = work(study, 3)
    assert numbers(ended) == [0, 1, 2]
    assert [trial.state for trial in ended] == [TrialState.COMPLETE] * 3
    assert [trial.value for trial in ended] == [trial.params["x"] for trial in ended]
    assert_all_is_done(study, 3)


def test_several_workers_run_all_trials_and_no_more(join: Join) -> None:
    studies = [join() for _ in range(4)]

    def slow(trial: Trial) -> float:
        time.sleep(0.01 * (trial.number % 3))
        return draw(trial)

    ended = concurrently(*(lambda s=study: work(s, 10, slow, 60) for study in studies))
    assert_all_is_done(studies[0], 10)
    assert len(studies[0].trials) == 10, "none is surplus on one machine"
    assert sorted(number for part in ended for number in numbers(part)) == list(range(10))
    assert sum(bool(part) for part in ended) > 1, "more than one took part"


def test_several_workers_of_which_one_is_interrupted_and_one_trial_fails(join: Join) -> None:
    studies = [join() for _ in range(3)]

    def objective(trial: Trial) -> float:
        x = draw(trial)
        if trial.number == 0:
            raise NonFiniteLossError("the loss is not finite")
        if trial.number == 2:
            raise SystemExit(143)
        return x

    ended = concurrently(*(lambda s=study: work(s, 7, objective, 60) for study in studies))
    assert [type(part) for part in ended].count(SystemExit) == 1
    assert_all_is_done(studies[0], 7)
    (again,) = (trial for trial in studies[0].trials if retry_history(trial))
    assert retry_history(again) == [2]
    assert again.params == studies[0].trials[2].params
    assert again.state == TrialState.COMPLETE


def test_nothing_runs_when_all_is_there(join: Join) -> None:
    study = join()
    work(study, 2)
    for total in (2, 1):
        assert work(join(), total, lambda trial: pytest.fail("a trial ran")) == []
    assert len(study.trials) == 2
    assert numbers(work(study, 3)) == [2], "a larger total goes on"


def test_queued_trials_run_before_anything_new(join: Join) -> None:
    study = join()
    study.enqueue_trial({"x": 0.125})
    study.enqueue_trial({"x": 0.25})
    assert [trial.params["x"] for trial in work(study, 3)][:2] == [0.125, 0.25]
    assert_all_is_done(study, 3)


def test_a_worker_waits_for_the_trials_of_others(join: Join) -> None:
    study, mine = join(), join()

    def long(trial: Trial) -> float:
        x = draw(trial)
        started = time.monotonic()
        # The other one comes while this one runs, and waits longer than STALE_SECONDS.
        assert work(mine, 1, deadline=started + 3 * STALE_SECONDS) == []
        assert time.monotonic() - started > 3 * STALE_SECONDS
        return x

    assert numbers(work(study, 1, long)) == [0]
    assert_all_is_done(study, 1)
    assert len(study.trials) == 1


# --- batches


def test_batches_run_all_trials_and_no_more(join: Join) -> None:
    study, sizes = join(), []
    study.enqueue_trial({"x": 0.5})

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        sizes.append(len(trials))
        yield from sequentially(draw)(trials)

    ended: list[FrozenTrial] = []
    TrialQueue(study, 10, STALE_SECONDS, batch_size=4).run(batch, ended.append)
    assert sizes == [4, 4, 2]
    assert numbers(ended) == list(range(10))
    assert ended[0].params["x"] == 0.5, "queued trials come first"
    assert_all_is_done(study, 10)


def test_several_workers_with_batches_run_all_trials_and_no_more(join: Join) -> None:
    studies = [join() for _ in range(3)]
    ended = concurrently(
        *(lambda s=study: work(s, 11, stale_seconds=60, at_once=3) for study in studies)
    )
    assert_all_is_done(studies[0], 11)
    assert sorted(number for part in ended for number in numbers(part)) == list(range(11))


def test_each_trial_of_a_batch_has_its_own_end(join: Join) -> None:
    ends = [TrialPruned(), NonFiniteLossError("not finite"), torch.OutOfMemoryError("8 GiB")]

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        for trial in reversed(trials):
            value = draw(trial)
            yield trial, ends[trial.number] if trial.number < 3 else value

    study, ended = join(), list[FrozenTrial]()
    TrialQueue(study, 4, STALE_SECONDS, batch_size=4).run(batch, ended.append)
    assert numbers(ended) == [3, 2, 1, 0], "each is reported as it ends"
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    reasons = [trial.user_attrs.get(FAILURE) for trial in study.trials]
    assert reasons == [None, "not finite", "8 GiB", None]
    assert_all_is_done(study, 4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, UserError, ZeroDivisionError])
def test_an_error_of_a_batch_requeues_its_running_trials(
    join: Join, error: type[BaseException]
) -> None:
    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        for trial in trials:
            draw(trial)
        yield trials[1], 0.5
        raise error

    study = join()
    with pytest.raises(error):
        TrialQueue(study, 5, STALE_SECONDS, batch_size=4).run(batch, lambda trial: None)
    assert numbers(finished_trials(study)) == [1]
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert [retry_history(trial) for trial in waiting] == [[0], [2], [3]]
    work(join(), 5, at_once=4)
    assert_all_is_done(study, 5)


def test_a_defect_of_one_trial_requeues_the_others(join: Join) -> None:
    def objective(trial: Trial) -> float:
        x = draw(trial)
        return x / 0 if trial.number == 1 else x

    study = join()
    with pytest.raises(ZeroDivisionError):
        work(study, 3, objective, at_once=3)
    assert numbers(finished_trials(study)) == [0]
    assert not counts_toward_total(study.trials[1])
    assert [retry_history(trial) for trial in study.trials[3:]] == [[2]]
    work(join(), 3, at_once=3)
    assert_all_is_done(study, 3)


def test_every_trial_of_a_batch_has_heartbeats(join: Join) -> None:
    study = join()
    waits = threading.Event()

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        for trial in trials:
            draw(trial)
        ids = [trial._trial_id for trial in trials]
        deadline = time.monotonic() + 10
        while beating(study) != ids and time.monotonic() < deadline:
            waits.wait(0.02)
        assert beating(study) == ids
        yield from sequentially(draw)(trials)

    TrialQueue(study, 3, STALE_SECONDS, batch_size=3).run(batch, lambda trial: None)
    assert_all_is_done(study, 3)


def test_one_of_a_batch_that_missed_its_heartbeats_is_run_again(
    join: Join, capsys: pytest.CaptureFixture[str]
) -> None:
    study = join()

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        if trials[0].number == 0:
            for trial in trials:
                draw(trial)
            dead = study.get_trials()[1]
            join().tell(dead.number, state=TrialState.FAIL)
            requeue(study, study.get_trials()[1])
        yield from sequentially(lambda trial: trial.suggest_float("x", 0, 1))(trials)

    TrialQueue(study, 3, STALE_SECONDS, batch_size=3).run(batch, lambda trial: None)
    assert "trial 1 missed its heartbeats and was re-queued" in capsys.readouterr().out
    assert_all_is_done(study, 3)
    assert retry_history(study.trials[3]) == [1]


def beating(study: Study) -> list[int]:
    """Return the ids of the trials that have had a heartbeat."""
    backend: Any = study._storage
    query = text(
        "SELECT trial_id FROM trial_heartbeats WHERE trial_id IN "
        "(SELECT trial_id FROM trials WHERE study_id = :study) ORDER BY trial_id"
    )
    with backend._backend.engine.begin() as connection:
        return [row[0] for row in connection.execute(query, {"study": study._study_id})]


# --- failures


@pytest.mark.parametrize(
    "error",
    [NonFiniteLossError("epoch 3: the loss\nis not finite"), torch.OutOfMemoryError("8 GiB")],
)
def test_a_trial_whose_settings_fail_counts(join: Join, error: Exception) -> None:
    def objective(trial: Trial) -> float:
        x = draw(trial)
        if trial.number == 1:
            raise error
        return x

    study = join()
    ended = work(study, 3, objective)
    assert numbers(ended) == [0, 1, 2]
    failed = ended[1]
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs[FAILURE] == str(error).replace("\n", " ")
    assert is_finished(failed)
    assert_all_is_done(study, 3)


def test_a_long_reason_is_cut(join: Join) -> None:
    def objective(trial: Trial) -> float:
        draw(trial)
        raise NonFiniteLossError("x" * 10_000)

    (failed,) = work(join(), 1, objective)
    assert failed.user_attrs[FAILURE] == "x" * 500


def test_a_pruned_trial_counts(join: Join) -> None:
    def objective(trial: Trial) -> float:
        draw(trial)
        trial.report(4.0, 2)
        raise optuna.TrialPruned

    study = join()
    ended = work(study, 2, objective)
    assert [(trial.state, trial.value) for trial in ended] == [(TrialState.PRUNED, 4.0)] * 2
    assert_all_is_done(study, 2)


def test_a_defect_ends_the_worker_and_its_trial_is_none_of_the_total(join: Join) -> None:
    def objective(trial: Trial) -> float:
        draw(trial)
        raise ZeroDivisionError

    study = join()
    with pytest.raises(ZeroDivisionError):
        work(study, 2, objective)
    assert finished_trials(study) == []
    assert not counts_toward_total(study.trials[0])
    assert numbers(work(join(), 2)) == [1, 2]


# --- interruptions


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_trial_is_requeued(join: Join, interruption: type[BaseException]) -> None:
    def objective(trial: Trial) -> float:
        x = draw(trial)
        if trial.number == 1:
            raise interruption
        return x

    study = join()
    with pytest.raises(interruption):
        work(study, 3, objective)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert numbers(finished_trials(study)) == [0]
    assert sum(map(counts_toward_total, study.trials)) == 2
    assert numbers(work(join(), 3)) == [2, 3]
    assert study.trials[2].params == study.trials[1].params
    assert retry_history(study.trials[2]) == [1]
    assert_all_is_done(study, 3)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_a_trial_that_is_interrupted_twice_knows_which_ones_it_runs_again(
    join: Join, interruption: type[BaseException]
) -> None:
    def objective(trial: Trial) -> float:
        draw(trial)
        raise interruption

    study = join()
    for _ in range(2):
        with pytest.raises(interruption):
            work(study, 1, objective)
    assert retry_history(study.trials[2]) == [0, 1]
    # The interrupted worker writes trials.csv, from what it has in memory.
    assert retry_history(study.get_trials(deepcopy=False)[1]) == [0]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("last", [0, 2, 3])
def test_an_interrupted_point_of_a_grid_is_run_again(
    join: Join, interruption: type[BaseException], last: int
) -> None:
    tune = TuneSettings(sampler="grid", trials=4)

    def objective(trial: Trial) -> float:
        drawn = suggest(trial, tune)
        if trial.number == last:
            raise interruption
        return float(drawn["train.kl_weight"])

    study = join(sampler=build_sampler(tune))
    with pytest.raises(interruption):
        work(study, total_trials(tune), objective)
    again = join(sampler=build_sampler(tune))
    work(again, total_trials(tune), lambda trial: sum(suggest(trial, tune).values()))
    done = [tuple(trial.params.values()) for trial in finished_trials(study)]
    names = list(grid(tune).values())
    assert Counter(done) == Counter((a, b) for a in names[0] for b in names[1])


# --- workers that died


@pytest.mark.parametrize("heartbeat", ["none yet", "stopped"])
def test_the_trial_of_a_dead_worker_is_run_again(join: Join, heartbeat: str) -> None:
    study = join()
    dead = abandon(study, heartbeat=heartbeat)
    ended = work(join(), 2)
    assert_all_is_done(study, 2)
    assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 1
    (again,) = (trial for trial in ended if retry_history(trial))
    assert retry_history(again) == [dead.number]
    assert again.params == dead.params
    assert study.trials[dead.number].state == TrialState.FAIL


def test_a_trial_whose_worker_died_twice_is_run_again(join: Join) -> None:
    study = join()
    abandon(study, heartbeat="stopped")
    TrialQueue(study, 1, STALE_SECONDS)._requeue_stale()
    (waiting,) = study.get_trials(states=(TrialState.WAITING,))
    assert waiting.user_attrs[STARTED] == 0, "it still has what its first worker stored"
    # The next one dies before its first heartbeat.
    study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    assert numbers(work(join(), 1)) == [2]
    assert retry_history(study.trials[2]) == [0, 1]
    assert_all_is_done(study, 1)


def test_a_worker_without_a_first_heartbeat_is_given_time(join: Join) -> None:
    study = join()
    abandon(study, heartbeat="none yet")
    work(join(), 1, stale_seconds=60, deadline=time.monotonic() + 0.3)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]


def test_a_worker_that_has_heartbeats_is_left_alone(join: Join) -> None:
    study = join()
    abandon(study, heartbeat="going on")
    work(join(), 1, stale_seconds=0, deadline=time.monotonic() + 0.3)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]


def test_several_workers_run_stale_trials_again_once(join: Join) -> None:
    study, workers = join(), [join() for _ in range(3)]
    for heartbeat in ("none yet", "stopped", "none yet"):
        abandon(study, heartbeat=heartbeat)
    concurrently(*(lambda s=worker: work(s, 4, stale_seconds=1) for worker in workers))
    assert_all_is_done(study, 4)
    again = [retry_history(trial) for trial in study.trials if retry_history(trial)]
    assert sorted(again) == [[0], [1], [2]]
    assert len(study.trials) == 7


@pytest.mark.parametrize("heartbeat", ["none yet", "stopped"])
def test_two_workers_that_find_a_dead_one_at_once_queue_it_again_once(
    join: Join, heartbeat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, side_by_side = join(), threading.Barrier(2)
    abandon(study, heartbeat=heartbeat)

    def after(function: Callable[..., Any]) -> Callable[..., Any]:
        """Return only when the other worker has called it too, so that it is outdated."""

        def slow(*given: Any) -> Any:
            found = function(*given)
            with contextlib.suppress(threading.BrokenBarrierError):
                side_by_side.wait(1)
            return found

        return slow

    def look(worker: TrialQueue) -> None:
        for _ in range(2):
            worker._requeue_stale()
            time.sleep(0.01)

    for owner, name in ((RDBStorage, "check_trial_is_updatable"), (TrialQueue, "_is_requeued")):
        monkeypatch.setattr(owner, name, after(getattr(owner, name)))
    workers = [TrialQueue(join(), 1, stale_seconds=0) for _ in range(2)]
    concurrently(*(lambda w=worker: look(w) for worker in workers))
    assert [retry_history(trial) for trial in study.trials] == [[], [0]]


@pytest.mark.parametrize("ending", ["dead", "interrupted"])
def test_no_other_trial_takes_the_place_of_one_that_is_run_again(
    join: Join, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, other = join(), join()
    pool = ThreadPoolExecutor(1)

    def in_between(study: Study, trial: FrozenTrial) -> None:
        """Run another worker before the trial is queued again."""
        coming = pool.submit(work, other, 1, draw, 60)
        with contextlib.suppress(TimeoutError):
            coming.result(0.5)
        requeue(study, trial)

    def interrupt(trial: Trial) -> float:
        draw(trial)
        raise SystemExit

    monkeypatch.setattr(trial_queue, "requeue", in_between)
    with warnings.catch_warnings(), pool:
        warnings.simplefilter("ignore")
        if ending == "dead":
            abandon(study, heartbeat="none yet")
            work(study, 1)
        else:
            with pytest.raises(SystemExit):
                work(study, 1, interrupt)
    assert_all_is_done(study, 1)
    assert finished_trials(study)[0].params == study.trials[0].params


def test_the_last_point_of_a_grid_is_run_again_if_its_worker_died(join: Join) -> None:
    tune = TuneSettings(sampler="grid", trials=4)
    study = join(sampler=build_sampler(tune))

    def objective(trial: Trial) -> float:
        return float(sum(suggest(trial, tune).values()))

    work(study, 3, objective)
    Trial(study, study._storage.create_new_trial(study._study_id))
    work(join(sampler=build_sampler(tune)), 4, objective)
    assert len({tuple(trial.params.values()) for trial in finished_trials(study)}) == 4


def test_every_point_of_a_grid_is_visited_whatever_seed_a_later_launch_has(join: Join) -> None:
    for seed, total in ((0, 5), (3, 9)):
        tune = TuneSettings(sampler="grid", trials=9, seed=seed)
        work(
            join(sampler=build_sampler(tune)),
            total,
            lambda trial, tune=tune: sum(suggest(trial, tune).values()),  # type: ignore[misc]
        )
    assert len({tuple(trial.params.values()) for trial in finished_trials(join())}) == 9


def test_a_trial_whose_worker_died_after_it_had_failed_is_not_run_again(join: Join) -> None:
    study = join()
    failed = abandon(study, heartbeat="going on")
    study._storage.set_trial_user_attr(failed._trial_id, FAILURE, "the loss is not finite")
    stop_heartbeats(study)
    work(study, 2)
    assert_all_is_done(study, 2)
    assert [FAILURE in trial.user_attrs for trial in study.trials] == [True, False]


# --- results that come too late


def return_value(trial: Trial, x: float) -> float:
    return 1000 + x


def set_attribute(trial: Trial, x: float) -> float:
    trial.set_user_attr("metrics", {"nll_nats": 1000 + x})
    return 1000 + x


def report(trial: Trial, x: float) -> float:
    trial.report(1000 + x, 1)
    return 1000 + x


def fail(trial: Trial, x: float) -> float:
    raise NonFiniteLossError("too late")


def prune(trial: Trial, x: float) -> float:
    raise optuna.TrialPruned


@pytest.mark.parametrize("late", [return_value, set_attribute, report, fail, prune])
def test_a_result_after_a_trial_was_requeued_is_dropped(
    join: Join, late: Callable[[Trial, float], float], capsys: pytest.CaptureFixture[str]
) -> None:
    study, other = join(), join()

    def stalled(trial: Trial) -> float:
        x = draw(trial)
        if trial.number:
            return x
        stop_heartbeats(study)
        assert len(work(other, 2)) == 2, "another worker runs all trials"
        return late(trial, x)

    assert work(study, 2, stalled) == []
    assert "trial 0 missed its heartbeats and was re-queued" in capsys.readouterr().out
    assert_all_is_done(study, 2)
    assert all(trial.value is not None and trial.value < 2 for trial in finished_trials(study))
    dead = study.trials[0]
    assert dead.state == TrialState.FAIL
    assert not is_finished(dead)
    assert [retry_history(trial) for trial in study.trials].count([0]) == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_does_not_queue_a_trial_that_others_have_queued(
    join: Join, interruption: type[BaseException]
) -> None:
    study = join()

    def stalled(trial: Trial) -> float:
        draw(trial)
        stop_heartbeats(study)
        TrialQueue(join(), 1, STALE_SECONDS)._requeue_stale()
        raise interruption

    with pytest.raises(interruption):
        work(study, 1, stalled)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


# --- more trials than the total


def test_two_machines_that_take_the_last_trial_at_once_finish_one(
    join: Join, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_saw_room = threading.Barrier(2)
    find_room = TrialQueue._room

    def wait_for_the_other(self: TrialQueue) -> int:
        room = find_room(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_saw_room.wait(10)
        return room

    monkeypatch.setattr(TrialQueue, "_room", wait_for_the_other)
    ran: list[int] = []

    def machine(study: Study, name: str) -> list[FrozenTrial]:
        ended: list[FrozenTrial] = []
        worker = TrialQueue(study, 1, stale_seconds=60)
        worker.lock = FileLock(workdir / f"{name}.lock")

        def objective(trial: Trial) -> float:
            ran.append(trial.number)
            both_saw_room.abort()  # from now on no thread waits
            return draw(trial)

        worker.run(sequentially(objective), ended.append)
        return ended

    studies = {name: join() for name in ("a", "b")}
    ended = concurrently(
        *(lambda n=name, s=found: machine(s, n) for name, found in studies.items())
    )
    study = studies["a"]
    assert_all_is_done(study, 1)
    assert ran == [0]
    assert sorted(map(len, ended)) == [0, 1]
    surplus = study.trials[1]
    assert surplus.state == TrialState.FAIL
    assert surplus.user_attrs == {SURPLUS: True}
    assert not is_finished(surplus)
    assert len(study.trials) == 2, "a surplus trial is not queued again"


def test_a_trial_that_others_dropped_theirs_for_is_run_again_if_its_worker_dies(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = join()
    abandon(study, heartbeat="going on")
    with monkeypatch.context() as patch:
        patch.setattr(TrialQueue, "_room", lambda self: 1)
        ran = sequentially(lambda trial: pytest.fail("it ran"))
        assert TrialQueue(study, 1, STALE_SECONDS)._run_next(ran, lambda trial: None) == 1
    assert study.trials[1].user_attrs == {SURPLUS: True}
    stop_heartbeats(study)
    assert numbers(work(join(), 1)) == [2]
    assert study.trials[2].params == study.trials[0].params
    assert_all_is_done(study, 1)


# --- the deadline


def test_nothing_starts_after_the_deadline(join: Join) -> None:
    study = join()
    over = time.monotonic() - 1
    assert work(study, 3, lambda trial: pytest.fail("a trial ran"), deadline=over) == []
    assert study.trials == []


def test_a_trial_that_runs_at_the_deadline_ends_and_is_the_last(join: Join) -> None:
    study = join()
    deadline = time.monotonic() + 0.5

    def objective(trial: Trial) -> float:
        x = draw(trial)
        while time.monotonic() <= deadline:
            time.sleep(0.01)
        return x

    assert numbers(work(study, 3, objective, deadline=deadline)) == [0]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
