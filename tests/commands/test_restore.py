"""`vaelab restore`: files with missing pixels, and what is written of each."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaelab
from tests.api.models import saved
from tests.commands.conftest import Run, pixels

Refused = Callable[..., str]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
MASK = np.zeros((8, 8), bool)
MASK[5:] = True
KINDS = ("mean", "spread", "draw_0", "draw_1")


@pytest.fixture
def pictures(folder: Path) -> Path:
    """A model, three pictures with a magenta part, the same without, and a mask."""
    saved(folder / "model")
    for name in ("whole", "marked"):
        Path(name).mkdir()
    for number, image in enumerate(PIXELS):
        Image.fromarray(image).save(f"whole/{number}.png")
        colored = np.stack([image] * 3, -1)
        colored[MASK] = (255, 0, 255)
        Image.fromarray(colored).save(f"marked/{number}.png")
    Image.fromarray(MASK).save("mask.png")
    hidden = PIXELS / 255
    hidden[:, MASK] = np.nan
    np.save("hidden.npy", hidden)
    return folder


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("whole", "--mask", "mask.png"), ("0", "1", "2")),
        (("marked", "--mask", "#ff00ff"), ("0", "1", "2")),
        (("hidden.npy",), ("hidden_0000", "hidden_0001", "hidden_0002")),
    ],
    ids=["mask", "color", "NaN"],
)
def test_each_image_has_a_mean_a_spread_and_draws(
    run: Run, pictures: Path, given: tuple[str, ...], names: tuple[str, ...]
) -> None:
    code, out, err = run("restore", "model", *given, "-o", "out", "--draws", 2, "--seed", 3)
    assert (code, out, err) == (0, "out: 12 images of 8x8 pixels\n", "")
    model = vaelab.load("model", device="cpu")
    expected = model.restore(PIXELS, MASK, 2, seed=3)
    files = {f"{name}_{kind}.png" for name in names for kind in KINDS}
    assert {path.name for path in Path("out").iterdir()} == files | {"restored.png", "restored.csv"}
    for row, name in enumerate(names):
        values = (
            np.asarray(expected.mean)[row],
            np.asarray(expected.stddev)[row] / 0.5,
            *np.asarray(expected.draws)[row],
        )
        for kind, value in zip(KINDS, values, strict=True):
            found = pixels(f"out/{name}_{kind}.png")
            np.testing.assert_allclose(found, value[0] * 255, atol=0.51)
        assert (pixels(f"out/{name}_draw_1.png")[~MASK] == PIXELS[row][~MASK]).all()
    with Path("out/restored.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [float(each["missing_share"]) for each in rows] == [0.375] * 3
    assert all(float(each["effective_sample_size"]) > 1 for each in rows)
    # Seen, mean, two draws and the spread
    assert pixels("out/restored.png").shape[0] > 5 * 64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("whole",), "no pixel is missing: give a mask that is not 0 where one is missing"),
        (("whole", "--mask", "no.png"), "the mask no.png: no such file"),
        (("whole", "--mask", "hidden.npy", "-o", "out.png"), "out.png: wanted a folder"),
        (
            ("marked", "--mask", "#ff00ff", "--resize", "crop"),
            "marked/0.png: resizing would blend the color #ff00ff: use a mask, or no resizing",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    refused: Refused, pictures: Path, given: tuple[str, ...], message: str
) -> None:
    output = () if "-o" in given else ("-o", "out")
    assert refused("restore", "model", *given, *output).startswith(message)
    assert not Path("out").exists()


def test_nothing_is_replaced_without_force(run: Run, refused: Refused, pictures: Path) -> None:
    given = ("restore", "model", "hidden.npy", "-o", "out", "--draws", 1)
    assert run(*given)[0] == 0
    assert refused(*given).startswith("out/restored.png exists: --force replaces it")
    assert run(*given, "--force")[0] == 0
