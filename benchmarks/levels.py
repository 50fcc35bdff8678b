"""`evaluate.level: quick` beside `full`: headline numbers of the model in this folder, CPU seconds.

    dvc repro && python -m benchmarks.levels

All settings that are `auto` at a level are so here, whatever params.yaml says.
"""

import argparse
import time
from collections.abc import Mapping

from pipeline import paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.evaluate import SUMMARY, evaluation_data, load_scorer
from vaelab.config import EvaluateSettings, MachineSettings
from vaelab.evaluation import evaluate
from vaelab.metrics import lookup
from vaelab.models.saving import weights_sha256
from vaelab.runtime.formatting import format_number, with_error
from vaelab.runtime.serialization import flattened
from vaelab.samplers import load_sampler

LEVELS = ("full", "quick")


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    trained = TrainedArtifacts.load(MachineSettings())
    data, classifier = evaluation_data(trained), load_scorer(trained)
    sampler = load_sampler(paths.SAMPLER, trained.device, weights_sha256(paths.MODEL))
    found, seconds = [], []
    for level in LEVELS:
        settings, started = EvaluateSettings.model_validate({"level": level}), time.process_time()
        result = evaluate(
            trained.model, data, settings, trained.device, classifier, sampler=sampler
        )
        seconds.append(f"{time.process_time() - started:.0f}")
        found.append(flattened(result.metrics))
    print("|  | full | quick |\n|---|---|---|")
    for name in dict.fromkeys([*SUMMARY.values(), "test.nll_nats"]):
        row(f"`{name}`", [shown(name, metrics) for metrics in found])
    row("CPU seconds", seconds)


def shown(name: str, metrics: Mapping[str, float]) -> str:
    """Return a metric with its standard error, or with the value of training images."""
    if name not in metrics:
        return ""
    metric = lookup(name)
    error = metrics.get(metric.standard_error) if metric and metric.standard_error else None
    floor = metrics.get(f"{name.replace('sampler.', 'samples.')}_floor")
    text = with_error(metrics[name], error)
    return text if floor is None else f"{text} (training images {format_number(floor, 3)})"


def row(name: str, cells: list[str]) -> None:
    """Print a row of the table."""
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
