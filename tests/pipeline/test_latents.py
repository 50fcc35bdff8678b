"""The files of latents and of reconstructions, from the stage that writes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import evaluate, paths
from tests.bad_input.sandbox import COUNT, Sandbox, write_classifier, write_model, write_prepared
from vaelab.data.dataset import SPLITS, names_file
from vaelab.runtime.files import sha256, write_text

FEW = {
    "importance_samples": 2,
    "samples": 10,
    "annealing_images": 0,
    "likelihood_images": 0,
    "max_pairs_images": 4,
}


@pytest.fixture
def sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sandbox:
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(monkeypatch, capsys)
    sandbox.settings(evaluate=FEW)
    write_prepared()
    write_model()
    write_classifier()
    return sandbox


def name_images() -> None:
    """Let the prepared images have come from files."""
    path = paths.PREPARED / "dataset.json"
    info = json.loads(path.read_text())
    for split in SPLITS:
        names = paths.PREPARED / names_file(split)
        write_text(names, "".join(f"{split}/{n}.png\n" for n in range(COUNT)))
        info["sha256"][names.name] = sha256(names)
    path.write_text(json.dumps(info))


def test_latents_are_written_with_the_names_of_the_files(sandbox: Sandbox) -> None:
    name_images()
    sandbox.run(evaluate.main)
    with (paths.LATENTS / "latents.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("name", "split", "label", "mean_0", "mean_1", "stddev_0", "stddev_1"),
    ]
    assert [row["name"] for row in rows] == [f"{s}/{n}.png" for s in SPLITS for n in range(COUNT)]
    assert [row["split"] for row in rows] == [s for s in SPLITS for _ in range(COUNT)]
    assert [row["label"] for row in rows] == ["even", "odd"] * 9
    stored = np.load(paths.TEST_LATENTS, allow_pickle=False)
    tested = np.array([[float(row["mean_0"]), float(row["mean_1"])] for row in rows[-COUNT:]])
    np.testing.assert_allclose(tested, stored["mean"], rtol=1e-5)


def test_reconstructions_are_listed_worst_first_by_file(sandbox: Sandbox) -> None:
    name_images()
    sandbox.run(evaluate.main)
    with paths.RECONSTRUCTIONS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["name", "split", "label", "mean_squared_error", "psnr_db", "ssim"]
    assert list(rows[0]) == columns
    assert {row["name"] for row in rows} == {f"test/{n}.png" for n in range(COUNT)}
    assert all(row["label"] == ("even", "odd")[int(row["name"][5]) % 2] for row in rows)
    found = [float(row["psnr_db"]) for row in rows]
    assert found == sorted(found)
    squared = np.array([float(row["mean_squared_error"]) for row in rows])
    np.testing.assert_allclose(-10 * np.log10(squared), found, rtol=1e-4)
    metrics = json.loads(paths.EVALUATE_METRICS.read_text())["test"]
    assert np.mean(found) == pytest.approx(metrics["psnr_db"], rel=1e-4)
    similarity = np.mean([float(row["ssim"]) for row in rows])
    assert similarity == pytest.approx(metrics["ssim"], abs=1e-4)


def test_the_projector_reads_a_line_of_vectors_for_each_line_of_metadata(sandbox: Sandbox) -> None:
    sandbox.run(evaluate.main)
    vectors = np.loadtxt(paths.LATENTS / "vectors.tsv", delimiter="\t")
    assert vectors.shape == (3 * COUNT, 2)
    header, *lines = (paths.LATENTS / "metadata.tsv").read_text().splitlines()
    assert header == "name\tsplit\tlabel"
    assert lines[0] == "train_images.npy#0\ttrain\teven"
    assert len(lines) == len(vectors)


def test_names_that_do_not_fit_the_images_are_refused_in_a_line(sandbox: Sandbox) -> None:
    name_images()
    (paths.PREPARED / "train_names.txt").write_text("a.png\n")
    line = "train_names.txt: holds 1 names, dataset.json says 6 images"
    assert sandbox.refuses(evaluate.main, line).endswith("prepare` recreates it\n")
