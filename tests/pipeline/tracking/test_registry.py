"""Registered models, the metrics that belong to them, and the alias of the best."""

import sys

import pytest

from pipeline.tracking import Store, promote
from pipeline.tracking.registry import register, versions
from tests.pipeline.tracking.conftest import MakeRun
from vaelab.config import Settings, UserError


def test_the_models_measurements_are_the_loggeds_and_of_its_data(
    store: Store, make_run: MakeRun
) -> None:
    run = make_run(2.5)
    model = run.logged_model()
    assert model is not None
    found = {m.key: (m.value, m.dataset_name) for m in model.metrics or []}
    assert found["test/neg_elbo_nats"] == (2.5, "digits")
    assert found.keys() == {
        *("test/neg_elbo_nats", "test/kl_loss_nats"),
        *("latent/active_units", "samples/classifier_recall"),
    }, "neither curves, nor the load of the machine, nor counts"
    assert store.client.get_run(run.run_id).data.metrics["test/neg_elbo_nats"] == 2.5


def test_models_can_be_ranked_by_score(store: Store, make_run: MakeRun) -> None:
    for bound in (3.0, 1.0, 2.0):
        make_run(bound)
    ranked = store.client.search_logged_models(
        [store.experiment_id],
        order_by=[{"field_name": "metrics.test/neg_elbo_nats", "ascending": True}],
    )
    values = [m.value for model in ranked for m in model.metrics or [] if "elbo" in m.key]
    assert values == [1.0, 2.0, 3.0]


def test_a_measurement_that_is_there_is_not_logged_again(make_run: MakeRun) -> None:
    run = make_run(2.5)
    for _ in range(2):
        run.log_model_results({"test.neg_elbo_nats": 2.5})
    assert len(run.client.get_metric_history(run.run_id, "test/neg_elbo_nats")) == 1


def test_a_training_is_a_version_once(store: Store, make_run: MakeRun) -> None:
    run = make_run(train__kl_weight=4)
    register(run)
    (version,) = versions(store.client, "digits-vae")
    assert version.description == "digits vae, KL weight 4"
    assert version.run_id == run.run_id


def test_a_run_without_a_model_registers_nothing(store: Store, make_run: MakeRun) -> None:
    register(make_run(model=False))
    assert versions(store.client, "digits-vae") == []


def test_the_best_gets_the_alias_and_loses_it_to_a_better(store: Store, make_run: MakeRun) -> None:
    for bound in (3.0, 1.0, 2.0):
        make_run(bound)
    said = promote.promote(Settings(), "test.neg_elbo_nats")
    assert said == (
        "digits-vae@best is version 2 (new): digits vae, test.neg_elbo_nats 1, "
        "the best of 3; load it from models:/digits-vae@best"
    )
    assert "version 2 (as before)" in promote.promote(Settings(), "test.neg_elbo_nats")
    make_run(0.5, train__epochs=7)
    assert "version 4 (before: version 2): digits vae, 7 epochs" in promote.promote(
        Settings(), "test.neg_elbo_nats"
    )
    best = store.client.get_model_version_by_alias("digits-vae", "best")
    assert int(best.version) == 4


def test_higher_is_better_where_the_metric_says_so(make_run: MakeRun) -> None:
    make_run(3.0).log_model_results({"latent.knn_accuracy": 0.9})
    make_run(1.0).log_model_results({"latent.knn_accuracy": 0.5})
    assert "is version 1 " in promote.promote(Settings(), "latent.knn_accuracy")


def test_other_data_and_other_likelihoods_are_not_compared(make_run: MakeRun) -> None:
    make_run(-100.0, model__likelihood="bernoulli")
    make_run(-50.0, data="other")
    make_run(3.0)
    said = promote.promote(Settings(), "test.neg_elbo_nats")
    assert "is version 3 (new)" in said
    assert "the best of 1;" in said


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("test.neg_elbo_nat", r"unknown metric test.neg_elbo_nat; did you mean test.neg_elbo_nats"),
        ("test.kl_loss_nats", r"test.kl_loss_nats does not rank models, as test.neg_elbo_nats"),
        ("test.bits_per_dim", r"none of the 1 versions of digits-vae has the metric test.bits"),
    ],
)
def test_a_metric_that_ranks_nothing_is_refused(
    make_run: MakeRun, metric: str, message: str
) -> None:
    make_run(2.0)
    with pytest.raises(UserError, match=message):
        promote.promote(Settings(), metric)


@pytest.mark.usefixtures("store")
def test_the_command_refuses_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    params = f"{tmp_path}/params.yaml"
    with open(params, "w", encoding="utf-8") as file:
        file.write("data: {name: digits}\n")
    monkeypatch.setattr(sys, "argv", ["promote", "--params", params, "--model", "nothing"])
    with pytest.raises(SystemExit) as ended:
        promote.main()
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: no model nothing is registered: train and evaluate one")
    assert printed.count("\n") == 1
