"""Write report.html: the evaluation's numbers and what they mean for this model."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking.mirror import open_mirror
from vaelab.config import (
    ArtifactError,
    MachineSettings,
    Settings,
    TrainSettings,
    UserError,
    objective_names,
)
from vaelab.models.model import Model
from vaelab.objectives import objective_class
from vaelab.report import EvaluationResult, build_page, validate
from vaelab.report.pictures import IMAGES, decoded_pictures, worst_pictures, worst_rows
from vaelab.runtime.files import write_text
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import read_arrays, read_csv, read_metrics, read_table

# Columns that the table of latent dimensions must have for every model.
NEEDED = ("mean_variance", "aggregate_mean", "aggregate_stddev")
# The page is the same on every device.
CPU = MachineSettings(device="cpu")
SEED = 0  # of the images that are shown


def main() -> None:
    """Run the stage."""
    cli.run(report, __doc__)


def report(settings: Settings) -> None:
    """Write report.html, and add it to the model's run."""
    mirror = open_mirror("report", settings)
    write_text(paths.REPORT, build_page(read_result(settings)))
    mirror.log()
    print(f"wrote {paths.REPORT} ({paths.REPORT.stat().st_size / 1e6:.1f} MB)")


def read_result(settings: Settings) -> EvaluationResult:
    """Load what the prepare, train and evaluate stages wrote. Raises UserError."""
    trained = TrainedArtifacts.load(CPU)
    data, description = trained.data, trained.description
    dimensions = read_table(paths.LATENT_DIMENSIONS, *NEEDED)
    result = EvaluationResult(
        metrics=read_metrics(paths.EVALUATE_METRICS),
        description=description,
        info=data.info,
        active_unit_threshold=settings.evaluate.active_unit_threshold,
        objective_settings=_settings_used_by(description.objective),
        arrays=read_arrays(paths.EVALUATE_ARRAYS),
        dimensions=dimensions,
        means=read_arrays(paths.TEST_LATENTS).get("mean"),
        labels=data.labels("test"),
        history=_columns(read_csv(paths.HISTORY)),
        train_names=data.names("train") if data.info.has_names else (),
    )
    try:
        validate(result)
    except UserError as error:
        raise ArtifactError(paths.EVALUATE, str(error)) from error
    worst, names = worst_rows(result.arrays), data.names("test")
    pictures = _pictures(trained, dimensions) | _worst(trained, worst, result.arrays)
    shown = tuple(names[row] for row in worst)
    return replace(result, arrays={**result.arrays, **pictures}, worst_names=shown)


def _pictures(
    trained: TrainedArtifacts, dimensions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Decode test images, chosen at random, for the top of the page."""
    order = np.random.default_rng(SEED).permutation(trained.data.info.counts["test"])
    return decoded_pictures(*_test_images(trained, order[:IMAGES]), dimensions)


def _worst(
    trained: TrainedArtifacts, rows: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Decode the test images that are reconstructed worst."""
    if not (len(rows) and trained.model.has("encoder")):
        return {}
    psnr_db = arrays["reconstruction_psnr_db"][rows]
    return worst_pictures(*_test_images(trained, rows), psnr_db)


def _test_images(trained: TrainedArtifacts, rows: np.ndarray) -> tuple[Model, torch.Tensor]:
    """Return some test images, and the model that is given their labels."""
    test, chosen = trained.batches("test"), torch.from_numpy(rows)
    images = test.gather(chosen, rng_stream(SEED, "pixels", test.device))
    return trained.model.given(test.labels_at(chosen)), images


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return rows of numbers as columns, NaN where a row has no value."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {k: np.array([row.get(k, np.nan) for row in rows]) for k in names}


def _settings_used_by(objective: str) -> frozenset[str]:
    """Return which settings of `train` an objective uses, none if its file is gone."""
    used = objective_class(objective).model_fields if objective in objective_names() else {}
    return frozenset(f"train.{name}" for name in TrainSettings.model_fields if name in used)


if __name__ == "__main__":
    main()
