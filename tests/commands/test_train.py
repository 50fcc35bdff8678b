"""`vaelab train`: a model from files, which the other commands load."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import vaelab
from tests.commands.conftest import Run

Refused = Callable[..., str]
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 6), dtype=np.uint8)
QUICK = ("--set", "model.network=mlp", "--epochs", 1, "--latent-dim", 3)


def pictures(folder: Path) -> None:
    for number, image in enumerate(PIXELS):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def test_a_model_is_trained_on_a_folder_and_used(run: Run, folder: Path) -> None:
    pictures(folder / "all")
    code, out, err = run("train", "all", "--label", "folders", *QUICK, "-o", "model")
    assert (code, err) == (0, "")
    assert out == (
        "trained on 20 images of 6x8 pixels\n"
        "model: vae with 3 latent dimensions of images [1, 8, 6] of images in memory, sampled from "
        "the prior, on cpu\n"
    )
    assert vaelab.load("model").description.labels == ("cat", "dog")
    assert run("edit", "model", "all", "--class", "dog", "-o", "dogs")[0] == 0
    assert len([*Path("dogs").rglob("*.png")]) == 20


def test_the_model_is_that_of_the_api(run: Run, folder: Path) -> None:
    np.savez("all.npz", images=PIXELS, labels=np.arange(20) % 2)
    words = ("--label", "all.npz", "--set", "model.conditional=labels", "--seed", 3)
    assert run("train", "all.npz", *QUICK, *words, "-o", "model")[0] == 0
    expected = vaelab.train(
        PIXELS,
        np.arange(20) % 2,
        network="mlp",
        epochs=1,
        latent_dim=3,
        seed=3,
        conditional="labels",
        progress=False,
    )
    found = vaelab.load("model")
    assert np.array_equal(found.sample(2, label=1), expected.sample(2, label=1))


def test_pictures_are_resized(run: Run, folder: Path, refused: Refused) -> None:
    pictures(folder / "all")
    Image.new("L", (30, 20)).save("all/big.png")
    assert refused("train", "all", *QUICK, "-o", "model") == (
        "images of 2 sizes, such as 6x8, 30x20: wanted one size of all; --size chooses one"
    )
    for size, shape in (("4", (1, 4, 4)), ("4x6", (1, 6, 4))):
        assert run("train", "all", *QUICK, "--size", size, "-o", f"model{size}")[0] == 0
        assert vaelab.load(f"model{size}").network.image_shape == shape


def test_a_model_is_replaced_only_if_that_is_said_and_wholly(
    run: Run, folder: Path, refused: Refused
) -> None:
    pictures(folder / "all")
    words = ("train", "all", *QUICK, "-o", "model")
    run(*words, "--label", "folders", "--sampler", "gaussian")
    assert refused(*words) == ("model has files: --force replaces them, or choose another --output")
    assert vaelab.load("model").sampler is not None
    assert run(*words, "--force")[0] == 0
    again = vaelab.load("model")
    assert again.sampler is None
    assert again.stored_class_means is None


def test_wrong_arguments_are_refused(folder: Path, refused: Refused) -> None:
    pictures(folder / "all")
    (folder / "file").write_text("mine")
    for words, message in (
        (("--set", "model.netwerk=mlp"), "settings: unknown setting model.netwerk; did you mean"),
        (("--set", "netwerk"), "netwerk: settings have the form section.key=value, such as model."),
        (("--set", "data.seed=1"), "settings: data.seed has no effect here; valid: those that"),
        (("--epochs", "2", "--set", "train.epochs=3"), "train.epochs is given twice: 2 and 3"),
        (("--size", "big"), "argument --size: big is no size such as 32 or 64x48; `vaelab train"),
        (("--label", "cat"), "--label cat: wanted folders, or an .npy or .npz file of labels"),
        (("--label", "none.npy"), "none.npy: cannot be read as labels: none.npy: No such file"),
        (("-o", "file"), "file is no folder: wanted one, for the files of a model"),
    ):
        assert refused("train", "all", "-o", "model", *words).startswith(message), words
    assert refused("train", "none", "-o", "model") == "none: no such file"
    assert not Path("model").exists()
