"""Measure the trained model on the test split: its bounds in nats, and its latent space."""

import torch

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking import open_store, warn_on_store_error
from pipeline.tracking.sync import add_evaluation, run_of_model
from vaelab.config import Settings
from vaelab.evaluation import Evaluation, EvaluationData, LatentPosteriors
from vaelab.evaluation import evaluate as measure
from vaelab.evaluation.classifier import DESCRIPTION, Classifier, load_classifier
from vaelab.runtime import memory
from vaelab.runtime.devices import describe
from vaelab.runtime.serialization import write_arrays, write_csv, write_json


def main() -> None:
    """Run the stage."""
    cli.run(evaluate, __doc__)


def evaluate(settings: Settings) -> None:
    """Write metrics.json, the test images' latents and the table of dimensions."""
    store = open_store(settings.tracking)
    trained = TrainedArtifacts.load(settings.machine)
    print(f"evaluating on {describe(trained.device)}", flush=True)
    data, judge = evaluation_data(trained), classifier(trained.device)
    with memory.oom_as_user_error("evaluate.batch_size", settings.evaluate.batch_size):
        report = measure(trained.model, data, settings.evaluate, trained.device, judge)
    write_json(paths.EVALUATE_METRICS, report.metrics)
    write_latents(report.latents)
    write_arrays(paths.EVALUATE_ARRAYS, report.arrays)
    with warn_on_store_error("the evaluation"):
        add_evaluation(run_of_model(store, settings), settings)
    print(summary(report))


def classifier(device: torch.device) -> Classifier | None:
    """Read the classifier, where there were labels to teach one."""
    if not (paths.EVALUATION_CLASSIFIER / DESCRIPTION).is_file():
        return None
    return load_classifier(paths.EVALUATION_CLASSIFIER, device)[0]


def evaluation_data(trained: TrainedArtifacts) -> EvaluationData:
    """Give the splits that are measured."""
    data = trained.data
    return EvaluationData(
        name=data.info.name,
        levels=data.info.levels,
        train=trained.batches("train"),
        test=trained.batches("test"),
        train_labels=data.labels("train"),
        test_labels=data.labels("test"),
        train_factors=data.factors("train"),
        test_factors=data.factors("test"),
    )


def write_latents(latents: LatentPosteriors | None) -> None:
    """Write every test image's posterior, and what is known of each dimension.

    Without an encoder there is nothing in the files: no array, no row. DVC needs them to be there.
    """
    arrays = {"mean": latents.means, "stddev": latents.stddevs} if latents else {}
    write_arrays(paths.TEST_LATENTS, arrays)
    columns = {
        name: (column.astype(int) if column.dtype == bool else column).tolist()
        for name, column in (latents.dimensions if latents else {}).items()
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    write_csv(paths.LATENT_DIMENSIONS, rows)


def summary(report: Evaluation) -> str:
    """Say in one line what matters most."""
    test, latent = report.metrics.get("test", {}), report.metrics["latent"]
    shown = {
        "mean squared error": test.get("mean_squared_error"),
        "negative ELBO (nats)": test.get("neg_elbo_nats"),
        "NLL (nats)": test.get("nll_nats"),
        "KL (nats)": test.get("kl_loss_nats"),
        "active units": latent.get("active_units"),
        "linear probe": latent.get("linear_probe_accuracy"),
    }
    measured = [f"{name} {value:.4g}" for name, value in shown.items() if value is not None]
    return ", ".join(measured) or "no encoder: images have no latents and no bound to measure"


if __name__ == "__main__":
    main()
