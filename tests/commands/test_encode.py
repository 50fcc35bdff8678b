"""`vaelab encode`: the latents of files, folders and arrays, each with its name."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import vaelab
from tests.api.models import CONDITIONAL, NAMES, saved
from tests.commands.conftest import Run, arrays

Refused = Callable[..., str]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)


def pictures(folder: Path) -> None:
    """Write four pictures, in a folder for each of two classes."""
    for number, image in enumerate(PIXELS):
        path = folder / NAMES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def test_each_row_has_the_name_of_its_file(run: Run, folder: Path) -> None:
    saved(folder / "model")
    pictures(folder / "all")
    np.save("some.npy", PIXELS[2:])
    given = ("all", "all/dog/1.png", "some.npy")
    code, out, err = run("encode", "model", *given, "-o", "a.csv")
    assert (code, out, err) == (0, "a.csv: 7 rows\n", "")
    with Path("a.csv").open() as file:
        rows = [*csv.DictReader(file)]
    files = ["all/cat/0.png", "all/cat/2.png", "all/dog/1.png", "all/dog/3.png"]
    assert [row["name"] for row in rows] == [*files, "all/dog/1.png", "some.npy#0", "some.npy#1"]
    expected = vaelab.load("model", device="cpu").encode(PIXELS[[0, 2, 1, 3, 1, 2, 3]])
    for name, values in (("mean", expected.mean), ("stddev", expected.stddev)):
        found = np.array([[row[f"{name}_{i}"] for i in range(3)] for row in rows], np.float32)
        np.testing.assert_allclose(found, np.asarray(values), rtol=1e-6)
    run("encode", "model", *given, "-o", "a.npz")
    written = arrays("a.npz")
    np.testing.assert_allclose(written["mean"], np.asarray(expected.mean), rtol=1e-6)
    assert written["names"][1] == files[1]


def test_files_that_are_no_images_are_noted_in_a_folder(run: Run, folder: Path) -> None:
    saved(folder / "model")
    pictures(folder / "all")
    Path("all/notes.txt").write_text("mine")
    assert run("encode", "model", "all", "-o", "a.csv")[2] == (
        "note: all: 4 of 5 files are read; not read: not images: 1 .txt\n"
    )


def test_pictures_of_another_size_are_resized_if_that_is_said(
    run: Run, folder: Path, refused: Refused
) -> None:
    saved(folder / "model")
    Image.new("RGB", (20, 30)).save("big.png")
    assert refused("encode", "model", "big.png", "-o", "a.csv") == (
        "big.png: a picture of 20x30 pixels: the model's images have 8x8; "
        "--resize crop, pad or stretch fits pictures"
    )
    assert run("encode", "model", "big.png", "-o", "a.csv", "--resize", "crop")[0] == 0


def test_labels_are_one_one_each_or_the_names_of_folders(
    run: Run, folder: Path, refused: Refused
) -> None:
    saved(folder / "model", CONDITIONAL)
    pictures(folder / "all")
    np.save("labels.npy", np.array([0, 0, 1, 1]))
    model = vaelab.load("model", device="cpu")
    for label, expected in (
        ("folders", [0, 0, 1, 1]),
        ("labels.npy", [0, 0, 1, 1]),
        ("owl", "owl"),
        ("2", 2),
        (None, None),
    ):
        words = [] if label is None else ["--label", label]
        assert run("encode", "model", "all", "-o", "a.npz", "--force", *words)[0] == 0
        wanted = model.encode(PIXELS[[0, 2, 1, 3]], expected).mean
        np.testing.assert_allclose(arrays("a.npz")["mean"], np.asarray(wanted), rtol=1e-6)
    np.save("few.npy", np.zeros(3, int))
    for label, message in (
        ("few.npy", "3 labels for 4 images: wanted one, or one each"),
        ("none.npy", "none.npy: cannot be read as labels: none.npy: No such file or directory"),
    ):
        assert refused("encode", "model", "all", "-o", "b.npz", "--label", label) == message
    saved(folder / "plain")
    assert refused("encode", "plain", "all", "-o", "b.npz", "--label", 1) == (
        "labels: this model was trained without; leave them out"
    )


def test_what_is_no_image_is_named(folder: Path, refused: Refused) -> None:
    saved(folder / "model")
    Path("notes.txt").write_text("mine")
    Path("empty").mkdir()
    np.savez("two.npz", a=PIXELS, b=PIXELS)
    np.savez("labels.npz", labels=PIXELS[0, 0])
    for name, message in (
        ("nowhere.png", "nowhere.png: no such file"),
        ("notes.txt", "notes.txt: cannot be read as an image: "),
        ("empty", "empty: holds no images"),
        ("two.npz", "two.npz: holds several arrays of images (two.npz:a [4, 8, 8], two.npz:b "),
        ("labels.npz", "labels.npz: holds no array of images: name one of them images"),
        ("none.npy", "none.npy: none.npy: No such file or directory"),
    ):
        assert refused("encode", "model", name, "-o", "a.csv").startswith(message)
    assert refused("encode", "model", "two.npz", "-o", "a.parquet") == (
        "a.parquet: wanted .csv or .npz, not .parquet"
    )
