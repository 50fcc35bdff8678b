"""DVC experiments: settings from the command line, queues, and images of the user's own."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.conftest import Copy, make_copy

pytestmark = pytest.mark.pipeline


def test_an_experiment_changes_a_setting_and_is_compared(tmp_path: Path, built: Copy) -> None:
    copy = make_copy(tmp_path, cache_of=built)
    assert "Running stage" not in copy.repro(), "the same settings are restored from the cache"
    copy.commit()
    printed = copy.run("dvc", "exp", "run", "--name", "heavy", "-S", "train.kl_weight=4")
    assert "No file hash info" not in printed, "DVC misses outputs of a comparison never made"
    (heavy,) = copy.runs()
    assert heavy.data.params["train.kl_weight"] == "4.0"
    assert heavy.info.run_name == "heavy"
    compared = json.loads(copy.run("dvc", "metrics", "diff", "--json"))
    change = compared["results/evaluate/metrics.json"]["test.kl_loss_nats"]
    assert change["old"] > change["new"], "a heavier weight leaves less KL"
    assert "heavy" in copy.run("dvc", "exp", "show", "--csv")


def test_queued_experiments_by_two_workers_all_reach_the_main_store(
    tmp_path: Path, built: Copy
) -> None:
    copy = make_copy(tmp_path, cache_of=built, tracking__log_model=False)
    for seed in (1, 2, 3):
        name = f"seed-{seed}"
        setting = f"train.seed={seed}"
        copy.run("dvc", "exp", "run", "--queue", "--name", name, "-S", setting, "evaluate")
    copy.run("dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        status = copy.run("dvc", "queue", "status")
        assert "Failed" not in status, copy.run("dvc", "queue", "logs", "seed-1")
        if status.count("Success") == 3:
            break
        time.sleep(1)
    copy.run("dvc", "queue", "stop", "--kill")
    runs = {run.info.run_name: run for run in copy.runs()}
    assert runs.keys() == {"seed-1", "seed-2", "seed-3"}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        # Trained and evaluated: by two processes each, in a throw-away folder.
        assert {"train.loss", "test.nll_nats"} <= run.data.metrics.keys()
        artifacts = {a.path for a in copy.client().list_artifacts(run.info.run_id)}
        assert {"train", "evaluate"} <= artifacts
        assert run.info.artifact_uri.startswith((copy.path / "mlruns").as_uri())


@pytest.mark.parametrize(
    ("mode", "size", "ending", "labelled"),
    [("RGB", (32, 32), "jpg", True), ("L", (20, 28), "png", False)],
)
def test_a_folder_of_images_needs_but_its_name(
    tmp_path: Path, mode: str, size: tuple[int, int], ending: str, labelled: bool
) -> None:
    random = np.random.default_rng(0)
    images = tmp_path / "own images"
    for index in range(60):
        folder = images / ("left", "right")[index % 2] if labelled else images
        folder.mkdir(parents=True, exist_ok=True)
        channels = (3,) if mode == "RGB" else ()
        pixels = random.integers(0, 256, (*size[::-1], *channels)).astype(np.uint8)
        Image.fromarray(pixels, mode).save(folder / f"{index}.{ending}")
    copy = make_copy(tmp_path / "copy", data__name="folder", data__folder=str(images))
    # The rest of the stages once: in colour, with labels.
    last = [] if labelled else ["evaluate"]
    copy.repro(*last)
    info = json.loads((copy.path / "data/prepared/dataset.json").read_text())
    assert info["image_shape"] == [3 if mode == "RGB" else 1, size[1], size[0]]
    metrics = json.loads((copy.path / "results/evaluate/metrics.json").read_text())
    assert ("linear_probe_accuracy" in metrics["latent"]) == labelled
    assert "bits_per_dim" in metrics["test"], "8-bit pixels and a density"
    assert "Running stage" not in copy.repro(*last)
    (images / ("left" if labelled else ".") / f"new.{ending}").write_bytes(
        next(images.rglob(f"*.{ending}")).read_bytes()
    )
    assert "Stage 'prepare' is" not in copy.run("dvc", "status")
    assert "prepare" in copy.run("dvc", "status"), "a new image makes the data out of date"


def test_a_typo_ends_with_one_line_and_leaves_what_was_there(built: Copy) -> None:
    before = (built.path / "params.yaml").read_text()
    model = (built.path / "models/model/weights.safetensors").read_bytes()
    (built.path / "params.yaml").write_text(before.replace("kl_weight:", "kl_weigth:"))
    try:
        printed = built.run("python", "-m", "pipeline.train", code=2)
    finally:
        (built.path / "params.yaml").write_text(before)
    assert printed.startswith("error: params.yaml: train.kl_weigth is no setting; did you mean")
    assert "Traceback" not in printed
    assert (built.path / "models/model/weights.safetensors").read_bytes() == model
