"""The table of the comparison, from files whose numbers are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from pipeline.comparison import table
from pipeline.comparison.results import Results
from pipeline.comparison.variants import ComparisonConfig, ComparisonSettings
from vaelab.config import Settings, UserError

SAMPLES = {
    "count": 60,
    "classifier_test_accuracy": 0.987,
    "sharpness_ratio_floor": 1.0,
    "spectrum_slope_real": -2.5,
    "classifier_frechet_distance_floor": 2.0,
}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VAE and a GAN of two seeds each; a third folder is of a variant that left."""
    monkeypatch.chdir(tmp_path)
    stages = tmp_path / paths.COMPARISON_STAGES
    stages.parent.mkdir(parents=True)
    stages.write_text("vars: [{variants: [vae, gan, never]}]\n")
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 5, 4), np.uint8)
    for variant, sharpness in (("gan", 1.25), ("vae", 0.5), ("left", 9.0)):
        for seed in (0, 10):
            metrics = {"samples": SAMPLES | {"sharpness_ratio": sharpness + seed / 100}}
            arrays = {"originals": images, "real": images, "samples": images}
            if variant == "vae":
                metrics["test"] = {"nll_nats": 3.0 + seed}
                arrays["reconstructions"] = images
            folder = tmp_path / paths.COMPARISON_MEASURED / variant
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"seed_{seed}.json").write_text(json.dumps(metrics))
            np.savez(folder / f"seed_{seed}.npz", allow_pickle=False, **arrays)
            trained = tmp_path / paths.COMPARISON_TRAINED / variant
            trained.mkdir(parents=True, exist_ok=True)
            timing = {"training_seconds": 7.0} if seed else {}
            (trained / f"seed_{seed}.json").write_text(json.dumps(timing))
    return tmp_path


@pytest.mark.usefixtures("measured")
def test_rows_have_means_and_standard_errors_in_the_order_of_the_stages() -> None:
    vae, gan = table.table_rows(Results.load())
    assert (vae["member"], gan["member"], vae["seeds"]) == ("vae", "gan", 2)
    assert vae["samples.sharpness_ratio"] == pytest.approx(0.55)
    # Of two values the standard error is half their distance.
    assert vae["samples.sharpness_ratio_standard_error"] == pytest.approx(0.05)
    assert vae["test.nll_nats"] == pytest.approx(8.0)
    assert "test.nll_nats" not in gan
    # The training that was interrupted has no time.
    assert gan["timing.training_seconds"] == 7.0
    assert "timing.training_seconds_standard_error" not in gan
    assert not [name for name in vae if "_floor" in name or "_real" in name]


@pytest.mark.usefixtures("measured")
def test_the_report_leaves_cells_empty_and_has_the_floor_last() -> None:
    lines = table.markdown_table(Results.load()).splitlines()
    heading, _, vae, gan, floor = ([c.strip() for c in x.strip("|").split("|")] for x in lines)
    nll = heading.index("NLL, nats")
    assert vae[nll] == "8.0 ± 5.0"
    assert gan[nll] == floor[nll] == ""
    assert floor[0] == "*real images*"
    assert floor[heading.index("Fréchet")] == "2.0"
    assert floor[heading.index("slope")] == "-2.50"
    assert floor[heading.index("sharpness")] == "1.00"


@pytest.mark.usefixtures("measured")
def test_the_figure_has_a_row_a_member_and_is_blank_without_reconstructions() -> None:
    figure = table.figure(["vae", "gan"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["real", "vae", "gan"]
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    bottom_left = canvas[-canvas.shape[0] // 5 :, : canvas.shape[1] // 4]
    assert np.unique(bottom_left).size == 1
    bottom_right = canvas[-canvas.shape[0] // 5 :, -canvas.shape[1] // 4 :]
    assert np.unique(bottom_right).size > 1


@pytest.mark.usefixtures("measured")
def test_everything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ComparisonConfig(Settings(), ComparisonSettings(seeds=(0, 10)))
    monkeypatch.setattr(ComparisonConfig, "load", classmethod(lambda cls: config))
    logged: list[Results] = []
    monkeypatch.setattr(table, "log_comparison", lambda config, results: logged.append(results))
    table.tabulate()
    assert len(logged) == 1
    assert paths.COMPARISON_FIGURE.stat().st_size > 1000
    report = paths.COMPARISON_REPORT.read_text()
    assert "A VAE is blurrier than a GAN: confirmed" in report
    assert "60 samples" in report
    assert "(accuracy 98.7%)" in report
    assert paths.COMPARISON_TABLE.read_text().startswith("member,seeds,")


def test_a_comparison_without_measurements_is_refused(measured: Path) -> None:
    (measured / paths.COMPARISON_STAGES).write_text("vars: [{variants: [never]}]\n")
    with pytest.raises(UserError, match="nothing was measured"):
        table.tabulate()
