"""Write report.html: the evaluation's numbers and what they mean for this model."""

import torch

from pipeline import cli, paths
from pipeline.artifacts import check_image_shape
from pipeline.tracking import open_store, warn_on_store_error
from pipeline.tracking.sync import add_report, run_of_model
from vaelab.config import ArtifactError, Settings, TrainSettings, UserError, objective_names
from vaelab.data.dataset import PreparedData
from vaelab.models.saving import load_model
from vaelab.objectives import objective_class
from vaelab.report import EvaluationResult, build_page, validate
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import read_arrays, read_metrics, read_table

# Columns that the table of latent dimensions must have for every model.
NEEDED = ("mean_variance", "aggregate_stddev")


def main() -> None:
    """Run the stage."""
    cli.run(report, __doc__)


def report(settings: Settings) -> None:
    """Write report.html, and add it to the model's run."""
    store = open_store(settings.tracking)
    write_text(paths.REPORT, build_page(read_result(settings)))
    with warn_on_store_error("the report"):
        add_report(run_of_model(store, settings))
    print(f"wrote {paths.REPORT} ({paths.REPORT.stat().st_size / 1e6:.1f} MB)")


def read_result(settings: Settings) -> EvaluationResult:
    """Load what the prepare, train and evaluate stages wrote. Raises UserError."""
    data = PreparedData.load(paths.PREPARED)
    _, description = load_model(paths.MODEL, torch.device("cpu"))
    check_image_shape(paths.MODEL, description.image_shape, data.info)
    result = EvaluationResult(
        metrics=read_metrics(paths.EVALUATE_METRICS),
        description=description,
        info=data.info,
        active_unit_threshold=settings.evaluate.active_unit_threshold,
        objective_settings=_settings_used_by(description.objective),
        arrays=read_arrays(paths.EVALUATE_ARRAYS),
        dimensions=read_table(paths.LATENT_DIMENSIONS, *NEEDED),
        means=read_arrays(paths.TEST_LATENTS).get("mean"),
        labels=data.labels("test"),
    )
    try:
        validate(result)
    except UserError as error:
        raise ArtifactError(paths.EVALUATE, str(error)) from error
    return result


def _settings_used_by(objective: str) -> frozenset[str]:
    """Return which settings of `train` an objective uses, none if its file is gone."""
    used = objective_class(objective).model_fields if objective in objective_names() else {}
    return frozenset(f"train.{name}" for name in TrainSettings.model_fields if name in used)


if __name__ == "__main__":
    main()
