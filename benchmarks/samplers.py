"""Samplers fitted to the latents of the same trained models: quality of samples, and time.

    python -m benchmarks.samplers models/model
    python -m benchmarks.samplers saved/seed0 saved/seed1 saved/seed2 --prepared data/prepared

Each folder holds a trained model, such as those of several seeds; data and classifier are those
that the stages wrote. Decoded samples are compared with at most as many test images in the
classifier's features, or, of images without labels, in principal components of the pixels of
training images. Prints a row a sampler: means over the models with their standard errors. `fit` and
`samples a second` (of latents, without decoding) are in CPU seconds of --threads threads. The last
column is the difference in Fréchet distance to the mixture, paired by model.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import cli, paths
from pipeline.artifacts import build_batches
from vaelab.config import NO_SAMPLER, SamplerSettings
from vaelab.data.dataset import PreparedData
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.evaluation.classifier import load_classifier
from vaelab.evaluation.feature_spaces import ClassifierSpace, FeatureSpace, PCASpace
from vaelab.evaluation.image_sets import compare_image_sets, extract_features
from vaelab.inference.decoding import decode_means
from vaelab.inference.sampling import sample_latents
from vaelab.models.model import Model
from vaelab.models.saving import load_model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler, encode_posteriors, fit_sampler

CPU = torch.device("cpu")
NAMES = (NO_SAMPLER, "gaussian", "mixture", "flow_matching")
MEASURES = ("frechet_distance", "precision", "recall", "sharpness_ratio", "fit", "rate")
BATCH = 500

Rows = dict[str, list[dict[str, float]]]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--prepared", type=Path, default=paths.PREPARED)
    parser.add_argument("--classifier", type=Path, default=paths.EVALUATION_CLASSIFIER)
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Measure each sampler of each model, and print a row a sampler."""
    torch.set_num_threads(arguments.threads)
    data = PreparedData.load(arguments.prepared)
    spaces = [feature_space(data, arguments.classifier)]
    test = build_batches(data, "test", False, CPU)
    rows = np.sort(np.random.default_rng(0).permutation(len(test))[: arguments.samples])
    noise = rng_stream(0, "benchmark/pixels")
    real = extract_features(batched(test.gather(torch.from_numpy(rows), noise)), spaces)
    found: Rows = {name: [] for name in arguments.names}
    for folder in arguments.models:
        model, description = load_model(folder, CPU)
        train = build_batches(data, "train", bool(description.settings.get("data.dequantize")), CPU)
        posteriors = encode_posteriors(model, train, data.labels("train"))
        for name in arguments.names:
            sampler, times = None, {}
            if name != NO_SAMPLER:
                started = time.process_time()
                sampler = fit_sampler(SamplerSettings(name=name), {}, posteriors).sampler
                times["fit"] = time.process_time() - started
            images, times["rate"] = draw(model, sampler, arguments.samples)
            measured = compare_image_sets(extract_features(images, spaces), real)
            prefix = f"{spaces[0].name}_"
            scores = {k.removeprefix(prefix): float(v) for k, v in measured.items()}
            found[name].append(scores | times)
            numbers = ", ".join(
                f"{k} {found[name][-1][k]:.3g}" for k in MEASURES if k in found[name][-1]
            )
            print(f"{folder}, {name}: {numbers}", flush=True)
    print("± is one standard error over models.")
    print(table(found))


def feature_space(data: PreparedData, classifier: Path) -> FeatureSpace:
    """Return the features of the classifier, or the components if there are no labels."""
    if data.labels("train") is None:
        train = build_batches(data, "train", False, CPU)
        return PCASpace.fit(
            images for images, _ in train.sequential(BATCH, rng_stream(0, "benchmark/pca"))
        )
    return ClassifierSpace(load_classifier(classifier, CPU)[0])


def draw(model: Model, sampler: Sampler | None, count: int) -> tuple[Iterator[Tensor], float]:
    """Return decoded samples in batches, and the latents that are sampled a second."""
    started = time.process_time()
    given, latents = sample_latents(model, sampler, count, rng_stream(0, "benchmark/samples"))
    seconds = max(time.process_time() - started, 1e-6)
    return batched(decode_means(given, latents)), count / seconds


def batched(images: Tensor) -> Iterator[Tensor]:
    """Return images in batches."""
    yield from images.split(BATCH)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Write a row a sampler."""
    lines = [
        "| sampler | Fréchet distance | precision | recall | sharpness | fit, CPU s "
        "| samples a second | difference to the mixture |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        cells = [spread(row[k] for row in rows if k in row) for k in MEASURES]
        if "mixture" in found and name != "mixture":
            pairs = zip(rows, found["mixture"], strict=True)
            cells.append(spread(a["frechet_distance"] - b["frechet_distance"] for a, b in pairs))
        else:
            cells.append("")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Iterable[float]) -> str:
    """Write a mean and its standard error."""
    if not (numbers := list(values)):
        return ""
    mean, error = mean_and_standard_error(numbers)
    return f"{mean:.3g}" + ("" if error is None else f" ± {error:.2g}")


if __name__ == "__main__":
    main()
