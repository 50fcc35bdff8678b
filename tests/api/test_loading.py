"""Models from folders and from MLflow, and what cannot be loaded."""

from pathlib import Path

import numpy as np
import pytest

import vaelab
from tests.api.models import saved


def test_a_model_of_mlflow_is_loaded_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import set_tracking_uri
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{tmp_path}/store.db"
    set_tracking_uri(None)  # type: ignore[arg-type]  # what other tests set has priority
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    saved(tmp_path / "own")
    client = MlflowClient(store)
    experiment = client.create_experiment("test", (tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    # In a logged model, the files are in a folder of their own.
    client.log_artifacts(run, str(tmp_path / "own"), "model/model_files")
    found = vaelab.load(f"runs:/{run}/model", device="cpu")
    assert np.array_equal(found.sample(2), vaelab.load(tmp_path / "own").sample(2))
    with pytest.raises(vaelab.UserError, match=r"^models:/none@best: MLflow has no such model"):
        vaelab.load("models:/none@best")


def test_an_address_without_a_store_is_refused_and_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import set_tracking_uri

    set_tracking_uri(None)  # type: ignore[arg-type]  # what other tests set has priority
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vaelab.UserError, match=r"^models:/none@best: no MLflow store here \(mlf"):
        vaelab.load("models:/none@best")
    assert not any(tmp_path.iterdir())


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models/model").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    models = tmp_path / "models"
    for wrong, message in (
        ("nowhere", "there is no folder nowhere"),
        (models / "modle", f"there is no folder {models}/modle; did you mean {models}/model?"),
        (models, f"{models} is no folder of a model: it has no config.json"),
    ):
        with pytest.raises(vaelab.UserError) as error:
            vaelab.load(wrong)
        assert str(error.value) == message
    with pytest.raises(vaelab.UserError, match="broken: no loadable model"):
        vaelab.load(tmp_path / "broken")
