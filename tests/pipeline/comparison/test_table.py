"""The tables of the comparison, from files whose numbers are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from pipeline.comparison import table
from pipeline.comparison.results import Results, blur_and_noise
from pipeline.comparison.variants import ComparisonConfig, ComparisonSettings
from vaelab.config import Settings, UserError

REAL = {
    "classifier_accuracy": 0.987,
    "sharpness_ratio": 1.0,
    "spectrum_slope": -2.5,
    "classifier_frechet_distance": 2.0,
}
CONFIG = ComparisonConfig(
    Settings(), ComparisonSettings(variants={"vae": {}, "gan": {}, "never": {}}, seeds=(0, 10))
)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VAE and a GAN of two seeds each; a third folder is of a variant that left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ComparisonConfig, "load", classmethod(lambda cls: CONFIG))
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 5, 4), np.uint8)
    for variant, sharpness in (("gan", 1.25), ("vae", 0.5), ("left", 9.0)):
        for seed in (0, 10):
            own = {
                "sharpness_ratio": sharpness + seed / 100,
                "classifier_frechet_distance": 8.0 + seed,
            }
            metrics: dict[str, dict[str, float]] = {"real": REAL, "samples": own}
            arrays = {"real": np.concatenate([images] * 3), "samples": images}
            if variant == "vae":
                metrics["test"] = {"nll_nats": 3.0 + seed}
                for group in ("sampler.flow_matching", "reconstructions"):
                    metrics[group] = {"classifier_frechet_distance": 4.0}
                    arrays[group] = images
            folder = tmp_path / paths.COMPARISON_MEASURED / variant
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"seed_{seed}.json").write_text(json.dumps(metrics))
            np.savez(folder / f"seed_{seed}.npz", allow_pickle=False, **arrays)
            trained = tmp_path / paths.COMPARISON_TRAINED / variant
            trained.mkdir(parents=True, exist_ok=True)
            timing = {"training_seconds": 7.0} if seed else {}
            (trained / f"seed_{seed}.json").write_text(json.dumps({"fingerprint": "a"} | timing))
    return tmp_path


@pytest.mark.usefixtures("measured")
def test_rows_have_means_and_standard_errors_in_the_order_of_the_settings() -> None:
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
    assert not [name for name in vae if name.startswith("real.")]


def test_sharpness_beyond_that_of_real_images_is_noise() -> None:
    assert blur_and_noise({"samples.sharpness_ratio": 0.75, "test.nll_nats": 1.0}) == {
        "samples.blur": 0.25,
        "samples.excess_sharpness": 0.0,
    }
    assert blur_and_noise({"a.b.sharpness_ratio": 1.5}) == {
        "a.b.blur": 0.0,
        "a.b.excess_sharpness": 0.5,
    }


@pytest.mark.usefixtures("measured")
def test_the_table_of_models_leaves_cells_empty() -> None:
    heading, _, vae, gan = rows(table.models_table(Results.load()))
    nll = heading.index("K-sample bound, nats")
    assert vae[nll] == "8.0 ± 5.0"
    assert gan[nll] == ""


@pytest.mark.usefixtures("measured")
def test_the_table_of_samples_has_a_row_a_source_and_real_images_last() -> None:
    heading, _, *found = rows(table.samples_table(Results.load()))
    assert [row[:2] for row in found] == [
        ["vae", "its prior"],
        ["vae", "flow matching"],
        ["gan", "its prior"],
        ["*real images*", ""],
    ]
    assert [row[heading.index("Fréchet")] for row in found] == [
        "13.0 ± 5.0",
        "4.0 ± 0.0",
        "13.0 ± 5.0",
        "2.0",
    ]
    assert found[-1][heading.index("slope")] == "-2.50"
    assert found[-1][heading.index("sharpness")] == "1.00"


def rows(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.usefixtures("measured")
def test_the_figure_has_a_row_a_variant_and_is_blank_where_there_are_no_images() -> None:
    figure = table.figure(Results.load())
    names = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert names == ["real images", "vae", "gan"]
    panels = np.array(figure.axes).reshape(3, 1 + len(table.PANELS))[:, 1:]
    drawn = [[bool(axes.images) for axes in row] for row in panels]
    assert drawn == [[True] * 3, [True] * 3, [False, True, False]]
    assert panels[1, 1].get_xlabel() == "Fréchet distance 13.0 ± 5.0"
    assert [axes.get_title(loc="left") for axes in panels[0]] == list(table.PANELS.values())


@pytest.mark.usefixtures("measured")
def test_everything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Results] = []
    monkeypatch.setattr(table, "log_comparison", lambda config, results: logged.append(results))
    table.tabulate()
    assert len(logged) == 1
    assert (paths.COMPARISON_FIGURES / "comparison.png").stat().st_size > 1000
    report = paths.COMPARISON_REPORT.read_text()
    assert "A VAE's samples from N(0, I) are blurrier than a GAN's: " in report
    assert "of 5,000 images" in report
    assert "(accuracy 98.7%)" in report
    assert paths.COMPARISON_TABLE.read_text().startswith("member,seeds,")


def test_a_comparison_without_measurements_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ComparisonConfig, "load", classmethod(lambda cls: CONFIG))
    with pytest.raises(UserError, match="nothing was measured"):
        table.tabulate()
