"""The descriptions of runs and of the experiment: headline numbers, pictures and links."""

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.tracking.metric_names import SORTED_BY
from pipeline.tracking.view import link

# Tells whether a description is still the one that was written here; others are kept.
WRITTEN_TAG = "vaelab.description_sha256"
HEADLINES: Mapping[str, str] = {
    SORTED_BY: "negative ELBO (nats per image)",
    "likelihood/nll_nats": "negative log-likelihood (nats per image)",
    "test/nll_nats": "K-sample bound on it (nats per image)",
    "test/generation_loss_nats": "generation loss (nats per image)",
    "test/kl_loss_nats": "KL loss (nats per image)",
    "latent/active_units": "active units",
    "latent/linear_probe_accuracy": "linear probe on the latent (accuracy)",
    "samples/classifier_frechet_distance": "Fréchet distance of samples from the prior",
    "sampler/classifier_frechet_distance": "Fréchet distance of samples from the sampler",
}
PICTURES: Mapping[str, str] = {
    "render/reconstructions.png": "Test images and their reconstructions",
    "render/samples.png": "Samples",
    "render/losses.png": "Losses over training",
}
PAGES: Mapping[str, str] = {
    "evaluate/report.html": "Report",
    "explorer/index.html": "Explorer",
    "params.yaml": "All settings",
}
# Sections of metrics that only the evaluation has; a model without a bound has some of them too.
EVALUATED = ("test/", "latent/", "samples/")
NOT_EVALUATED = "Not evaluated yet: `dvc repro evaluate`."
BEST_RUNS = 5


def describe_run(client: MlflowClient, run_id: str) -> None:
    """Write the description of a run from what it has by now."""
    run = client.get_run(run_id)
    folders = {name.rpartition("/")[0] or None for name in (*PICTURES, *PAGES)}
    listed = (client.list_artifacts(run_id, folder) for folder in folders)
    text = run_description(run, {file.path for files in listed for file in files})
    before = run.data.tags.get(MLFLOW_RUN_NOTE, "")
    if text != before and run.data.tags.get(WRITTEN_TAG, _digest("")) == _digest(before):
        client.set_tag(run_id, MLFLOW_RUN_NOTE, text)
        client.set_tag(run_id, WRITTEN_TAG, _digest(text))


def run_description(run: MlflowRun, artifacts: set[str]) -> str:
    """Return links, the headline numbers as a table, and pictures."""
    numbers = [(t, run.data.metrics[k]) for k, t in HEADLINES.items() if k in run.data.metrics]
    rows = ["| on the test split | |", "|---|---|", *(f"| {t} | {v:.4g} |" for t, v in numbers)]
    pages = [f"[{t}]({_page(run, name)})" for name, t in PAGES.items() if name in artifacts]
    pictures = [
        f"{title}:\n\n![{title}]({_file(run, name)})"
        for name, title in PICTURES.items()
        if name in artifacts
    ]
    # MLflow folds all but the first lines.
    measured = "\n".join(rows) if numbers else ""
    if not any(name.startswith(EVALUATED) for name in run.data.metrics):
        measured = NOT_EVALUATED
    parts = [" · ".join(pages), measured, *pictures]
    return "\n\n".join(filter(None, parts))


def describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Write the description of the experiment: how to read its table, and its best runs."""
    experiment = client.get_experiment(experiment_id)
    text, before = experiment_description(client, experiment_id), experiment.tags
    own = before.get(WRITTEN_TAG, _digest("")) == _digest(before.get(MLFLOW_RUN_NOTE, ""))
    if own and text != before.get(MLFLOW_RUN_NOTE):
        client.set_experiment_tag(experiment_id, MLFLOW_RUN_NOTE, text)
        client.set_experiment_tag(experiment_id, WRITTEN_TAG, _digest(text))


def experiment_description(client: MlflowClient, experiment_id: str) -> str:
    """Return where the sorted table is, and the best runs, each with its report and explorer."""
    runs = client.search_runs(
        [experiment_id], order_by=[f"metrics.`{SORTED_BY}` ASC"], max_results=BEST_RUNS
    )
    lines = [
        "Variational autoencoders, trained by vaelab. "
        f"[The table of all runs, sorted by the bound]({link(experiment_id)}) compares them; "
        "compare bounds of the same data and the same kind of likelihood only."
    ]
    table = [_row(run) for run in runs if SORTED_BY in run.data.metrics]
    if table:
        lines += ["| lowest bounds | negative ELBO (nats) | |\n|---|---|---|\n" + "\n".join(table)]
    return "\n\n".join(lines)


def _row(run: MlflowRun) -> str:
    page = f"[{run.info.run_name}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"
    files = [f"[{t}]({_page(run, name)})" for name, t in list(PAGES.items())[:2]]
    return f"| {page} | {run.data.metrics[SORTED_BY]:.4g} | {' · '.join(files)} |"


def _page(run: MlflowRun, name: str) -> str:
    """Return the address of an artifact in MLflow's own page, relative to the server."""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{name}"


def _file(run: MlflowRun, name: str) -> str:
    """Return the address of an artifact's content, relative to the server."""
    return f"get-artifact?path={quote(name, safe='')}&run_uuid={run.info.run_id}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
