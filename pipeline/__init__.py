"""The pipeline: a script for each stage, and what the stages share."""

import gc
import importlib
import importlib.util
import os
import sys

MIRRORED = ("train", "sampler", "evaluate", "report", "render", "explore")
"""The stages that log to MLflow."""

# Importing PyTorch and MLflow creates a million objects that all stay: collecting garbage among
# them takes a fifth of the start-up time. `cli.run_command` turns collection on again. argv[0] is
# "-m" only while Python looks for the module that `python -m` names.
if sys.argv[0] == "-m":
    gc.disable()
    if importlib.util.find_spec("pydantic") is None:
        sys.exit(
            f"error: {sys.executable} is not the project's Python: type `make repro`, which makes "
            "the environment, or `. .venv/bin/activate`, and then the command again"
        )
    # It measures from now on how many cores are free.
    importlib.import_module("vaelab.runtime.cores")
    # Of a training's ranks, the first logs.
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first and sys.orig_argv[-2:] in [["-m", f"pipeline.{stage}"] for stage in MIRRORED]:
        stage = sys.orig_argv[-1].removeprefix("pipeline.")
        importlib.import_module("pipeline.tracking.mirror").start(stage)
