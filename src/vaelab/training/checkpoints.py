"""What a training keeps to continue exactly, and when it is written down."""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from vaelab.distributed.rank_messages import signal_stop, stop_requested
from vaelab.runtime.files import write_atomically, write_text
from vaelab.runtime.locks import exclusive_lock
from vaelab.runtime.signals import DeferredSignals
from vaelab.training.progress import NonFiniteLossError, Progress
from vaelab.training.running_means import RunningMeans

if TYPE_CHECKING:
    from vaelab.training.trainer import Trainer

Tensors = dict[str, Tensor]

INTERVAL_SECONDS = 5.0
# Writing checkpoints takes at most this share of the time.
MAX_OVERHEAD = 0.02
# Beside the checkpoints: which images a loss that was not finite is of.
NOT_FINITE = "not_finite.json"


def gather(trainer: "Trainer") -> tuple[Tensors, dict[str, Any]]:
    """Give all that changes in training: tensors by name, and the rest."""
    groups = {"model": trainer.weights(), "best": trainer.best, "total": trainer.running_means.sums}
    groups |= {f"optimiser.{name}": o.state_tensors() for name, o in trainer.optimizers.items()}
    # Of the order, that before the epoch began: in the middle it is drawn again.
    noise = trainer.noise.get_state()
    groups["generator"] = {"order": trainer.epoch_rng_state, "noise": noise}
    named = {f"{group}.{k}": v for group, tensors in groups.items() for k, v in tensors.items()}
    totals = {"images": trainer.running_means.count, "terms": list(trainer.running_means.sums)}
    return named, vars(trainer.progress) | totals


def restore(trainer: "Trainer", tensors: Tensors, state: dict[str, Any]) -> None:
    """Take up what `gather` gave."""

    def moved(group: str) -> Tensors:
        return {name: tensor.to(trainer.device) for name, tensor in _under(group, tensors).items()}

    # In the order that they came in: files of tensors are sorted by name.
    sums = moved("total")
    terms = {name: sums[name] for name in state.pop("terms")}
    trainer.running_means = RunningMeans(terms, state.pop("images"))
    trainer.progress = Progress(**state)
    trainer.model.load_state_dict(_under("model", tensors))
    trainer.best = moved("best")
    for name, optimiser in trainer.optimizers.items():
        optimiser.load_state_tensors(_under(f"optimiser.{name}", tensors))
    trainer.epoch_rng_state = tensors["generator.order"]
    trainer.order.set_state(trainer.epoch_rng_state)
    trainer.noise.set_state(tensors["generator.noise"])


def _under(prefix: str, tensors: Tensors) -> Tensors:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


class CheckpointFolder:
    """The last states of one training, newest last; one process at a time may use it.

    Used as a context: entering takes the lock, under a name that others are told, and raises
    UserError if another process has it.
    """

    def __init__(self, folder: Path, name: str = "another training", keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        self._lock = exclusive_lock(folder / "lock", name)

    def __enter__(self) -> "CheckpointFolder":
        self._lock.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)

    def save(
        self, epoch: int, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        """Write a state, tensors and JSON in one file, and drop the oldest.

        It is that after so many epochs and so many steps of the next one.
        """
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"state": json.dumps(state)}
        path = self.folder / f"epoch_{epoch:06d}_step_{step:08d}.safetensors"
        content = serialize(whole, metadata)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        for old in self._paths()[: -self.keep]:
            old.unlink()

    def load_latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest state that is whole; a damaged one is passed over with a warning."""
        for path in reversed(self._paths()):
            try:
                with safe_open(path, framework="pt") as file:
                    state = json.loads(file.metadata()["state"])
                return load_file(path), state
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                print(f"warning: {path} is damaged ({reason}); trying the one before", flush=True)
        return None

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Leave a JSON file for people beside the states; give its path."""
        write_text(self.folder / name, json.dumps(content) + "\n")
        return self.folder / name

    def remove(self) -> None:
        """Remove the folder, once the training that it belongs to has succeeded."""
        shutil.rmtree(self.folder)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("epoch_*.safetensors"))


class CheckpointManager:
    """Writes checkpoints now and then, and before a signal is let through: a context.

    Without a folder it does nothing, but in a process beside the main one: that holds a signal
    back until the main one, which needs it for the step, has written its checkpoint. A loss that
    was not finite leaves the numbers of its images in the folder.
    """

    def __init__(self, trainer: "Trainer", folder: CheckpointFolder | None) -> None:
        self.trainer, self.folder = trainer, folder
        self.is_worker = not trainer.group.is_rank_zero
        self.signals = DeferredSignals()
        self.due = time.monotonic() + INTERVAL_SECONDS

    def __enter__(self) -> "CheckpointManager":
        if self.folder or self.is_worker:
            self.signals.__enter__()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.folder or self.is_worker:
            self.signals.__exit__(kind, error, trace)
        if self.folder and isinstance(error, NonFiniteLossError) and error.images:
            content = {"epoch": error.epoch, "training_images": error.images}
            path = self.folder.write_json(NOT_FINITE, content)
            error.args = (f"{error}. The numbers of the images of that step are in {path}",)

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old, or a signal is waiting."""
        now = time.monotonic()
        if self.is_worker and self.signals.received and stop_requested():
            self.signals.release()
        if self.folder and (self.signals.received or now > self.due):
            self.trainer.save(self.folder)
            took = time.monotonic() - now
            self.due = now + max(INTERVAL_SECONDS, took / MAX_OVERHEAD)
            if self.signals.received:
                signal_stop()
            self.signals.release()
