"""Run a stage as `python -m` does, and add its seconds by phase to a file.

For benchmarks/pipeline.py. Imports nothing at first that a stage would not.
"""

import atexit
import functools
import importlib
import json
import operator
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHASES = {
    "load": (
        "pipeline.cli:load_params",
        "pipeline.tracking.mirror:open_mirror",
        "pipeline.tracking.training_log:TrainingProcess.begin",
        "pipeline.artifacts:TrainedArtifacts.load",
        "pipeline.artifacts:build_batches",
        "pipeline.train:open_log",
        "vaelab.config:load_settings",
        "vaelab.data.dataset:PreparedData.load",
        "vaelab.data.sources:read",
        "vaelab.evaluation.classifier:load_classifier",
        "vaelab.runtime.serialization:read_arrays",
        "vaelab.runtime.serialization:read_csv",
        "vaelab.runtime.serialization:read_metrics",
        "vaelab.runtime.serialization:read_table",
        "vaelab.samplers:load_sampler",
    ),
    "write": (
        "pipeline.evaluate:write_latent_table",
        "pipeline.tracking.epoch_logger:EpochLogger.__call__",
        "pipeline.tracking.mirror:MirrorProcess.log",
        "pipeline.tracking.sync:add_evaluation",
        "pipeline.tracking.sync:add_explorer",
        "pipeline.tracking.sync:add_figures",
        "pipeline.tracking.sync:add_report",
        "pipeline.tracking.sync:add_sampler",
        "pipeline.tracking.sync:run_of_model",
        "pipeline.tracking.training_log:TrainingProcess.end",
        "pipeline.tracking.training_log:TrainingProcess.finish",
        "vaelab.evaluation.classifier:save_classifier",
        "vaelab.figures.saving:write_figures",
        "vaelab.models.saving:save_model",
        "vaelab.runtime.files:write_text",
        "vaelab.runtime.serialization:write_arrays",
        "vaelab.runtime.serialization:write_csv",
        "vaelab.runtime.serialization:write_json",
        "vaelab.samplers:save_sampler",
    ),
}
"""Functions whose time is that of a phase, unless another of them has called them."""


class Clock:
    """Wall and CPU seconds of this process, by phase; `work` is what no named function does."""

    def __init__(self) -> None:
        """Begin where the process began, with the phase `start`."""
        self.phase = "start"
        self.seconds: dict[str, list[float]] = {}
        self.last = (born_at(), 0.0)

    def enter(self, phase: str) -> None:
        """Count the time since the last call to the phase that ends."""
        now = (time.clock_gettime(time.CLOCK_BOOTTIME), time.process_time())
        spent = self.seconds.setdefault(self.phase, [0.0, 0.0])
        for i in range(2):
            spent[i] += now[i] - self.last[i]
        self.phase, self.last = phase, now

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts its time to a phase."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            outer = self.phase
            if outer in PHASES or threading_elsewhere():
                return function(*arguments, **named)
            self.enter(phase)
            try:
                return function(*arguments, **named)
            finally:
                self.enter("work")

        return call


def of_children() -> float:
    """Return the CPU seconds of the processes that this one has started, such as MLflow's."""
    import psutil

    live = psutil.Process().children(recursive=True)
    ended = sum(os.times()[2:4])
    return ended + sum(sum(child.cpu_times()[:2]) for child in live)


def threading_elsewhere() -> bool:
    """Whether this is not the main thread."""
    import threading

    return threading.current_thread() is not threading.main_thread()


def born_at() -> float:
    """Return when the process was started, in seconds of the boot clock, to a hundredth."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the stage that the first argument names; the second names the file."""
    clock = Clock()
    stage, results = sys.argv[1:3]
    sys.argv[:], sys.path[0] = ["-m"], os.getcwd()  # as `python -m` does
    sys.orig_argv[-2:] = ["-m", f"pipeline.{stage}"]
    module = importlib.import_module(f"pipeline.{stage}")
    sys.argv[:] = [f"pipeline/{stage}.py"]
    for phase, names in PHASES.items():
        for name in names:
            replace(name, functools.partial(clock.timed, phase))

    def save() -> None:
        clock.enter("end")
        clock.seconds.setdefault("load", [0.0, 0.0])[1] += of_children()
        with open(results, "a") as file:
            file.write(json.dumps({"stage": stage, **clock.seconds}) + "\n")

    atexit.register(save)
    module.main()


def replace(name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function, if its module is imported, wherever it is known by its name."""
    place, _, path = name.partition(":")
    module = sys.modules.get(place)
    holder, _, attribute = path.rpartition(".")
    try:
        owner = operator.attrgetter(holder)(module) if holder else module
        old = vars(owner)[attribute]
    except (AttributeError, KeyError, TypeError):
        return  # a stage that does not import it
    if holder:
        new = classmethod(wrap(old.__func__)) if isinstance(old, classmethod) else wrap(old)
        setattr(owner, attribute, new)
        return
    new = wrap(old)
    for known in [m for n, m in sys.modules.items() if n.split(".")[0] in ("pipeline", "vaelab")]:
        if vars(known).get(attribute) is old:
            setattr(known, attribute, new)


if __name__ == "__main__":
    main()
