"""Log the comparison to MLflow from its files: a parent run, and a child run for each model."""

from typing import Any

from pipeline import paths
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.results import Results, seed_metrics
from pipeline.comparison.variants import ComparisonConfig
from pipeline.tracking import STORE_ERRORS, Run, Store, open_store, shorten
from pipeline.tracking.sync import git_state
from vaelab.config import flatten
from vaelab.models.saving import CONFIG, ModelDescription
from vaelab.runtime.files import sha256
from vaelab.runtime.serialization import read_csv

TABLE_TAG = "vaelab.comparison_sha256"


def log_comparison(config: ComparisonConfig, results: Results) -> None:
    """Log everything. If the store goes away meanwhile, only a warning is printed."""
    store = open_store(config.base.tracking)
    try:
        parent = store.create_run(f"comparison on {config.base.data.name}", git_state())
        for variant in results.variants:
            for seed in variant_paths.measured_seeds(variant):
                _log_model(store, parent, variant, seed)
        parent.log_params(_shared_settings(config))
        for path in (paths.COMPARISON_TABLE, paths.COMPARISON_REPORT):
            parent.log_file(path)
        parent.log_files(paths.COMPARISON_FIGURES, "figures")
        parent.log_tags({TABLE_TAG: sha256(paths.COMPARISON_TABLE)})
        parent.end("FINISHED")
    except STORE_ERRORS as error:
        print(
            f"warning: could not log all of the comparison to MLflow ({shorten(error)})", flush=True
        )


def _shared_settings(config: ComparisonConfig) -> dict[str, Any]:
    """Return the settings that all variants share, by dotted name."""
    sections = ("data.", "model.", "train.")
    shared = {k: v for k, v in flatten(config.base).items() if k.startswith(sections)}
    return shared | {f"comparison.{k}": v for k, v in config.comparison.model_dump().items()}


def _log_model(store: Store, parent: Run, variant: str, seed: int) -> None:
    run = store.create_run(f"{variant}, seed {seed}", {"vaelab.member": variant}, parent.run_id)
    config = (variant_paths.model(variant, seed) / CONFIG).read_text(encoding="utf-8")
    run.log_params(ModelDescription.model_validate_json(config).settings)
    rows = read_csv(variant_paths.history(variant, seed))
    run.log_history([(int(row.pop("epoch")), row) for row in rows])
    run.log_metrics(seed_metrics(variant, seed))
    run.end("FINISHED")
