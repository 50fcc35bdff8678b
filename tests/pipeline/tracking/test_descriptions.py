"""Descriptions of runs and of the experiment."""

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.tracking import Store
from pipeline.tracking.descriptions import describe_experiment, describe_run
from tests.pipeline.tracking.conftest import MakeRun


def test_a_run_has_its_numbers_pages_and_pictures(store: Store, make_run: MakeRun) -> None:
    run = make_run(2.5)
    text = store.client.get_run(run.run_id).data.tags[MLFLOW_RUN_NOTE]
    assert "| negative ELBO (nats per image) | 2.5 |" in text
    assert "| active units | 5 |" in text
    page = f"#/experiments/{store.experiment_id}/runs/{run.run_id}/artifacts/evaluate/report.html"
    assert f"[Report]({page})" in text
    assert "Explorer" not in text, "it has none"
    picture = f"get-artifact?path=render%2Fsamples.png&run_uuid={run.run_id}"
    assert f"![Samples]({picture})" in text


def test_a_run_without_an_evaluation_says_so(store: Store, make_run: MakeRun) -> None:
    run = make_run()
    describe_run(store.client, run.run_id)
    text = store.client.get_run(run.run_id).data.tags[MLFLOW_RUN_NOTE]
    assert text == "Not evaluated yet: `dvc repro evaluate`."
    run.log_model_results({"samples.classifier_recall": 0.5})  # of a model without a bound
    describe_run(store.client, run.run_id)
    assert "evaluated" not in store.client.get_run(run.run_id).data.tags[MLFLOW_RUN_NOTE]


def test_a_description_of_ones_own_is_kept(store: Store, make_run: MakeRun) -> None:
    run = make_run(2.5)
    store.client.set_tag(run.run_id, MLFLOW_RUN_NOTE, "mine")
    describe_run(store.client, run.run_id)
    assert store.client.get_run(run.run_id).data.tags[MLFLOW_RUN_NOTE] == "mine"


def test_the_experiment_names_its_best_runs(store: Store, make_run: MakeRun) -> None:
    make_run(4.0, train__epochs=2)
    make_run(1.5, train__epochs=9)
    make_run(None, train__epochs=5)
    describe_experiment(store.client, store.experiment_id)
    text = store.client.get_experiment(store.experiment_id).tags[MLFLOW_RUN_NOTE]
    assert "workflowType=machine_learning&viewStateShareKey=vaelab" in text
    assert text.index("digits vae, 9 epochs") < text.index("digits vae, 2 epochs")
    assert "5 epochs" not in text, "it is not measured"
    store.client.set_experiment_tag(store.experiment_id, MLFLOW_RUN_NOTE, "mine")
    describe_experiment(store.client, store.experiment_id)
    after = store.client.get_experiment(store.experiment_id)
    assert after.tags[MLFLOW_RUN_NOTE] == "mine"
