"""An MLflow run that is written to by its id."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from pipeline.tracking.failures import FILES_REMEDY, STORE_ERRORS, shorten
from pipeline.tracking.metric_names import CURVES, SCHEDULED, for_mlflow, mlflow_name
from vaelab.data.dataset import DatasetInfo

WEIGHTS_TAG = "vaelab.weights_sha256"
BACKFILLED_TAG = "vaelab.backfilled"
FILES_MISSING_TAG = "vaelab.files_missing"
# The section of the images; MLflow sorts it after the curves.
IMAGES = "images"
BATCH_METRICS = 1_000
BATCH_PARAMS = 100


class Run:
    """A run that is written to by its id, which leaves its status and times unchanged.

    `files_failed` says why the store takes no files; then it is sent none, but all numbers.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self.files_failed = ""

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Set the final status, and the end time to now."""
        self.client.set_terminated(self.run_id, status)

    def reopen(self) -> None:
        """Set the status to running again."""
        self.client.update_run(self.run_id, status="RUNNING")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings. MLflow refuses a name that has another value already."""
        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), BATCH_PARAMS):
            self.client.log_batch(self.run_id, params=entries[start : start + BATCH_PARAMS])

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, and replace those with the same name."""
        self.client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log all metrics of a step in one call, by their names in the files."""
        self.log_history([(step, metrics)])

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Log metrics without a step, except those that have the same value already."""
        logged = self.client.get_run(self.run_id).data.metrics
        self._log(for_mlflow(metrics), logged)

    def log_model_results(self, metrics: Mapping[str, float]) -> None:
        """Log metrics of the trained model as `log_results` does, and to the logged model."""
        run, model = self.client.get_run(self.run_id), self.logged_model()
        used = [entry.dataset for entry in run.inputs.dataset_inputs] if run.inputs else []
        own = {
            "model_id": model.model_id if model else None,
            "dataset_name": used[0].name if used else None,
            "dataset_digest": used[0].digest if used else None,
        }
        known = {entry.key for entry in model.metrics or []} if model else run.data.metrics.keys()
        logged = {k: v for k, v in run.data.metrics.items() if k in known}
        self._log(for_mlflow(metrics), logged, **own)

    def _log(
        self, named: Mapping[str, float], logged: Mapping[str, float], **own: str | None
    ) -> None:
        now = int(time.time() * 1000)
        new = [Metric(k, float(v), now, 0, **own) for k, v in named.items() if logged.get(k) != v]
        if new:
            self.client.log_batch(self.run_id, metrics=new)

    def log_history(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics of many steps in as few calls as MLflow allows; a step is never split."""
        now, batch = int(time.time() * 1000), list[Metric]()
        for step, metrics in rows:
            row = for_mlflow(metrics)
            if len(batch) + len(row) > BATCH_METRICS:
                self.client.log_batch(self.run_id, metrics=batch)
                batch = []
            batch += [Metric(name, float(value), now, step) for name, value in row.items()]
        if batch:
            self.client.log_batch(self.run_id, metrics=batch)

    def logged_epochs(self) -> set[int]:
        """Return the epochs whose metrics have been logged."""
        scheduled = {mlflow_name(name) for name in SCHEDULED}
        logged = self.client.get_run(self.run_id).data.metrics.keys() - scheduled
        curve = min((name for name in logged if name.startswith(CURVES)), default=None)
        return self.logged_steps(curve) if curve else set()

    def logged_steps(self, metric: str) -> set[int]:
        """Return the steps at which a metric, by its name in MLflow, has been logged."""
        return {entry.step for entry in self.client.get_metric_history(self.run_id, metric)}

    def logged_model(self) -> LoggedModel | None:
        """Return the newest model that was logged to the run."""
        found = self.client.search_logged_models(
            [self.client.get_run(self.run_id).info.experiment_id],
            filter_string=f"source_run_id = '{self.run_id}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            max_results=1,
        )
        return found[0] if found else None

    def has_params(self) -> bool:
        """Return whether any setting has been logged."""
        return bool(self.client.get_run(self.run_id).data.params)

    def logged_images(self) -> set[tuple[str, int]]:
        """Return the keys and steps of the images that were uploaded completely."""
        # MLflow names them key+step+1+timestamp+..., with ~ for /, and a small copy after each.
        names = {Path(file.path).name for file in self.client.list_artifacts(self.run_id, "images")}
        complete = [n for n in names if n.endswith(".png") and f"{n[:-4]}+compressed.webp" in names]
        found = (name.rsplit("+", 5) for name in complete)
        section = f"{IMAGES}/"
        return {
            (key.replace("~", "/").removeprefix(section), int(step)) for key, _, step, *_ in found
        }

    def has_tag(self, tag: str) -> bool:
        """Return whether a tag is set."""
        return tag in self.client.get_run(self.run_id).data.tags

    def remove_tag(self, tag: str) -> None:
        """Remove a tag if it is set."""
        if self.has_tag(tag):
            self.client.delete_tag(self.run_id, tag)

    def forget_source(self) -> None:
        """Remove the tags of the current commit, which is not the one that trained the model."""
        for tag in ("mlflow.source.git.commit", "mlflow.source.git.branch"):
            self.remove_tag(tag)

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Log an image, uint8 [height, width, 3], by its key and step."""
        name = f"{IMAGES}/{key}"
        self._upload(lambda: self.client.log_image(self.run_id, image, key=name, step=step))

    def log_text(self, text: str, path: str) -> None:
        """Log a text as an artifact."""
        self._upload(lambda: self.client.log_text(self.run_id, text, path))

    def log_files(self, folder: Path, under: str) -> None:
        """Log a folder's files as artifacts."""
        self._upload(lambda: self.client.log_artifacts(self.run_id, str(folder), under))

    def log_file(self, path: Path, under: str | None = None) -> None:
        """Log one file as an artifact, in the artifact folder `under`."""
        self._upload(lambda: self.client.log_artifact(self.run_id, str(path), under))

    def _upload(self, write: Callable[[], object]) -> None:
        """Send files, unless the store takes none; say once if it does not, and go on.

        Raises the error of the upload where the store takes no numbers either.
        """
        if self.files_failed:
            return
        try:
            write()
        except STORE_ERRORS as error:
            location = self.client.get_run(self.run_id).info.artifact_uri  # raises if it is away
            self.files_failed = f"{location}: {shorten(error)}"
            print(
                f"warning: MLflow takes the numbers of this run, but not its files "
                f"({self.files_failed}). {FILES_REMEDY}",
                flush=True,
            )

    def log_model(self, write: Callable[[MlflowClient, str], object]) -> None:
        """Log a model by a function of the store's client and the run's id."""
        self._upload(lambda: write(self.client, self.run_id))

    def log_dataset(self, info: DatasetInfo) -> None:
        """Log the data set, identified by the hash of its arrays."""
        dataset = Dataset(
            name=info.name,
            digest=_digest(info),
            source_type="local",
            source=json.dumps({"origin": info.origin}),
            profile=info.model_dump_json(include={"image_shape", "counts", "levels"}),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self.client.log_inputs(self.run_id, [entry])


def _digest(info: DatasetInfo) -> str:
    """Return a hash of the arrays' hashes, with the 36 characters that MLflow keeps."""
    return hashlib.sha256(json.dumps(info.sha256, sort_keys=True).encode()).hexdigest()[:36]
