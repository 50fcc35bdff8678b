"""The stage that writes the explorer, and the page inside MLflow's artifact view."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from playwright.sync_api import sync_playwright

from pipeline import explore, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking import WEIGHTS_TAG, open_store
from tests import ROOT
from tests.browser import CHROMIUM
from tests.explorer.factories import page_of, random_model
from tests.pipeline.chaos.outages import Server
from tests.pipeline.conftest import change_directory, copy_stores
from tests.pipeline.study.conftest import SIDE, prepare
from vaelab.config import MachineSettings, ModelSettings, TrackingSettings
from vaelab.models.model import build_model
from vaelab.models.saving import ModelDescription, save_model
from vaelab.models.weights import weights_sha256
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_arrays, write_json
from vaelab.samplers import SamplerDescription, save_sampler

TABLE = "dimension,kl_nats,aggregate_mean,aggregate_stddev,active\n0,0.5,0.1,1.5,1\n1,0,0,0.9,0\n"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainedArtifacts:
    """What the stages before it leave, in a folder that is the current one."""
    change_directory(tmp_path, monkeypatch)
    prepare(paths.PREPARED)
    settings, shape = ModelSettings(latent_dim=2, prior="standard_normal"), (1, SIDE, SIDE)
    description = ModelDescription(
        objective="beta_vae",
        networks=("encoder", "decoder"),
        image_shape=shape,
        model=settings,
        dataset="folder",
        levels=256,
        settings={"data.resize": "pad"},
    )
    save_model(paths.MODEL, build_model(settings, shape), description)
    prior = SamplerDescription(name="prior", model_sha256=weights_sha256(paths.MODEL))
    save_sampler(paths.SAMPLER, None, prior)
    write_json(paths.EVALUATE_METRICS, {"test": {"neg_elbo_nats": 12.345, "kl_loss_nats": 3}})
    write_arrays(
        paths.TEST_LATENTS,
        {"mean": np.ones((90, 2), np.float32), "stddev": np.ones((90, 2), np.float32)},
    )
    write_text(paths.LATENT_DIMENSIONS, TABLE)
    return TrainedArtifacts.load(MachineSettings(device="cpu"))


def test_what_was_measured_is_on_the_page(trained: TrainedArtifacts) -> None:
    content = explore.content(trained)
    assert content.title == "beta_vae on folder"
    assert content.facts == (
        "2 latent dimensions · negative ELBO 12.35 nats · KL loss 3 nats on the test split"
    )
    assert content.dimensions == [
        {"mean": 0.1, "stddev": 1.5, "kl": 0.5, "active": True},
        {"mean": 0.0, "stddev": 0.9, "kl": 0.0, "active": False},
    ]
    assert content.resize == "pad"
    assert content.sampler_draws is None
    assert content.test is not None
    assert len(content.test.images) == 90


def started(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the stage as DVC does, in the current folder."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-m", "pipeline.explore"],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_second_process_logs_the_page(trained: TrainedArtifacts, empty_stores: Path) -> None:
    copy_stores(empty_stores, Path())
    paths.PARAMS.write_text("machine: {device: cpu}")
    store = open_store(TrackingSettings())
    run = store.create_run("a training", {WEIGHTS_TAG: weights_sha256(paths.MODEL)})
    found = started()
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert found.stdout.startswith(f"wrote {paths.EXPLORER}")
    listed = run.client.list_artifacts(run.run_id, "explorer")
    assert [file.path for file in listed] == ["explorer/index.html"]


def test_it_refuses_a_store_and_settings_in_one_line_before_its_work(
    trained: TrainedArtifacts,
) -> None:
    paths.PARAMS.write_text("tracking: {uri: some/folder}")
    refused = started()
    message = "error: MLFLOW_TRACKING_URI or tracking.uri is some/folder, a folder, which MLflow "
    assert refused.stderr.startswith(message)
    assert refused.stderr.count("\n") == 1
    paths.PARAMS.write_text("tracking: {url: some/folder}")
    wrong = started()
    assert wrong.stderr.count("\n") == 1
    assert "tracking.url" in wrong.stderr
    assert refused.returncode == wrong.returncode == 2
    assert not paths.EXPLORER.exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_works_in_mlflows_artifact_view(server: Server, tmp_path: Path) -> None:
    """There it is in a frame that may run scripts but has no origin of its own."""
    model = random_model()
    write_text(tmp_path / "index.html", page_of(model))
    client = MlflowClient(server.uri)
    experiment = client.create_experiment("explorer")
    run = client.create_run(experiment).info.run_id
    client.log_artifact(run, str(tmp_path / "index.html"), "explorer")
    address = f"{server.uri}/#/experiments/{experiment}/runs/{run}/artifacts/explorer/index.html"
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        frame = page.frame_locator("iframe").first
        frame.locator("html[data-ready]").wait_for(timeout=60_000)
        latent = torch.linspace(-1, 1, 5)
        decoded = frame.locator("html").evaluate(
            "(html, z) => Array.from(html.ownerDocument.defaultView.vaelab.decode(z))",
            latent.tolist(),
        )
        browser.close()
    with torch.no_grad():
        expected = model.decode(latent[None]).mean[0].flatten().numpy()
    np.testing.assert_allclose(decoded, expected, atol=1e-5)
    assert problems == []
