"""The stages with a model that sees labels, some of them unknown."""

from pathlib import Path

import mlflow
import numpy as np
import pytest

from pipeline import classifier, evaluate, paths, render, report, sampler, train
from tests.factories import write_prepared
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import ArtifactError, SamplerSettings, Settings, UserError, parse_settings
from vaelab.data.dataset import SPLITS, DatasetInfo
from vaelab.runtime.serialization import read_metrics
from vaelab.samplers.flow_matching import FlowMatching

COUNTS = {"train": 40, "validation": 12, "test": 12}
FEW = {"importance_samples": 4, "annealing_images": 2, "annealing_chains": 2, "samples": 12}


def settings(**model: object) -> Settings:
    return parse_settings(
        {
            "model": {"network": "mlp", "hidden": [8], "latent_dim": 2, "flow_layers": 2} | model,
            "train": {"epochs": 2, "batch_size": 10},
            "evaluate": FEW | {"annealing_temperatures": 3},
            "render": {"samples": 12, "reconstructions": 4, "manifold_size": 3},
        }
    )


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_stores: Path) -> None:
    """A small data set of two labels, every third unknown."""
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for split in SPLITS:
        images[split] = rng.integers(0, 256, (COUNTS[split], 1, 6, 6), dtype=np.uint8)
        labels[split] = np.resize([0, 1, -1], COUNTS[split])
    write_prepared(paths.PREPARED, images, labels)


@pytest.mark.usefixtures("prepared")
def test_all_stages_of_a_model_that_sees_labels(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(conditional="labels")
    train.train(chosen)
    sampler.work(chosen)
    classifier.work(chosen)
    evaluate.evaluate(chosen)
    report.report(chosen)
    render.render(chosen)
    # No sampler fits 40 images, and none that does not know labels fits a model that sees them.
    assert "the prior is used instead" in capsys.readouterr().out
    assert [path.name for path in paths.SAMPLER.iterdir()] == ["config.json"]
    measured = read_metrics(paths.EVALUATE_METRICS)
    assert {"nll_nats", "neg_elbo_nats"} <= measured["test"].keys()
    assert {"nll_nats", "gap_nats"} <= measured["annealing"].keys()
    assert "classifier_test_accuracy" in measured["samples"]
    page = paths.REPORT.read_text(encoding="utf-8")
    assert "seen by encoder, prior and decoder: likelihoods are of p(x|y)" in page
    assert page.count("Of p(x|y), given the image&#39;s label y.") >= 3
    drawn = {path.stem for path in paths.RENDER.glob("*.png")}
    assert {"counterfactuals", "samples_by_label", "samples", "reconstructions"} <= drawn
    # Arithmetic on latents that need not tell classes apart would show nothing.
    assert "classes" not in drawn
    (run,) = mlflow.MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db").search_runs(["1"])
    assert run.data.params["model.conditional"] == "labels"
    assert run.data.metrics["test/nll_nats"] == pytest.approx(measured["test"]["nll_nats"])


@pytest.mark.usefixtures("prepared")
def test_all_stages_of_a_sampler_that_is_asked_for_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowMatching, "min_images", lambda latent_dim: 0)
    small = {"flow_matching": {"width": 8, "layers": 1, "steps": 4, "batch_size": 8}}
    chosen = settings().model_copy(update={"samplers": small})
    for stage in (train.train, sampler.work, classifier.work, evaluate.evaluate):
        stage(chosen)
    report.report(chosen)
    render.render(chosen)
    measured = read_metrics(paths.EVALUATE_METRICS)
    of_sampler = {"label_accuracy", "neg_elbo_gain_nats", "nll_nats", "data_copying_z"}
    assert of_sampler <= measured["sampler"].keys()
    assert measured["sampler"]["name"] == "flow_matching"
    assert "label_accuracy" not in measured["samples"]  # the model's prior knows no labels
    assert "Samples of the fitted sampler, and below them" in paths.REPORT.read_text(
        encoding="utf-8"
    )
    drawn = {path.stem for path in paths.RENDER.glob("*.png")}
    assert {"samples", "samples_prior", "samples_by_label"} <= drawn
    (run,) = mlflow.MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db").search_runs(["1"])
    assert "sampler/label_accuracy" in run.data.metrics


@pytest.mark.usefixtures("prepared")
def test_labels_of_other_classes_are_refused() -> None:
    chosen = settings(conditional="labels")
    train.train(chosen)
    info = DatasetInfo.model_validate_json((paths.PREPARED / "dataset.json").read_bytes())
    other = info.model_copy(update={"class_names": ("cat", "dog")})
    (paths.PREPARED / "dataset.json").write_text(other.model_dump_json())
    message = "sees the labels left, right; those of the prepared images are cat, dog"
    with pytest.raises(ArtifactError, match=message):
        evaluate.evaluate(chosen)


@pytest.mark.usefixtures("prepared")
def test_without_any_known_label_training_is_refused() -> None:
    for split in SPLITS:
        path = paths.PREPARED / f"{split}_labels.npy"
        np.save(path, np.full(COUNTS[split], -1))
    with pytest.raises(UserError, match=r"model\.conditional: labels needs images with labels"):
        train.train(settings(conditional="labels"))


@pytest.mark.usefixtures("prepared")
def test_a_sampler_that_does_not_know_labels_is_refused() -> None:
    chosen = settings(conditional="labels")
    train.train(chosen)
    mixture = chosen.model_copy(update={"sampler": SamplerSettings(name="mixture")})
    with pytest.raises(UserError, match=r"sampler\.name: mixture cannot be conditioned on labels"):
        sampler.work(mixture)
