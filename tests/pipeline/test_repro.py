"""The pipeline from nothing: what it leaves, what it does not do twice, where it is recorded.

And what an experiment, or a typo, makes of it.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pipeline.conftest import Copy, make_copy
from vaelab.data.dataset import PreparedData
from vaelab.inference.decoding import decode_means, reconstructions
from vaelab.models.saving import load_model
from vaelab.models.weights import weights_sha256
from vaelab.runtime.serialization import flattened

FORMATS = ["png", "svg"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy in which `dvc repro` has run; tests leave its outputs valid."""
    copy = make_copy(tmp_path_factory.mktemp("built"), render__formats=FORMATS)
    copy.repro()
    return copy


def read(path: Path) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return content


def read_artifact(copy: Copy, run_id: str, path: str) -> str:
    return Path(copy.client().download_artifacts(run_id, path)).read_text(encoding="utf-8")


def test_every_promised_file_is_there(built: Copy) -> None:
    names = {str(p.relative_to(built.path)) for p in built.path.rglob("*") if p.is_file()}
    prepared = {
        f"{s}_{k}.npy" for s in ("train", "validation", "test") for k in ("images", "labels")
    }
    assert {f"data/prepared/{name}" for name in prepared | {"dataset.json"}} <= names
    assert {"models/model/weights.safetensors", "models/model/config.json"} <= names
    assert {"results/train/history.csv", "results/train/metrics.json"} <= names
    evaluated = {"metrics.json", "summary.json", "test_latents.npz", "arrays.npz", "report.html"}
    assert {f"results/evaluate/{name}" for name in evaluated} <= names
    assert "models/evaluation/classifier/weights.safetensors" in names
    assert len(list((built.path / "results/train/images").glob("*.png"))) == 2 * 3
    assert not any((built.path / ".checkpoints").iterdir()), "a finished training leaves nothing"


def test_git_sees_nothing_but_the_lock_and_no_output(built: Copy) -> None:
    assert built.run("git", "status", "--porcelain").split() == ["??", "dvc.lock"]


def test_the_report_is_in_the_models_run_as_it_is_on_disk(built: Copy) -> None:
    (run,) = built.runs()
    stored = Path(built.client().download_artifacts(run.info.run_id, "evaluate/report.html"))
    page = (built.path / "results/evaluate/report.html").read_text(encoding="utf-8")
    assert stored.read_text(encoding="utf-8") == page
    nll = read(built.path / "results/evaluate/metrics.json")["test"]["nll_nats"]
    assert f"{nll:.1f}".replace("-", "\N{MINUS SIGN}") in page


def test_figures_are_drawn(built: Copy) -> None:
    figures = {p.stem: np.asarray(Image.open(p)) for p in built.path.glob("results/render/*.png")}
    assert figures.keys() >= {
        "samples",
        "reconstructions",
        "interpolations",
        "traversals",
        "traversals_image",
        "latent_scatter",
        "latent_images",
        "aggregate_posterior",
        "losses",
        "kl_history",
        "kl_per_dimension",
    }
    assert {path.stem for path in built.path.glob("results/render/*.svg")} == figures.keys()
    for name, pixels in figures.items():
        assert pixels.std() > 5, f"{name} is blank"


def test_the_metrics_have_their_names_and_agree(built: Copy) -> None:
    metrics = read(built.path / "results/evaluate/metrics.json")
    test, latent = metrics["test"], metrics["latent"]
    assert test["neg_elbo_nats"] == pytest.approx(
        test["generation_loss_nats"] + test["kl_loss_nats"]
    )
    # Burda et al. 2016, theorem 1: more samples never loosen the bound in expectation.
    slack = 6 * (test["neg_elbo_standard_error_nats"] + test["nll_standard_error_nats"])
    assert test["nll_nats"] < test["neg_elbo_nats"] + slack
    assert test["nll_importance_samples"] == 2
    assert 1 <= test["nll_effective_sample_size"] <= 2
    assert 0 <= latent["active_units"] <= latent["dimensions"] == 3
    assert 0 < latent["linear_probe_accuracy"] <= 1
    assert 0 < latent["knn_accuracy"] <= 1
    assert metrics["dataset"]["name"] == "digits"
    # 17 grey levels are no 8-bit pixels.
    assert "bits_per_dim" not in test


