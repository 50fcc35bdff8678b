"""`vaelab sample`: what it writes, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import vaelab
from tests.api.models import CONDITIONAL, NAMES, saved
from tests.commands.conftest import Run, arrays, pixels

Refused = Callable[..., str]


def test_a_picture_a_folder_and_arrays_have_the_samples_of_the_api(run: Run, folder: Path) -> None:
    saved(folder / "model")
    expected = vaelab.load("model", device="cpu").sample(5, seed=3)
    for name in ("a.npy", "a.npz", "new/a", "a.png"):
        code, out, err = run("sample", "model", "--count", 5, "--seed", 3, "-o", name)
        assert (code, out, err) == (0, f"{name}: 5 images of 8x8 pixels\n", "")
    np.testing.assert_array_equal(np.load("a.npy"), expected)
    np.testing.assert_array_equal(arrays("a.npz")["images"], expected)
    files = sorted(Path("new/a").iterdir())
    assert [file.name for file in files][::4] == ["sample_0000.png", "sample_0004.png"]
    written = np.stack([pixels(file) for file in files]) / 255
    np.testing.assert_allclose(written, np.asarray(expected)[:, 0], atol=0.5 / 255 + 1e-6)
    assert pixels("a.png").shape == (2 * 32 + 2, 3 * 32 + 2 * 2, 3)


def test_a_color_model_writes_colors(run: Run, folder: Path) -> None:
    saved(folder / "model", shape=(3, 8, 6))
    run("sample", "model", "-o", "a", "--count", 1)
    assert pixels("a/sample_0000.png").shape == (8, 6, 3)


def test_a_label_is_a_name_or_a_number(run: Run, folder: Path, refused: Refused) -> None:
    saved(folder / "model", CONDITIONAL)
    model = vaelab.load("model", device="cpu")
    for label in (NAMES[2], 2):
        assert run("sample", "model", "-o", "a.npy", "--label", label, "--force")[0] == 0
        np.testing.assert_array_equal(np.load("a.npy"), model.sample(label=2))
    for label, message in (
        ("owi", "unknown label owi; did you mean owl? valid: cat, dog, owl, fox"),
        (9, "label 9 is out of range: 0 to 3, or -1 where unknown"),
    ):
        assert refused("sample", "model", "-o", "b.npy", "--label", label) == message
    saved(folder / "plain")
    assert refused("sample", "plain", "-o", "b.npy", "--label", 1).startswith(
        "a sample of a label needs a conditional model"
    )
    assert refused("sample", "plain", "-o", "b.npy", "--source", "sampler").startswith(
        "this model has no sampler"
    )
    assert not Path("b.npy").exists()


def test_what_exists_is_replaced_only_if_that_is_said(
    run: Run, folder: Path, refused: Refused
) -> None:
    saved(folder / "model")
    for name in ("a.png", "a.npz"):
        Path(name).write_text("mine")
        assert refused("sample", "model", "-o", name) == (
            f"{name} exists: --force replaces it, or choose another --output"
        )
        assert Path(name).read_text() == "mine"
        assert run("sample", "model", "-o", name, "--force")[0] == 0
    run("sample", "model", "-o", "many", "--count", 2)
    Path("many/mine.png").write_text("mine")
    assert refused("sample", "model", "-o", "many").startswith("many/sample_0000.png exists: ")
    assert run("sample", "model", "-o", "many", "--count", 2, "--force")[0] == 0
    assert Path("many/mine.png").read_text() == "mine"


def test_outputs_that_cannot_be_are_refused_before_anything_is_loaded(
    folder: Path, refused: Refused
) -> None:
    Path("file").write_text("mine")
    Path("folder.png").mkdir()
    for name, message in (
        ("a.gif", "a.gif: wanted a .png with all images, a folder of .png"),
        ("file", "file is no folder: wanted a .png"),
        ("file/a.png", "file/a.png: file is no folder"),
        ("folder.png", "folder.png is a folder: wanted a .png"),
    ):
        assert refused("sample", "nowhere", "-o", name).startswith(message)
    assert refused("sample", "nowhere", "-o", "a.png") == "there is no folder nowhere"
    assert refused("sample", "nowhere", "-o", "a.png", "--device", "gpu") == (
        "unknown device 'gpu'; valid: auto, cpu, mps, cuda, cuda:1"
    )


def test_too_many_images_for_one_picture_are_refused(folder: Path, refused: Refused) -> None:
    saved(folder / "model")
    assert refused("sample", "model", "-o", "a.png", "--count", 2001) == (
        "2,001 images are too many for one .png of at most 2,000: name a folder, .npz or .npy as "
        "--output"
    )
