"""All stages on images with missing pixels, by `data.missing`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import (
    classifier,
    download,
    evaluate,
    explore,
    paths,
    prepare,
    render,
    report,
    sampler,
    train,
)
from pipeline.artifacts import TrainedArtifacts
from pipeline.comparison.variants import ComparisonConfig
from pipeline.study.scorer import TrialScorer
from pipeline.study.trial_runner import TrialRunner
from tests.bad_input.sandbox import Sandbox
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import MachineSettings, Settings, UserError, with_changes
from vaelab.data.dataset import PreparedData
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import read_csv, read_metrics
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer
from vaelab.training.vectorized import group_compatible

CPU = torch.device("cpu")
FEW = {
    "model.network": "mlp",
    "model.hidden": [16],
    "model.latent_dim": 3,
    "train.epochs": 2,
    "sampler.name": "mixture",
    "evaluate.importance_samples": 4,
    "evaluate.likelihood_images": 2,
    "evaluate.annealing_images": 1,
    "evaluate.annealing_chains": 2,
    "evaluate.annealing_temperatures": 3,
    "evaluate.samples": 40,
    "evaluate.interpolation_pairs": 4,
    "render.samples": 4,
    "render.dpi": 40,
    "render.manifold_size": 3,
    "machine.threads": 1,
}
STAGES = (
    (download, "download"),
    (prepare, "work"),
    (train, "train"),
    (sampler, "work"),
    (classifier, "work"),
    (evaluate, "evaluate"),
    (report, "report"),
    (render, "render"),
    (explore, "work"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_stores: Path) -> Path:
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)
    return tmp_path


def settings(**changes: object) -> Settings:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return with_changes(Settings(), FEW | named)


def run(chosen: Settings, *modules: object) -> None:
    for module, work in STAGES:
        if not modules or module in modules:
            getattr(module, work)(chosen)


def test_all_stages_with_half_of_the_pixels_missing(capsys: pytest.CaptureFixture[str]) -> None:
    run(settings(data__missing=0.5, train__objective="iwae"))
    printed = capsys.readouterr().out
    said = r"missing pixels: (49|50)\.\d% of train, \d\d\.\d% of validation; the test images are "
    assert re.search(said, printed)
    assert "digits: no whole images to train a classifier on" in printed
    info = json.loads((paths.PREPARED / "dataset.json").read_text())
    assert info["missing"]["train"] == pytest.approx(0.5, abs=0.02)
    assert {"train_missing.npy", "validation_missing.npy"} < info["sha256"].keys()
    measured = read_metrics(paths.EVALUATE_METRICS)
    assert {"nll_nats", "neg_elbo_nats", "mean_squared_error"} <= measured["test"].keys()
    assert {"nll_nats", "gap_nats"} <= measured["annealing"].keys()
    assert {"linear_probe_accuracy", "knn_accuracy"} <= measured["latent"].keys()
    assert measured["sampler"]["name"] == "mixture"
    assert "nll_nats" in measured["sampler"]
    assert "samples" not in measured
    page = paths.REPORT.read_text(encoding="utf-8")
    assert "No metrics of samples: they need whole images." in page
    drawn = {path.stem for path in paths.RENDER.glob("*.png")}
    assert {"reconstructions", "interpolations", "latent_images", "classes"} <= drawn


def test_whole_test_images_are_measured_as_by_a_model_that_sees_no_gaps() -> None:
    run(settings(data__missing=0.5), download, prepare, train, sampler, classifier, evaluate)
    missing = read_metrics(paths.EVALUATE_METRICS)
    run(settings(), prepare, evaluate)  # the same model, and whole images
    whole = read_metrics(paths.EVALUATE_METRICS)
    for measured in (missing, whole):
        del measured["test"]["psnr_db_mean_image"]  # the mean of the training images
    assert missing["test"] == pytest.approx(whole["test"], rel=1e-5)


def test_files_that_mark_missing_pixels_also_in_the_test_split(folder: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.linspace(0, 1, 60 * 36, dtype=np.float32).reshape(60, 6, 6)
    values[rng.random(values.shape) < 0.4] = np.nan
    np.save(folder / "own.npy", values)
    chosen = {"data__name": "folder", "data__folder": folder / "own.npy"}
    run(settings(data__missing="marked", data__validation_fraction=0.2, **chosen))
    data = PreparedData.load(paths.PREPARED)
    test = read_metrics(paths.EVALUATE_METRICS)["test"]
    trained = TrainedArtifacts.load(MachineSettings(device="cpu"))
    observed = data.images("test")[0].size * (1 - data.info.missing["test"])
    bits = (test["nll_nats"] + observed * np.log(256)) / (observed * np.log(2))
    assert test["bits_per_dim"] == pytest.approx(bits), "bits of each observed pixel"
    assert trained.model.sees_gaps
    assert (paths.RENDER / "reconstructions.png").is_file()


def test_a_training_is_resumed_to_the_same_curves() -> None:
    short = settings(data__missing=0.5)
    run(short, download, prepare, train)
    run(settings(data__missing=0.5, train__epochs=4), train)
    continued = read_csv(paths.HISTORY)
    weights = (paths.MODEL / "weights.safetensors").read_bytes()
    for path in paths.finished_trainings().glob("**/*"):
        if path.is_file():
            path.unlink()
    run(settings(data__missing=0.5, train__epochs=4), train)
    assert read_csv(paths.HISTORY) == continued
    assert (paths.MODEL / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize("objective", ["neg_elbo", "nll", "latent.active_units"])
def test_a_study_scores_trials_by_the_observed_pixels(objective: str) -> None:
    """Trained as one batched model, and loaded again."""
    base = settings(data__missing=0.5)
    run(base, download, prepare)
    few = {"objective": objective, "importance_samples": 2, "final_importance_samples": 2}
    base = base.model_copy(update={"tune": base.tune.model_copy(update=few)})
    scorer = TrialScorer(base, PreparedData.load(paths.PREPARED), CPU)
    runner, seen = TrialRunner(scorer), list[float | None]()
    trials = [with_changes(base, {"train.kl_weight": weight}) for weight in (0.5, 1.0)]

    def watch(trainer: Trainer, report: EpochReport) -> None:
        seen.append(scorer.intermediate_value(trainer, report))

    assert group_compatible(trials, (1, 8, 8)) == [[0, 1]]
    trained = dict(runner.train_all(trials, [watch, watch]))
    for number, chosen in enumerate(trials):
        result = trained[number]
        assert not isinstance(result, Exception)
        score = scorer.score(result[0])
        assert np.isfinite(score.values).all()
        assert scorer.score(runner.load_or_retrain(chosen)).values == score.values
        assert np.isfinite(scorer.score_on_test(result[0]).values).all()
    assert len(seen) == 4
    assert np.isfinite(np.array(seen, float)).all()


def test_what_needs_whole_images_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox(monkeypatch, capsys)
    sandbox.settings(data={"missing": 0.5}, train={"objective": "gan"})
    message = (
        "params.yaml: train.objective: gan needs whole images, and data.missing is 0.5; with "
        "missing pixels use beta_tc_vae, beta_vae, factor_vae, info_vae, iwae, vae"
    )
    for stage in (download, prepare, train):
        assert sandbox.refuses(stage.main, message) == f"error: {message}\n"


def test_the_comparison_needs_whole_images(folder: Path) -> None:
    (folder / paths.COMPARISON_PROJECT).mkdir(parents=True)
    write_text(folder / paths.COMPARISON_PARAMS, "data: {missing: 0.5}\n")
    with pytest.raises(UserError) as caught:
        ComparisonConfig.load()
    assert str(caught.value) == (
        "pipeline/comparison/params.yaml: data.missing: the comparison needs whole images: set none"
    )