def test_the_summary_is_of_eight_numbers_and_of_the_samples_that_are_shown_first(
    built: Copy,
) -> None:
    summary = flattened(read(built.path / "results/evaluate/summary.json"))
    metrics = flattened(read(built.path / "results/evaluate/metrics.json"))
    assert len(summary) <= 8
    for source in ("sampler", "samples"):
        name = f"{source}.classifier_frechet_distance"
        assert summary[name] == metrics[name]


def test_an_image_is_restored_from_its_stored_latent(built: Copy) -> None:
    model, _ = load_model(built.path / "models/model", torch.device("cpu"))
    stored = np.load(built.path / "results/evaluate/test_latents.npz", allow_pickle=False)
    images = PreparedData.load(built.path / "data/prepared").images("test")
    index = 7
    image = torch.from_numpy(images[index : index + 1] / np.float32(255))
    reconstructed = decode_means(model, torch.from_numpy(stored["mean"][index : index + 1]))
    torch.testing.assert_close(reconstructed, reconstructions(model, image), atol=1e-5, rtol=0)
    assert stored["stddev"].shape == stored["mean"].shape == (len(images), 3)


def test_nothing_to_do_runs_nothing(built: Copy) -> None:
    assert "Running stage" not in built.repro()


def test_a_render_setting_renders_only_and_onto_the_same_run(built: Copy) -> None:
    before = built.runs()[0]
    built.set_params(render__samples=9)
    printed = built.repro()
    assert "Running stage 'render'" in printed
    assert printed.count("Running stage") == 1
    (after,) = built.runs()
    assert after.info.run_id == before.info.run_id
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)
    assert "samples: 9" in read_artifact(built, after.info.run_id, "render/params.yaml")
    assert not [tag for tag in after.data.tags if tag.startswith(("render", "evaluate"))]
    artifacts = built.client().list_artifacts(after.info.run_id, "render")
    assert "render/samples.png" in {artifact.path for artifact in artifacts}


def test_the_run_has_settings_metrics_pictures_data_and_model(built: Copy) -> None:
    (run,) = built.runs()
    assert run.data.params["train.epochs"] == "2"
    assert len(run.data.params) < 15
    assert "epochs: 2" in read_artifact(built, run.info.run_id, "params.yaml")
    assert len([name for name in run.data.metrics if not name.startswith("system/")]) <= 47
    assert run.data.params["model.latent_dim"] == "3"
    assert run.data.params["data.name"] == "digits"
    assert run.data.tags["vaelab.weights_sha256"] == weights_sha256(built.path / "models/model")
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    assert run.data.tags["git.dirty"] == "false"
    assert "cpu" in run.data.tags["device"]
    epochs = built.client().get_metric_history(run.info.run_id, "curves/validation/neg_elbo_nats")
    assert [metric.step for metric in epochs] == [1, 2]
    assert {
        "test/nll_nats",
        "latent/active_units",
        "timing/training_seconds",
    } <= run.data.metrics.keys()
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    images = built.client().list_artifacts(run.info.run_id, "images")
    # MLflow's grid keeps each image and a smaller copy of it: 2 keys, 2 epochs and the start.
    assert len([p for p in images if p.path.endswith(".png")]) == 6


