"""The stage that writes the report: what it reads, what it refuses, what it leaves behind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cli, paths, report
from tests.pipeline.conftest import change_directory
from tests.pipeline.study.conftest import SIDE, prepare
from vaelab.config import ArtifactError, Settings, UserError, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.models.model import build_model
from vaelab.models.saving import ModelDescription, save_model
from vaelab.report import build_page
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_arrays, write_json

METRICS = {
    "dataset": {"name": "folder", "test_images": 90},
    "latent": {"dimensions": 2},
    "test": {"nll_nats": -3.25, "nll_standard_error_nats": 0.5},
    "samples": {"inception_weights_sha256": "0123abcd"},
}
TABLE = (
    "dimension,mean_variance,aggregate_mean,aggregate_stddev,active\n"
    "0,0.5,0.1,1.0,1\n1,0.001,0.0,0.9,0\n"
)
HISTORY = "epoch,train.loss,validation.loss\n1,2.0,3.0\n2,1.5,\n"
CHOSEN = parse_settings(
    {
        "model": {"network": "mlp", "hidden": [], "latent_dim": 2, "prior": "standard_normal"},
        "evaluate": {"active_unit_threshold": 0.25},
    }
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stages before it leave, in a folder that is the current one."""
    change_directory(tmp_path, monkeypatch)
    prepare(paths.PREPARED)
    shape = (1, SIDE, SIDE)
    description = ModelDescription(
        objective="vae",
        networks=("encoder", "decoder"),
        image_shape=shape,
        model=CHOSEN.model,
        dataset="folder",
        levels=256,
        settings={"train.epochs": 3},
    )
    save_model(paths.MODEL, build_model(CHOSEN.model, shape), description)
    write_json(paths.EVALUATE_METRICS, METRICS)
    write_arrays(paths.EVALUATE_ARRAYS, {"nll": np.array([1.0, 2.0])})
    write_arrays(paths.TEST_LATENTS, {"mean": np.ones((90, 2)), "stddev": np.ones((90, 2))})
    write_text(paths.LATENT_DIMENSIONS, TABLE)
    write_text(paths.HISTORY, HISTORY)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_everything_that_was_measured_is_read() -> None:
    result = report.read_result(CHOSEN)
    assert result.metrics == METRICS
    assert (result.description.objective, result.info.name) == ("vae", "folder")
    assert result.active_unit_threshold == 0.25
    np.testing.assert_array_equal(result.arrays["nll"], [1, 2])
    assert {name: column.tolist() for name, column in result.dimensions.items()} == {
        "dimension": [0, 1],
        "mean_variance": [0.5, 0.001],
        "aggregate_mean": [0.1, 0.0],
        "aggregate_stddev": [1.0, 0.9],
        "active": [1, 0],
    }
    assert result.means is not None
    assert result.means.shape == (90, 2)
    np.testing.assert_array_equal(result.history["validation.loss"], [3, np.nan])
    # Each of the shown images is one of the test split, and is decoded.
    images = PreparedData.load(paths.PREPARED).images("test")
    shown = np.rint(result.arrays["originals_shown"] * 255)
    assert all((images == image).all((1, 2, 3)).any() for image in shown)
    assert result.arrays["reconstructions_shown"].shape == shown.shape
    assert result.arrays["traversal_shown"].shape == (2, 11, *shown.shape[1:])
    labels = PreparedData.load(paths.PREPARED).labels("test")
    np.testing.assert_array_equal(result.labels, labels)


@pytest.mark.usefixtures("folder")
def test_the_worst_reconstructions_are_shown_with_their_names() -> None:
    psnr = np.linspace(30, 12, 90)
    write_arrays(paths.EVALUATE_ARRAYS, {"reconstruction_psnr_db": psnr})
    result, data = report.read_result(CHOSEN), PreparedData.load(paths.PREPARED)
    worst = list(range(89, 73, -1))
    assert list(result.worst_names) == [data.names("test")[row] for row in worst]
    shown = np.rint(result.arrays["worst_shown"] * 255)
    np.testing.assert_array_equal(shown, data.images("test")[worst])
    np.testing.assert_array_equal(result.arrays["worst_psnr_db"], psnr[worst])
    assert result.arrays["worst_reconstructions_shown"].shape == (16, 1, SIDE, SIDE)
    assert f"{result.worst_names[0]} 12.0 dB" in build_page(result)
    write_arrays(paths.EVALUATE_ARRAYS, {"reconstruction_psnr_db": psnr[:5]})
    with pytest.raises(ArtifactError, match=r"reconstruction_psnr_db has shape \[5\] instead of"):
        report.read_result(CHOSEN)


@pytest.mark.usefixtures("folder")
def test_a_model_without_an_encoder_leaves_empty_files() -> None:
    write_arrays(paths.EVALUATE_ARRAYS, {})
    write_arrays(paths.TEST_LATENTS, {})
    write_text(paths.LATENT_DIMENSIONS, "\n")
    result = report.read_result(CHOSEN)
    assert (result.dimensions, result.means) == ({}, None)
    assert "traversal_shown" not in result.arrays


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (paths.EVALUATE_METRICS, r"metrics\.json: cannot be read"),
        (paths.EVALUATE_ARRAYS, r"arrays\.npz: cannot be read"),
        (paths.TEST_LATENTS, r"test_latents\.npz: cannot be read"),
        (paths.MODEL / "config.json", "no loadable model"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_damaged_file_is_named_in_one_line(path: Path, message: str) -> None:
    path.write_text('{"broken')
    with pytest.raises(UserError, match=message) as caught:
        report.read_result(CHOSEN)
    assert "\n" not in str(caught.value)
    assert "recreates it" in (cli.user_message(caught.value) or "")


class Run:
    """Remembers what is logged."""

    client = run_id = ""

    def __init__(self) -> None:
        self.logged: list[tuple[Path, str | None]] = []

    def log_file(self, path: Path, under: str | None = None) -> None:
        """Remember a file, which has to be there."""
        assert path.is_file()
        self.logged.append((path, under))


def test_the_page_is_written_and_goes_to_the_models_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run()
    monkeypatch.setattr("pipeline.tracking.store.open_store", lambda tracking: "store")
    monkeypatch.setattr("pipeline.tracking.sync.describe_run", lambda client, run_id: None)

    def run_of_model(store: str, settings: Settings) -> Run:
        assert (store, settings) == ("store", CHOSEN)
        return run

    monkeypatch.setattr("pipeline.tracking.sync.run_of_model", run_of_model)
    torch.manual_seed(0)
    report.report(CHOSEN)
    page = (folder / "results/evaluate/report.html").read_text(encoding="utf-8")
    assert "−3.2 ± 0.5" in page
    assert "SHA-256 0123abcd" in page
    assert run.logged == [(paths.REPORT, "evaluate")]
    assert "wrote results/evaluate/report.html" in capsys.readouterr().out
    first = page
    report.report(CHOSEN)
    assert paths.REPORT.read_text(encoding="utf-8") == first
