"""Measure the trained model on the test split: bounds in nats, latent space, samples."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts, check_image_shape
from pipeline.tracking.mirror import open_mirror
from vaelab.config import Settings
from vaelab.estimators.embedding import t_sne
from vaelab.evaluation import Evaluation, EvaluationData, LatentPosteriors
from vaelab.evaluation import evaluate as evaluate_model
from vaelab.evaluation.classifier import DESCRIPTION, Classifier, load_classifier
from vaelab.evaluation.image_counts import large_images_note
from vaelab.evaluation.latent_table import LatentRows, encode_rows, latent_rows
from vaelab.evaluation.reconstruction_table import reconstruction_rows
from vaelab.models.weights import weights_sha256
from vaelab.runtime import memory
from vaelab.runtime.devices import describe
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import flattened, nested, write_arrays, write_csv, write_json
from vaelab.samplers import load_sampler

# What DVC compares, of metrics.json. Some of its tables sort by these names: the bounds are first.
# samples.png shows the sampler's images, samples_prior.png the prior's: the distances of both are
# here. The number of active units is not: the KL loss tells more.
SUMMARY = {
    "bound.neg_elbo_nats": "test.neg_elbo_nats",
    "bound.nll_nats": "likelihood.nll_nats",  # not that of K samples, which ranks wrongly
    "bound.terms.generation_loss_nats": "test.generation_loss_nats",
    "bound.terms.kl_loss_nats": "test.kl_loss_nats",
    "latent.linear_probe_accuracy": "latent.linear_probe_accuracy",
    "reconstruction.psnr_db": "test.psnr_db",
    "sampler.classifier_frechet_distance": "sampler.classifier_frechet_distance",
    "samples.classifier_frechet_distance": "samples.classifier_frechet_distance",
}

METADATA = ("name", "split", "label")
"""Of the columns of a table of latents, those that are no numbers."""


def main() -> None:
    """Run the stage."""
    cli.run(evaluate, __doc__)


def evaluate(settings: Settings) -> None:
    """Write the metrics, the latents and the arrays of the figures."""
    mirror = open_mirror("evaluate", settings)
    trained = TrainedArtifacts.load(settings.machine)
    print(f"evaluating on {describe(trained.device)}", flush=True)
    if note := large_images_note(settings.evaluate, trained.model.image_shape):
        print(note, flush=True)
    data, classifier = evaluation_data(trained), load_scorer(trained)
    sampler = load_sampler(paths.SAMPLER, trained.device, weights_sha256(paths.MODEL))
    with memory.oom_as_user_error("evaluate.batch_size", settings.evaluate.batch_size):
        evaluation = evaluate_model(
            trained.model, data, settings.evaluate, trained.device, classifier, sampler=sampler
        )
    level = {"evaluation": {"level": settings.evaluate.level}}
    write_json(paths.EVALUATE_METRICS, evaluation.metrics | level)
    write_json(paths.EVALUATE_SUMMARY, headline(evaluation.metrics))
    write_latents(evaluation.latents)
    write_latent_table(trained, evaluation.latents, settings.evaluate.seed)
    # Empty without an encoder; DVC requires that it exists.
    write_csv(paths.RECONSTRUCTIONS, reconstruction_rows(trained.data, evaluation.arrays))
    embedded = embedded_arrays(evaluation.latents, settings.evaluate.seed)
    write_arrays(paths.EVALUATE_ARRAYS, evaluation.arrays | embedded)
    mirror.log()
    print(summary(evaluation))


def load_scorer(trained: TrainedArtifacts) -> Classifier | None:
    """Load the classifier for the samples; None if the data had no labels to train it on."""
    folder = paths.EVALUATION_CLASSIFIER
    if not (folder / DESCRIPTION).is_file():
        return None
    classifier, _ = load_classifier(folder, trained.device)
    check_image_shape(folder, classifier.image_shape, trained.data.info)
    return classifier


def evaluation_data(trained: TrainedArtifacts) -> EvaluationData:
    """Return the splits that are measured."""
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


def embedded_arrays(latents: LatentPosteriors | None, seed: int) -> dict[str, np.ndarray]:
    """Return a map of the latents by t-SNE, for the figures of report and render."""
    found = t_sne(latents.means, seed) if latents else None
    return dict(zip(("map_points", "map_rows"), found, strict=True)) if found else {}


def write_latents(latents: LatentPosteriors | None) -> None:
    """Write the posterior of each test image, and the metrics of each latent dimension.

    Without an encoder both files are empty; DVC requires that they exist.
    """
    arrays = {"mean": latents.means, "stddev": latents.stddevs} if latents else {}
    write_arrays(paths.TEST_LATENTS, arrays)
    columns = {
        name: (column.astype(int) if column.dtype == bool else column).tolist()
        for name, column in (latents.dimension_table if latents else {}).items()
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    write_csv(paths.LATENT_DIMENSIONS, rows)


def write_latent_table(trained: TrainedArtifacts, test: LatentPosteriors | None, seed: int) -> None:
    """Write the latents of images of all splits, with the names of their files.

    Without an encoder the folder is empty; DVC requires that it exists.
    """
    shutil.rmtree(paths.LATENTS, ignore_errors=True)
    paths.LATENTS.mkdir(parents=True)
    if test is None:
        return
    every = np.arange(len(test.means))
    parts = [*_training_rows(trained, seed)]
    parts.append(latent_rows(trained.data, "test", test.means, test.stddevs, every))
    rows = [row for part in parts for row in part]
    write_csv(paths.LATENTS / "latents.csv", rows)
    # The embedding projector reads vectors without a header, and texts with one.
    means = [name for name in rows[0] if name.startswith("mean_")]
    _write_tsv("vectors.tsv", [[row[name] for name in means] for row in rows])
    _write_tsv("metadata.tsv", [METADATA, *([row[name] for name in METADATA] for row in rows)])


def _training_rows(trained: TrainedArtifacts, seed: int) -> list[LatentRows]:
    return [
        encode_rows(trained.model, trained.data, split, trained.batches(split), seed)
        for split in ("train", "validation")
    ]


def _write_tsv(name: str, rows: Sequence[Sequence[str]]) -> None:
    write_text(paths.LATENTS / name, "".join("\t".join(row) + "\n" for row in rows))


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of `SUMMARY` that were measured, nested by their names."""
    measured = flattened(metrics)
    return nested({name: measured[full] for name, full in SUMMARY.items() if full in measured})


def summary(evaluation: Evaluation) -> str:
    """Return the most important metrics in one line."""
    test, latent = evaluation.metrics.get("test", {}), evaluation.metrics["latent"]
    shown = {
        "PSNR (dB)": test.get("psnr_db"),
        "SSIM": test.get("ssim"),
        "negative ELBO (nats)": test.get("neg_elbo_nats"),
        "K-sample bound (nats)": test.get("nll_nats"),
        "NLL (nats)": evaluation.metrics.get("likelihood", {}).get("nll_nats"),
        "KL (nats)": test.get("kl_loss_nats"),
        "active units": latent.get("active_units"),
        "linear probe": latent.get("linear_probe_accuracy"),
    }
    measured = [f"{name} {value:.4g}" for name, value in shown.items() if value is not None]
    return ", ".join(measured) or "no encoder: no latents and no bounds to measure"


if __name__ == "__main__":
    main()
