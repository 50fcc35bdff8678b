"""Train one variant of the comparison with every seed, where no current model is there already."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress

import torch

from pipeline import paths
from pipeline.artifacts import build_batches
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.variants import ComparisonConfig, run
from vaelab.data.dataset import PreparedData
from vaelab.models.saving import save_model
from vaelab.models.sizes import with_sizes
from vaelab.runtime.devices import choose_device
from vaelab.runtime.serialization import write_csv, write_json
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.fingerprint import describe_model, training_fingerprint


def main() -> None:
    """Run the stage."""
    run(train, __doc__)


def train(variant: str) -> None:
    """Train a variant with all seeds, each in a process of its own; delete those of other seeds."""
    config = ComparisonConfig.load()
    config.variant_settings(variant, 0)
    for seed in variant_paths.trained_seeds(variant):
        if seed not in config.comparison.seeds:
            delete(variant, seed)
    config.each_seed(train_seed, variant)


def train_seed(variant: str, seed: int) -> str:
    """Train with one seed, from its last checkpoint if there is one; return a line to print."""
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    settings = ComparisonConfig.load().variant_settings(variant, seed)
    settings = with_sizes(settings, data.info.image_shape)
    device = choose_device(settings.machine)
    fingerprint = training_fingerprint(settings, device, paths.COMPARISON_PREPARED)
    if is_current(variant, seed, fingerprint):
        return f"{variant}, seed {seed}: trained already"
    delete(variant, seed)
    train, validation = (
        build_batches(data, split, settings.data.dequantize, device)
        for split in ("train", "validation")
    )
    trainer = build_trainer(settings, train, validation, device)
    with CheckpointFolder(paths.checkpoints() / fingerprint) as checkpoints:
        trainer.resume(checkpoints)
        clock = clock_of(device)
        first, started = trainer.progress.epoch, clock()
        progress = trainer.fit(checkpoints=checkpoints, show_progress=False)
        seconds = clock() - started
        description = describe_model(settings, data.info, trainer)
        save_model(variant_paths.model(variant, seed), trainer.model, description)
        write_csv(variant_paths.history(variant, seed), progress.history)
        # The time before an interruption is not known. This file is written last.
        timing = {} if first else {"training_seconds": seconds}
        write_json(variant_paths.training(variant, seed), {"fingerprint": fingerprint} | timing)
    shutil.rmtree(checkpoints.folder, ignore_errors=True)
    return f"{variant}, seed {seed}: {progress.epoch} epochs in {seconds:.0f} s"


def is_current(variant: str, seed: int, fingerprint: str) -> bool:
    """Return whether there is a model of this fingerprint: of equal settings, data and code."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(variant_paths.training(variant, seed).read_text(encoding="utf-8"))
        is_complete = variant_paths.model(variant, seed).is_dir()
        return is_complete and found.get("fingerprint") == fingerprint
    return False


def delete(variant: str, seed: int) -> None:
    """Delete what a training left, the file that says that it is complete first."""
    variant_paths.training(variant, seed).unlink(missing_ok=True)
    variant_paths.history(variant, seed).unlink(missing_ok=True)
    shutil.rmtree(variant_paths.model(variant, seed), ignore_errors=True)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return what times a training: CPU time on a CPU, because others run at the same time."""
    return time.process_time if device.type == "cpu" else time.perf_counter


if __name__ == "__main__":
    main()
