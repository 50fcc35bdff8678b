"""A tiny study, interrupted twice: its files, its runs, and its winner applied."""

import argparse
import ast
import contextlib
import csv
import io
import itertools
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna import Study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from PIL import Image
from ruamel.yaml import YAML

from pipeline import paths, tune
from pipeline.params.edit import round_trip_yaml
from pipeline.study.apply import apply_winner, read_winner
from pipeline.study.figures import study_figures
from pipeline.study.final_trainings import Decision
from pipeline.study.finalists import GROUPS, METRICS, Finalist, Training, training_of
from pipeline.study.scorer import TrialScore, TrialScorer
from pipeline.study.search_space import decode_params
from pipeline.study.summary import TEST_METRICS, StudySummary
from pipeline.study.trial_queue import retry_history
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_states import FAILURE
from tests import ROOT
from tests.pipeline.conftest import change_directory, copy_stores
from tests.pipeline.study.conftest import prepare
from vaelab.config import load_settings, parse_settings, with_changes
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.models.model import Model
from vaelab.runtime.formatting import format_number, to_error, with_error
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

EPOCHS, TRIALS, SEEDS = 4, 6, 2
LATENT, WEIGHT, HIDDEN = "model.latent_dim", "train.kl_weight", "model.hidden"
CHANGES: dict[str, dict[str, Any]] = {
    "data": {"name": "folder"},
    "model": {
        "network": "mlp",
        "hidden": [],
        "gaussian_mean": "linear",
        "gaussian_variance": 0.5,
    },
    "train": {"epochs": EPOCHS, "learning_rate": 0.03},
    "tune": {
        "search_space": {
            LATENT: {"type": "int", "low": 1, "high": 4},
            WEIGHT: {"type": "float", "low": 0.005, "high": 0.5, "log": True},
            HIDDEN: {"type": "categorical", "choices": [[], [8]]},
        },
        "trials": TRIALS,
        "finalists": 2,
        "seeds": SEEDS,
        "importance_samples": 2,
        "final_importance_samples": 5,
        "heartbeat_seconds": 1,
    },
    "render": {"formats": ["png", "svg"]},
    "machine": {"device": "cpu", "threads": 1},
}
# The numbers of the trials to which this is made to happen.
INTERRUPTED, AGAIN, PRUNED, FAILED = 2, 3, 4, 5


def write_params(path: Path) -> None:
    """Write the repository's own params.yaml, comments and all, set small."""
    yaml = round_trip_yaml()
    content = yaml.load(ROOT / "params.yaml")
    for section, values in CHANGES.items():
        content[section].update(values)
    yaml.dump(content, path)


@dataclass
class Finished:
    """The study's folder, and what was seen after each of its three launches."""

    folder: Path
    study: Study
    finalists: Study
    output: list[str] = field(default_factory=list)
    test_reads: list[int] = field(default_factory=list)
    parent_states: list[str] = field(default_factory=list)

    def after(self, launch: int) -> Path:
        """Return the copy of results/tune that was made after a launch, counted from 1."""
        return self.folder / f"after_{launch}"

    def runs(self, *, parents: bool = False) -> list[Run]:
        """Return the trials' runs, or the study's."""
        return [run for run in mlflow_runs() if parents == ("vaelab.trial" not in run.data.tags)]

    def trainings(self) -> dict[Training, FrozenTrial]:
        """Return what was trained after the search."""
        complete = self.finalists.get_trials(states=(TrialState.COMPLETE,))
        return {training_of(trial): trial for trial in complete}

    def means(self) -> dict[int, float]:
        """Return the mean of each finalist over the seeds that chose the best one."""
        found: dict[int, list[float]] = {}
        for training, trial in self.trainings().items():
            if training.seed <= SEEDS and trial.value is not None:
                found.setdefault(training.trial, []).append(trial.value)
        return {number: float(np.mean(values)) for number, values in found.items()}

    def winner(self) -> FrozenTrial:
        means = self.means()
        return self.study.trials[min(means, key=lambda number: means[number])]

    def further(self) -> list[FrozenTrial]:
        """Return the trainings of the winner with further seeds."""
        number, seeds = self.winner().number, range(SEEDS + 1, 2 * SEEDS + 1)
        return [self.trainings()[Training(number, seed)] for seed in seeds]


