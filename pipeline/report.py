"""Write the page that says what the evaluation's numbers mean for this model."""

import json

import numpy as np
import torch

from pipeline import paths, stage
from pipeline.files import read_arrays, read_csv
from pipeline.records import run_of_model
from pipeline.tracking import open_store
from vaelab.checkpoint import load_model
from vaelab.config import Settings, UserError
from vaelab.data.dataset import PreparedData
from vaelab.files import write_text
from vaelab.report import Subject, build_page


def main() -> None:
    """Run the stage."""
    stage.run(report, __doc__)


def report(settings: Settings) -> None:
    """Write report.html, and add it to the model's run."""
    store = open_store(settings.tracking)
    write_text(paths.REPORT, build_page(read_subject(settings)))
    run_of_model(store, settings).log_file(paths.REPORT, "evaluate")
    print(f"wrote {paths.REPORT} ({paths.REPORT.stat().st_size / 1e6:.1f} MB)")


def read_subject(settings: Settings) -> Subject:
    """Read what the prepare, train and evaluate stages wrote. Raises UserError."""
    data = PreparedData.load(paths.PREPARED)
    _, description = load_model(paths.MODEL, torch.device("cpu"))
    try:
        metrics = json.loads(paths.EVALUATE_METRICS.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{paths.EVALUATE_METRICS}: cannot be read ({error}); "
            "`dvc repro -s -f evaluate` makes it anew"
        ) from error
    rows = read_csv(paths.LATENT_DIMENSIONS)
    return Subject(
        metrics=metrics,
        description=description,
        info=data.info,
        active_unit_threshold=settings.evaluate.active_unit_threshold,
        arrays=read_arrays(paths.EVALUATE_ARRAYS),
        dimensions={name: np.array([row[name] for row in rows]) for name in rows[0]}
        if rows
        else {},
        means=read_arrays(paths.TEST_LATENTS).get("mean"),
        labels=data.labels("test"),
    )


if __name__ == "__main__":
    main()
