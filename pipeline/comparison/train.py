"""Train one variant of the comparison with every seed."""

import shutil
import time

from pipeline import paths
from pipeline.artifacts import build_batches
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.variants import ComparisonConfig, run
from vaelab.data.dataset import PreparedData
from vaelab.models.saving import save_model
from vaelab.runtime.devices import choose_device
from vaelab.runtime.serialization import write_csv, write_json
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.fingerprint import describe_model, training_fingerprint


def main() -> None:
    """Run the stage."""
    run(train, __doc__)


def train(variant: str) -> None:
    """Train a variant with all seeds, each in a process of its own."""
    ComparisonConfig.load().each_seed(train_seed, variant)


def train_seed(variant: str, seed: int) -> str:
    """Train with one seed, from its last checkpoint if there is one; return a line to print."""
    settings = ComparisonConfig.load().variant_settings(variant, seed)
    device = choose_device(settings.machine)
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    train, validation = (
        build_batches(data, split, settings.data.dequantize, device)
        for split in ("train", "validation")
    )
    trainer = build_trainer(settings, train, validation, device)
    key = training_fingerprint(settings, device, paths.COMPARISON_PREPARED)
    with CheckpointFolder(paths.checkpoints() / key) as checkpoints:
        trainer.resume(checkpoints)
        first, started = trainer.progress.epoch, time.perf_counter()
        progress = trainer.fit(checkpoints=checkpoints, show_progress=False)
        seconds = time.perf_counter() - started
        description = describe_model(settings, data.info, trainer)
        save_model(variant_paths.model(variant, seed), trainer.model, description)
        write_csv(variant_paths.history(variant, seed), progress.history)
        # The time before an interruption is not known.
        timing = {} if first else {"training_seconds": seconds}
        write_json(variant_paths.timing(variant, seed), timing)
    shutil.rmtree(checkpoints.folder, ignore_errors=True)
    return f"{variant}, seed {seed}: {progress.epoch} epochs in {seconds:.0f} s"


if __name__ == "__main__":
    main()
