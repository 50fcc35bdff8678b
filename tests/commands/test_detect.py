"""`vaelab detect`: a page and a table of files, the oddest first."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaelab
from tests.api.models import saved
from tests.commands.conftest import Run

RNG = np.random.default_rng(0)
NORMAL = RNG.integers(0, 40, (90, 8, 8), dtype=np.uint8)


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """Write a model, normal images, and images of which one is not."""
    saved(folder / "model")
    np.save("normal.npy", NORMAL)
    Path("photos/shelf").mkdir(parents=True)
    for number in range(4):
        image = NORMAL[number] if number != 2 else np.full((8, 8), 255, np.uint8)
        Image.fromarray(image).save(f"photos/shelf/{number}.png")


def test_the_page_and_the_table_name_the_oddest_file_first(run: Run) -> None:
    given = ("detect", "model", "photos", "--normal", "normal.npy")
    code, out, err = run(*given, "--rate", 0.05, "-o", "odd.html")
    assert (code, err) == (0, "")
    with Path("odd.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert rows[0]["name"] == "photos/shelf/2.png"
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    odd = sum(row["odd"] == "1" for row in rows)
    assert rows[0]["odd"] == "1"
    assert out == f"odd.html: {odd} of 4 images are odd; all scores are in odd.csv\n"
    page = Path("odd.html").read_text()
    assert page.index("photos/shelf/2.png") < page.index("photos/shelf/0.png")
    model = vaelab.load("model", device="cpu")
    images = [f"photos/shelf/{n}.png" for n in range(4)]
    expected = model.detect(images, NORMAL)
    for name, values in expected.all_scores.items():
        found = [float(row[name]) for row in rows]
        np.testing.assert_allclose(found, values[expected.order], rtol=1e-6)


def test_training_images_and_another_score(run: Run) -> None:
    given = ("detect", "model", "photos", "--normal", "normal.npy", "--training", "normal.npy")
    code, _, _ = run(*given, "--score", "reconstruction", "--rate", 0.02, "-o", "odd.html")
    assert code == 0
    assert "from 90 held-out normal images" in Path("odd.html").read_text()


def test_what_cannot_be_done_is_one_line(refused: Callable[..., str]) -> None:
    given = ("detect", "model", "photos", "--normal", "normal.npy", "-o")
    for words, message in (
        (
            ("a.html", "--rate", 0.01),
            "45 normal images are too few for a false-alarm rate of 0.01: "
            "the threshold needs 99, or a rate of 0.022 or more",
        ),
        (("a.html", "--score", "elbo"), "unknown score elbo; did you mean neg_elbo? valid: "),
        (("a.pdf",), "a.pdf: wanted .html, not .pdf"),
    ):
        assert refused(*given, *words).startswith(message)
    Path("a.csv").write_text("mine")
    assert refused(*given, "a.html").startswith("a.csv exists: --force replaces it")
    assert Path("a.csv").read_text() == "mine"
    assert not Path("a.html").exists()
