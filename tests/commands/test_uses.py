"""`vaelab decode`, `reconstruct`, `score` and `edit`: the numbers of the API, in files."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vaelab
from tests.api.models import CONDITIONAL, saved
from tests.commands.conftest import Run, arrays, pixels
from tests.commands.test_encode import PIXELS, pictures

Refused = Callable[..., str]
ORDER = [0, 2, 1, 3]
"""Of the pictures, sorted by path."""


def test_latents_are_decoded_as_they_were_written(run: Run, folder: Path, refused: Refused) -> None:
    saved(folder / "model")
    pictures(folder / "all")
    model = vaelab.load("model", device="cpu")
    expected = model.reconstruct(PIXELS[ORDER])
    np.save("latents.npy", np.asarray(model.encode(PIXELS[ORDER]).mean))
    for name in ("latents.csv", "latents.npz", "latents.npy"):
        if not Path(name).exists():
            run("encode", "model", "all", "-o", name)
        assert run("decode", "model", name, "-o", "a.npy", "--force") == (
            0,
            "a.npy: 4 images of 8x8 pixels\n",
            "",
        )
        np.testing.assert_allclose(np.load("a.npy"), np.asarray(expected), atol=1e-6)
    run("decode", "model", "latents.csv", "-o", "images")
    assert sorted(path.name for path in Path("images").iterdir()) == [f"{i}.png" for i in range(4)]
    Path("wrong.csv").write_text("name,z\na,1\n")
    Path("empty.csv").write_text("")
    np.savez("other.npz", latents=np.zeros((2, 3)))
    np.save("wide.npy", np.zeros((2, 4)))
    for name, message in (
        ("wrong.csv", "wrong.csv: has no columns mean_0, mean_1, ..., as `vaelab encode` writes"),
        ("empty.csv", "empty.csv: has no columns mean_0"),
        ("none.csv", "none.csv: cannot be read as latents: none.csv: No such file"),
        ("other.npz", "other.npz: cannot be read as latents: 'mean is not a file in the archive'"),
        ("wide.npy", "latents of shape [2, 4] do not fit the model: wanted [3], or a batch"),
        ("model", "model: cannot be read as latents: model: Is a directory"),
    ):
        assert refused("decode", "model", name, "-o", "b.npy").startswith(message)


def test_reconstructions_have_the_names_of_their_images(run: Run, folder: Path) -> None:
    saved(folder / "model")
    pictures(folder / "all")
    np.save("some.npy", PIXELS)
    expected = np.asarray(vaelab.load("model", device="cpu").reconstruct(PIXELS))
    code, out, _ = run("reconstruct", "model", "all", "some.npy", "-o", "new")
    assert code == 0
    assert re.search(r"^  PSNR \d+\.\d\d ± \S+ dB, SSIM -?\d\.\d{3} ± \S+$", out, re.M), out
    found = pixels("new/dog/1.png") / 255
    np.testing.assert_allclose(found, expected[1, 0], atol=0.5 / 255 + 1e-6)
    assert Path("new/some_0003.png").is_file()
    run("reconstruct", "model", "all", "-o", "new.npz")
    written = arrays("new.npz")
    np.testing.assert_allclose(written["images"], expected[ORDER], atol=1e-6)
    assert written["names"].tolist()[1] == "all/cat/2.png"
    # 8-bit images: PSNR = -10 log10 of the mean squared error
    squared = np.square(expected - PIXELS[:, None] / 255)[ORDER].mean((1, 2, 3))
    np.testing.assert_allclose(written["psnr_db"], -10 * np.log10(squared), rtol=1e-4)
    assert written["ssim"].shape == (4,)


def test_a_picture_of_reconstructions_has_the_images_above(run: Run, folder: Path) -> None:
    saved(folder / "model")
    np.save("some.npy", np.full((1, 8, 8), 255, np.uint8))
    run("reconstruct", "model", "some.npy", "-o", "a.png")
    found = pixels("a.png")
    assert found.shape == (2 * 32 + 2, 32, 3)
    assert (found[:32] == 255).all()
    assert not (found[34:] == 255).all()


def test_scores_are_those_of_the_api_and_printed_without_output(
    run: Run, folder: Path, refused: Refused
) -> None:
    saved(folder / "model")
    pictures(folder / "all")
    options = ("--importance-samples", 7, "--seed", 2)
    expected = vaelab.load("model", device="cpu").score(PIXELS[ORDER], importance_samples=7, seed=2)
    code, out, err = run("score", "model", "all", *options)
    mean = expected.mean()
    assert (code, err) == (0, "")
    assert out == (
        "4 images, nats per image:\n"
        f"  neg_elbo_nats {mean['neg_elbo_nats']:.2f} ± "
        f"{mean['neg_elbo_standard_error_nats']:.2f}\n"
        f"  nll_nats {mean['nll_nats']:.2f} ± {mean['nll_standard_error_nats']:.2f}\n"
        f"  effective sample size {mean['effective_sample_size']:.1f} of 7\n"
        f"  PSNR {mean['psnr_db']:.2f} ± {mean['psnr_standard_error_db']:.2f} dB, "
        f"SSIM {mean['ssim']:.3f} ± {mean['ssim_standard_error']:.3f}\n"
    )
    run("score", "model", "all", *options, "-o", "a.csv")
    with Path("a.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["name"] for row in rows][:2] == ["all/cat/0.png", "all/cat/2.png"]
    found = [float(row["nll_nats"]) for row in rows]
    np.testing.assert_allclose(found, np.asarray(expected.nll_nats), rtol=1e-6)
    found = [float(row["ssim"]) for row in rows]
    np.testing.assert_allclose(found, np.asarray(expected.ssim), atol=1e-5)
    saved(folder / "gan", networks=("decoder",))
    assert refused("score", "gan", "all").startswith("score needs an encoder, and this model (gan)")


def test_images_are_edited_to_another_class(run: Run, folder: Path, refused: Refused) -> None:
    saved(folder / "model", CONDITIONAL)
    saved(folder / "plain")
    pictures(folder / "all")
    model = vaelab.load("model", device="cpu")
    run("edit", "model", "all", "--class", "owl", "--label", "folders", "-o", "a.npy")
    expected = model.edit(PIXELS[ORDER], {"class": 2}, [0, 0, 1, 1])
    np.testing.assert_allclose(np.load("a.npy"), np.asarray(expected), atol=1e-6)
    for number, name in enumerate(("cat", "dog")):
        (folder / "all" / name).rename(folder / "all" / str(number))
    words = ("edit", "plain", "all", "--class", 1, "-o", "b.npy")
    assert refused(*words).startswith("edit needs images of the classes, edit(..., examples=")
    assert run(*words, "--examples", "all")[0] == 0
    expected = vaelab.load("plain", device="cpu").edit(
        PIXELS[ORDER], {"class": 1}, examples=(PIXELS, [0, 1, 0, 1])
    )
    np.testing.assert_allclose(np.load("b.npy"), np.asarray(expected), atol=1e-5)
    assert refused("edit", "model", "all", "--class", "owls", "-o", "c.npy").startswith(
        "unknown label owls; did you mean owl? valid: cat"
    )


def test_an_attribute_is_removed(run: Run, folder: Path, refused: Refused) -> None:
    saved(folder / "plain")
    pictures(folder / "all")
    words = ("edit", "plain", "all", "--with", "all/cat", "-o", "a.npy")
    assert refused(*words).startswith("an attribute needs both --with and --without")
    run(*words, "--without", "all/dog", "--strength", -1)
    expected = vaelab.load("plain", device="cpu").edit(
        PIXELS[ORDER], {"attribute": -1}, examples=(PIXELS[ORDER], [1, 1, 0, 0])
    )
    np.testing.assert_allclose(np.load("a.npy"), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("command", ["encode", "reconstruct", "score", "edit"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.png", "none.png: no such file"),
        ("empty", "empty: holds no images"),
        ("notes.txt", "notes.txt: cannot be read as an image: "),
        ("wrong.npy", "wrong.npy: images of shape [2, 5, 5] do not fit the model"),
        ("bytes.npy", "bytes.npy: "),
        ("bytes.npz", "bytes.npz: bytes.npz: cannot be read: "),
        ("dark.npy", "dark.npy: pixels of int64 are only 0 and 1, almost black: wanted"),
        ("texts.npy", "texts.npy: images must be numbers, not ndarray of <U1"),
    ],
)
def test_wrong_images_are_refused_with_their_names(
    folder: Path, refused: Refused, command: str, given: str, message: str
) -> None:
    saved(folder / "model", CONDITIONAL)
    (folder / "empty").mkdir()
    for name in ("notes.txt", "bytes.npy", "bytes.npz"):
        (folder / name).write_text("nothing")
    np.save("wrong.npy", np.zeros((2, 5, 5)))
    np.save("dark.npy", np.ones((2, 8, 8), int))
    np.save("texts.npy", np.full((2, 8, 8), "a"))
    words = ["--class", 1] if command == "edit" else []
    assert refused(command, "model", given, "-o", "a.npz", *words).startswith(message)
    assert not Path("a.npz").exists()
