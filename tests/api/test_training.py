"""Training on an array in memory, against the trainer of the pipeline."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import vaelab
from vaelab.config import ModelSettings, Settings, with_changes
from vaelab.data.loader import ImageLoader
from vaelab.data.splits import generator
from vaelab.models.sizes import resolve_sizes
from vaelab.training.build import build_trainer

DIGITS = load_digits(n_class=4)
IMAGES, LABELS = DIGITS.images[:200] / 16, DIGITS.target[:200]
QUICK: dict[str, Any] = {
    "network": "mlp",
    "hidden": (16,),
    "latent_dim": 3,
    "epochs": 2,
    "device": "cpu",
}


def test_it_is_the_training_of_the_pipeline() -> None:
    found = vaelab.train(IMAGES, **QUICK, kl_weight=2, seed=5, progress=False)
    changes = {"model.network": "mlp", "model.hidden": (16,), "model.latent_dim": 3}
    changes |= {"train.epochs": 2, "train.kl_weight": 2, "train.seed": 5}
    pixels = np.rint(IMAGES * 255).astype(np.uint8)[:, None]
    rows = generator(5, "split").permutation(200)
    cpu = torch.device("cpu")
    loaders = [ImageLoader(pixels[np.sort(part)], cpu) for part in (rows[20:], rows[:20])]
    trainer = build_trainer(with_changes(Settings(), changes), loaders[0], loaders[1], cpu)
    trainer.fit(show_progress=False)
    assert found.history == tuple(trainer.progress.history)
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], weight), name


def test_the_chosen_precision_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    vaelab.train(IMAGES, **QUICK, settings={"train.precision": "auto"})
    assert "auto, train.precision float32: " in capsys.readouterr().err
    vaelab.train(IMAGES, **QUICK, settings={"train.precision": "auto"}, progress=False)
    assert "train.precision" not in capsys.readouterr().err


def test_sizes_fit_the_images_and_are_stored_as_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 40, 48, 3), np.uint8)
    model = vaelab.train(images, epochs=1, device="cpu", settings={"model.latent_dim": "auto"})
    printed = capsys.readouterr()
    assert "auto, for colour images of 40x48 pixels: model.latent_dim" in printed.err
    assert "train.precision" not in printed.err
    assert not printed.out
    sizes = resolve_sizes(ModelSettings(), (3, 40, 48))
    model.save(tmp_path)
    stored = vaelab.load(tmp_path).description
    for settings in (stored.model.model_dump(mode="json"), stored.settings):
        prefix = "model." if settings is stored.settings else ""
        assert settings[f"{prefix}latent_dim"] == model.network.latent_dim == sizes.latent_dim
        assert settings[f"{prefix}channels"] == list(sizes.channels)


def test_a_trained_model_is_saved_and_loaded_with_what_it_knows_of_classes(tmp_path: Path) -> None:
    model = vaelab.train(IMAGES, LABELS, **QUICK, sampler="gaussian", progress=False)
    model.save(tmp_path / "new/model")
    again = vaelab.load(str(tmp_path / "new/model"), device="cpu")
    assert again.sampler is not None
    assert np.array_equal(again.sample(3), model.sample(3))
    edited = model.edit(IMAGES[:5], {"class": 2})
    assert np.array_equal(again.edit(IMAGES[:5], {"class": 2}), edited)
    assert not np.allclose(edited, model.reconstruct(IMAGES[:5]))
    assert "data.source" not in again.description.settings


def test_a_conditional_model_is_trained_on_names() -> None:
    names = [("zero", "one", "two", "three")[label] for label in LABELS]
    model = vaelab.train(IMAGES, names, **QUICK, conditional="labels", progress=False)
    assert model.description.class_names == ("one", "three", "two", "zero")
    assert model.sample(2, label="two").shape == (2, 1, 8, 8)
    assert model.edit(IMAGES[:2], {"class": "one"}, names[:2]).shape == (2, 1, 8, 8)


def test_a_gan_is_trained(tmp_path: Path) -> None:
    model = vaelab.train(IMAGES, **QUICK, objective="gan", progress=False)
    model.save(tmp_path)
    assert np.array_equal(vaelab.load(tmp_path, device="cpu").sample(2), model.sample(2))


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (
            "unknown argument of vaelab.train latent_dims; did you mean latent_dim",
            {"latent_dims": 3},
        ),
        ("settings: model.latent_dim: Input should be", {"latent_dim": 0}),
        ("settings: data.seed has no effect here", {"settings": {"data.seed": 1}}),
        ("sampler: name: unknown sampler flow", {"sampler": "flow"}),
        ("200 images with validation_fraction 0.001 leave none", {"validation_fraction": 0.001}),
        ("unknown device 'gpu'; valid: auto, cpu", {"device": "gpu"}),
        ("1 labels for 200 images", {"labels": [1]}),
        ("model.conditional: labels needs images with labels", {"conditional": "labels"}),
    ],
)
def test_wrong_arguments_are_refused(message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(vaelab.UserError, match=f"^{message}"):
        vaelab.train(IMAGES, **arguments)


def test_vaelab_is_imported_without_pytorch(tmp_path: Path) -> None:
    """And it trains, saves and loads in a folder without this project."""
    check = "import sys, vaelab; assert 'torch' not in sys.modules; assert 'load' in dir(vaelab)"
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, check=True)
    use = (
        "import numpy, vaelab;"
        "m = vaelab.train(numpy.eye(8)[None].repeat(20, 0), network='mlp', epochs=1);"
        "m.save('model'); print(vaelab.load('model').sample(2).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", use],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "(2, 1, 8, 8)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module vaelab has no attribute lode; it has Train"):
        vaelab.lode  # type: ignore[attr-defined]  # noqa: B018
    assert dir(vaelab) == ["TrainedModel", "UserError", "load", "save_images", "train"]
