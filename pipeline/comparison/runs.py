"""The comparison in MLflow: one parent run, a child run a model, filled from the files."""

from typing import Any

from pipeline import paths
from pipeline.comparison import paths as places
from pipeline.comparison.results import Results, seed_metrics
from pipeline.comparison.variants import Plan
from pipeline.tracking import STORE_ERRORS, Run, Store, open_store, shorten
from pipeline.tracking.sync import git_state
from vaelab.config import flatten
from vaelab.runtime.files import sha256
from vaelab.runtime.serialization import read_csv
from vaelab.training.fingerprint import training_settings

TABLE_TAG = "vaelab.comparison_sha256"


def log_comparison(plan: Plan, results: Results) -> None:
    """Log everything; a store that goes away meanwhile costs only what it has not got."""
    store = open_store(plan.common.tracking)
    try:
        parent = store.create_run(f"comparison on {plan.common.data.name}", git_state())
        for member in results.variants:
            for seed in places.seeds(member):
                _log_model(store, parent, plan, member, seed)
        parent.log_params(_shared_settings(plan))
        for path in (paths.COMPARISON_TABLE, paths.COMPARISON_REPORT, paths.COMPARISON_FIGURE):
            parent.log_file(path)
        parent.log_tags({TABLE_TAG: sha256(paths.COMPARISON_TABLE)})
        parent.end("FINISHED")
    except STORE_ERRORS as error:
        print(f"warning: MLflow did not take all of the comparison ({shorten(error)})", flush=True)


def _shared_settings(plan: Plan) -> dict[str, Any]:
    """Give what all members have in common, by dotted name."""
    sections = ("data.", "model.", "train.")
    shared = {k: v for k, v in flatten(plan.common).items() if k.startswith(sections)}
    return shared | {f"comparison.{k}": v for k, v in plan.comparison.model_dump().items()}


def _log_model(store: Store, parent: Run, plan: Plan, member: str, seed: int) -> None:
    run = store.create_run(f"{member}, seed {seed}", {"vaelab.member": member}, parent.run_id)
    run.log_params(training_settings(plan.settings(member, seed)))
    rows = read_csv(places.history(member, seed))
    run.log_history([(int(row.pop("epoch")), row) for row in rows])
    run.log_metrics(seed_metrics(member, seed))
    run.end("FINISHED")
