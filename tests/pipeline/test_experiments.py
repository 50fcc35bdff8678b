"""DVC's queue of experiments, and images of the user's own."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.pipeline.conftest import make_copy

pytestmark = pytest.mark.slow


def test_queued_experiments_by_two_workers_all_reach_the_main_store(tmp_path: Path) -> None:
    copy = make_copy(tmp_path, tracking__log_model=False)
    copy.repro("prepare")
    copy.commit()
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
        time.sleep(4)
    copy.run("dvc", "queue", "stop", "--kill")
    runs = {run.data.tags["dvc.experiment"]: run for run in copy.runs()}
    assert runs.keys() == {"seed-1", "seed-2", "seed-3"}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        # Trained and evaluated: by two processes each, in a throw-away folder.
        assert {"curves/train/loss", "test/nll_nats"} <= run.data.metrics.keys()
        artifacts = {a.path for a in copy.client().list_artifacts(run.info.run_id)}
        assert {"train", "evaluate"} <= artifacts
        assert run.info.artifact_uri.startswith((copy.path / "mlruns").as_uri())


def test_an_experiment_that_is_killed_with_force_ends_its_training(tmp_path: Path) -> None:
    """DVC gets SIGKILL and deletes the folder: nobody else tells the training."""
    copy = make_copy(
        tmp_path, train__epochs=10_000, train__images_every_epochs=10_000, tracking__log_model=False
    )
    copy.repro("prepare")
    copy.commit()
    copy.run("dvc", "exp", "run", "--queue", "--name", "victim", "train")
    copy.run("dvc", "queue", "start")
    (process,) = _eventually(lambda: _trainings(copy.path), 60)
    _eventually(lambda: list((copy.path / ".checkpoints").glob("*/epoch_*")), 60)
    copy.run("dvc", "queue", "kill", "--force", "victim")
    _eventually(lambda: not process.is_running(), 20)
    copy.run("dvc", "queue", "stop", "--kill")
    (run,) = copy.runs()
    assert (run.data.tags["dvc.experiment"], run.info.status) == ("victim", "KILLED")
    (folder,) = (copy.path / ".checkpoints").iterdir()
    assert (folder / "run_id").read_text() == run.info.run_id


def _trainings(folder: Path) -> list[psutil.Process]:
    """Return the processes that train in an experiment of this working copy."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "pipeline.train" in (process.info["cmdline"] or [])
        and str(process.info["cwd"]).startswith(str(folder / ".dvc"))
    ]


def _eventually(check: Callable[[], Any], seconds: float) -> Any:
    """Return the first true value of a check."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.2)
    raise AssertionError(f"it did not come in {seconds} seconds")


def _draw(folder: Path, count: int = 30) -> None:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = random.integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def test_images_that_dvc_tracks_travel_to_queued_experiments(tmp_path: Path) -> None:
    """As docs/data.md says; images that git ignores do not, and a line says what does."""
    copy = make_copy(tmp_path, tracking__log_model=False, data__name="folder")
    _draw(copy.path / "data/images")
    printed = copy.run("dvc", "exp", "run", "--temp", "prepare", code=255)
    assert (
        "error: data.folder: data/images holds no images (other entries: 1): hidden: 1 "
        f"(.gitignore); this is a temporary copy of {copy.path}, without the files that git "
        "ignores: type `git rm -q data/images/.gitignore && dvc add data/images` there and commit "
        "data/images.dvc, or set data.folder to an absolute path"
    ) in printed
    copy.run("git", "rm", "-q", "data/images/.gitignore")
    copy.run("dvc", "add", "data/images")
    copy.run("git", "add", "data/images.dvc", "data/.gitignore")
    copy.commit()
    copy.run("dvc", "exp", "run", "--queue", "--name", "own", "train")
    copy.run("dvc", "queue", "start")
    _eventually(lambda: "Success" in copy.run("dvc", "queue", "status"), 120)
    copy.run("dvc", "queue", "stop", "--kill")
    (run,) = copy.runs()
    assert (run.data.tags["dvc.experiment"], run.info.status) == ("own", "FINISHED")
    # A folder of another name is ignored by git too, until DVC tracks it.
    _draw(copy.path / "data/photos")
    arguments = ("--temp", "-S", "data.folder=data/photos", "prepare")
    assert "data/photos" in copy.run("dvc", "exp", "run", *arguments, code=255)
    copy.run("dvc", "add", "data/photos")
    copy.commit()
    assert "folder: 23 train" in copy.run("dvc", "exp", "run", *arguments)


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