def test_the_logged_model_loads_and_takes_any_batch(built: Copy, tmp_path: Path) -> None:
    (run,) = built.runs()
    script = (
        "import sys, torch, mlflow.pyfunc, mlflow.pytorch\n"
        "images = torch.rand(5, 1, 8, 8)\n"
        "restored = mlflow.pytorch.load_model(sys.argv[1]).eval()(images)\n"
        "served = torch.from_numpy(mlflow.pyfunc.load_model(sys.argv[1]).predict(images))\n"
        "print('shape', list(served.shape), torch.allclose(restored, served, atol=1e-5))\n"
    )
    printed = built.run(
        "python",
        "-c",
        script,
        f"runs:/{run.info.run_id}/model",
        MLFLOW_TRACKING_URI=f"sqlite:///{built.path}/mlflow.db",
    )
    assert "shape [5, 1, 8, 8] True" in printed


def test_a_lost_store_is_filled_again_from_the_files(built: Copy) -> None:
    (before,) = built.runs()
    os.replace(built.path / "mlflow.db", built.path / "mlflow.db.lost")
    shutil.rmtree(built.path / "mlruns")
    built.repro("--force", "--single-item", "render")
    (after,) = built.runs()
    assert after.data.tags["vaelab.backfilled"] == "true"
    assert after.info.status == "FINISHED"
    assert after.data.params == before.data.params
    lasting = {k: v for k, v in before.data.metrics.items() if not k.startswith("system/")}
    assert after.data.metrics == lasting
    assert "mlflow.source.git.commit" not in after.data.tags, "the code at hand is not the run's"
    artifacts = {a.path for a in built.client().list_artifacts(after.info.run_id)}
    assert {"evaluate", "images", "model_files", "render", "train"} <= artifacts
    history = built.client().get_metric_history(after.info.run_id, "curves/train/loss")
    assert [metric.step for metric in history] == [1, 2]
    assert "Running stage" not in built.repro(), "back-filling must not make a stage look changed"


def test_dvc_shows_metrics_and_plots(built: Copy) -> None:
    shown = built.run("dvc", "metrics", "show", "--json")
    (content,) = json.loads(shown)[""]["data"].values()
    names = list(flattened(content["data"]))
    assert names[:2] == ["bound.neg_elbo_nats", "bound.nll_nats"]
    assert names == sorted(names), "`dvc metrics diff` sorts them"
    assert len(names) <= 8
    page = built.run("dvc", "plots", "show", "--out", "plots")
    assert "index.html" in page
    assert "train.kl_loss_nats" in (built.path / "plots/index.html").read_text()
    shutil.rmtree(built.path / "plots")


def test_an_experiment_changes_a_setting_and_is_compared(tmp_path: Path, built: Copy) -> None:
    copy = make_copy(tmp_path, cache_of=built, render__formats=FORMATS)
    assert "Running stage" not in copy.repro(), "the same settings are restored from the cache"
    copy.commit()
    printed = copy.run("dvc", "exp", "run", "--name", "heavy", "-S", "train.kl_weight=4")
    assert "No file hash info" not in printed, "DVC misses outputs of a comparison never made"
    (heavy,) = copy.runs()
    assert heavy.data.params["train.kl_weight"] == "4.0"
    assert heavy.data.tags["dvc.experiment"] == "heavy"
    assert "KL weight 4" in str(heavy.info.run_name)
    compared = json.loads(copy.run("dvc", "metrics", "diff", "--json"))
    change = compared["results/evaluate/summary.json"]["bound.terms.kl_loss_nats"]
    assert change["old"] > change["new"], "a heavier weight leaves less KL"
    assert "heavy" in copy.run("dvc", "exp", "show", "--csv")


def test_a_typo_ends_with_one_line_and_leaves_what_was_there(built: Copy) -> None:
    before = (built.path / "params.yaml").read_text()
    model = (built.path / "models/model/weights.safetensors").read_bytes()
    (built.path / "params.yaml").write_text(before.replace("kl_weight:", "kl_weigth:"))
    try:
        printed = built.run("python", "-m", "pipeline.train", code=2)
    finally:
        (built.path / "params.yaml").write_text(before)
    assert printed.startswith("error: params.yaml: unknown setting train.kl_weigth; did you mean")
    assert "Traceback" not in printed
    assert (built.path / "models/model/weights.safetensors").read_bytes() == model
