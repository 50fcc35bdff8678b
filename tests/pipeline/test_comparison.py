"""`make compare`'s stages for real, on two variants."""

import csv
import re

import pytest

from tests.pipeline.conftest import Copy, make_copy

pytestmark = pytest.mark.slow

PARAMS = """
data: {name: digits, folder: data/images}
model: {network: mlp, hidden: [16], latent_dim: 3}
train: {epochs: 2}
objectives: {}
evaluate: {importance_samples: 2, samples: 60, classifier_epochs: 1}
samplers: {flow_matching: {steps: 20}}
render: {formats: [png]}
comparison:
  variants: {vae: {train.objective: vae}, gan: {train.objective: gan}}
  samplers: [flow_matching]
  seeds: [0, 1]
  test_images: 50
  pictures: 2
  workers: 1
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = make_copy(tmp_path_factory.mktemp("compared"))
    (copy.path / "pipeline/comparison/params.yaml").write_text(PARAMS)
    copy.commit()
    compare(copy)
    return copy


def compare(copy: Copy) -> str:
    return copy.run("dvc", "--cd", "pipeline/comparison", "repro")


def test_the_table_has_what_applies_to_each_variant(compared: Copy) -> None:
    with (compared.path / "results/comparison/table.csv").open(newline="") as file:
        vae, gan = csv.DictReader(file)
    assert (vae["member"], gan["member"]) == ("vae", "gan")
    assert float(vae["test.nll_nats_standard_error"]) > 0
    assert gan["test.nll_nats"] == gan["test.mean_squared_error"] == ""
    assert float(gan["samples.classifier_frechet_distance"]) > 0
    assert float(gan["timing.training_seconds"]) > 0
    assert (compared.path / "results/comparison/figures/comparison.png").is_file()
    assert float(vae["sampler.flow_matching.classifier_frechet_distance"]) > 0
    assert gan["sampler.flow_matching.classifier_frechet_distance"] == ""
    report = (compared.path / "results/comparison/table.md").read_text()
    floor = next(line for line in report.splitlines() if line.startswith("| *real images* |"))
    assert float(floor.split("|")[6]) == pytest.approx(1, abs=0.5)


def test_the_runs_have_one_parent(compared: Copy) -> None:
    runs = compared.runs()
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    (parent,) = parents
    children = [run for run in runs if run not in parents]
    assert {run.info.run_name for run in children} == {
        f"{variant}, seed {seed}" for variant in ("vae", "gan") for seed in (0, 1)
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert all(run.info.status == "FINISHED" for run in runs)
    assert len({run.data.params["train.seed"] for run in children}) == 2
    artifacts = {file.path for file in compared.client().list_artifacts(parent.info.run_id)}
    assert artifacts == {"figures", "table.csv", "table.md"}


def test_nothing_to_do_is_nothing_done(compared: Copy) -> None:
    """Not even after another program has compiled the code or read the images."""
    compared.run("python", "-m", "compileall", "-q", "src/vaelab/config")
    assert re.findall(r"Running stage '(.*)'", compare(compared)) == ["inputs"]


def test_the_pipelines_own_status_and_graph_do_not_show_the_comparison(compared: Copy) -> None:
    for command in ("status", "dag"):
        assert "measure" not in compared.run("dvc", command)
    assert compared.run("git", "status", "--porcelain").split() == [
        "??",
        "pipeline/comparison/dvc.lock",
    ]


def test_a_new_seed_and_another_table_train_no_model_again(compared: Copy) -> None:
    settings = compared.path / "pipeline/comparison/params.yaml"
    models = {p: p.stat().st_mtime_ns for p in compared.path.glob("models/comparison/*/seed_*/*")}
    settings.write_text(PARAMS.replace("[0, 1]", "[0, 1, 2]"))
    printed = compare(compared)
    assert "vae, seed 0: trained already" in printed
    assert "vae, seed 2: 2 epochs in" in printed
    assert {path: path.stat().st_mtime_ns for path in models} == models
    settings.write_text(PARAMS.replace("steps: 20", "steps: 30").replace("[0, 1]", "[0, 1, 2]"))
    printed = compare(compared)
    assert "Running stage 'measure@vae'" in printed
    assert "Running stage 'train@vae'" not in printed
