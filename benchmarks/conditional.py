"""What labels are worth to a VAE: a conditional one against one without, with the same prior.

    python -m benchmarks.conditional

MNIST, the default network with a Bernoulli likelihood and a flow as prior. Prints for each model
and seed the bound from K = 100 samples of the encoder on 2,000 test images and the negative
log-likelihood from proposals fitted to 100 of them, in nats; of the conditional model both are of
p(x|y), and the share of 5,000 samples that a classifier reads as the label that was asked for.
"""

import argparse

import torch

from benchmarks.mnist import mnist
from pipeline import cli
from vaelab.config import EvaluateSettings, Settings, parse_settings
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.evaluation.bounds import bound_metrics, score_test_images
from vaelab.evaluation.classifier import Classifier, features_and_classes, train_classifier
from vaelab.evaluation.likelihood import fit_test_images, likelihood_metrics
from vaelab.inference.sampling import samples_by_label
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer

CPU = torch.device("cpu")
CLASSES, TEST_IMAGES, SAMPLES, BATCH = 10, 2_000, 500, 500
KINDS = ("labels", "none")
MEASURES = ("bound", "nll", "share")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if min(arguments.epochs, arguments.seeds, arguments.threads) < 1:
        parser.error("--epochs, --seeds and --threads must be 1 or more")
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Train and measure every model, and print a row for each measure."""
    torch.set_num_threads(arguments.threads)
    data, found = mnist(), dict[str, list[dict[str, float]]]()
    labels = data.labels("train")
    assert labels is not None
    classifier = train_classifier(
        ImageLoader(data.images("train"), CPU), labels, CLASSES, epochs=3, seed=0, device=CPU
    )
    for seed in range(arguments.seeds):
        for kind in KINDS:
            measured = measure(data, classifier, kind, seed, arguments.epochs)
            found.setdefault(kind, []).append(measured)
            print(f"{kind}, seed {seed}: {measured}", flush=True)
    for name in MEASURES:
        rows = {kind: [m[name] for m in each if name in m] for kind, each in found.items()}
        print(name, {kind: mean_and_standard_error(row) for kind, row in rows.items() if row})


def measure(
    data: PreparedData, classifier: Classifier, kind: str, seed: int, epochs: int
) -> dict[str, float]:
    """Train one model; return its bound and likelihood, and how many samples read as asked."""
    train, validation = (loader(data, split, kind) for split in ("train", "validation"))  # type: ignore[arg-type]
    trainer = build_trainer(settings(kind, seed, epochs), train, validation, CPU)
    trainer.fit(show_progress=False)
    model, chosen = trainer.model.eval(), EvaluateSettings()
    scores = score_test_images(model, loader(data, "test", kind, TEST_IMAGES), chosen, CPU)
    bound = bound_metrics(scores, model, 256, chosen)
    fitted = fit_test_images(model, loader(data, "test", kind), chosen, CPU)
    assert fitted is not None
    likelihood = likelihood_metrics(fitted, chosen, CPU)
    found = {"bound": float(bound["nll_nats"]), "nll": float(likelihood["nll_nats"])}
    return found | ({"share": share_as_asked(model, classifier, seed)} if model.classes else {})


def loader(
    data: PreparedData, split: SplitName, kind: str, count: int | None = None
) -> ImageLoader:
    """Return images of a split, with labels for a conditional model."""
    labels = data.labels(split)
    assert labels is not None
    own = {"labels": labels[:count], "classes": CLASSES} if kind == "labels" else {}
    return ImageLoader(data.images(split)[:count], CPU, **own)  # type: ignore[arg-type]


def settings(kind: str, seed: int, epochs: int) -> Settings:
    """Return a model's settings: all but `model.conditional` is the same."""
    model = {"likelihood": "bernoulli", "prior": "flow", "conditional": kind}
    return parse_settings({"model": model, "train": {"epochs": epochs, "seed": seed}})


def share_as_asked(model: Model, classifier: Classifier, seed: int) -> float:
    """Return the share of samples that the classifier reads as their label."""
    noise = rng_stream(seed, "benchmark/conditional")
    images = samples_by_label(model, None, range(CLASSES), SAMPLES, noise).flatten(0, 1)
    wanted = torch.arange(CLASSES).repeat(SAMPLES)
    read = torch.cat([features_and_classes(classifier, part)[1] for part in images.split(BATCH)])
    return float((read == wanted).float().mean())


if __name__ == "__main__":
    main()