def mlflow_runs() -> list[Run]:
    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("vaelab")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[Finished]:
    """Run the study: interrupted in its third trial, then in the first finalist, then ended."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        prepare(folder / paths.PREPARED)
        copy_stores(empty_stores, folder)
        write_params(folder / "params.yaml")
        reads = inject(patch)
        output, test_reads, states = [], [], []
        for launch in (1, 2, 3):
            output.append(run(interrupted=launch < 3))
            test_reads.append(len(reads))
            shutil.copytree(paths.TUNE, folder / f"after_{launch}")
            states += [r.info.status for r in mlflow_runs() if "vaelab.trial" not in r.data.tags]
        url = f"sqlite:///{folder}/optuna.db"
        names = sorted(optuna.get_all_study_names(url), key=len)
        assert len(names) == 2
        study, finalists = (optuna.load_study(study_name=name, storage=url) for name in names)
        yield Finished(folder, study, finalists, output, test_reads, states)


def run(*, interrupted: bool) -> str:
    """Run the study as the command does after preparing the data; return what it printed."""
    arguments = argparse.Namespace(workers=1, params=Path("params.yaml"))
    printed = io.StringIO()
    expected = pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext()
    with contextlib.redirect_stdout(printed), expected:
        tune.tune(load_settings(Path("params.yaml")), arguments)
    return printed.getvalue()


def inject(patch: pytest.MonkeyPatch) -> list[str]:
    """Interrupt one trial, fail one, prune one; return the list of reads of the test split."""
    train, score, images = TrialRunner.train, TrialScorer.score, PreparedData.images
    interrupt = {0: 3, 1: 1}  # by the seed, 0 in the search: in which of its trainings
    trainings, scored, reads = dict.fromkeys(interrupt, 0), itertools.count(1), list[str]()

    def training(
        self: TrialRunner, settings: Any, on_epoch: Callable[..., None] = lambda *given: None
    ) -> Any:
        seed = settings.train.seed
        trainings[seed] = trainings.get(seed, 0) + 1
        stop = interrupt.get(seed) == trainings[seed]

        def at_each_epoch(trainer: Trainer, report: EpochReport) -> None:
            on_epoch(trainer, report)
            if stop and report.epoch == 2:
                raise KeyboardInterrupt

        return train(self, settings, at_each_epoch)

    def scoring(self: TrialScorer, model: Model) -> TrialScore:
        # Trials 0, 1 and 3 are scored before it; 2 was interrupted and 4 is pruned.
        return TrialScore((math.nan,), {}) if next(scored) == 4 else score(self, model)

    def should_prune(self: optuna.Trial) -> bool:
        return self.number == PRUNED and max(self._cached_frozen_trial.intermediate_values) == 2

    def noted(self: PreparedData, split: SplitName) -> np.ndarray:
        reads.extend(["test"] * (split == "test"))
        found: np.ndarray = images(self, split)
        return found

    patch.setattr(TrialRunner, "train", training)
    patch.setattr(TrialScorer, "score", scoring)
    patch.setattr(PreparedData, "images", noted)
    patch.setattr(optuna.Trial, "should_prune", should_prune)
    return reads


# --- the trials


def test_the_study_ended_as_it_was_made_to(finished: Finished) -> None:
    states = [trial.state.name for trial in finished.study.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert retry_history(finished.study.trials[AGAIN]) == [INTERRUPTED]
    trainings = finished.trainings()
    numbers = sorted({training.trial for training in trainings})
    assert len(numbers) == 2
    chosen = {Training(number, seed) for number in numbers for seed in (1, 2)}
    further = {Training(finished.winner().number, seed) for seed in (3, 4)}
    smaller = trainings.keys() - chosen - further
    assert trainings.keys() >= chosen | further
    sizes = {training.latent_dim for training in smaller}
    number = finished.winner().number
    assert smaller == {Training(number, seed, size) for seed in (3, 4) for size in sizes}
    assert all(0 < size < finished.winner().params[LATENT] for size in sizes)


def test_trials_csv_is_the_storage_row_by_row(finished: Finished) -> None:
    with (finished.after(3) / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trials, tune_settings = finished.study.trials, load_settings(Path("params.yaml")).tune
    assert [row["trial"] for row in rows] == [str(trial.number) for trial in trials]
    words = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "fail"}
    for row, trial in zip(rows, trials, strict=True):
        dead = trial.number == INTERRUPTED
        assert row["state"] == ("interrupted" if dead else words[trial.state])
        assert row["value"] == ("" if trial.value is None else repr(trial.value))
        settings = decode_params(trial.params, tune_settings)
        assert int(row[LATENT]) == settings[LATENT]
        assert float(row[WEIGHT]) == settings[WEIGHT]
        assert tuple(ast.literal_eval(row[HIDDEN])) == settings[HIDDEN]
        metrics = trial.user_attrs.get(METRICS, {})
        columns = ("neg_elbo_nats", "nll_effective_sample_size", "closed_form_kl_weight", "epochs")
        for name in columns:
            assert row[name] == (repr(metrics[name]) if metrics else "")
        assert bool(metrics) == (trial.state == TrialState.COMPLETE)
        assert trial.duration is not None
        assert float(row["seconds"]) == pytest.approx(trial.duration.total_seconds(), abs=1e-3)
        assert row["stopped_after_epoch"] == ("2" if trial.number == PRUNED else "")
        assert row["runs_again"] == (str(INTERRUPTED) if trial.number == AGAIN else "")
        assert row["failure"] == trial.user_attrs.get(FAILURE, "")
    assert rows[FAILED]["failure"] == "its score is (nan,)"


# --- the winner


def test_best_yaml_has_the_best_finalists_settings(finished: Finished) -> None:
    settings = decode_params(finished.winner().params, load_settings(Path("params.yaml")).tune)
    assert read_winner("best") == {**settings, HIDDEN: list(settings[HIDDEN])}


@pytest.mark.parametrize("choice", ["best", "smallest"])
def test_applying_a_winner_changes_its_settings_and_nothing_else(
    finished: Finished, choice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (paths.TUNE / f"{choice}.yaml").is_file()
    params = tmp_path / "params.yaml"
    shutil.copy("params.yaml", params)
    before, text = load_settings(params), params.read_text()
    apply_winner(params, choice)
    changes = read_winner(choice)
    assert load_settings(params) == with_changes(before, changes)
    assert load_settings(params) != before
    keys = tuple(f"  {name.partition('.')[2]}:" for name in changes)
    for old, new in zip(text.splitlines(), params.read_text().splitlines(), strict=True):
        assert old.partition("#")[2] == new.partition("#")[2], "comments stay"
        assert old == new or old.startswith(keys)
    printed = capsys.readouterr().out
    assert "--- a/params.yaml" in printed
    assert f"+  latent_dim: {changes[LATENT]} " in printed
    again = params.read_text()
    apply_winner(params, choice)
    assert params.read_text() == again
    assert "has these settings already" in capsys.readouterr().out


# --- the report and the figures

FIGURES = {
    "history",
    "slice",
    "parallel_coordinates",
    "contour",
    "weight",
    "rate_distortion",
    "samples_along_the_front",
}


def test_the_report_has_the_winner_and_its_values(finished: Finished) -> None:
    report = (finished.after(3) / "report.md").read_text()
    winner = finished.winner()
    values = [trial.values[0] for trial in finished.further()]
    groups = np.mean([trial.user_attrs[GROUPS] for trial in finished.further()], axis=0)
    error = math.hypot(*(np.std(v, ddof=1) / math.sqrt(len(v)) for v in (values, groups)))
    (answer,) = re.findall(r"^\*\*Best\*\*: (.*)$", report, re.M)
    assert f"{LATENT} {winner.params[LATENT]}, " in answer
    assert f"{WEIGHT} {winner.params[WEIGHT]:.4g}, " in answer
    shown = with_error(float(np.mean(values)), error, 2)
    assert f": {shown} (validation negative ELBO, nats per image)" in answer
    chosen = to_error(finished.means()[winner.number], error, 2)
    assert f"over other seeds, {chosen}; " in answer
    assert "this mean is of seeds 3 to 4, which chose nothing" in answer
    assert f"Study `{finished.study.study_name}`, 6 of 6: 4 complete, 1 pruned, 1 failed." in report
    # Four complete trials and one that failed after four epochs, one that was pruned after two.
    assert f"for {5 * EPOCHS + 2} epochs, of {6 * EPOCHS} without pruning" in report
    test = finished.study.user_attrs[TEST_METRICS][str(winner.number)]
    for name in ("nll_nats", "nll_effective_sample_size"):
        assert f"study_test.{name} {format_number(test[name])}" in report
    closed = np.mean([t.user_attrs[METRICS]["closed_form_kl_weight"] for t in finished.further()])
    assert f"**KL weight**: {closed:.4g} in closed form" in report
    assert "measured," not in report
    title, first = report.split("\n\n")[:2]
    assert title == f"# Search for {LATENT} and {WEIGHT} and {HIDDEN} on folder"
    assert first == (
        "Lower is better. 6 trials, all chosen at random (the sampler starts after "
        "tune.startup_trials = 10): too few to locate a best value (fewer than 20 complete)."
    )
    for number in finished.means():
        assert re.search(rf"^\| {number} \|", report, re.M), "each finalist has its row"
    assert "Importance: " not in report, "there are too few trials"


@pytest.mark.parametrize("launch", [1, 2, 3])
def test_the_report_shows_every_figure_that_is_there(finished: Finished, launch: int) -> None:
    folder = finished.after(launch)
    shown = re.findall(r"^!\[(.*)\]\((.*)\)$", (folder / "report.md").read_text(), re.M)
    assert [f"{name}.png" for name, _ in shown] == [file for _, file in shown]
    assert {file for _, file in shown} == {path.name for path in folder.glob("*.png")}
    assert {path.stem for path in folder.glob("*.svg")} == {name for name, _ in shown}
    assert {name for name, _ in shown} == FIGURES


def test_no_figure_is_blank(finished: Finished) -> None:
    for path in sorted(finished.after(3).glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20, path
        assert (pixels < 250).any(-1).mean() > 0.005, path


def test_nothing_is_left_half_written(finished: Finished) -> None:
    assert [path.name for path in Path("results").iterdir()] == ["tune"]
    expected = {"report.md", "trials.csv", "best.yaml", "smallest.yaml"}
    assert {path.name for path in finished.after(3).iterdir()} == expected | {
        f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")
    }


def test_the_command_prints_the_result_of_each_trial(finished: Finished) -> None:
    first, second, third = finished.output
    assert "0 of 6 trials are finished" in first
    assert re.findall(r"^(\d)/6 trial (\d): ", first, re.M) == [("1", "0"), ("2", "1")]
    assert "interrupted; writing the results so far" in first
    assert "2 of 6 trials are finished" in second
    assert "failed: its score is (nan,)" in second
    assert "pruned after epoch 2" in second
    assert third.count("new seed") == len(finished.trainings())
    assert "best: " in third
    assert re.search(r" \(best, lowest: [-\d.]+, trial \d\)$", third + first, re.M)
    assert "Lower is better. 6 trials, all chosen at random" in third
    assert "the best settings were found" not in third, "train.epochs are the epochs of a trial"


# --- before the end


def test_an_unfinished_study_reports_without_the_test_split(finished: Finished) -> None:
    assert finished.test_reads[0] == 0
    assert finished.parent_states[0] == "KILLED"
    folder = finished.after(1)
    report = (folder / "report.md").read_text()
    assert "test split" not in report
    assert "2 of 6: 2 complete, 0 pruned, 0 failed." in report
    assert "No finalist was trained again, so there are no standard errors." in report
    assert not (folder / "smallest.yaml").exists()
    content = YAML(typ="safe").load(folder / "best.yaml")
    best = min(finished.study.trials[:2], key=lambda trial: trial.value or math.inf)
    assert content["model"]["latent_dim"] == best.params[LATENT]


def test_a_study_without_its_finalists_reports_without_the_test_split(finished: Finished) -> None:
    assert finished.parent_states[1] == "KILLED"
    assert finished.test_reads[1] == 0
    assert "test split" not in (finished.after(2) / "report.md").read_text()


def test_a_finished_study_has_one_score_on_the_test_split(finished: Finished) -> None:
    assert finished.test_reads[-1] >= 1
    assert str(finished.winner().number) in finished.study.user_attrs[TEST_METRICS]


# --- MLflow


def test_a_study_is_one_run_with_a_child_a_trial(finished: Finished) -> None:
    (parent,) = finished.runs(parents=True)
    assert parent.info.status == finished.parent_states[-1] == "FINISHED"
    assert parent.data.params["tune.trials"] == str(TRIALS)
    children = {run.data.tags["vaelab.trial"]: run for run in finished.runs()}
    name = finished.study.study_name
    keys = [f"{name}/{trial.number}" for trial in finished.study.trials]
    keys += [f"{name}/finalist {trial.number}" for trial in finished.finalists.trials]
    assert sorted(children) == sorted(keys)
    assert len(children) == len(finished.runs())
    for run in children.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


ENDS = {
    TrialState.COMPLETE: ("complete", "FINISHED", EPOCHS),
    TrialState.PRUNED: ("pruned", "FINISHED", 2),
    TrialState.FAIL: ("fail", "FAILED", EPOCHS),
}


def test_a_trials_run_has_its_state_its_curve_and_its_settings(finished: Finished) -> None:
    client = MlflowClient("sqlite:///mlflow.db")
    children = {run.data.tags["vaelab.trial"].split("/")[-1]: run for run in finished.runs()}
    base = load_settings(Path("params.yaml"))
    for trial in finished.study.trials:
        run = children[str(trial.number)]
        if trial.number == INTERRUPTED:
            ended = run.data.tags["vaelab.trial_state"], run.info.status
            assert ended == ("interrupted", "KILLED")
            continue
        state, status, epochs = ENDS[trial.state]
        assert (run.data.tags["vaelab.trial_state"], run.info.status) == (state, status)
        for metric in ("curves/validation/neg_elbo_nats", "curves/train/loss"):
            history = client.get_metric_history(run.info.run_id, metric)
            assert [point.step for point in history] == list(range(1, epochs + 1))
        settings = decode_params(trial.params, base.tune)
        assert run.data.params[WEIGHT] == str(settings[WEIGHT])
        assert run.data.params[LATENT] == str(settings[LATENT])
        assert run.data.params[HIDDEN] == str(list(settings[HIDDEN]))
        assert run.data.params["train.learning_rate"] == "0.03"
        assert run.data.params["data.name"] == "folder"
        if trial.state == TrialState.COMPLETE:
            assert run.data.metrics["study_validation/neg_elbo_nats"] == trial.value
            own = trial.user_attrs[METRICS]
            for name in ("kl_loss_nats", "nll_effective_sample_size"):
                assert run.data.metrics[f"study_validation/{name}"] == own[name]
            assert "value" not in run.data.metrics
    assert children[str(FAILED)].data.tags["failure"] == "its score is (nan,)"


def test_a_finalists_run_has_its_own_seed_and_its_trials_settings(finished: Finished) -> None:
    children = {run.data.tags["vaelab.trial"].split("/")[-1]: run for run in finished.runs()}
    for trial in finished.finalists.get_trials(states=(TrialState.COMPLETE,)):
        run, training = children[f"finalist {trial.number}"], training_of(trial)
        own = dict(children[str(training.trial)].data.params)
        if training.latent_dim:
            own[LATENT] = str(training.latent_dim)
        assert run.data.params == {**own, "train.seed": str(training.seed)}
        assert run.data.metrics["study_validation/neg_elbo_nats"] == trial.value
        assert run.info.status == "FINISHED"


def test_the_studys_run_has_its_winner_and_its_figures(finished: Finished) -> None:
    (parent,) = finished.runs(parents=True)
    winner = finished.winner()
    mean = np.mean([trial.value for trial in finished.further()])
    assert parent.data.metrics["best/study_validation.neg_elbo_nats"] == pytest.approx(mean)
    assert "best/study_validation.nll_effective_sample_size" in parent.data.metrics
    assert not [name for name in parent.data.metrics if "value" in name]
    assert parent.data.metrics["finished_trials"] == TRIALS
    assert parent.data.tags[f"best.{LATENT}"] == str(winner.params[LATENT])
    test = finished.study.user_attrs[TEST_METRICS][str(winner.number)]
    assert parent.data.metrics["study_test/nll_nats"] == test["nll_nats"]
    client = MlflowClient("sqlite:///mlflow.db")
    logged = client.list_artifacts(parent.info.run_id, "study")
    assert {Path(file.path).name for file in logged} == {
        path.name for path in finished.after(3).iterdir()
    }


# --- figures of few trials


def test_figures_are_drawn_where_no_trial_has_drawn_a_number_for_a_setting() -> None:
    settings = parse_settings(
        {
            "tune": {
                "search_space": {
                    LATENT: {"type": "int", "low": 1, "high": 4},
                    "train.gradient_clip_norm": {"type": "categorical", "choices": [None, 1.0]},
                }
            }
        }
    )
    study = optuna.create_study()
    for size in (1, 2):
        study.add_trial(
            optuna.create_trial(
                value=90.0 + size,
                params={LATENT: size, "train.gradient_clip_norm": None},
                distributions={
                    LATENT: IntDistribution(1, 4),
                    "train.gradient_clip_norm": CategoricalDistribution([None, 1.0]),
                },
                user_attrs={METRICS: {"closed_form_kl_weight": 1.0, "epochs": 3}},
            )
        )
    assert drawn_without_models(study, settings) == ["history", "slice", "parallel_coordinates"]


def test_one_trial_is_enough_for_figures() -> None:
    study = optuna.create_study()
    study.add_trial(
        optuna.create_trial(
            value=90.0,
            params={LATENT: 3, WEIGHT: 0.5},
            distributions={LATENT: IntDistribution(2, 64), WEIGHT: FloatDistribution(0.01, 10)},
            user_attrs={METRICS: {"closed_form_kl_weight": 1.0, "epochs": 3}},
        )
    )
    names = drawn_without_models(study, parse_settings({}))
    assert names == ["history", "slice", "parallel_coordinates", "contour", "weight"]


def drawn_without_models(study: Study, settings: Any) -> list[str]:
    """Return the names of the figures that need no model."""
    decision = Decision([Finalist(study.trials[0], [], 90.0, None)], [], [])
    summary = StudySummary(study, settings, "validation NLL", ["nll_nats"], 40, decision, None)
    found = []
    runner: Any = None
    with contextlib.suppress(KeyError):  # rates and distortions are not there
        for name, figure in study_figures(summary, runner):
            figure.savefig(io.BytesIO())
            found.append(name)
    return found
