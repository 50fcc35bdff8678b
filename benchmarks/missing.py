"""Training on MNIST with missing pixels: against whole images, and against zeros taken as real.

    python -m benchmarks.missing --epochs 10

`data.missing` hides a share of the pixels of training and validation images. Three multilayer
perceptrons of two layers of 200 units and 20 latents are trained with the same settings, as IWAE
with 5 samples of binary pixels (`data.binarization: fresh`), into .benchmarks/missing:

- whole: on all pixels
- missing: on the pixels that are left, by the bound of these (`data.missing`)
- zeros: on the same images, whose missing pixels are taken as black ones

Prints the negative log-likelihood of 100 whole test images, from proposals fitted to each; the
bound of 500 samples of the encoder, of 1,000 images; and how well hidden pixels of the 100 are
restored, half of them hidden at random: the squared error of a pixel, and ln p of the hidden pixels
given the others, in nats an image. ± is one standard error over images, of differences that of
paired ones.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.mnist import FOLDER, mnist
from benchmarks.restoration import CPU, Scores, hide, restored
from pipeline import cli
from pipeline.artifacts import build_batches
from pipeline.prepare import work as prepare
from vaelab.config import Settings, parse_settings
from vaelab.data.dataset import INFO_FILE, PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.likelihood import fit_proposals
from vaelab.evaluation.scoring import score_images
from vaelab.models.model import Model
from vaelab.models.saving import CONFIG, load_model, save_model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer
from vaelab.training.fingerprint import describe_model

OWN = FOLDER.parent / "missing"
KINDS = ("whole", "missing", "zeros")
BOUND_IMAGES, BOUND_SAMPLES = 1000, 500
NLL_SAMPLES = 1000


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.5, help="of the pixels that are missing")
    parser.add_argument("--images", type=int, default=100, help="test images, restored and not")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command continues")


def run(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet, and print the table."""
    torch.set_num_threads(arguments.threads)
    mnist()
    found = {kind: measured(kind, arguments) for kind in KINDS}
    print("| trained on | NLL | bound | squared error of hidden pixels | ln p of hidden pixels |")
    print("|---|---|---|---|---|")
    for kind, values in found.items():
        print(f"| {kind} | {' | '.join(map(_with_error, values))} |")
    for kind in ("whole", "zeros"):
        pairs = zip(found[kind], found["missing"], strict=True)
        print(f"| {kind} minus missing | {' | '.join(_with_error(a - b) for a, b in pairs)} |")


def measured(kind: str, arguments: argparse.Namespace) -> tuple[torch.Tensor, ...]:
    """Return the NLL and the bound of whole images, and the scores of restored ones, by image."""
    model, data = trained(kind, arguments), prepared(0.0)
    test = ImageLoader(data.images("test")[:BOUND_IMAGES], CPU)
    bound = score_images(model, test, BOUND_SAMPLES, seed=0).nll
    nll = fitted_nll(model, test.gather(torch.arange(arguments.images), rng_stream(0, "pixels")))
    return nll, bound, *restoration(model, arguments.images)


@torch.no_grad()
def fitted_nll(model: Model, images: torch.Tensor) -> torch.Tensor:
    """Estimate -ln p(x) of each image, whatever the encoder makes of it."""
    noise = rng_stream(0, "likelihood")
    proposal = fit_proposals(model, images, noise)
    found = importance_weighted_log_likelihood(model, images, proposal, NLL_SAMPLES, noise)
    print(f"effective samples {float(found.effective_sample_size.mean()):.0f} of {NLL_SAMPLES}")
    return -found.log_likelihood


def restoration(model: Model, count: int) -> Scores:
    """Return the scores of hidden pixels of the first test images."""
    error, log_likelihood, _ = restored(model, hide(mnist(), "test", count, "half at random"))
    return error, log_likelihood


def prepared(share: float) -> PreparedData:
    """Open MNIST with this share of the pixels hidden by `data.missing`, prepared once."""
    folder = OWN / f"prepared_{share:g}"
    if not (folder / INFO_FILE).is_file():
        prepare(settings(share), FOLDER / "raw", folder)
    return PreparedData.load(folder)


def settings(share: float, epochs: int = 1) -> Settings:
    """Return the settings of the pipeline."""
    return parse_settings(
        {
            "data": {"name": "mnist", "binarization": "fresh", "missing": share or "none"},
            "model": {
                "network": "mlp",
                "hidden": [200, 200],
                "latent_dim": 20,
                "likelihood": "bernoulli",
            },
            "train": {"objective": "iwae", "epochs": epochs, "learning_rate_schedule": "cosine"},
            "objectives": {"iwae": {"importance_samples": 5}},
        }
    )


def trained(kind: str, arguments: argparse.Namespace) -> Model:
    """Load a model, or train it."""
    share = 0.0 if kind == "whole" else arguments.share
    folder = OWN / f"{kind}_{share:g}_{arguments.epochs}"
    if not (folder / CONFIG).is_file():
        train(kind, share, arguments.epochs, folder)
    return load_model(folder, CPU)[0]


def train(kind: str, share: float, epochs: int, folder: Path) -> None:
    """Train a model as the pipeline does, and print the CPU time."""
    data, chosen, started = prepared(share), settings(share, epochs), time.process_time()
    loaders = [build_batches(data, split, False, CPU) for split in ("train", "validation")]
    if kind == "zeros":
        loaders = [ImageLoader(each.array, CPU, binarize=each.binarize) for each in loaders]
    trainer = build_trainer(chosen, *loaders, CPU)
    trainer.fit()
    save_model(folder, trainer.model, describe_model(chosen, data.info, trainer))
    print(f"{kind}: {(time.process_time() - started) / 60:.1f} CPU minutes", flush=True)


def _with_error(values: torch.Tensor) -> str:
    values = values.double()
    return f"{float(values.mean()):.4f} ± {standard_error(values):.4f}"


if __name__ == "__main__":
    main()
