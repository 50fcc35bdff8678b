"""The view of the runs' table that `make ui` opens: its columns, and what it is sorted by.

MLflow keeps a shared view as JSON in a tag of the experiment, and an address names the tag.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlflow.tracking import MlflowClient

from pipeline.tracking.metric_names import SORTED_BY

NAME = "vaelab"
TAG = f"mlflow.sharedViewState.{NAME}"
# The numbers come first, the bound before all, to be in view on a narrow screen. Few settings are
# columns: those that differ are in the name of a run.
COLUMNS = (
    f"metrics.`{SORTED_BY}`",
    "metrics.`test/kl_loss_nats`",
    "metrics.`likelihood/nll_nats`",
    "metrics.`sampler/classifier_frechet_distance`",
    "metrics.`latent/linear_probe_accuracy`",
    "metrics.`latent/active_units`",
    "params.`train.objective`",
    "params.`model.latent_dim`",
    "params.`train.kl_weight`",
)
WIDTHS = {"attributes.`Run Name`": 200, "runDateAndNestInfo": 125} | dict.fromkeys(COLUMNS, 110)
# MLflow takes a view as it is and fills in no defaults: without one of these its page fails.
STATE: Mapping[str, Any] = {
    "searchFilter": "",
    "orderByKey": f"metrics.`{SORTED_BY}`",
    "orderByAsc": True,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
    "selectedColumns": COLUMNS,
    "columnOrder": tuple(WIDTHS),
    "columnWidths": WIDTHS,
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "FIRST_10_RUNS",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": False,
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "groupBy": None,
    "groupsExpanded": {},
    "autoRefreshEnabled": True,
    "globalLineChartConfig": {
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
    },
}


def link(experiment_id: str) -> str:
    """Return the address of the view, relative to the server, among MLflow's training pages."""
    query = f"workflowType=machine_learning&viewStateShareKey={NAME}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def save_view(client: MlflowClient, experiment_id: str) -> None:
    """Store the view in the experiment, unless it is there."""
    text = json.dumps(STATE)
    if client.get_experiment(experiment_id).tags.get(TAG) != text:
        client.set_experiment_tag(experiment_id, TAG, text)
