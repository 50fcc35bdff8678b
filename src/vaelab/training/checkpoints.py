"""Checkpoints of a training: files that are complete or absent, safetensors without pickle."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from vaelab.distributed.rank_messages import signal_stop, stop_requested
from vaelab.runtime.files import write_atomically, write_text
from vaelab.runtime.locks import exclusive_lock
from vaelab.runtime.signals import DeferredSignals
from vaelab.training.progress import NonFiniteLossError
from vaelab.training.state import TrainingState

INTERVAL_SECONDS = 5.0
# Writing checkpoints takes at most this share of the time.
MAX_OVERHEAD = 0.02
# Written beside the checkpoints: the images of the step whose loss was not finite.
NOT_FINITE = "not_finite.json"


class CheckpointFolder:
    """The last checkpoints of one training, newest last; one process at a time may use it.

    A context manager: entering takes the lock under `name`, which other processes are shown, and
    raises UserError if another process holds it.
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

    def save(self, state: TrainingState) -> None:
        """Write the state, tensors and JSON in one file, and remove the oldest checkpoint.

        If the project was deleted meanwhile, it stays so: nothing is written.
        """
        if not self.folder.parent.parent.is_dir():
            return
        tensors, values = state.state_dict()
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = serialize(contiguous, {"state": json.dumps(values)})
        done = state.progress
        path = self.folder / f"epoch_{done.epoch:06d}_step_{done.step:08d}.safetensors"
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        for old in self._paths()[: -self.keep]:
            old.unlink()

    def load_latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the newest intact checkpoint; a damaged one is skipped with a warning."""
        for path in reversed(self._paths()):
            try:
                with safe_open(path, framework="pt") as file:
                    values = json.loads(file.metadata()["state"])
                return load_file(path), values
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                print(f"warning: {path} is damaged ({reason}); trying the one before", flush=True)
        return None

    def latest(self) -> Path | None:
        """Return the newest checkpoint's file, if there is one."""
        return next(reversed(self._paths()), None)

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a JSON file beside the checkpoints, for people to read; return its path."""
        write_text(self.folder / name, json.dumps(content) + "\n")
        return self.folder / name

    def remove(self) -> None:
        """Remove the folder, once its training has succeeded."""
        shutil.rmtree(self.folder)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("epoch_*.safetensors"))


class CheckpointManager:
    """Save a checkpoint every few seconds, and before SIGINT, SIGTERM or SIGHUP ends the process.

    A context manager. `save` writes a checkpoint into the folder. Without a folder nothing is
    saved, but a worker rank still defers a signal until rank 0, which needs it for the step, has
    saved its checkpoint. After a loss that was not finite, the indices of its images are written
    into the folder.
    """

    def __init__(
        self,
        folder: CheckpointFolder | None,
        save: Callable[[CheckpointFolder], None],
        *,
        is_worker: bool,
    ) -> None:
        self.folder, self.save, self.is_worker = folder, save, is_worker
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
            error.args = (f"{error}. The indices of that step's images are in {path}",)

    def save_if_due(self) -> None:
        """Save a checkpoint if the last one is old or a signal has arrived."""
        now = time.monotonic()
        if self.is_worker and self.signals.received and stop_requested():
            self.signals.release()
        if self.folder and (self.signals.received or now > self.due):
            self.save(self.folder)
            took = time.monotonic() - now
            self.due = now + max(INTERVAL_SECONDS, took / MAX_OVERHEAD)
            if self.signals.received:
                signal_stop()
            self.signals.release()
